"""Parity of bits: of all bits so far, or of a few that must be found among many.

Theory. relevant=null: y_t = x_1 + ... + x_t modulo 2 at every position, the smallest task with a state. A recurrent
net does it with one unit; a state space whose eigenvalues lie in [0, 1] cannot at arbitrary lengths, one with [-1, 1]
can (Grazzi 2024, arXiv:2411.12537). relevant=k: the parity of k fixed positions, asked at the last: a learner by
statistical queries needs about seq_len^k of them, and gradient descent shows a long plateau before it is learned,
in a time that grows as seq_len^(k - 1) to seq_len^k (Barak 2022, arXiv:2207.08799). The floor is 0 in both. Regime:
running parity at lengths beyond the trained one; a few of many with k of 2 to 4 at the size of a CPU, where times
scatter widely between seeds.

    x, y = Parity(size=1000, relevant=3).load().take(torch.arange(16))       # (16, 32) bits; the last asked
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from isoflop.checks import whole_number
from isoflop.errors import UserError
from isoflop.scaling.data.base import HELD_OUT, RULES, TRAIN, Table, stream
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Parity:
    """size: distinct training targets. seq_len: bits per example. relevant: how many bits count, null for all so far.

    eval_size: held-out targets. version: of the generator, a seed.
    """

    size: int = 100_000
    seq_len: int = 32
    relevant: int | None = None
    eval_size: int = 16384
    version: int = 0

    def __post_init__(self) -> None:
        whole_number("data.seq_len", self.seq_len)
        if self.relevant is not None:
            whole_number("data.relevant", self.relevant)
            if self.relevant > self.seq_len:
                raise UserError(f"data.relevant={self.relevant} is more than data.seq_len={self.seq_len}; give fewer")
        whole_number("data.size", self.size, self.targets)
        whole_number("data.eval_size", self.eval_size, 2 * self.targets)  # of one example there is no standard error
        whole_number("data.version", self.version, 0)

    @property
    def targets(self) -> int:
        """Loss-bearing positions of an example."""
        return self.seq_len if self.relevant is None else 1

    @property
    def task(self) -> Task:
        return Task("tokens", 2, 2, self.seq_len, targets=self.targets, floor=0.0)

    @property
    def unique(self) -> int:
        return self.size // self.targets * self.targets

    def load(self) -> Table:
        return Table(*self.draw(TRAIN, self.size), *self.draw(HELD_OUT, self.eval_size))

    def draw(self, which: int, targets: int) -> tuple[Tensor, Tensor]:
        """Bits of one stream and the parities that are asked, both (targets / targets per example, seq_len)."""
        numbers = stream(self.version, which).random((targets // self.targets, self.seq_len))
        bits = (numbers < 0.5).astype(np.int64)
        if self.relevant is None:
            return torch.from_numpy(bits), torch.from_numpy(bits.cumsum(axis=1) % 2)
        y = np.full_like(bits, -1)
        y[:, -1] = bits[:, self.positions()].sum(axis=1) % 2
        return torch.from_numpy(bits), torch.from_numpy(y)

    def positions(self) -> list[int]:
        """The positions that count, in order."""
        count = self.seq_len if self.relevant is None else self.relevant
        return sorted(stream(self.version, RULES).permutation(self.seq_len)[:count].tolist())
