"""Symbols of a stationary Markov chain: the entropy rate is known, and with it the floor of every learner.

Theory. The next symbol depends on the last `order` ones through a fixed random table P(s | context) = softmax of normal
logits of standard deviation `sharpness`. With j symbols in view the best loss is the conditional block entropy h_j =
H(x_1 ... x_{j+1}) - H(x_1 ... x_j) [nats], h_j = h = -Σ π(c) P(s|c) ln P(s|c) for j ≥ order, of the stationary
distribution π; the floor is its mean over positions. Source: Shannon 1948, sec. 7; Cover and Thomas 2006, theorem
4.2.4. Regime: any learner that sees `order` symbols back; it has symbols^order · (symbols - 1) numbers to learn, whose
excess falls as that over 2 D (Rissanen 1984).

    x, y = Markov(size=10_000).load().take(np.arange(16))          # (16, 64) symbols and those that follow
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from isoflop.checks import Limits, not_negative, whole_number
from isoflop.errors import UserError
from isoflop.scaling.data.base import RULES, Array, Synthetic, followed, stream
from isoflop.scaling.task import Task

MOST_CONTEXTS = 65536


@dataclass(frozen=True)
class Markov(Synthetic):
    """Knobs of the chain and of its sequences."""

    size: int = 1_000_000
    eval_size: int = 65536
    symbols: int = 16
    """Kinds of symbol."""
    order: int = 1
    """Symbols on which the next one depends."""
    sharpness: float = 2.0
    """Standard deviation of the logits; 0 for uniform chances."""
    seq_len: int = 64
    """Symbols per example."""

    granule: ClassVar[str] = "seq_len"
    limits: ClassVar[Limits] = {"symbols": 2, "order": 1, "sharpness": not_negative}

    def check(self) -> None:
        if self.order > 16 or self.symbols**self.order > MOST_CONTEXTS:
            both = f"data.symbols={self.symbols} and data.order={self.order}"
            raise UserError(f"{both} make more than {MOST_CONTEXTS} contexts; lower one")
        whole_number("data.seq_len", self.seq_len, self.order)

    @property
    def task(self) -> Task:
        floor = _entropy(self.symbols, self.order, self.sharpness, self.version, self.seq_len)
        return Task("tokens", self.symbols, self.symbols, self.seq_len, targets=self.seq_len, floor=floor)

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw symbols and those that follow them, both (n, seq_len)."""
        numbers = stream(self.version, which).random((n, self.seq_len + 1))
        chances, stationary = _chain(self.symbols, self.order, self.sharpness, self.version)
        contexts = inverse(stationary.cumsum(), numbers[:, 0])
        digits = self.symbols ** np.arange(self.order - 1, -1, -1)
        rows = np.empty(numbers.shape, dtype=np.int64)
        rows[:, : self.order] = contexts[:, None] // digits % self.symbols
        bounds = chances.cumsum(axis=1)
        for t in range(self.order, self.seq_len + 1):
            rows[:, t] = inverse(bounds[contexts], numbers[:, t])
            contexts = (contexts * self.symbols + rows[:, t]) % len(chances)
        return followed(rows)


def inverse(bounds: Array, numbers: Array) -> NDArray[np.int64]:
    """Return outcomes at uniform numbers (n,), of one distribution (k,) or one each (n, k), as cumulative sums."""
    if bounds.ndim == 1:
        return np.asarray(np.searchsorted(bounds[:-1], numbers, side="right"))
    return np.asarray((numbers[:, None] >= bounds[:, :-1]).sum(axis=1))


def random_rows(numbers: np.random.Generator, rows: int, columns: int, sharpness: float) -> Array:
    """Draw random distributions, (rows, columns): softmax of normal logits."""
    weights = np.exp(sharpness * numbers.standard_normal((rows, columns)))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@lru_cache(maxsize=8)
def _chain(symbols: int, order: int, sharpness: float, version: int) -> tuple[Array, Array]:
    """Return P(next | context), (symbols^order, symbols), and the stationary distribution of contexts."""
    chances = random_rows(stream(version, RULES), symbols**order, symbols, sharpness)
    stationary = np.full(len(chances), 1 / len(chances))
    for _ in range(100_000):
        joint = (stationary[:, None] * chances).reshape(symbols, -1)
        following = joint.sum(axis=0)  # the oldest symbol leaves the context
        moved = np.abs(following - stationary).sum()
        stationary = following / following.sum()
        if moved < 1e-15:
            break
    return chances, stationary


@lru_cache(maxsize=64)
def _entropy(symbols: int, order: int, sharpness: float, version: int, seq_len: int) -> float:
    """Return the mean over positions of the entropy of the next symbol given those in view [nats]."""
    chances, stationary = _chain(symbols, order, sharpness, version)
    rate = float(-(stationary[:, None] * chances * np.log(chances)).sum())
    blocks = []  # entropies of the first 1 ... order symbols
    for length in range(1, order + 1):
        p = stationary.reshape(symbols**length, -1).sum(axis=1)
        blocks.append(-float(p @ np.log(p)))
    early = [after - before for before, after in pairwise(blocks)]  # with 1 ... order - 1 symbols in view
    return (sum(early) + (seq_len - len(early)) * rate) / seq_len
