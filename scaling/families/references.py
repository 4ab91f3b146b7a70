"""The learners of theories: rows of logits by token, a linear readout of features, and one of a kernel's features.

Table(width=1024, depth=1, lr=1.0).build(task)          # of Zipfian facts (data/synthetic/zipf.py)
Linear(width=16, depth=1, lr=0.02).build(task)          # of spectral scaling (data/synthetic/spectral.py)
Kernel(width=4, depth=1, lr=0.02).build(task)           # of permutations (data/synthetic/permutation.py)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoflop.errors import UserError
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.families.layers.basic import readout
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Reference(Family):
    """A learner without layers to stack, and with no more width than the task has inputs."""

    reference: ClassVar[bool] = True
    inputs: ClassVar[str] = "features"

    def refuse(self, task: Task) -> None:
        if self.depth != 1:
            name = type(self).__name__.lower()
            raise UserError(f"family.depth={self.depth}: {name} has no layers to stack; leave family.depth=1")
        if self.width > task.d_in:
            there = f"more than the {task.d_in} {self.inputs} there are"
            raise UserError(f"family.width={self.width} is {there}; give fewer")


@dataclass(frozen=True)
class Table(Reference):
    """Outputs are the present token's own row, started at zero; tokens from `width` on have none, and outputs zero."""

    learns: ClassVar[tuple[str, ...]] = ("tokens",)
    inputs: ClassVar[str] = "tokens"

    def build(self, task: Task) -> Model:
        return Model(nn.Identity(), nn.Identity(), _Rows(self.width, task.d_out))

    def unseen_flops(self, task: Task) -> float:
        """Count only the row itself in the product of a one-hot vector with the rows: one multiply-add an output."""
        return 2.0 * task.d_out * task.seq_len


class _Rows(nn.Embedding):
    """Logits by token, (batch, seq) to (batch, seq, d_out); zero for a token without a row."""

    def __init__(self, rows: int, d_out: int) -> None:
        super().__init__(rows, d_out)
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        rows = super().forward(x.clamp(max=self.num_embeddings - 1))
        return torch.where((x < self.num_embeddings)[..., None], rows, 0.0)


@dataclass(frozen=True)
class Linear(Reference):
    """Outputs are a linear map of the first `width` features, started at zero, without a bias."""

    learns: ClassVar[tuple[str, ...]] = ("vectors",)

    def build(self, task: Task) -> Model:
        last = readout(self.width, task.d_out)
        # features of falling variance do not add up as alike ones do, for which muP divides the rate by the width; and
        # a decay would leave another solution than least squares
        last.weight.fan_in_axes = ()  # type: ignore[attr-defined]
        return Model(nn.Identity(), _First(self.width), last)


class _First(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.width]  # (batch, width)


@dataclass(frozen=True)
class Kernel(Reference):
    """Outputs are a linear map, started at zero, of kernel features of the first `width` numbers of each position."""

    learns: ClassVar[tuple[str, ...]] = ("sequences",)

    def build(self, task: Task) -> Model:
        width = min(self.width, task.d_in)
        last = readout((task.seq_len + 1) * width, task.d_out)
        # the features are given, not learned: muP would divide the rate by their number
        last.weight.fan_in_axes = ()  # type: ignore[attr-defined]
        return Model(nn.Identity(), _Features(width, task.seq_len), last)


class _Features(nn.Module):
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
