"""Whether an encoding of positions turns by a fixed linear map: PE(t + k) = R_k PE(t) for all t.

Of sinusoids R_k is a rotation in each pair of features (Vaswani 2017, arXiv:1706.03762, section 3.5); a table of random
rows has none. R_k is fitted by least squares over t; the residual is |PE(t + k) - R_k PE(t)| / |PE(t + k)|, the largest
over the shifts, and null where there are no more rows than features.

    RecurrenceOfPositions(shifts=(1, 8)).measure(subject).scalars["residual"]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from isoflop.checks import Limits
from isoflop.scaling.families.layers.attention import AddPositions
from isoflop.scaling.subject import CheckedProbe, Measurement, Point, Subject


@dataclass(frozen=True)
class RecurrenceOfPositions(CheckedProbe):
    """shifts: the k that are fitted [positions]."""

    shifts: tuple[int, ...] = (1, 4, 16)

    kinds: ClassVar[tuple[str, ...]] = ("tokens", "sequences")
    keys: ClassVar[tuple[str, ...]] = ("residual",)
    limits: ClassVar[Limits] = {"shifts": 1}

    @torch.no_grad()
    def measure(self, subject: Subject) -> Measurement:
        """Return residual, the largest over the shifts; None for a model that adds no table of positions."""
        added = next((m for m in subject.model.modules() if isinstance(m, AddPositions)), None)
        if added is None:
            return Measurement({"residual": None})
        rows = (added.table.weight if added.learned else added.sinusoids).double()  # (positions, width)
        points = []
        for k in self.shifts:
            if len(rows) - k > rows.shape[1]:
                now, then = rows[:-k], rows[k:]
                fitted = now @ torch.linalg.lstsq(now, then, driver="gelsd").solution
                points.append(Point("residual", "k", k, float((then - fitted).norm() / then.norm())))
        return Measurement({"residual": max((p.value for p in points), default=None)}, points)
