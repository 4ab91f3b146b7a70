"""Regression on vectors of a known spectrum: features of falling variance, a target that uses them all, known noise.

Theory. z ~ N(0, 1), x_k = k^(-b/2) z_k, y = Σ_k s k^(-a/2) z_k + sigma noise: a feature's variance is λ_k = k^-b and
the target's energy on it c_k = s² k^-a, of sum one. A linear model of the first N features, trained by t steps of
gradient descent at rate η on the population, is left L(N, t) = sigma² + Σ_{k ≤ N} c_k (1 - η λ_k)^2t + Σ_{k > N} c_k,
which falls as N^-(a - 1) in size, t^-(a - 1)/b in steps and C^-(a - 1)/(1 + b) at the best N ∝ C^1/(1 + b). Least
squares on D examples leave the excess sigma² N / (D - N - 1) without tail (Belkin 2020, arXiv:1903.07571).
`family=linear` is the model; sigma² is the floor. Source: Maloney 2022, arXiv:2210.16859; Bordelon 2024,
arXiv:2402.01092. Regime: a tail beyond `features` and a last eigenvalue η λ_N t that are small beside what is measured;
1 < a < 2b + 1 for t.

    x, y = Spectral(size=10_000, features=64).load().take(torch.arange(16))     # (16, 64), (16, 1)
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from isoflop.checks import Limits, not_negative
from isoflop.scaling.data.base import Synthetic, stream
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Spectral(Synthetic):
    """size and eval_size count examples. features: numbers of an input vector. a: exponent of the target's energy. b:
    exponent of the features' variances. sigma: standard deviation of the noise on y."""

    features: int = 64
    a: float = 1.5
    b: float = 1.0
    sigma: float = 0.1

    limits: ClassVar[Limits] = {"features": 1, "a": not_negative, "b": not_negative, "sigma": not_negative}

    @property
    def task(self) -> Task:
        return Task("vectors", self.features, 1, seq_len=1, targets=1, loss="mse", floor=float(self.sigma**2))

    def facts(self) -> dict[str, str | int | float]:
        return {"data.alpha_N": self.a - 1} if self.a > 1 else {}

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw examples: (n, features) and (n, 1)."""
        k = np.arange(1, self.features + 1, dtype=np.float64)
        energy = k**-self.a / (k**-self.a).sum()
        numbers = stream(self.version, which).standard_normal((n, self.features + 1))
        z, noise = numbers[:, :-1], numbers[:, -1]
        y = z @ energy**0.5 + self.sigma * noise
        return torch.from_numpy(z * k ** (-self.b / 2)).float(), torch.from_numpy(y[:, None]).float()
