"""Regression on a smooth function of a torus in a space of more dimensions: the dimension of the data is known.

Theory. u is uniform on [0, 1)^d; the features are an orthonormal map of (cos 2πu_1, sin 2πu_1, ...) / √d; y = f(u) +
sigma noise, f of low frequencies and of variance one. With D points the squared error above the floor sigma² falls as
D^-2/d for the nearest neighbour, as D^-4/d for a locally linear fit, and for piecewise linear nets where they fit.
Source: Sharma and Kaplan 2022, arXiv:2004.10802; Bahri 2021, arXiv:2102.06701; of neighbours, Gyorfi 2002, ch. 6.
Regime: D large enough for neighbours to be near (d ≤ 4 at 10^4 points), sigma² below the rest.

    x, y = Manifold(size=1000, dimension=2).load().take(torch.arange(16))        # (16, 16), (16, 1)
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoflop.checks import Limits, not_negative
from isoflop.errors import UserError
from isoflop.scaling.data.base import RULES, Synthetic, stream
from isoflop.scaling.task import Task

WAVES = 16  # of which f is made, at most


@dataclass(frozen=True)
class Manifold(Synthetic):
    """Knobs of the torus and of the function on it; size and eval_size count examples."""

    dimension: int = 4
    """Dimension d of the manifold."""
    features: int = 16
    """Numbers of an input vector, at least 2 d."""
    sigma: float = 0.0
    """Standard deviation of the noise on y."""

    limits: ClassVar[Limits] = {"dimension": 1, "features": 1, "sigma": not_negative}

    def check(self) -> None:
        if self.features < 2 * self.dimension:
            needed = f"a torus of data.dimension={self.dimension} needs {2 * self.dimension}"
            raise UserError(f"data.features={self.features} are too few: {needed}; give more")

    @property
    def task(self) -> Task:
        return Task("vectors", self.features, 1, seq_len=1, targets=1, loss="mse", floor=float(self.sigma**2))

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw examples: (n, features) and (n, 1)."""
        turn, waves, phases, heights = self.rules()
        numbers = stream(self.version, which).standard_normal((n, 2 * self.dimension + 1))
        # the angle of two independent normal numbers is uniform
        angles = np.arctan2(numbers[:, 1:-1:2], numbers[:, :-1:2])
        circles = np.stack((np.cos(angles), np.sin(angles)), axis=2).reshape(n, -1) / self.dimension**0.5
        y = 2**0.5 * np.cos(angles @ waves.T + phases) @ heights + self.sigma * numbers[:, -1]
        return torch.from_numpy(circles @ turn.T).float(), torch.from_numpy(y[:, None]).float()

    def rules(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the map (features, 2 dimension), and of f frequencies (waves, dimension), phases, heights (waves,)."""
        numbers = stream(self.version, RULES)
        turn = np.linalg.qr(numbers.standard_normal((self.features, 2 * self.dimension)))[0]
        # one wave along each direction, so that f varies in all, and random ones across; one and its opposite are alike
        waves = {tuple(int(k) for k in row) for row in np.eye(self.dimension)}
        while len(waves) < min(max(WAVES, self.dimension), (3**self.dimension - 1) // 2):
            wave = tuple(int(k) for k in numbers.integers(-1, 2, size=self.dimension))
            if any(wave):
                waves.add(max(wave, tuple(-k for k in wave)))
        frequencies = np.array(sorted(waves))
        heights = numbers.choice([-1.0, 1.0], size=len(waves)) * np.exp(-(frequencies**2).sum(axis=1) / 2)
        phases = 2 * np.pi * numbers.random(len(waves))
        return turn, frequencies, phases, heights / np.linalg.norm(heights)
