"""Symbols of a hidden Markov chain: what is past matters at any distance, and the entropy rate is still known.

Theory. A hidden state walks by a random table and emits a symbol by another. The best prediction is the forward filter,
α_t(s) ∝ P(x_t | s) Σ_r T(r → s) α_{t-1}(r), and the floor is the mean of its -ln p over the positions that a learner
sees [nats], estimated on 16,384 sequences of its own (standard error in `data.floor_se`). It falls to the entropy rate
as the sequence grows. Source: Rabiner 1989, sec. III.A; Ephraim and Merhav 2002. Regime: a learner with a state of
`states` numbers can reach it; one with a window of symbols is left with what lies beyond it.

    x, y = HiddenMarkov(size=10_000).load().take(np.arange(16))    # (16, 64) symbols and those that follow
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from isoflop.checks import Limits, not_negative, share
from isoflop.scaling.data.base import RULES, THEORY, Array, Synthetic, followed, stream
from isoflop.scaling.data.synthetic.markov import inverse, random_rows
from isoflop.scaling.task import Task

FILTERED = 16384  # sequences from which the floor is estimated
# symbols, states, sharpness, stay, version
Law = tuple[int, int, float, float, int]


@dataclass(frozen=True)
class HiddenMarkov(Synthetic):
    """Knobs of the source and of its sequences."""

    size: int = 1_000_000
    eval_size: int = 65536
    symbols: int = 16
    """Kinds of symbol."""
    states: int = 8
    """Hidden states."""
    sharpness: float = 2.0
    """Standard deviation of the logits of both tables."""
    stay: float = 0.5
    """Chance that the hidden state stays, whatever its table says: the larger, the longer the memory."""
    seq_len: int = 64
    """Symbols per example."""

    granule: ClassVar[str] = "seq_len"
    limits: ClassVar[Limits] = {"symbols": 2, "states": 2, "sharpness": not_negative, "stay": share, "seq_len": 1}

    @property
    def law(self) -> Law:
        """The knobs that determine the source."""
        return self.symbols, self.states, self.sharpness, self.stay, self.version

    @property
    def task(self) -> Task:
        floor, _ = _entropy(self.law, self.seq_len)
        return Task("tokens", self.symbols, self.symbols, self.seq_len, targets=self.seq_len, floor=floor)

    def facts(self) -> dict[str, str | int | float]:
        return {"data.floor_se": _entropy(self.law, self.seq_len)[1]}

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw symbols and those that follow them, both (n, seq_len)."""
        return followed(_emit(self.law, which, (n, self.seq_len + 1)))


@lru_cache(maxsize=8)
def _source(symbols: int, states: int, sharpness: float, stay: float, version: int) -> tuple[Array, Array, Array]:
    """Return transitions (states, states), emissions (states, symbols) and the stationary distribution (states,)."""
    numbers = stream(version, RULES)
    moves = random_rows(numbers, states, states, sharpness)
    transitions = stay * np.eye(states) + (1 - stay) * moves
    emissions = random_rows(numbers, states, symbols, sharpness)
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
def _entropy(law: Law, seq_len: int) -> tuple[float, float]:
    """Return the floor and its standard error [nats per target]."""
    losses = _filtered(*_source(*law), _emit(law, THEORY, (FILTERED, seq_len + 1))).mean(axis=1)
    return float(losses.mean()), float(losses.std() / len(losses) ** 0.5)
