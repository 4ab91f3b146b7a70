"""How long a run is: exactly one of D, C, D_per_N and epochs, one value or a mark for each of several.

name, values = chosen({"D": [1e5, 1e6]})
targets(name, 1e6, cost=cost, unique=1_000_000)
steps(1e6, targets_per_step=1024)
"""

import math
from collections.abc import Mapping
from typing import Any

from isoflop.errors import UserError
from isoflop.scaling.cost import Cost

NAMES = ("D", "C", "D_per_N", "epochs")


def chosen(budget: Mapping[str, Any]) -> tuple[str, list[float]]:
    """The one budget that was given and its values, ascending, each once; one epoch where none was."""
    given = {name: value for name, value in budget.items() if value is not None}
    if not given:
        return "epochs", [1]
    if len(given) > 1:
        both = " and ".join(f"budget.{name}={value}" for name, value in given.items())
        raise UserError(f"{both} are two budgets at once; give exactly one of budget.{', budget.'.join(NAMES)}")
    name, value = next(iter(given.items()))
    values = value if isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, (int, float)) or not 0 < one < math.inf:
            raise UserError(f"budget.{name}={value!r} is not a number above 0; give budget.{name}=1e6, say")
    if not values:
        raise UserError(f"budget.{name}=[] holds no mark; give budget.{name}=[1e5,1e6], say")
    return name, sorted(set(values))


def several(budget: Mapping[str, Any]) -> bool:
    """Whether a budget asks for marks along one run: a list was given."""
    return any(isinstance(value, list) for value in budget.values())


def targets(name: str, value: float, cost: Cost, unique: int) -> float:
    """Training targets of a budget; unique: distinct ones, what an epoch is. D counts targets, C FLOPs."""
    return {
        "D": value,
        "C": value / cost.flops_per_target,
        "D_per_N": value * cost.N,
        "epochs": value * unique,
    }[name]


def steps(targets: float, targets_per_step: int) -> int:
    """Optimiser steps for so many targets, rounded up to whole ones."""
    return max(1, math.ceil(targets / targets_per_step - 1e-9))
