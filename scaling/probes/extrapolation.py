"""Held-out loss on sequences longer than those trained on: does what was learned hold at positions never seen?

L(k T) is the mean loss over the later half of the positions of sequences k times as long as the trained T; for k >= 2
a model was trained on none of them. `ratio_k` is L(k T) / L(T). Sinusoids were expected to extrapolate (Vaswani 2017,
arXiv:1706.03762, section 3.5) and do not; a penalty on distance does (Press 2022, arXiv:2108.12409, figure 1).

Where targets are classes, `accuracy_k` is the share of targets at those positions that the likeliest class meets: of a
task with a state, whether the rule was learned and not its answers up to a length (Merrill 2024, arXiv:2404.08819).

Each length has about the same number of tokens. The model is built anew for each, with the trained weights: tables that
follow from a formula, as of rotary positions, are made longer; where a table is learned there is no value.

    Extrapolation(times=(2,), examples=64).measure(subject).scalars["ratio_2"]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from isoflop.checks import whole_number
from isoflop.scaling.loop.evaluate import loss_per_target
from isoflop.scaling.probes.base import Measurement, Point, Subject


@dataclass(frozen=True)
class Extrapolation:
    """times: lengths, in trained ones. examples: held-out examples of the trained length; fewer of longer ones."""

    times: tuple[int, ...] = (2, 4, 8)
    examples: int = 256

    kinds: ClassVar[tuple[str, ...]] = ("tokens", "sequences")
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for k in self.times:
            whole_number("probe.extrapolation.times", k, 2)
        whole_number("probe.extrapolation.examples", self.examples, 2)

    @torch.no_grad()
    def measure(self, subject: Subject) -> Measurement:
        """ratio_K, its standard error ratio_K_se and accuracy_K; null where data or model have no such length."""
        trained = late_loss(subject, self.examples)
        scalars: dict[str, float | None] = {}
        points = [] if trained is None else [Point("loss", "times", 1, *trained[:2])]
        for k in self.times:
            count = max(2, self.examples // k)
            longer = subject.at_length(k, count)
            loss = None if longer is None else late_loss(longer, count)
            scalars |= {f"ratio_{k}": None, f"ratio_{k}_se": None, f"accuracy_{k}": None}
            if loss is None:
                continue
            points.append(Point("loss", "times", k, *loss[:2]))
            scalars[f"accuracy_{k}"] = loss[2]
            if trained is not None and trained[0] > 0:
                ratio = loss[0] / trained[0]
                # of a ratio of independent means, to first order
                se = ((loss[1] / trained[0]) ** 2 + (ratio * trained[1] / trained[0]) ** 2) ** 0.5
                scalars |= {f"ratio_{k}": ratio, f"ratio_{k}_se": se}
        return Measurement(scalars, points)


def late_loss(subject: Subject, examples: int) -> tuple[float, float, float | None] | None:
    """Mean loss over the later half of the positions, its standard error, and the accuracy there; None without targets.

    The accuracy is null where targets are numbers.
    """
    sums, counts, hits = [], [], 0
    for x, y in subject.held_out(examples):
        outputs = subject.forward(x)
        losses = loss_per_target(subject.task, outputs, y).double()  # (batch, positions * outputs)
        losses = losses.view(len(x), y.shape[1], -1)  # (batch, positions, outputs)
        late = slice(y.shape[1] // 2, None)
        bears = (y >= 0)[:, late] if subject.task.loss == "cross_entropy" else torch.ones_like(losses[:, late])
        if subject.task.loss == "cross_entropy":
            hits += int((outputs.argmax(-1) == y)[:, late].sum())
        sums.append(losses[:, late].sum((1, 2)))
        counts.append(bears.flatten(1).sum(1).double())
    total, count = torch.cat(sums), torch.cat(counts)
    if count.sum() == 0 or len(total) < 2:
        return None
    mean = float(total.sum() / count.sum())
    # ratio estimator over examples, Cochran 1977, eq. 2.39
    accuracy = hits / float(count.sum()) if subject.task.loss == "cross_entropy" else None
    return mean, float((total - mean * count).std() * len(total) ** 0.5 / count.sum()), accuracy
