"""Whether an encoding of positions turns by a fixed linear map: PE(t + k) = R_k PE(t) for all t.

Of sinusoids R_k is a rotation in each pair of features and the residual is rounding (Vaswani 2017, arXiv:1706.03762,
section 3.5); a table of random rows has none. R_k is fitted by least squares over t, and the residual is

    |PE(t + k) - R_k PE(t)| / |PE(t + k)|

over all t, the largest over the shifts. Where there are no more rows than features, any table is fitted exactly, and
the residual is null.

    RecurrenceOfPositions(shifts=(1, 8)).measure(subject).scalars["residual"]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoflop.checks import whole_number
from isoflop.scaling.families.layers.attention import AddPositions
from isoflop.scaling.subject import Measurement, Point, Subject


@dataclass(frozen=True)
class RecurrenceOfPositions:
    """shifts: the k that are fitted [positions]."""

    shifts: tuple[int, ...] = (1, 4, 16)

    kinds: ClassVar[tuple[str, ...]] = ("tokens", "sequences")
    keys: ClassVar[tuple[str, ...]] = ("residual",)
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for shift in self.shifts:
            whole_number("probe.recurrence_of_positions.shifts", shift)

    @torch.no_grad()
    def measure(self, subject: Subject) -> Measurement:
        """Return residual, the largest over the shifts; None for a model that adds no table of positions."""
        table = next((table_of(m) for m in subject.model.modules() if isinstance(m, AddPositions)), None)
        if table is None:
            return Measurement({"residual": None})
        rows = table.double()
        points = []
        for k in self.shifts:
            if len(rows) - k > rows.shape[1]:
                now, then = rows[:-k], rows[k:]
                fitted = now @ torch.linalg.lstsq(now, then, driver="gelsd").solution
                points.append(Point("residual", "k", k, float((then - fitted).norm() / then.norm())))
        return Measurement({"residual": max((p.value for p in points), default=None)}, points)


def table_of(positions: AddPositions) -> Tensor:
    """Return the rows that are added, (positions, width)."""
    return positions.table.weight if positions.learned else positions.sinusoids
