"""Hyperparameters as rules: a power law of what is known of a run before it starts, in the place of a number.

In a recipe's yaml a rule is a mapping: a factor c, and the exponents of N, D, step_targets and lr; with `base`, c is
the value at that base.

    lr: {c: 1.79, N: -0.713, D: 0.307}                                  # arXiv:2503.04715, eq. 1
    lr: {c: 0.02, step_targets: 0.5, base: {step_targets: 1024}}        # arXiv:2205.10287

    settled({"lr": {"c": 1.79, "N": -0.713, "D": 0.307}, "batch": 16}, N=1e5, D=1e6, targets=64)
"""

import math
from collections.abc import Mapping
from typing import Any

from isoflop.errors import UserError
from isoflop.scaling.families.base import positive

# what a rule may follow: N, parameters that multiply; D, training targets; targets per optimiser step; the peak rate
KNOWN = ("N", "D", "step_targets", "lr")

# which of them each hyperparameter may follow; in this order they become known
FOLLOWS = {"batch": KNOWN[:2], "lr": KNOWN[:3], "weight_decay": KNOWN}

Recipe = dict[str, Any]


def rules(recipe: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The hyperparameters of a recipe that are rules, each checked."""
    found = {name: value for name, value in recipe.items() if isinstance(value, Mapping)}
    for name, rule in found.items():
        if name not in FOLLOWS:
            raise UserError(f"recipe.{name} takes no rule; give a number ({', '.join(FOLLOWS)} take rules)")
        base = rule.get("base", {})
        if wrong := [key for key in (*rule, *base) if key not in ("c", "base", *FOLLOWS[name])]:
            allowed = f"c, {', '.join(FOLLOWS[name])}, base"
            raise UserError(f"recipe.{name}.{wrong[0]} is not part of its rule; it has {allowed}")
        for key, value in [("c", rule.get("c")), *((f"base.{key}", value) for key, value in base.items())]:
            positive(f"recipe.{name}.{key}", value)
        for key in set(rule) - {"c", "base"}:
            if isinstance(rule[key], bool) or not isinstance(rule[key], int | float) or not math.isfinite(rule[key]):
                raise UserError(f"recipe.{name}.{key}={rule[key]!r} is not a number; give the exponent of {key}")
    if found.get("lr", {}).get("N") and recipe.get("parametrization") == "mup":
        raise UserError(
            "recipe.lr is a rule of N, by which mup scales it too; give recipe.parametrization=standard, or no N"
        )
    return found


def settled(recipe: Recipe, N: float, D: float, targets: int) -> Recipe:
    """The recipe with a number for every rule; targets: those of one example, to whole numbers of which batch goes."""
    numbers, found = dict(recipe), rules(recipe)
    for name in (name for name in FOLLOWS if name in found):
        known = {"N": N, "D": D}
        if name != "batch":
            known["step_targets"] = numbers["batch"] * targets
        if name == "weight_decay":
            known["lr"] = numbers["lr"]
        rule, base = found[name], found[name].get("base", {})
        value = rule["c"] * math.prod((known[key] / base.get(key, 1)) ** rule.get(key, 0) for key in known)
        numbers[name] = max(1, round(value / targets)) if name == "batch" else value
    return numbers
