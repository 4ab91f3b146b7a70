"""Held-out loss on sequences longer than those trained on: does what was learned hold at positions never seen?

L(k T) is the mean loss over the later half of the positions of sequences k times as long as the trained T, and
`ratio_k` is L(k T) / L(T) (Press 2022, arXiv:2108.12409, figure 1). `accuracy_k` is the share of those targets that the
likeliest class meets, where targets are classes; none exists of a learned table of positions.

    Extrapolation(times=(2,), examples=64).measure(subject).scalars["ratio_2"]
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from isoflop.checks import Limits
from isoflop.scaling.evaluate import loss_per_target, mean_and_error
from isoflop.scaling.subject import CheckedProbe, Measurement, Point, Subject


@dataclass(frozen=True)
class Extrapolation(CheckedProbe):
    """times: lengths, in trained ones. examples: held-out examples of the trained length; fewer of longer ones."""

    times: tuple[int, ...] = (2, 4, 8)
    examples: int = 256

    kinds: ClassVar[tuple[str, ...]] = ("tokens", "sequences")
    keys: ClassVar[tuple[str, ...]] = ("ratio_*", "accuracy_*")
    limits: ClassVar[Limits] = {"times": 2, "examples": 2}

    @torch.no_grad()
    def measure(self, subject: Subject) -> Measurement:
        """Return ratio_K, its standard error and accuracy_K; None if the data or the model has no such length."""
        trained = _late_loss(subject, self.examples)
        scalars: dict[str, float | None] = {"accuracy_1": trained.accuracy if trained else None}
        points = [] if trained is None else [Point("loss", "times", 1, trained.mean, trained.se)]
        for k in self.times:
            count = max(2, self.examples // k)
            longer = subject.at_length(k, count)
            loss = None if longer is None else _late_loss(longer, count)
            scalars |= {f"ratio_{k}": None, f"ratio_{k}_se": None, f"accuracy_{k}": None}
            if loss is None:
                continue
            points.append(Point("loss", "times", k, loss.mean, loss.se))
            scalars[f"accuracy_{k}"] = loss.accuracy
            if trained is not None and trained.mean > 0:
                ratio = loss.mean / trained.mean
                # of a ratio of independent means, to first order
                se = ((loss.se / trained.mean) ** 2 + (ratio * trained.se / trained.mean) ** 2) ** 0.5
                scalars |= {f"ratio_{k}": ratio, f"ratio_{k}_se": se}
        return Measurement(scalars, points)


class _Late(NamedTuple):
    """Mean loss over the later half of the positions, its standard error, and the share of targets that are met."""

    mean: float
    se: float
    accuracy: float | None


def _late_loss(subject: Subject, examples: int) -> _Late | None:
    """Return the loss over the later half of the positions; None if no target is there."""
    sums, counts, met = [], [], 0.0
    classes = subject.task.loss == "cross_entropy"
    for x, y in subject.held_out(examples):
        outputs = subject.forward(x)
        losses = loss_per_target(subject.task, outputs, y).double().view(len(x), y.shape[1], -1)  # by position, output
        late = slice(y.shape[1] // 2, None)
        bears = (y >= 0)[:, late] if classes else torch.ones_like(losses[:, late])
        sums.append(losses[:, late].sum((1, 2)))
        counts.append(bears.flatten(1).sum(1).double())
        if classes:
            met += float(((outputs.argmax(-1) == y)[:, late] & bears).sum())
    total, count = torch.cat(sums), torch.cat(counts)
    if count.sum() == 0 or len(total) < 2:
        return None
    return _Late(*mean_and_error(total, count), met / float(count.sum()) if classes else None)
