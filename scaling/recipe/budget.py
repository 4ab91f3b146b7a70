"""How long a run is: exactly one of D, C, D_per_N and epochs, one value or a mark for each of several (no torch).

budget = Budget(D=[1e5, 1e6])
budget.name, budget.values                  # "D", [1e5, 1e6]
targets("D", 1e6, cost=cost, unique=1_000_000)
steps(1e6, targets_per_step=1024)
"""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from isoflop.checks import positive
from isoflop.errors import UserError

if TYPE_CHECKING:
    from isoflop.scaling.cost import Cost

NAMES = ("D", "C", "D_per_N", "epochs")

Value = float | list[float] | None


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
