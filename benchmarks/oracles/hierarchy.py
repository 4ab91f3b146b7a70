"""The random hierarchy model: a class is written as features, these as smaller ones, each in one of many synonyms.

Theory. Each of v features of a level is written in any of m synonyms, tuples of s features of the level below, all
random and no tuple with two meanings; L levels make s^L symbols. A net deep enough learns the class from about P* =
classes · m^L examples; one that knows no hierarchy needs a number exponential in s^L. The floor is 0. Source: Cagnetti
et al. 2023, arXiv:2307.02129, sec. 2-3. Regime: m < v^(s - 1), training sets of P*/10 to 10 P*, seen for many epochs;
where the loss halves moves by a factor of m from level to level, not to three digits.

    x, y = Hierarchy(size=1000).load().take(torch.arange(16))         # (16, 8) symbols; (16, 8), -1 but at the last
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoflop.checks import Limits
from isoflop.errors import UserError
from isoflop.scaling.data.base import RULES, Synthetic, stream
from isoflop.scaling.task import Task

MOST_SYMBOLS = 4096
MOST_TUPLES = 2**20


@dataclass(frozen=True)
class Hierarchy(Synthetic):
    """Knobs of the grammar; size and eval_size count examples, all drawn from the same finite set of sentences."""

    classes: int = 8
    """Classes, the features of the top level."""
    symbols: int = 8
    """Features v of every level below the top."""
    synonyms: int = 4
    """Ways m to write a feature."""
    branch: int = 2
    """Features s of the level below that write one feature."""
    levels: int = 3
    """Levels L of the grammar."""

    limits: ClassVar[Limits] = {"classes": 2, "symbols": 2, "branch": 2, "synonyms": 1, "levels": 1}

    def check(self) -> None:
        if self.levels > 12 or self.branch**self.levels > MOST_SYMBOLS:
            both = f"data.branch={self.branch} and data.levels={self.levels}"
            raise UserError(f"{both} make more than {MOST_SYMBOLS} symbols; lower one")
        if self.branch > 20 or self.symbols**self.branch > MOST_TUPLES:
            both = f"data.symbols={self.symbols} and data.branch={self.branch}"
            raise UserError(f"{both} make more than {MOST_TUPLES} tuples; lower one")
        if max(self.classes, self.symbols) * self.synonyms > self.symbols**self.branch:
            tuples = f"more tuples of data.branch={self.branch} than data.symbols={self.symbols} can write"
            raise UserError(f"data.synonyms={self.synonyms} for each feature are {tuples}; give fewer")

    @property
    def seq_len(self) -> int:
        """Symbols per example."""
        return int(self.branch**self.levels)

    @property
    def task(self) -> Task:
        return Task("tokens", self.symbols, self.classes, self.seq_len, targets=1, floor=0.0)

    def facts(self) -> dict[str, str | int | float]:
        # P*, the examples after which theory expects the class to be learned
        return {"data.needed": int(self.classes * self.synonyms**self.levels)}

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw symbols, (n, seq_len), and the class, asked at the last of them, (n, seq_len)."""
        inner = (self.seq_len - 1) // (self.branch - 1)  # features that are written out
        numbers = stream(self.version, which).random((n, 1 + inner))
        classes = (numbers[:, 0] * self.classes).astype(np.int64)
        features, at = classes[:, None], 1
        for ways in self.rules():
            width = features.shape[1]
            choice = (numbers[:, at : at + width] * self.synonyms).astype(np.int64)
            features, at = ways[features, choice].reshape(n, -1), at + width
        y = np.full_like(features, -1)
        y[:, -1] = classes
        return torch.from_numpy(features), torch.from_numpy(y)

    def rules(self) -> list[NDArray[np.int64]]:
        """Return, for each level from the top, the ways to write a feature, (features, synonyms, branch)."""
        numbers = stream(self.version, RULES)
        rules = []
        for level in range(self.levels):
            meanings = self.classes if level == 0 else self.symbols
            tuples = numbers.choice(self.symbols**self.branch, size=meanings * self.synonyms, replace=False)
            digits = tuples[:, None] // self.symbols ** np.arange(self.branch) % self.symbols
            rules.append(digits.reshape(meanings, self.synonyms, self.branch))
        return rules
