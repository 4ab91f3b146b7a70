"""Copying: random symbols, a mark, and the symbols again; a loss where they are to be said again, whose floor is 0.

With seq_len 6 and symbols a b c, the one-hot input is `a b c | a b`, and the targets are `. . . a b c` from the third
position on, so that a model must look back as far as half the sequence (Jelassi 2024, arXiv:2402.01032).

    x, y = Copy(size=10_000, seq_len=64).load().take(torch.arange(16))      # (16, 64, symbols + 1), (16, 64)
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from isoflop.checks import Limits
from isoflop.errors import UserError
from isoflop.scaling.data.base import Synthetic, stream
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Copy(Synthetic):
    """Copying, whose size and eval_size count the symbols to be said again. seq_len: positions of an example, an even
    number: half of them are symbols to copy. symbols: kinds of symbol."""

    size: int = 1_000_000
    eval_size: int = 32768
    seq_len: int = 64
    symbols: int = 16

    granule: ClassVar[str] = "length"
    limits: ClassVar[Limits] = {"seq_len": 2, "symbols": 2}

    def check(self) -> None:
        if self.seq_len % 2:
            raise UserError(f"data.seq_len={self.seq_len} is odd, but half of it is copied; give an even one")
        if self.symbols > 256:
            raise UserError(f"data.symbols={self.symbols} is more than the 256 values of a byte; give fewer")

    @property
    def length(self) -> int:
        """Symbols to be copied."""
        return self.seq_len // 2

    @property
    def task(self) -> Task:
        return Task("sequences", self.symbols + 1, self.symbols, self.seq_len, targets=self.length, floor=0.0)

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw rows of symbols, (n, length), a byte each; both inputs and targets follow from them."""
        drawn = stream(self.version, which).integers(self.symbols, size=(n, self.length))
        rows = torch.from_numpy(drawn.astype(np.uint8))
        return rows, rows

    def finish(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs (batch, seq, symbols + 1) and targets (batch, seq), -1 where there is no loss."""
        rows = x.long()
        mark = torch.full_like(rows[:, :1], self.symbols)
        inputs = torch.cat((rows, mark, rows[:, :-1]), dim=1)
        targets = torch.cat((torch.full_like(rows, -1), rows), dim=1)
        return one_hot(inputs, self.symbols + 1).float(), targets
