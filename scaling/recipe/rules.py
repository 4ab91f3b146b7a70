"""The numbers of a recipe: what they may be, and rules, power laws of what is known of a run beforehand (no torch).

In a recipe's yaml a rule is a mapping: a factor c, and the exponents of N, D, step_targets and lr; with `base`, c is
the value at that base.

    lr: {c: 1.79, N: -0.713, D: 0.307}                                  # arXiv:2503.04715, eq. 1
    lr: {c: 0.02, step_targets: 0.5, base: {step_targets: 1024}}        # arXiv:2205.10287

    settle({"lr": {"c": 1.79, "N": -0.713, "D": 0.307}, "batch": 16}, N=1e5, D=1e6, targets=64)
    budget = Budget(D=[1e5, 1e6])               # exactly one of D, C, D_per_N and epochs, one value or several marks
    budget.name, budget.values                  # "D", [1e5, 1e6]
    targets("D", 1e6, cost=cost, unique=1_000_000)
    steps(1e6, targets_per_step=1024)
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from isoflop.checks import not_negative, number, one_of, positive, share, whole_number
from isoflop.errors import UserError

# what a rule may follow: N, parameters that multiply; D, training targets; targets per optimiser step; the peak rate
KNOWN = ("N", "D", "step_targets", "lr")

# which of them each hyperparameter may follow; in this order they become known
FOLLOWS = {"batch": KNOWN[:2], "lr": KNOWN[:3], "weight_decay": KNOWN}


# what a budget may be, and how much of it
NAMES = ("D", "C", "D_per_N", "epochs")
Value = float | list[float] | None


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


CHOICES = {"precision": ("fp32", "bf16"), "parametrization": ("mup", "standard"), "schedule": ("cooldown", "cosine")}


def refuse(recipe: Mapping[str, Any]) -> None:
    """Raise UserError for an impossible value of a recipe; rules and other keys are skipped."""
    given = {name: value for name, value in recipe.items() if not isinstance(value, Mapping)}
    for check, names in (
        (whole_number, ("batch", "base_width", "base_depth", "horizon_steps")),
        (positive, ("lr", "eps", "clip", "muon_lr")),
        (share, ("beta1", "beta2", "warmup", "cooldown")),
        (not_negative, ("weight_decay", "horizon_power")),
    ):
        for name in names:
            if name in given:
                check(f"recipe.{name}", given[name])
    for name, allowed in CHOICES.items():
        if name in given:
            one_of(f"recipe.{name}", given[name], allowed)
    if given.get("warmup_steps") is not None:
        whole_number("recipe.warmup_steps", given["warmup_steps"], least=0)
    if given.get("horizon_power") and given.get("schedule") == "cosine":
        raise UserError(
            f"recipe.horizon_power={given['horizon_power']} shapes the trunk of schedule=cooldown, and this is cosine; "
            "give recipe.schedule=cooldown, or recipe.horizon_power=0"
        )
    warmup, cooldown = given.get("warmup", 0), given.get("cooldown", 0)
    if warmup + cooldown > 1:
        raise UserError(f"recipe.warmup={warmup} and recipe.cooldown={cooldown} exceed the run; lower one")


if TYPE_CHECKING:
    from isoflop.scaling.cost import Cost


@dataclass(frozen=True)
class Budget:
    """What a run may use: one of these is given, as a number or as a list with a number for each mark."""

    D: Value = None
    """Training targets."""
    C: Value = None
    """Training FLOPs."""
    D_per_N: Value = None
    """Training targets per parameter that multiplies."""
    epochs: Value = None
    """Passes over the distinct training targets; one where no budget is given."""

    def __post_init__(self) -> None:
        given = self._given
        if len(given) > 1:
            both = " and ".join(f"budget.{name}={value}" for name, value in given.items())
            raise UserError(f"{both} are two budgets at once; give exactly one of budget.{', budget.'.join(NAMES)}")
        for name, value in given.items():
            if value == []:
                raise UserError(f"budget.{name}=[] holds no mark; give budget.{name}=[1e5,1e6], say")
            for one in value if isinstance(value, list) else [value]:
                positive(f"budget.{name}", one, f"; give budget.{name}=1e6, say")

    @property
    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def name(self) -> str:
        """The one that was given; epochs where none was."""
        return next(iter(self._given), "epochs")

    @property
    def values(self) -> list[float]:
        """Its values, a mark for each, ascending; one epoch where none was given."""
        value = self._given.get(self.name, 1)
        return sorted(set(value)) if isinstance(value, list) else [value]

    @property
    def several(self) -> bool:
        """Whether it asks for marks along one run: a list was given."""
        return isinstance(self._given.get(self.name), list)


def targets(name: str, value: float, cost: "Cost", unique: int) -> float:
    """Return the training targets of a budget; unique: distinct ones, an epoch. D counts targets, C FLOPs."""
    return {
        "D": value,
        "C": value / cost.flops_per_target,
        "D_per_N": value * cost.N,
        "epochs": value * unique,
    }[name]


def steps(targets: float, targets_per_step: int) -> int:
    """Return the optimiser steps for this many targets, rounded up."""
    return max(1, math.ceil(targets / targets_per_step - 1e-9))
