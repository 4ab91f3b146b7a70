"""Words over a finite group: at each position the product of all elements so far, the simplest task with a state.

Theory. y_t = y_{t-1} x_t with y_0 the identity; y is determined, so the floor is 0. The word problem of S5 and A5,
which are not solvable, is complete for NC1 (Barrington 1989): Transformers and state spaces with diagonal or
input-independent transitions lie in TC0 and need a depth that grows with the length, where a nonlinear recurrent net
needs one layer. Z60 has as many elements as A5 and is abelian: the sum modulo 60, within TC0. Z2 is running parity.
Source: Merrill, Petty and Sabharwal 2024, arXiv:2404.08819. Regime: accuracy at a seq_len beyond the trained one.

    x, y = Tracking(size=1000, group="S5").load().take(torch.arange(8))      # (8, 16) elements and their products
"""

import itertools
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoflop.checks import whole_number
from isoflop.errors import UserError
from isoflop.scaling.data.base import HELD_OUT, TRAIN, Table, stream
from isoflop.scaling.task import Task

MOST_ELEMENTS = 720
GROUP = re.compile(r"([SAZ])(\d{1,3})")


@dataclass(frozen=True)
class Tracking:
    """size: distinct training targets. group: S3 ... S6, A3 ... A6 or Z2 ... Z720. seq_len: elements per example.

    eval_size: held-out targets. version: of the generator, a seed.
    """

    size: int = 1_000_000
    group: str = "S5"
    seq_len: int = 16
    eval_size: int = 32768
    version: int = 0

    def __post_init__(self) -> None:
        match = GROUP.fullmatch(str(self.group))
        n = int(match[2]) if match else 0
        if not match or not (2 <= n <= MOST_ELEMENTS if match[1] == "Z" else 3 <= n <= 6):
            raise UserError(f"data.group={self.group!r} is not one of S3 to S6, A3 to A6 and Z2 to Z{MOST_ELEMENTS}")
        whole_number("data.seq_len", self.seq_len)
        whole_number("data.size", self.size, self.seq_len)
        whole_number("data.eval_size", self.eval_size, 2 * self.seq_len)  # of one example there is no standard error
        whole_number("data.version", self.version, 0)

    @property
    def task(self) -> Task:
        elements = len(products(self.group))
        return Task("tokens", elements, elements, self.seq_len, targets=self.seq_len, floor=0.0)

    @property
    def unique(self) -> int:
        return self.size // self.seq_len * self.seq_len

    def load(self) -> Table:
        return Table(*self.draw(TRAIN, self.size), *self.draw(HELD_OUT, self.eval_size))

    def draw(self, which: int, targets: int) -> tuple[Tensor, Tensor]:
        """Elements of one stream and their running products, both (targets / seq_len, seq_len)."""
        table = products(self.group)
        numbers = stream(self.version, which).random((targets // self.seq_len, self.seq_len))
        x = (numbers * len(table)).astype(np.int64)
        y = x.copy()
        for t in range(1, self.seq_len):
            y[:, t] = table[y[:, t - 1], x[:, t]]
        return torch.from_numpy(x), torch.from_numpy(y)


@lru_cache(maxsize=8)
def products(group: str) -> NDArray[np.int64]:
    """The composition table, (elements, elements): [a, b] is a b, first b and then a; element 0 is the identity."""
    kind, n = group[0], int(group[1:])
    if kind == "Z":
        return np.add.outer(np.arange(n), np.arange(n)) % n
    elements = np.array([p for p in itertools.permutations(range(n)) if kind == "S" or even(p)])
    weights = n ** np.arange(n)
    composed = elements[:, elements] @ weights  # (a, b): a applied to b's images, as one number
    codes = elements @ weights
    order = codes.argsort()
    return np.asarray(order[np.searchsorted(codes, composed, sorter=order)])


def even(permutation: tuple[int, ...]) -> bool:
    """Whether the number of inversions is even."""
    return sum(a > b for a, b in itertools.combinations(permutation, 2)) % 2 == 0
