"""Copying: random symbols, a mark, and the symbols again; a loss where they are to be said again, whose floor is 0.

Inputs are one-hot sequences. With seq_len 6 and symbols a b c: the input is `a b c | a b`, the targets `. . . a b c` at
the third position on, so that a model must look back as far as half the sequence (Jelassi 2024, arXiv:2402.01032).

    x, y = Copy(size=10_000, seq_len=64).load().take(torch.arange(16))      # (16, 64, symbols + 1), (16, 64)
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from isoflop.checks import whole_number
from isoflop.errors import UserError
from isoflop.scaling.data.base import HELD_OUT, TRAIN, stream
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Copy:
    """size: distinct training targets. seq_len: even, half of it symbols. symbols: how many kinds. eval_size: targets.

    version: of the generator, a seed.
    """

    size: int = 1_000_000
    seq_len: int = 64
    symbols: int = 16
    eval_size: int = 32768
    version: int = 0

    def __post_init__(self) -> None:
        whole_number("data.seq_len", self.seq_len, 2)
        whole_number("data.symbols", self.symbols, 2)
        if self.seq_len % 2:
            raise UserError(f"data.seq_len={self.seq_len} is odd, but half of it is copied; give an even one")
        if self.symbols > 256:
            raise UserError(f"data.symbols={self.symbols} is more than the 256 that a byte tells apart; give fewer")
        whole_number("data.size", self.size, self.length)
        whole_number("data.eval_size", self.eval_size, 2 * self.length)  # of one example there is no standard error
        whole_number("data.version", self.version, 0)

    @property
    def length(self) -> int:
        """Symbols to be copied."""
        return self.seq_len // 2

    @property
    def task(self) -> Task:
        return Task("sequences", self.symbols + 1, self.symbols, self.seq_len, targets=self.length, floor=0.0)

    @property
    def unique(self) -> int:
        return self.size // self.length * self.length

    def load(self) -> "Copies":
        train, held_out = self.draw(TRAIN, self.size), self.draw(HELD_OUT, self.eval_size)
        return Copies(torch.from_numpy(train), torch.from_numpy(held_out), self.symbols)

    def draw(self, which: int, targets: int) -> NDArray[np.uint8]:
        """Rows of symbols from one stream, (targets / length, length)."""
        rows = targets // self.length
        return stream(self.version, which).integers(self.symbols, size=(rows, self.length)).astype(np.uint8)


class Copies:
    """Rows of symbols, made into inputs and targets when they are taken."""

    def __init__(self, rows: Tensor, held_out: Tensor, symbols: int) -> None:
        self.n, self.facts = len(rows), dict[str, str | int | float]()
        self.rows, self._held_out, self.symbols = rows, held_out, symbols

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (batch, seq, symbols + 1) and targets (batch, seq), -1 where there is no loss."""
        return self.ask(self.rows[indices].long())

    def held_out(self, batch: int) -> list[tuple[Tensor, Tensor]]:
        return [self.ask(part.long()) for part in self._held_out.split(batch)]

    def ask(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The row, the mark, the row but for its last; targets are the row, from the mark on."""
        mark = torch.full_like(rows[:, :1], self.symbols)
        inputs = torch.cat((rows, mark, rows[:, :-1]), dim=1)
        targets = torch.cat((torch.full_like(rows, -1), rows), dim=1)
        return one_hot(inputs, self.symbols + 1).float(), targets

    def to(self, device: torch.device) -> "Copies":
        return Copies(self.rows.to(device), self._held_out.to(device), self.symbols)
