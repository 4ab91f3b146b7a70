"""Oracles of known spectra: facts of Zipfian frequency, features of falling variance, random features.

    [curve.knobs["data.exponent"] for curve in zipf()]        # [1.5, 2.0, 3.0]
    next(least_squares()).points[0]["oracle.degrees"]        # 7

Theory, formula and source of G1, G3 and G12 stand at the heads of scaling/data/synthetic/zipf.py and spectral.py.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from isoflop.errors import UserError
from isoflop.scaling.data.base import TRAIN, Array
from isoflop.scaling.data.synthetic.spectral import Spectral
from isoflop.scaling.data.synthetic.zipf import frequencies
from oracles.make import SolvedCurve

VOCAB_SIZE = 2_000_000


def zipf() -> Iterator[SolvedCurve]:
    """Yield G1 in D for each exponent: the chance that a token was not seen, of exponent α / (1 + α)."""
    D = np.geomspace(1e2, 1e4, 9).round().astype(int)
    for exponent in (1.5, 2.0, 3.0):
        points = [{"D": int(d), "L": unseen_mass(d, exponent, VOCAB_SIZE), "floor": 0.0} for d in D]
        yield SolvedCurve("unseen_mass", "zipf", {"data.exponent": exponent, "data.vocab_size": VOCAB_SIZE}, points)


# (a, b) of science.md's table for which each exponent is reached at these sizes
SPECTRA = (1.5, 1.25), (2.0, 1.5)
# steps after which nothing but the features beyond N is left, and a size that has all features
FOREVER, ALL = 10**15, 1_000_000


def spectral() -> Iterator[SolvedCurve]:
    """Yield G3 for each spectrum: what descent on the population leaves, by size, steps and compute.

    `oracle.axis` says what a curve runs along; along compute each point is that of the best size, in the column N.
    """
    sizes = np.unique(np.geomspace(10, 1000, 9).astype(int))
    steps = np.geomspace(1e2, 1e4, 9).round().astype(int)
    for a, b in SPECTRA:
        left = left_by_descent(sizes, FOREVER, a, b), left_by_descent(ALL, steps, a, b)
        by_size = [{"N": int(n), "D": FOREVER, "L": float(loss)} for n, loss in zip(sizes, left[0], strict=True)]
        by_steps = [{"N": ALL, "D": int(t), "L": float(loss)} for t, loss in zip(steps, left[1], strict=True)]
        for axis, points in (("size", by_size), ("steps", by_steps), ("compute", _by_compute(a, b))):
            yield SolvedCurve("descent", "spectral", {"data.a": a, "data.b": b, "oracle.axis": axis}, points)


def _by_compute(a: float, b: float) -> list[dict[str, float]]:
    """Return the best size and its loss at each compute N t, to a tenth of a per cent."""
    points = []
    for C in np.geomspace(1e4, 1e7, 10):
        around = C ** (1 / (1 + b))
        sizes = np.unique(np.geomspace(around / 10, around * 10, 400).astype(int).clip(min=1))
        left = left_by_descent(sizes, C / sizes, a, b, features=int(sizes[-1]))
        best = int(left.argmin())
        points.append({"N": int(sizes[best]), "C": float(C), "L": float(left[best])})
    return points


N, SIGMA = 16, 0.5
EXAMPLES = (24, 32, 48, 64, 96, 128, 192, 256)
# draws of data, and samples that each averages over
VERSIONS, SAMPLES = 4, 1000


def least_squares() -> Iterator[SolvedCurve]:
    """Yield G12 in D for each draw of data: N features leave σ² + σ² N / (D - N - 1) on average over samples.

    `oracle.degrees` is D - N - 1, whose power theory gives.
    """
    for version in range(VERSIONS):
        points = [_point(D, version * len(EXAMPLES) + index) for index, D in enumerate(EXAMPLES)]
        yield SolvedCurve("least_squares", "spectral", {"data.sigma": SIGMA, "data.features": N}, points, seed=version)


def _point(D: int, version: int) -> dict[str, Any]:
    data = Spectral(features=N, sigma=SIGMA, version=version)
    x, y = (t.double().numpy().reshape(SAMPLES, D, -1) for t in data.draw(TRAIN, SAMPLES * D))
    k = np.arange(1, N + 1)
    truth = (k**-data.a / (k**-data.a).sum() * k**data.b) ** 0.5
    solution = np.linalg.solve(x.swapaxes(1, 2) @ x, x.swapaxes(1, 2) @ y)[..., 0]
    excess = float(((solution - truth) ** 2 * k**-data.b).sum(axis=1).mean())
    over_sigma = {"oracle.excess_per_parameter": excess / N, "oracle.degrees": D - N - 1}
    return {"N": N, "D": D, "L": SIGMA**2 + excess, "floor": SIGMA**2, "loss_unit": "squared error", **over_sigma}


# of the spectrum of G4: directions, exponents, sizes, draws
DIRECTIONS, ALPHAS, SIZES, DRAWS = 20_000, (0.5, 1.0), (8, 16, 32, 64, 128, 256), 3
# of G5: exponents of data and target in phase Ia, dimensions, sizes, steps
DATA_EXPONENT, TARGET_EXPONENT, DIMENSIONS = 0.75, 0.4, 4096
WIDTHS = tuple(int(n) for n in np.geomspace(8, 768, 18))
STEPS, SEEDS, RATE = 10**6, 6, 0.5
# the best size is that of a parabola through sizes within this factor of the lowest loss
NEAR = 4


def random_features() -> Iterator[SolvedCurve]:
    """Yield G4, regression on random features, by size and by data, then G5, descent on them, by compute.

    G4, ridgeless, with spectrum λ_k = k^-(1 + α) of data and targets: what N random features, or D examples, do not
    span falls as a power of exponent α (Maloney 2022, arXiv:2210.16859, eq. 2 and sec. 3). G5, x_k = k^-a z_k, target
    Σ k^-b x_k, a model linear in N random features of x, by one pass of stochastic gradient descent at a constant rate:
    in phase Ia (2a > 1, 2b < 1, a + b > 1/2) the best size grows as C^1/(2a + 1) and the loss falls as
    C^-(2a + 2b - 1)/(2a + 1) (Paquette 2024, arXiv:2405.15074, table 2).
    """
    for alpha in ALPHAS:
        spectrum = np.arange(1, DIRECTIONS + 1, dtype=float) ** -(1 + alpha)
        # what lies beyond: its integral, which acts on few draws as a ridge does
        beyond = (DIRECTIONS + 0.5) ** -alpha / alpha
        for seed, (axis, column) in product(range(DRAWS), (("size", "N"), ("data", "D"))):
            numbers = np.random.default_rng((seed, ord(column)))
            losses = (_least(spectrum, numbers.standard_normal((n, DIRECTIONS)), beyond) for n in SIZES)
            points = [{column: n, "L": loss} for n, loss in zip(SIZES, losses, strict=True)]
            yield SolvedCurve("random_features", "spectral", {"data.alpha": alpha, "oracle.axis": axis}, points, seed)
    yield SolvedCurve("descent_on_features", "spectral", {"oracle.axis": "compute"}, _envelope())


def _least(spectrum: Array, draws: Array, beyond: float = 0.0) -> float:
    """Return the loss left beyond the span of random draws, (n, directions), on a target of this spectrum.

    beyond: the sum of the spectrum's further directions, each of them small.

    With Z the draws and Λ the spectrum, tr Λ - tr (Z Λ Zᵀ)⁻¹ Z Λ² Zᵀ: by features F = Z of unlimited data, or by
    examples X = Z Λ^½ of unlimited features, on average over targets.
    """
    inner, outer = (draws * spectrum) @ draws.T, (draws * spectrum**2) @ draws.T
    inner += beyond * np.eye(len(draws))
    return float(spectrum.sum() + beyond - np.trace(np.linalg.solve(inner, outer)))


def _envelope() -> list[dict[str, float]]:
    """Return the best size and least loss at each compute N t, over the widths, averaged over seeds."""
    steps = np.geomspace(1, STEPS, 1200)
    logs = np.log([[_descend(width, steps, seed) for width in WIDTHS] for seed in range(SEEDS)]).mean(axis=0)
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


def _descend(width: int, steps: Array, seed: int) -> Array:
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


def unseen_mass(D: float, exponent: float, vocab_size: int, width: int | None = None) -> float:
    """Return the chance of a token that D targets lack, or that a table of the `width` most frequent lacks."""
    p = frequencies(exponent, vocab_size)
    width = vocab_size if width is None else width
    if not 0 < width <= vocab_size:
        raise UserError(f"width={width} is not a number of rows from 1 to vocab_size={vocab_size}")
    return float((p[:width] * np.exp(D * np.log1p(-p[:width]))).sum() + p[width:].sum())


def left_by_descent(
    width: ArrayLike, steps: ArrayLike, a: float, b: float, rate: float = 1.0, features: int = 1_000_000
) -> Array:
    """Return Σ c_k (1 - rate k^-b)^2t up to each width plus Σ c_k beyond, with c_k = k^-a.

    width and steps: (points,), broadcast. What lies beyond `features` is the integral from features + 1/2.
    """
    k = np.arange(1, features + 1, dtype=np.float64)
    energy, decay = k**-a, 2 * np.log1p(-rate * k**-b, where=k**-b * rate < 1, out=np.full(features, -np.inf))
    beyond = np.append(energy, (features + 0.5) ** (1 - a) / (a - 1))[::-1].cumsum()[::-1]
    widths, times = np.broadcast_arrays(width, steps)
    pairs = zip(widths, times, strict=True)
    return np.array([(energy[:n] * np.exp(t * decay[:n])).sum() + beyond[n] for n, t in pairs])
