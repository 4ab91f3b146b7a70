"""Words over a finite group: at each position the product of all elements so far, the simplest task with a state.

Theory. y_t = y_{t-1} x_t with y_0 the identity; the floor is 0. The word problem of S5 and A5, which are not solvable,
is complete for NC1 (Barrington 1989): Transformers and state spaces with diagonal or input-independent transitions lie
in TC0 and need a depth that grows with the length, where a nonlinear recurrent net needs one layer. Z60 is abelian and
within TC0; Z2 is running parity. Source: Merrill, Petty and Sabharwal 2024, arXiv:2404.08819. Regime: accuracy at a
seq_len beyond the trained one.

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

from isoflop.errors import UserError
from isoflop.scaling.data.base import SyntheticSequences, stream
from isoflop.scaling.task import Task

MOST_ELEMENTS = 720
GROUP = re.compile(r"([SAZ])(\d{1,3})")


@dataclass(frozen=True)
class Tracking(SyntheticSequences):
    """group: S3 ... S6, A3 ... A6 or Z2 ... Z720."""

    eval_size: int = 32768
    seq_len: int = 16
    group: str = "S5"

    def check(self) -> None:
        match = GROUP.fullmatch(str(self.group))
        n = int(match[2]) if match else 0
        if not match or not (2 <= n <= MOST_ELEMENTS if match[1] == "Z" else 3 <= n <= 6):
            raise UserError(f"data.group={self.group!r} is not one of S3 to S6, A3 to A6 and Z2 to Z{MOST_ELEMENTS}")

    @property
    def task(self) -> Task:
        elements = len(_products(self.group))
        return Task("tokens", elements, elements, self.seq_len, targets=self.seq_len, floor=0.0)

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw elements and their running products, both (n, seq_len)."""
        table = _products(self.group)
        numbers = stream(self.version, which).random((n, self.seq_len))
        x = (numbers * len(table)).astype(np.int64)
        y = x.copy()
        for t in range(1, self.seq_len):
            y[:, t] = table[y[:, t - 1], x[:, t]]
        return torch.from_numpy(x), torch.from_numpy(y)


@lru_cache(maxsize=8)
def _products(group: str) -> NDArray[np.int64]:
    """Return the composition table: [a, b] is a b, first b and then a; element 0 is the identity."""
    kind, n = group[0], int(group[1:])
    if kind == "Z":
        return np.add.outer(np.arange(n), np.arange(n)) % n
    # even permutations have an even number of inversions
    inversions = {p: sum(a > b for a, b in itertools.combinations(p, 2)) for p in itertools.permutations(range(n))}
    elements = np.array([p for p, count in inversions.items() if kind == "S" or count % 2 == 0])
    weights = n ** np.arange(n)
    composed = elements[:, elements] @ weights  # (a, b): a applied to b's images, as one number
    codes = elements @ weights
    order = codes.argsort()
    return np.asarray(order[np.searchsorted(codes, composed, sorter=order)])
