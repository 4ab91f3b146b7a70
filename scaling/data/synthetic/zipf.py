"""Facts of Zipfian frequency: each token has one fixed class and is met as often as a power of its rank says.

Theory. Token i = 1 ... V occurs with probability p_i ∝ i^-A. A learner that knows what it has seen errs on the rest:

    L(D) = ln(classes) Σ p_i (1 - p_i)^D  ∝ D^-(1 - 1/A)            as many rows as tokens, D targets
    L(N) = ln(classes) Σ_{i > N} p_i      ∝ N^-(A - 1)              N rows, D → ∞

Source: Hutter 2021, arXiv:2102.04074 (with α = A - 1); Michaud 2023, arXiv:2303.13506. `family=table` is that learner.
Regime: V^(1 - A) far below L / ln(classes), and A up to about 2. The floor is 0.

    x, y = Zipf(size=10_000, vocab_size=1000).load().take(torch.arange(16))      # (16, 64) tokens, (16, 64) classes
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoflop.checks import Limits, positive
from isoflop.scaling.data.base import RULES, SyntheticSequences, stream
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Zipf(SyntheticSequences):
    """exponent: A of the frequencies. vocab_size: kinds of token. classes: of which each token has one."""

    exponent: float = 1.5
    vocab_size: int = 20_000
    classes: int = 10

    limits: ClassVar[Limits] = {"exponent": positive, "vocab_size": 2, "classes": 2}

    @property
    def task(self) -> Task:
        return Task("tokens", self.vocab_size, self.classes, self.seq_len, targets=self.seq_len, floor=0.0)

    def facts(self) -> dict[str, str | int | float]:
        A = self.exponent
        return {"data.alpha_D": 1 - 1 / A, "data.alpha_N": A - 1} if A > 1 else {}

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw tokens and their classes, both (n, seq_len)."""
        numbers = stream(self.version, which).random((n, self.seq_len))
        bounds = frequencies(self.exponent, self.vocab_size).cumsum()[:-1]
        tokens = np.searchsorted(bounds, numbers, side="right")
        classes = stream(self.version, RULES).integers(self.classes, size=self.vocab_size)
        return torch.from_numpy(tokens), torch.from_numpy(classes[tokens])


def frequencies(exponent: float, vocab_size: int) -> NDArray[np.float64]:
    """Return the probabilities of the tokens by rank, (vocab_size,)."""
    weights = np.arange(1, vocab_size + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())
