"""Associative recall with several queries (MQAR): pairs of key and value, then keys again, whose values are asked.

With 2 pairs and seq_len 8 the input is `k v K V | . K . k` and the targets `. . . . | . V . v`: other positions bear no
loss and hold random symbols. Keys are the first half of the vocabulary, values the second. Queries are placed after the
pairs at a gap g drawn ∝ g^(gap_power - 1), so most are near. Theory. The floor is 0. To hold the pairs takes a state of
at least pairs · log2(values) bits; attention does with width ∝ ln(vocabulary) at any number of pairs, gated
convolutions and state spaces need a width that grows with them. Source: Arora 2023, arXiv:2312.04927, sec. 4 and app.
A. Regime: vocabulary well above the pairs.

    x, y = Recall(size=1000).load().take(torch.arange(16))        # (16, 64) symbols; (16, 64) values, -1 elsewhere
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from isoflop.checks import Limits, positive, whole_number
from isoflop.errors import UserError
from isoflop.scaling.data.base import Synthetic, stream
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Recall(Synthetic):
    """pairs: pairs of key and value, each asked once. seq_len: positions per example, at least 4 per pair. vocab_size:
    symbols, an even number: half of them are keys. gap_power: exponent of the gaps; 1 for uniform ones."""

    size: int = 500_000
    pairs: int = 8
    seq_len: int = 64
    vocab_size: int = 64
    gap_power: float = 0.01

    granule: ClassVar[str] = "pairs"
    limits: ClassVar[Limits] = {"pairs": 1, "gap_power": positive}

    def check(self) -> None:
        whole_number("data.seq_len", self.seq_len, 4 * self.pairs)
        whole_number("data.vocab_size", self.vocab_size, 2 * self.pairs)
        if self.vocab_size % 2:
            raise UserError(f"data.vocab_size={self.vocab_size} is odd, but half of it are keys; give an even one")

    @property
    def task(self) -> Task:
        return Task("tokens", self.vocab_size, self.vocab_size, self.seq_len, targets=self.pairs, floor=0.0)

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw symbols and the values that are asked, both (n, seq_len)."""
        half, pairs = self.vocab_size // 2, self.pairs
        places = (self.seq_len - 2 * pairs) // 2
        numbers = stream(self.version, which).random((n, 2 * half + places + self.seq_len))
        first, second, gaps, filler = np.split(numbers, np.cumsum([half, half, places]), axis=1)
        keys = first.argsort(axis=1)[:, :pairs]
        values = second.argsort(axis=1)[:, :pairs] + half
        x = (filler * self.vocab_size).astype(np.int64)
        x[:, 0 : 2 * pairs : 2], x[:, 1 : 2 * pairs : 2] = keys, values
        # the largest of ln p + Gumbel noise are a draw without replacement (Vieira 2014)
        chances = (self.gap_power - 1) * np.log(np.arange(1, places + 1))
        order = (chances - np.log(-np.log(gaps))).argsort(axis=1)[:, ::-1]
        queries = 2 * pairs + 2 * order[:, :pairs]
        y = np.full_like(x, -1)
        np.put_along_axis(x, queries, keys, axis=1)
        np.put_along_axis(y, queries, values, axis=1)
        return torch.from_numpy(x), torch.from_numpy(y)
