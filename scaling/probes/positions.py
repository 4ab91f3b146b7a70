"""Held-out loss by position: does a model go on using what lies far back?

The loss of a model that uses all of its context still falls at late positions (Hestness 2017, arXiv:1712.00409; Kaplan
2020, arXiv:2001.08361, section 5 and appendix D.5). `slope` is that of the loss on the natural logarithm of the
position, by least squares over positions past `after`; `early` and `late` are the mean losses up to and past it.

    Positions(after=8).measure(subject).scalars["slope"]
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from isoflop.checks import Limits
from isoflop.scaling.evaluate import loss_per_target
from isoflop.scaling.subject import CheckedProbe, Measurement, Point, Subject


@dataclass(frozen=True)
class Positions(CheckedProbe):
    """after: position past which the slope is taken; null for 100, or half of the positions where those are fewer.
    examples: held-out examples that are measured."""

    after: int | None = None
    examples: int = 1024

    kinds: ClassVar[tuple[str, ...]] = ("tokens",)
    keys: ClassVar[tuple[str, ...]] = ("slope", "slope_se", "early", "late")
    limits: ClassVar[Limits] = {"examples": 2, "after": 1}

    def measure(self, subject: Subject) -> Measurement:
        """Return the mean loss at every position, and its slope on ln(position) past `after`."""
        with torch.no_grad():
            rows = [loss_per_target(subject.task, subject.forward(x), y) for x, y in subject.held_out(self.examples)]
        losses = torch.cat(rows).double().cpu().numpy()  # (examples, positions)
        position = np.arange(1, losses.shape[1] + 1)
        after = min(100, losses.shape[1] // 2) if self.after is None else self.after
        mean, se = losses.mean(0), losses.std(0, ddof=1) / np.sqrt(len(losses))
        late = position > after
        slope = slope_se = None
        if late.sum() >= 3:
            x = np.log(position[late])
            weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
            # the examples are the independent units, and their losses at neighbouring positions are not
            each = losses[:, late] @ weights
            slope, slope_se = float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))
        rows_of_points = zip(position.tolist(), mean.tolist(), se.tolist(), strict=True)
        points = [Point("loss", "position", *row) for row in rows_of_points]
        scalars = {"slope": slope, "slope_se": slope_se, "early": float(mean[~late].mean()) if after else None}
        return Measurement(scalars | {"late": float(mean[late].mean()) if late.any() else None}, points)
