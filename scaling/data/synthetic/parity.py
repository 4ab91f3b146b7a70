"""Parity of bits: of all bits so far, or of a few that must be found among many.

Theory. relevant=null: y_t = x_1 + ... + x_t modulo 2 at every position, the smallest task with a state; a state space
whose eigenvalues lie in [0, 1] cannot do it at arbitrary lengths, one with [-1, 1] can (Grazzi 2024, arXiv:2411.12537).
relevant=k: the parity of k fixed positions, asked at the last, which gradient descent learns after a long plateau, in a
time that grows as seq_len^(k - 1) to seq_len^k (Barak 2022, arXiv:2207.08799). The floor is 0 in both. Regime: running
parity at lengths beyond the trained one; k of 2 to 4, where times scatter widely between seeds.

    x, y = Parity(size=1000, relevant=3).load().take(torch.arange(16))       # (16, 32) bits; the last asked
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from isoflop.checks import Limits
from isoflop.errors import UserError
from isoflop.scaling.data.base import RULES, Synthetic, stream
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Parity(Synthetic):
    """Knobs of the bits."""

    seq_len: int = 32
    """Bits per example."""
    relevant: int | None = None
    """Bits that count; None for all so far."""

    granule: ClassVar[str] = "targets"
    limits: ClassVar[Limits] = {"seq_len": 1, "relevant": 1}

    def check(self) -> None:
        if self.relevant is not None and self.relevant > self.seq_len:
            raise UserError(f"data.relevant={self.relevant} is more than data.seq_len={self.seq_len}; give fewer")

    @property
    def targets(self) -> int:
        """Loss-bearing positions of an example."""
        return self.seq_len if self.relevant is None else 1

    @property
    def task(self) -> Task:
        return Task("tokens", 2, 2, self.seq_len, targets=self.targets, floor=0.0)

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw bits and the parities that are asked, both (n, seq_len)."""
        numbers = stream(self.version, which).random((n, self.seq_len))
        bits = (numbers < 0.5).astype(np.int64)
        if self.relevant is None:
            return torch.from_numpy(bits), torch.from_numpy(bits.cumsum(axis=1) % 2)
        y = np.full_like(bits, -1)
        y[:, -1] = bits[:, self.positions()].sum(axis=1) % 2
        return torch.from_numpy(bits), torch.from_numpy(y)

    def positions(self) -> list[int]:
        """Return the positions that count, in order."""
        count = self.seq_len if self.relevant is None else self.relevant
        return sorted(stream(self.version, RULES).permutation(self.seq_len)[:count].tolist())
