"""Noisy readings of an autoregression, the next one to be predicted: the Kalman filter says how well it can be.

Theory. s_t = a_1 s_{t-1} + ... + a_p s_{t-p} + w_t has variance one, its poles lie within `radius`; what is seen is x_t
= s_t + sigma v_t, all Gaussian. The squared error of the best prediction of x_{t+1} is the innovation variance S_{t+1},
from the Riccati recursion P' = F (P - P h h^T P / S) F^T + Q, S = h^T P h + sigma², started at the stationary
covariance. The floor is the mean of S_2 ... S_{seq_len + 1}. Source: Kalman 1960; Anderson and Moore 1979, ch. 4-5.
Regime: seq_len above 1 / (1 - radius); a linear state of p numbers, or a window of all that is in view, reaches it.

    x, y = Filtering(size=10_000).load().take(torch.arange(16))       # (16, 64, 1) readings and those that follow
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from isoflop.checks import Limits, not_negative, positive
from isoflop.errors import UserError
from isoflop.scaling.data.base import RULES, Array, SyntheticSequences, stream
from isoflop.scaling.task import Task

MOST_ORDER = 16  # the stationary covariance is solved for in order² unknowns


@dataclass(frozen=True)
class Filtering(SyntheticSequences):
    """order: order p of the autoregression. radius: modulus of the outermost poles, below 1. sigma: standard deviation
    of the readings' noise, where that of the signal is 1."""

    order: int = 4
    radius: float = 0.95
    sigma: float = 0.3

    limits: ClassVar[Limits] = {"order": 1, "radius": positive, "sigma": not_negative}

    def check(self) -> None:
        if self.order > MOST_ORDER:
            raise UserError(f"data.order={self.order} is more than {MOST_ORDER}; give fewer")
        if self.radius >= 1:
            raise UserError(f"data.radius={self.radius} makes no stationary process; give a number below 1")

    @property
    def task(self) -> Task:
        variances = _innovations(self.order, self.radius, self.sigma, self.version, self.seq_len + 1)
        floor = float(variances[1:].mean())
        return Task("sequences", 1, 1, self.seq_len, targets=self.seq_len, loss="mse", floor=floor)

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw readings and those that follow them, both (n, seq_len, 1)."""
        order = self.order
        forward, drive, start = _process(order, self.radius, self.version)
        numbers = stream(self.version, which).standard_normal((n, order + 2 * (self.seq_len + 1)))
        values, vectors = np.linalg.eigh(start)  # which may be singular up to rounding
        state = numbers[:, :order] @ (vectors * np.sqrt(values.clip(0.0))).T
        shocks, noise = np.split(numbers[:, order:], 2, axis=1)
        readings = np.empty(noise.shape)
        for t in range(self.seq_len + 1):
            readings[:, t] = state[:, 0] + self.sigma * noise[:, t]
            state = state @ forward.T
            state[:, 0] += drive**0.5 * shocks[:, t]
        both = torch.from_numpy(readings).float()[..., None]
        return both[:, :-1].clone(), both[:, 1:].clone()


@lru_cache(maxsize=8)
def _process(order: int, radius: float, version: int) -> tuple[Array, float, Array]:
    """Return the companion matrix F, the variance of w, and the stationary covariance of (s_t ... s_{t-p+1}), with
    poles in conjugate pairs at random angles, the first at the radius, others within; an odd one is real."""
    numbers = stream(version, RULES)
    pairs = order // 2
    moduli = radius * np.append(1.0, numbers.uniform(0.3, 1.0, size=pairs))
    upper = moduli[:pairs] * np.exp(1j * np.pi * numbers.random(pairs))
    poles = np.concatenate((upper, upper.conj(), moduli[pairs:] if order % 2 else []))
    forward = np.eye(order, k=-1)
    forward[0] = -np.poly(poles).real[1:]
    drive = np.zeros((order, order))
    drive[0, 0] = 1.0
    # P = F P F^T + Q, linear in P: (I - F ⊗ F) vec P = vec Q
    flat = np.linalg.solve(np.eye(order**2) - np.kron(forward, forward), drive.ravel())
    start = flat.reshape(order, order) / flat[0]
    return forward, float(1 / flat[0]), (start + start.T) / 2


def _innovations(order: int, radius: float, sigma: float, version: int, steps: int) -> Array:
    """Return the variance of each reading given those before it, (steps,)."""
    forward, drive, predicted = _process(order, radius, version)
    shocks = np.zeros_like(predicted)
    shocks[0, 0] = drive
    variances = np.empty(steps)
    for t in range(steps):
        variances[t] = predicted[0, 0] + sigma**2
        gain = predicted[:, 0] / variances[t]
        predicted = forward @ (predicted - np.outer(gain, predicted[0])) @ forward.T + shocks
    return variances
