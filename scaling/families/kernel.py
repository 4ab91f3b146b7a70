"""A linear readout of the features of the permutation kernel: the learner of the theory of data/permutation.py.

At position t the features are the sum of x_1 ... x_t and each of them in a place of its own, zeros behind, so that
their products are (Σ_a x_a)·(Σ_a y_a) + Σ_a x_a·y_a, the kernel of a learner without positions at first order
(Lavie, Gur-Ari and Ringel 2024, arXiv:2402.05173).

Kernel(width=4, depth=1, lr=0.02).build(task)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoflop.scaling.families.base import Family, Model, refuse_dials
from isoflop.scaling.families.layers.basic import readout
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Kernel(Family):
    """Outputs are a linear map, started at zero, of kernel features of the first `width` numbers of each position."""

    learns: ClassVar[tuple[str, ...]] = ("sequences",)
    reference: ClassVar[bool] = True

    def build(self, task: Task) -> Model:
        width = min(self.width, task.d_in)
        last = readout((task.seq_len + 1) * width, task.d_out)
        # the features are given, not learned: muP would divide the rate by their number
        last.weight.fan_in_axes = ()  # type: ignore[attr-defined]
        return Model(nn.Identity(), Features(width, task.seq_len), last)

    def refuse(self, task: Task) -> None:
        refuse_dials(self, task, "features")


class Features(nn.Module):
    """The sum so far and all positions so far, (batch, seq, d_in) to (batch, seq, (length + 1) * width)."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.width, self.length = width, length

    def forward(self, x: Tensor) -> Tensor:
        x = x[..., : self.width]  # (batch, seq, width)
        seq = x.shape[1]
        past = torch.ones(seq, seq, dtype=x.dtype, device=x.device).tril()
        each = torch.einsum("ts,bsw->btsw", past, x).flatten(2)  # (batch, seq, seq * width)
        return torch.cat((x.cumsum(1), nn.functional.pad(each, (0, (self.length - seq) * self.width))), dim=-1)
