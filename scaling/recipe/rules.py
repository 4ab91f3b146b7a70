"""Hyperparameters as rules: a power law of what is known of a run before it starts, in the place of a number.

In a recipe's yaml a rule is a mapping: a factor c, and the exponents of N, D, step_targets and lr; with `base`, c is
the value at that base.

    lr: {c: 1.79, N: -0.713, D: 0.307}                                  # arXiv:2503.04715, eq. 1
    lr: {c: 0.02, step_targets: 0.5, base: {step_targets: 1024}}        # arXiv:2205.10287

    settle({"lr": {"c": 1.79, "N": -0.713, "D": 0.307}, "batch": 16}, N=1e5, D=1e6, targets=64)
"""

import math
from collections.abc import Mapping
from typing import Any

from isoflop.checks import number, positive
from isoflop.errors import UserError

# what a rule may follow: N, parameters that multiply; D, training targets; targets per optimiser step; the peak rate
KNOWN = ("N", "D", "step_targets", "lr")

# which of them each hyperparameter may follow; in this order they become known
FOLLOWS = {"batch": KNOWN[:2], "lr": KNOWN[:3], "weight_decay": KNOWN}


def rules(recipe: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the hyperparameters of a recipe that are rules, each checked."""
    by_name = {name: value for name, value in recipe.items() if isinstance(value, Mapping)}
    for name, rule in by_name.items():
        if name not in FOLLOWS:
            raise UserError(f"recipe.{name} takes no rule; give a number ({', '.join(FOLLOWS)} take rules)")
        base = rule.get("base", {})
        if wrong := [key for key in (*rule, *base) if key not in ("c", "base", *FOLLOWS[name])]:
            allowed = f"c, {', '.join(FOLLOWS[name])}, base"
            raise UserError(f"recipe.{name}.{wrong[0]} is not part of its rule; it has {allowed}")
        for key, value in [("c", rule.get("c")), *((f"base.{key}", value) for key, value in base.items())]:
            positive(f"recipe.{name}.{key}", value)
        for key in set(rule) - {"c", "base"}:
            number(f"recipe.{name}.{key}", rule[key], f"; give the exponent of {key}")
    if by_name.get("lr", {}).get("N") and recipe.get("parametrization") == "mup":
        raise UserError(
            "recipe.lr is a rule of N, by which mup scales it too; give recipe.parametrization=standard, or no N"
        )
    return by_name


def settle(recipe: Mapping[str, Any], N: float, D: float, targets: int) -> dict[str, Any]:
    """Return the recipe with a number for every rule; targets: those of one example, to round batch to."""
    numbers, by_name = dict(recipe), rules(recipe)
    for name in (name for name in FOLLOWS if name in by_name):
        known = {"N": N, "D": D}
        if name != "batch":
            known["step_targets"] = numbers["batch"] * targets
        if name == "weight_decay":
            known["lr"] = numbers["lr"]
        rule, base = by_name[name], by_name[name].get("base", {})
        value = rule["c"] * math.prod((known[key] / base.get(key, 1)) ** rule.get(key, 0) for key in known)
        numbers[name] = max(1, round(value / targets)) if name == "batch" else value
    return numbers
