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
    """Knobs of the sequences; size and eval_size count examples."""

    seq_len: int = 8
    """Vectors L per example."""
    features: int = 4
    """Numbers d of a vector."""
    irrep: str = "trivial"
    """Irrep of the target: trivial or standard."""

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


def kernel(x: Array, y: Array) -> Array:
    """Return k of all pairs of sequences, (n, L, d) and (m, L, d) to (n, m)."""
    length, features = x.shape[1:]
    invariant = x.sum(axis=1) @ y.sum(axis=1).T
    return np.asarray((invariant + x.reshape(len(x), -1) @ y.reshape(len(y), -1).T) / (features * length**2))


def samples_to_halve(length: int, features: int, irrep: str) -> float:
    """Return the examples at which, in theory, ridgeless kernel regression halves the error on an irrep.

    With eigenvalues λ_i and an effective ridge κ that solves n = Σ λ_i / (λ_i + κ), the error on mode i is
    (κ / (λ_i + κ))² / (1 - γ), γ = Σ (λ_i / (λ_i + κ))² / n (arXiv:2006.13198, eqs. 4-5).
    """
    values, counts = np.array([1.0 + length, 1.0])[:, None], np.array([1, length - 1])[:, None] * features
    kappa = np.geomspace(1e-4, 1e4, 4001) * length**0.5
    learned = values / (values + kappa)  # (irreps, points)
    n = (counts * learned).sum(axis=0)
    gamma = (counts * learned**2).sum(axis=0) / n
    error = (1 - learned[IRREPS.index(irrep)]) ** 2 / (1 - gamma)
    return float(np.exp(np.interp(np.log(0.5), np.log(error), np.log(n))))
