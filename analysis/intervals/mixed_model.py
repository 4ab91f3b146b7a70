"""Intervals from a model of the scatter: a run effect shared by the rows of a run, and a row effect (REML).

The residuals at the optimum are taken as X d + run + row, X the Jacobian; the ratio of the two variances maximises the
restricted likelihood, and the covariance of the estimates is that of the fitted objective under those variances. Where
rows of a run move together this is sharper than leaving runs out, for it assumes more.
Patterson and Thompson 1971, Biometrika 58; Liang and Zeger 1986 for the covariance under a working model.

    spread = mixed(problem, u, runs)     # its draws are 2 P points whose scatter is the covariance
"""

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.intervals.estimate import Spread
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.problem import Problem

# ratios of the variance between runs to that between rows that are tried: none, and eight decades
RATIOS = np.concatenate([[0.0], np.geomspace(1e-4, 1e4, 161)])


def mixed(problem: Problem, u: Array, runs: NDArray[np.intp]) -> Spread:
    """Return the spread of the optimum u (free,) under a run effect and a row effect."""
    r, jacobian = problem.linearise(u[None])
    _, psi, inside, _ = problem.objective.terms(r)
    slope = 1.0 if inside is None else max(float(inside.mean()), 1.0 / r.shape[1])
    x, y = jacobian[0].T, psi[0] / slope
    counts = np.bincount(runs).astype(float)
    sums: Array = np.stack([np.bincount(runs, weights=column) for column in x.T], axis=-1).astype(float)
    totals: Array = np.bincount(runs, weights=y).astype(float)
    ratio = max(RATIOS, key=lambda k: _likelihood(k, x, y, counts, sums, totals))
    weight = ratio / (1 + ratio * counts)
    n, free = x.shape
    whitened = x.T @ x - (sums * weight[:, None]).T @ sums
    along = x.T @ y - (sums * weight[:, None]).T @ totals
    left = float(y @ y - (weight * totals**2).sum() - along @ np.linalg.pinv(whitened) @ along)
    variance = left / max(n - free, 1)
    bread = np.linalg.pinv(x.T @ x)
    covariance = variance * bread @ (x.T @ x + ratio * sums.T @ sums) @ bread
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    points = np.sqrt(free) * np.concatenate([root.T, -root.T])
    return Spread("mixed", u + points, len(counts) - 1, len(points))


def _likelihood(ratio: float, x: Array, y: Array, counts: Array, sums: Array, totals: Array) -> float:
    """Return the restricted log-likelihood of a ratio of variances, the row variance profiled out."""
    weight = ratio / (1 + ratio * counts)
    whitened = x.T @ x - (sums * weight[:, None]).T @ sums
    along = x.T @ y - (sums * weight[:, None]).T @ totals
    spare = len(y) - x.shape[1]
    left = float(y @ y - (weight * totals**2).sum() - along @ np.linalg.pinv(whitened) @ along)
    unit = np.sqrt(np.maximum(np.diag(whitened), 1e-300))
    logdet = np.linalg.slogdet(whitened / unit[:, None] / unit[None, :])[1] + 2 * np.log(unit).sum()
    return float(-0.5 * (spare * np.log(max(left, 1e-300)) + np.log1p(ratio * counts).sum() + logdet))
