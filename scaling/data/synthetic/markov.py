"""Symbols of a Markov chain, stationary or hidden: the entropy rate is known, and with it the floor of every learner.

Theory. The next symbol depends on the last `order` ones through a fixed random table P(s | context) = softmax of normal
logits of standard deviation `sharpness`. With j symbols in view the best loss is the conditional block entropy h_j =
H(x_1 ... x_{j+1}) - H(x_1 ... x_j) [nats], h_j = h = -Σ π(c) P(s|c) ln P(s|c) for j ≥ order, of the stationary
distribution π; the floor is its mean over positions. Source: Shannon 1948, sec. 7; Cover and Thomas 2006, theorem
4.2.4. Regime: any learner that sees `order` symbols back; it has symbols^order · (symbols - 1) numbers to learn, whose
excess falls as that over 2 D (Rissanen 1984).

Hidden. A hidden state walks by a random table and emits a symbol by another. The best prediction is the forward filter,
α_t(s) ∝ P(x_t | s) Σ_r T(r → s) α_{t-1}(r), and the floor is the mean of its -ln p over the positions that a learner
sees [nats], estimated on 16,384 sequences of its own (standard error in `data.floor_se`). It falls to the entropy rate
as the sequence grows. Source: Rabiner 1989, sec. III.A; Ephraim and Merhav 2002. Regime: a learner with a state of
`states` numbers can reach it; one with a window of symbols is left with what lies beyond it.

    x, y = Markov(size=10_000).load().take(np.arange(16))          # (16, 64) symbols and those that follow
    x, y = HiddenMarkov(size=10_000).load().take(np.arange(16))    # (16, 64) symbols and those that follow
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from isoflop.checks import Limits, not_negative, share, whole_number
from isoflop.errors import UserError
from isoflop.scaling.data.base import RULES, THEORY, Array, SyntheticSequences, followed, stream
from isoflop.scaling.task import Task

MOST_CONTEXTS = 65536


@dataclass(frozen=True)
class Markov(SyntheticSequences):
    """symbols: kinds of symbol. order: symbols on which the next one depends. sharpness: standard deviation of the
    logits; 0 for uniform chances."""

    symbols: int = 16
    order: int = 1
    sharpness: float = 2.0

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


def _random_rows(numbers: np.random.Generator, rows: int, columns: int, sharpness: float) -> Array:
    """Draw random distributions, (rows, columns): softmax of normal logits."""
    weights = np.exp(sharpness * numbers.standard_normal((rows, columns)))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@lru_cache(maxsize=8)
def _chain(symbols: int, order: int, sharpness: float, version: int) -> tuple[Array, Array]:
    """Return P(next | context), (symbols^order, symbols), and the stationary distribution of contexts."""
    chances = _random_rows(stream(version, RULES), symbols**order, symbols, sharpness)
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


FILTERED = 16384  # sequences from which the floor is estimated
# symbols, states, sharpness, stay, version
Law = tuple[int, int, float, float, int]


@dataclass(frozen=True)
class HiddenMarkov(SyntheticSequences):
    """symbols: kinds of symbol. states: hidden states. sharpness: standard deviation of the logits of both tables.
    stay: chance that the hidden state stays, whatever its table says: the larger, the longer the memory."""

    symbols: int = 16
    states: int = 8
    sharpness: float = 2.0
    stay: float = 0.5

    limits: ClassVar[Limits] = {"symbols": 2, "states": 2, "sharpness": not_negative, "stay": share}

    @property
    def law(self) -> Law:
        """The knobs that determine the source."""
        return self.symbols, self.states, self.sharpness, self.stay, self.version

    @property
    def task(self) -> Task:
        floor, _ = _floor(self.law, self.seq_len)
        return Task("tokens", self.symbols, self.symbols, self.seq_len, targets=self.seq_len, floor=floor)

    def facts(self) -> dict[str, str | int | float]:
        return {"data.floor_se": _floor(self.law, self.seq_len)[1]}

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw symbols and those that follow them, both (n, seq_len)."""
        return followed(_emit(self.law, which, (n, self.seq_len + 1)))


@lru_cache(maxsize=8)
def _source(symbols: int, states: int, sharpness: float, stay: float, version: int) -> tuple[Array, Array, Array]:
    """Return transitions (states, states), emissions (states, symbols) and the stationary distribution (states,)."""
    numbers = stream(version, RULES)
    moves = _random_rows(numbers, states, states, sharpness)
    transitions = stay * np.eye(states) + (1 - stay) * moves
    emissions = _random_rows(numbers, states, symbols, sharpness)
    # π T = π and Σ π = 1, by least squares
    equations = np.vstack((moves.T - np.eye(states), np.ones(states)))
    stationary = np.linalg.lstsq(equations, np.append(np.zeros(states), 1.0), rcond=None)[0]
    return transitions, emissions, stationary / stationary.sum()


def _emit(law: Law, which: int, shape: tuple[int, int]) -> NDArray[np.int64]:
    transitions, emissions, stationary = _source(*law)
    numbers = stream(law[-1], which).random((*shape, 2))
    moves, shows = transitions.cumsum(axis=1), emissions.cumsum(axis=1)
    state = inverse(stationary.cumsum(), numbers[:, 0, 0])
    out = np.empty(shape, dtype=np.int64)
    out[:, 0] = inverse(shows[state], numbers[:, 0, 1])
    for t in range(1, shape[1]):
        state = inverse(moves[state], numbers[:, t, 0])
        out[:, t] = inverse(shows[state], numbers[:, t, 1])
    return out


def _filtered(transitions: Array, emissions: Array, stationary: Array, rows: NDArray[np.int64]) -> Array:
    """Return -ln p of every symbol given those before it, (rows, length - 1), by the forward filter."""
    belief = stationary * emissions[:, rows[:, 0]].T
    losses = np.empty((len(rows), rows.shape[1] - 1))
    for t in range(1, rows.shape[1]):
        belief = belief / belief.sum(axis=1, keepdims=True) @ transitions * emissions[:, rows[:, t]].T
        losses[:, t - 1] = -np.log(belief.sum(axis=1))
    return losses


@lru_cache(maxsize=64)
def _floor(law: Law, seq_len: int) -> tuple[float, float]:
    """Return the floor and its standard error [nats per target]."""
    losses = _filtered(*_source(*law), _emit(law, THEORY, (FILTERED, seq_len + 1))).mean(axis=1)
    return float(losses.mean()), float(losses.std() / len(losses) ** 0.5)
