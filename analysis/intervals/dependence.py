"""Whether rows that no column assigns to runs are independent, and the units of an interval where they are not.

Rows of equal knobs at several D are one curve, or the separate runs of a grid; their residuals tell. Moran's I of the
residuals, neighbours along D being near, has a known mean and variance under independence whatever the regressors
(Cliff and Ord 1981, Spatial Processes, chapter 8). Where it is too large, all rows of equal knobs are one unit; where
these are too few for the law, a unit is a block of consecutive rows, as many as the autocorrelation leaves independent
(Bartlett 1946; Kuensch 1989, Annals of Statistics 17, for leaving out blocks).

    sets, D = np.repeat([0, 1, 2, 3], 10), np.tile(np.arange(10.0), 4)
    z, lag_one = moran(np.repeat([1.0, -1.0, -1.0, 1.0], 10), np.ones((1, 40)), sets, D)
    z > RARE      # rows of a set move together
"""

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.dual_numbers import Array

# neighbours up to this many places apart count, by the inverse of the distance
LAGS = 8
# one-sided, standard normal: independent rows are called dependent in 1 of 1000 tables
RARE = 3.1


def moran(residuals: Array, jacobian: Array, sets: NDArray[np.intp], along: Array) -> tuple[float, float]:
    """Return how many standard deviations Moran's I of the residuals lies above its mean under independence, and their
    autocorrelation from one row to the next.

    residuals   (rows,) at the optimum
    jacobian    (free, rows) of the residuals
    sets        (rows,) the number of each row's set; rows of different sets are no neighbours
    along       (rows,) the column that orders the rows of a set
    """
    order = np.lexsort((along, sets))
    # by rank and not by size, so that one outlier or a heavy tail decides nothing
    e, sets = _normal_scores(residuals)[order], sets[order]
    q, triangle = np.linalg.qr(jacobian.T[order])
    q = q[:, np.abs(np.diag(triangle)) > 1e-10 * np.abs(triangle).max(initial=1e-300)]
    e = e - q @ (q.T @ e)
    n, spare = len(e), len(e) - q.shape[1]
    if spare < 3 or not e.any():
        return 0.0, 0.0
    turned, square = _near(q, sets), 0.0
    for lag in range(1, min(LAGS, n - 1) + 1):
        square += 2 * float((sets[lag:] == sets[:-lag]).sum()) / lag**2
    inner = q.T @ turned
    trace = -float(np.trace(inner))
    traces = square - 2 * float((turned**2).sum()) + float((inner**2).sum())
    mean = trace / spare
    variance = 2 * (spare * traces - trace**2) / (spare**2 * (spare + 2))
    if not variance > 0:
        return 0.0, 0.0
    ratio = float(e @ _near(e[:, None], sets)[:, 0] / (e @ e))
    next_to = sets[1:] == sets[:-1]
    pairs = max(int(next_to.sum()), 1)
    lag_one = float((e[1:] * e[:-1])[next_to].sum() / pairs / (e @ e / n))
    return (ratio - mean) / float(np.sqrt(variance)), lag_one


def _near(x: Array, sets: NDArray[np.intp]) -> Array:
    """Return W x for x (rows, k): the sum over neighbours within a set, each by the inverse of its distance in
    places."""
    out = np.zeros_like(x)
    for lag in range(1, min(LAGS, len(x) - 1) + 1):
        same = (sets[lag:] == sets[:-lag])[:, None] / lag
        out[lag:] += same * x[:-lag]
        out[:-lag] += same * x[lag:]
    return out


def _normal_scores(x: Array) -> Array:
    """Return Gaussian quantiles of the ranks (van der Waerden), the sign of a residual kept by ranking its size."""
    from scipy.special import ndtri

    size = np.abs(x)
    ranks = np.argsort(np.argsort(size, kind="stable"), kind="stable") + 1.0
    scores: Array = np.sign(x) * ndtri(0.5 + 0.5 * ranks / (len(x) + 1))
    return scores


def blocks(sets: NDArray[np.intp], along: Array, lag_one: float, least: int) -> NDArray[np.intp]:
    """Return the number of each row's block of consecutive rows, (rows,): over all sets n (1 - r) / (1 + r) of them,
    the count of independent rows that an autocorrelation of r leaves, and about `least` at the least."""
    r = float(np.clip(lag_one, 0.0, 0.99))
    length = int(np.clip(np.ceil((1 + r) / (1 - r)), 1, max(len(sets) // least, 1)))
    order = np.lexsort((along, sets))
    first = np.r_[True, np.diff(sets[order]) != 0]
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    place = (np.arange(len(order)) - start) // length
    out = np.empty(len(order), dtype=np.intp)
    out[order] = np.cumsum(first | (np.diff(place, prepend=0) != 0)) - 1
    return out
