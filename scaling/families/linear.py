"""A linear readout of the first `width` features: the learner of the spectral theory of scaling (data/spectral.py).

Of sequences, the learner of the theory of symmetry (data/permutation.py): the features at a position are the sum of all
inputs so far, then each of them by itself, so that the kernel of the last position is that of the theory, scaled to a
mean square of one: (sum x · sum y + sum x_a · y_a) / (2 d L). Plain gradient descent, which theory speaks of, is AdamW
with an eps far above all gradients: recipe.eps=1e6 at a rate of 1e6 times that of descent.

Linear(width=16, depth=1, lr=0.02).build(task)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoflop.errors import UserError
from isoflop.scaling.families.base import Family, Model, refuse_depth
from isoflop.scaling.families.layers.linear import readout
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Linear(Family):
    """Outputs are a linear map of the first `width` features, started at zero, without a bias."""

    learns: ClassVar[tuple[str, ...]] = ("vectors", "sequences")
    reference: ClassVar[bool] = True

    def build(self, task: Task) -> Model:
        last = readout(self.width, task.d_out)
        # features of falling variance do not add up as alike ones do, for which muP divides the rate by the width; and
        # a decay would leave another solution than least squares
        last.weight.fan_in_axes = ()  # type: ignore[attr-defined]
        first = First(self.width)
        return Model(nn.Identity(), nn.Sequential(SumAndEach(), first) if task.kind == "sequences" else first, last)

    def refuse(self, task: Task) -> None:
        refuse_depth("linear", self.depth)
        features = task.d_in * (1 + task.seq_len) if task.kind == "sequences" else task.d_in
        if self.width > features:
            raise UserError(f"family.width={self.width} is more than the {features} features there are; give fewer")


class First(nn.Module):
    """The first features of each example."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.width]  # (batch, width) or (batch, seq, width)


class SumAndEach(nn.Module):
    """At each position the sum of the inputs so far, then each of them, zeros for those to come, scaled."""

    def forward(self, x: Tensor) -> Tensor:
        seq, size = x.shape[1:]
        each = x.unsqueeze(1) * x.new_ones(seq, seq).tril()[..., None]  # (batch, seq, seq, d)
        both = torch.cat((x.cumsum(1), each.flatten(2)), dim=-1)  # (batch, seq, d + seq * d)
        return both * (2 * size * seq) ** -0.5
