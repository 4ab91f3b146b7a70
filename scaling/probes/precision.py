"""Held-out loss with weights rounded to few bits: how much precision does the trained model need?

Every weight of two or more axes is rounded to 2^bits - 1 levels that are spread evenly and symmetrically over its own
largest entry, as in post-training quantisation by round-to-nearest; vectors and buffers stay. The damage
Δ = L(bits) - L grows as bits fall, and with D / N (Kumar 2024, arXiv:2411.04330).

    Precision(bits=(8, 4)).measure(subject).scalars["delta_4"]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoflop.checks import Limits
from isoflop.scaling.evaluate import loss_count, loss_per_target
from isoflop.scaling.subject import CheckedProbe, Measurement, Point, Subject
from isoflop.scaling.task import KINDS


@dataclass(frozen=True)
class Precision(CheckedProbe):
    """bits: widths to round to, 2 or more. examples: held-out examples that are measured."""

    bits: tuple[int, ...] = (8, 6, 4, 3)
    examples: int = 256

    kinds: ClassVar[tuple[str, ...]] = KINDS
    keys: ClassVar[tuple[str, ...]] = ("delta_*",)
    limits: ClassVar[Limits] = {"examples": 2, "bits": 2}

    @torch.no_grad()
    def measure(self, subject: Subject) -> Measurement:
        """Return delta_BITS: the loss at that width minus the loss as trained [unit of the task's loss]."""
        trained = [p.detach().clone() for p in subject.model.parameters()]
        full = _loss(subject, self.examples)
        scalars: dict[str, float | None] = {}
        points = []
        for bits in self.bits:
            for p, weight in zip(subject.model.parameters(), trained, strict=True):
                if p.dim() >= 2:
                    p.copy_(_rounded(weight, bits))
            delta = scalars[f"delta_{bits}"] = _loss(subject, self.examples) - full
            points.append(Point("loss", "bits", bits, full + delta))
        return Measurement(scalars, points)


def _rounded(weight: Tensor, bits: int) -> Tensor:
    step = weight.abs().max() / (2 ** (bits - 1) - 1)
    return weight if step == 0 else (weight / step).round() * step


def _loss(subject: Subject, examples: int) -> float:
    total = count = 0.0
    for x, y in subject.held_out(examples):
        total += float(loss_per_target(subject.task, subject.forward(x), y).double().sum())
        count += float(loss_count(subject.task, y).sum())
    return total / count
