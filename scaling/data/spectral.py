"""Regression on vectors of a known spectrum: features of falling variance, a target that uses them all, known noise.

z ~ N(0, 1), x_k = k^(-b/2) z_k, y = sum_k s k^(-a/2) z_k + sigma noise, with s such that the noiseless target has
variance one. A linear model of the first n features is left with about n^(1-a), and sigma² is the floor: the spectral
oracle of scaling laws (Maloney 2022, arXiv:2210.16859) as data for a network.

    x, y = Spectral(size=1e4, features=64).load().take(torch.arange(16))     # (16, 64), (16, 1)
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from isoflop.checks import not_negative, whole_number
from isoflop.scaling.data.base import HELD_OUT, TRAIN, Table, stream
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Spectral:
    """size: distinct training examples. features: of a vector. a, b: exponents of target and features, sigma: noise.

    eval_size: held-out examples. version: of the generator, a seed.
    """

    size: int = 100_000
    features: int = 64
    a: float = 1.5
    b: float = 1.0
    sigma: float = 0.1
    eval_size: int = 16384
    version: int = 0

    def __post_init__(self) -> None:
        for knob in ("size", "features"):
            whole_number(f"data.{knob}", getattr(self, knob))
        whole_number("data.eval_size", self.eval_size, 2)  # of one there is no standard error
        whole_number("data.version", self.version, 0)
        for knob in ("a", "b", "sigma"):
            not_negative(f"data.{knob}", getattr(self, knob))

    @property
    def task(self) -> Task:
        return Task("vectors", self.features, 1, seq_len=1, targets=1, loss="mse", floor=float(self.sigma**2))

    @property
    def unique(self) -> int:
        return self.size

    def load(self) -> Table:
        return Table(*self.draw(TRAIN, self.size), *self.draw(HELD_OUT, self.eval_size))

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Examples of one stream: (n, features) and (n, 1)."""
        k = np.arange(1, self.features + 1, dtype=np.float64)
        energy = k**-self.a / (k**-self.a).sum()
        numbers = stream(self.version, which).standard_normal((n, self.features + 1))
        z, noise = numbers[:, :-1], numbers[:, -1]
        y = z @ energy**0.5 + self.sigma * noise
        return torch.from_numpy(z * k ** (-self.b / 2)).float(), torch.from_numpy(y[:, None]).float()
