"""How long a run is: exactly one of D, C, D_per_N and epochs, turned into whole optimiser steps.

steps({"C": 1e12}, cost=cost, targets_per_step=1024, unique=1_000_000)
"""

import math
from collections.abc import Mapping

from scaling.cost import Cost
from scaling.errors import UserError

NAMES = ("D", "C", "D_per_N", "epochs")


def chosen(budget: Mapping[str, float | None]) -> tuple[str, float]:
    """The one budget that was given and its value; one epoch where none was."""
    given = {name: value for name, value in budget.items() if value is not None}
    if not given:
        return "epochs", 1
    if len(given) > 1:
        both = " and ".join(f"budget.{name}={value}" for name, value in given.items())
        raise UserError(f"{both} are two budgets at once; give exactly one of budget.{', budget.'.join(NAMES)}")
    name, value = next(iter(given.items()))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise UserError(f"budget.{name}={value!r} is not a number above 0; give budget.{name}=1e6, say")
    return name, value


def steps(budget: Mapping[str, float | None], cost: Cost, targets_per_step: int, unique: int) -> int:
    """Optimiser steps that spend the budget, rounded up to whole ones.

    unique: distinct training targets, what an epoch is. D counts targets, C FLOPs, D_per_N targets per N.
    """
    name, value = chosen(budget)
    targets = {
        "D": value,
        "C": value / cost.flops_per_target,
        "D_per_N": value * cost.N,
        "epochs": value * unique,
    }[name]
    return max(1, math.ceil(targets / targets_per_step - 1e-9))
