"""Sequences whose target is simple or not under exchange of positions: the trivial or the standard irrep of S_L.

Theory. x_1 ... x_L are normal vectors of d numbers; f(x) = Σ_a c_a w·x_a with fixed random w and c. The trivial irrep
has equal c_a, the standard one Σ_a c_a = 0; the class is whether f is positive. A learner without positions, or with
positions of a symmetric law, has at first order the kernel k(x, y) = [(Σ_a x_a)·(Σ_a y_a) + Σ_a x_a·y_a] / (d L²),
whose eigenvalues are (1 + L) / (d L²) on the trivial irrep and 1 / (d L²) on the standard one: learning takes O(d)
examples of the first and O((L - 1) d) of the second. Source: Lavie, Gur-Ari and Ringel 2024, arXiv:2402.05173. Regime:
the limit of wide nets with symmetric data; whether trained ones follow is a question. The floor is 0.

    x, y = Permutation(size=1000, irrep="standard").load().take(torch.arange(16))    # (16, 8, 4), (16, 8)
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from isoflop.checks import Limits
from isoflop.scaling.data.base import RULES, Array, Synthetic, stream
from isoflop.scaling.task import Task

IRREPS = ("trivial", "standard")


@dataclass(frozen=True)
class Permutation(Synthetic):
    """size and eval_size count examples. seq_len: vectors L per example. features: numbers d of a vector. irrep: of the
    target, trivial or standard."""

    seq_len: int = 8
    features: int = 4
    irrep: str = "trivial"

    limits: ClassVar[Limits] = {"features": 1, "seq_len": 2, "irrep": IRREPS}

    @property
    def task(self) -> Task:
        return Task("sequences", self.features, 2, self.seq_len, targets=1, floor=0.0)

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw sequences, (n, seq_len, features), and the class, asked at the last position, (n, seq_len)."""
        x, f = self.sample(which, n)
        y = np.full(x.shape[:2], -1, dtype=np.int64)
        y[:, -1] = f > 0
        return torch.from_numpy(x).float(), torch.from_numpy(y)

    def sample(self, which: int, n: int) -> tuple[Array, Array]:
        """Draw sequences, (n, seq_len, features), and f of them, (n,), of variance one."""
        numbers = stream(self.version, RULES)
        w, c = numbers.standard_normal(self.features), numbers.standard_normal(self.seq_len)
        c = np.ones(self.seq_len) if self.irrep == "trivial" else c - c.mean()
        x = stream(self.version, which).standard_normal((n, self.seq_len, self.features))
        return x, np.einsum("nad,a,d->n", x, c / np.linalg.norm(c), w / np.linalg.norm(w))
