"""Random features (G4) and one-pass descent on them (G5).

G4, ridgeless regression with spectrum λ_k = k^-(1 + α) of data and targets: what N random features, or D examples, do
not span falls as a power of exponent α (Maloney 2022, arXiv:2210.16859, eq. 2 and sec. 3). G5, x_k = k^-a z_k, target Σ
k^-b x_k, a model linear in N random features of x, by one pass of stochastic gradient descent at a constant rate: in
phase Ia (2a > 1, 2b < 1, a + b > 1/2) the best size grows as C^1/(2a + 1) and the loss falls as C^-(2a + 2b - 1)/(2a +
1) (Paquette 2024, arXiv:2405.15074, table 2).

    least(np.array([1.0, 0.5, 0.25]), np.eye(3)[:2])        # 0.25: what two of three directions leave
"""

from collections.abc import Iterator
from itertools import product

import numpy as np

from isoflop.scaling.oracles.base import SolvedCurve
from isoflop.scaling.oracles.neighbours import Array

# of the spectrum of G4: directions, exponents, sizes, draws
DIRECTIONS, ALPHAS, SIZES, DRAWS = 20_000, (0.5, 1.0), (8, 16, 32, 64, 128, 256), 3
# of G5: exponents of data and target in phase Ia, dimensions, sizes, steps
DATA_EXPONENT, TARGET_EXPONENT, DIMENSIONS = 0.75, 0.4, 4096
WIDTHS = tuple(int(n) for n in np.geomspace(8, 768, 18))
STEPS, SEEDS, RATE = 10**6, 6, 0.5
# the best size is that of a parabola through sizes within this factor of the lowest loss
NEAR = 4


def curves() -> Iterator[SolvedCurve]:
    """Yield G4 by size and by data, then G5 by compute."""
    for alpha in ALPHAS:
        spectrum = np.arange(1, DIRECTIONS + 1, dtype=float) ** -(1 + alpha)
        # what lies beyond: its integral, which acts on few draws as a ridge does
        beyond = (DIRECTIONS + 0.5) ** -alpha / alpha
        for seed, (axis, column) in product(range(DRAWS), (("size", "N"), ("data", "D"))):
            numbers = np.random.default_rng((seed, ord(column)))
            losses = (least(spectrum, numbers.standard_normal((n, DIRECTIONS)), beyond) for n in SIZES)
            points = [{column: n, "L": loss} for n, loss in zip(SIZES, losses, strict=True)]
            yield SolvedCurve("random_features", "spectral", {"data.alpha": alpha, "oracle.axis": axis}, points, seed)
    yield SolvedCurve("descent_on_features", "spectral", {"oracle.axis": "compute"}, envelope())


def least(spectrum: Array, draws: Array, beyond: float = 0.0) -> float:
    """Return the loss left beyond the span of random draws, (n, directions), on a target of this spectrum.

    beyond: the sum of the spectrum's further directions, each of them small.

    With Z the draws and Λ the spectrum, tr Λ - tr (Z Λ Zᵀ)⁻¹ Z Λ² Zᵀ: by features F = Z of unlimited data, or by
    examples X = Z Λ^½ of unlimited features, on average over targets.
    """
    inner, outer = (draws * spectrum) @ draws.T, (draws * spectrum**2) @ draws.T
    inner += beyond * np.eye(len(draws))
    return float(spectrum.sum() + beyond - np.trace(np.linalg.solve(inner, outer)))


def envelope() -> list[dict[str, float]]:
    """Return the best size and least loss at each compute N t, over the widths, averaged over seeds."""
    steps = np.geomspace(1, STEPS, 1200)
    logs = np.log([[descend(width, steps, seed) for width in WIDTHS] for seed in range(SEEDS)]).mean(axis=0)
    sizes, points = np.log(WIDTHS), []
    for C in np.geomspace(1e3, 1e5, 12):
        losses = np.array([np.interp(np.log(C / n), np.log(steps), row) for n, row in zip(WIDTHS, logs, strict=True)])
        # the vertex of a parabola in ln N through the losses around the lowest
        near = np.abs(sizes - sizes[losses.argmin()]) < np.log(NEAR)
        curve, slope, level = np.polyfit(sizes[near], losses[near], 2)
        best = float(np.exp(-slope / 2 / curve))
        loss = float(np.exp(level - slope**2 / 4 / curve))
        points.append({"N": round(best), "C": float(C), "L": loss, "oracle.best_size": best})
    return points


def descend(width: int, steps: Array, seed: int) -> Array:
    """Return the expected population losses of one pass of SGD, at these steps, (steps,).

    With λ the eigenvalues of the features' covariance and m the squared errors of its modes, P = P_∞ + Σ λ m and
    dm/dt = -2 γ λ m + γ² λ P (arXiv:2405.15074, eq. 6), solved from step to step as if P were constant between them.
    """
    k = np.arange(1, DIMENSIONS + 1, dtype=float)
    scale, target = k**-DATA_EXPONENT, k ** -(DATA_EXPONENT + TARGET_EXPONENT)
    # more features are those of fewer and others
    features = np.random.default_rng(seed).standard_normal((WIDTHS[-1], DIMENSIONS))[:width].T / width**0.5
    scaled = features * scale[:, None]
    values, modes = np.linalg.eigh(scaled.T @ scaled)
    errors = (modes.T @ (scaled.T @ target) / values) ** 2
    rate = RATE / (scale**2).sum()
    beyond = float(target @ target - values @ errors)
    losses, at = [], 0.0
    for until in steps:
        decay = np.exp(-2 * rate * values * (until - at))
        # P at the end follows from m at the end, which follows from P: linear, so that it is solved for at once
        gain = rate / 2 * (1 - decay)
        loss = (beyond + values @ (decay * errors)) / (1 - values @ gain)
        errors = decay * errors + gain * loss
        losses.append(loss)
        at = until
    return np.array(losses)
