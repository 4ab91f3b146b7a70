"""What residuals tell: how runs scatter about a law, which rows alone move it, whether neighbours are independent.

    noise = scatter(residuals, columns, runs, free=5)
    noise.pooled, noise.at(columns)   # 0.0058, and 0.0085 for the largest size

Squared residuals are a power of the law's columns (Harvey 1976, multiplicative heteroscedasticity), each exponent kept
only where it differs from zero at 5 %, by run; a prediction never uses less than the pooled scatter.

Moran's I of the residuals, neighbours along D being near, tells whether rows of equal knobs are one curve (Cliff and
Ord 1981, Spatial Processes, chapter 8), and so one unit; where such units are too few, a unit is a block of rows, as
many as the autocorrelation leaves independent (Bartlett 1946; Kuensch 1989, Annals of Statistics 17).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.observations import Observations
from isoflop.analysis.solving.descent import WARM
from isoflop.analysis.solving.problem import Problem
from isoflop.analysis.solving.starts import refit

# fewer runs than this tell nothing of how scatter changes
_FEWEST_RUNS = 20
# one-sided level of the test for growth
_CHANCE = 0.05
# a residual counts as at least this share of the median one: a robust fit passes through some points exactly
_LEAST = 0.1


# a trend of residuals counts where chance makes one as clear in one of a thousand sound laws, and only where the
# law misses by 2 %: small errors of form are what its bands are for; parts of runs that share no level
_TREND, _MISSED, _PARTS = 0.001, 0.02, 5


@dataclass(frozen=True)
class Noise:
    """Standard deviation of a residual: pooled, and as level * exp(slopes . log columns).

    `doubt` is the standard error of the slopes of log variance, which counts with the distance from `centre`: the
    expected variance is that of a log-normal. `told`: replicates tell the slopes, so that the noise of a place may be
    less than the pooled.
    """

    pooled: float
    level: float
    slopes: Array
    doubt: Array
    centre: Array
    told: bool = False

    def at(self, columns: list[Array]) -> Array:
        """Return the deviation at the rows of `columns`, below the pooled one only where replicates tell it."""
        axes = np.log(np.stack(columns, axis=-1))
        grown = np.log(self.level) + axes @ self.slopes + ((axes - self.centre) ** 2) @ self.doubt**2 / 4
        wide: Array = np.exp(grown) if self.told else np.maximum(self.pooled, np.exp(grown))
        return wide


def scatter(residuals: Array, columns: tuple[Array, ...], runs: NDArray[np.intp], free: int) -> Noise:
    """Return the scatter of `residuals` (rows,) about a law of `free` parameters."""
    from scipy.special import stdtrit

    spare = max(len(residuals) - free, 1)
    pooled = float(np.sqrt((residuals**2).sum() / spare))
    none = np.zeros(len(columns))
    flat = Noise(pooled, max(pooled, 1e-300), none, none, none)
    least = _LEAST * float(np.median(np.abs(residuals)))
    if int(runs.max()) + 1 < _FEWEST_RUNS or least == 0:
        return flat
    size = np.log(residuals**2 + least**2)
    axes = np.log(np.stack(columns, axis=-1))
    grows = [i for i in range(axes.shape[1]) if np.ptp(axes[:, i]) > 0]
    while grows:
        slopes, t = _regress(size, axes[:, grows], runs)
        weak = int(np.argmin(t))
        if t[weak] > stdtrit(max(int(runs.max()) - len(grows), 1), 1 - _CHANCE):
            break
        del grows[weak]
    if not grows:
        return flat
    grown, doubt = none.copy(), none.copy()
    grown[grows], doubt[grows] = slopes / 2, slopes / t
    level = np.sqrt(((residuals / np.exp(axes @ grown)) ** 2).sum() / spare)
    return Noise(pooled, float(level), grown, doubt, axes.mean(0))


def known_scatter(residuals: Array, columns: tuple[Array, ...], powers: tuple[Array, Array], free: int) -> Noise:
    """Return the scatter of `residuals` (rows,) where replicates tell its powers of the columns, and their errors."""
    spare, axes = max(len(residuals) - free, 1), np.log(np.stack(columns, axis=-1))
    pooled = float(np.sqrt((residuals**2).sum() / spare))
    level = float(np.sqrt(((residuals / np.exp(axes @ powers[0])) ** 2).sum() / spare))
    return Noise(pooled, max(level, 1e-300), powers[0], 2 * powers[1], axes.mean(0), told=True)


def _regress(y: Array, x: Array, runs: NDArray[np.intp]) -> tuple[Array, Array]:
    """Return slopes of y on x, and their t by runs."""
    design = np.column_stack([np.ones(len(x)), x - x.mean(0)])
    inverse = np.linalg.pinv(design.T @ design)
    coefficients = inverse @ design.T @ y
    score = design * (y - design @ coefficients)[:, None]
    by_run = np.zeros((int(runs.max()) + 1, design.shape[1]))
    np.add.at(by_run, runs, score)
    error = np.sqrt(np.diag(inverse @ by_run.T @ by_run @ inverse))
    return coefficients[1:], coefficients[1:] / np.maximum(error[1:], 1e-300)


# level of the outlier test, for all rows together
_RARE_OUTLIER = 0.01
# standard errors that a parameter moves by, and times that intervals are wider: what a reader of two digits sees
_MOVED, _WIDE = 1.0, 1.25
# outliers that are examined, the farthest first: with more of them the law is wrong, not the rows
_MOST_OUTLIERS = 3


def influence_notes(problem: Problem, u: Array, rows: Observations) -> list[str]:
    """Return a sentence for each influential outlier, the farthest first; none where more than a few are outliers.

    An outlier lies further from the law, fitted without its run, than the farthest of as many independent rows would
    (Cook and Weisberg 1982, Residuals and Influence in Regression, section 2.2.2, with Bonferroni's correction). It is
    influential where leaving its run out moves a parameter by more than one standard error (DFBETAS above 1: Belsley,
    Kuh and Welsch 1980, Regression Diagnostics, section 2.1), or narrows all intervals by a fifth.
    """
    from scipy.special import stdtrit

    n, spare = len(problem.target), len(problem.target) - len(u) - 1
    if spare < 2 or int(rows.runs.max()) < len(u) + 1:
        return []
    far = np.argsort(-np.abs(problem.residuals(u[None])[0]))[: _MOST_OUTLIERS + 1]
    others = rows.runs[None, :] != rows.runs[far][:, None]
    without = refit(problem, u[None], others, WARM)
    outliers, notes = 0, []
    for k in np.flatnonzero(without.done):
        sds, name, moved, wider = _without(problem, u, int(far[k]), others[k], without.u[k])
        if not abs(sds) > float(stdtrit(spare, 1 - _RARE_OUTLIER / 2 / n)):
            continue
        outliers += 1
        moves = f"moves {name} by {abs(moved):.1f} standard errors" if abs(moved) > _MOVED else ""
        widens = f"makes the intervals {wider:.2g} times as wide" if wider > _WIDE else ""
        if moves or widens:
            place, side = rows.table.where_is(rows.rows.index[far[k]]), "below" if sds > 0 else "above"
            why = " and ".join(filter(None, [moves, widens]))
            notes.append(
                f"{place} lies {abs(sds):.1f} sd {side} the law of the other runs and {why}: look at it, or leave it "
                "out with --where"
            )
    return notes if outliers <= _MOST_OUTLIERS else []


def _without(
    problem: Problem, u: Array, row: int, others: NDArray[np.bool_], optimum: Array
) -> tuple[float, str, float, float]:
    """Return what the run of a row does to the fit, from the optimum without it: how many standard deviations of the
    others the row lies off, the parameter that it moves most, by how many standard errors, and how much wider intervals
    are."""
    spare = int(others.sum()) - len(u)
    r, jacobian = (x[0] for x in problem.linearise(optimum[None]))
    scale = float(np.sqrt((r[others] ** 2).sum() / max(spare, 1)))
    if spare < 1 or not scale > 0:
        return 0.0, "", 0.0, 0.0
    inverse = np.linalg.pinv(jacobian[:, others] @ jacobian[:, others].T)
    moved = (u - optimum) / (scale * np.sqrt(np.maximum(np.diag(inverse), 1e-300)))
    most, own = int(np.argmax(np.abs(moved))), jacobian[:, row]
    sds = float(r[row] / scale / np.sqrt(1 + own @ inverse @ own))
    all_rows = problem.residuals(u[None])[0]
    wider = float(np.sqrt((all_rows**2).sum() / max(len(all_rows) - len(u), 1)) / scale)
    return sds, problem.free[most], float(moved[most]), wider


# neighbours up to this many places apart count, by the inverse of the distance
_LAGS = 8
# one-sided, standard normal: independent rows are called dependent in 1 of 1000 tables
RARE = 3.1


def trend(residual: Array, columns: Mapping[str, Array]) -> str:
    """Return words for a law that misses its runs by much, and along one of its columns; empty for any other.

    One-way analysis of variance of the residuals of ln L between levels of each column (Fisher 1925), without
    replicates.
    """
    from scipy.special import fdtrc

    rms, worst = float(np.sqrt(np.mean(residual**2))), (_TREND / len(columns), "")
    if not _MISSED <= rms < np.inf:
        return ""
    for name, x in columns.items():
        level = level_index(x)
        if 2 * (level.max() + 1) > len(x):  # hardly two runs share a level: equal parts of them instead
            level = np.argsort(np.argsort(x, kind="stable")) * _PARTS // len(x)
        count = np.bincount(level)
        between = float((np.bincount(level, residual) ** 2 / count).sum() - residual.sum() ** 2 / len(x))
        within, free = float((residual**2).sum() - residual.sum() ** 2 / len(x)) - between, len(x) - len(count)
        if len(count) > 1 and free > 0:
            ratio = between / (len(count) - 1) / max(within / free, np.finfo(float).tiny)
            worst = min(worst, (float(fdtrc(len(count) - 1, free, ratio)), name))
    return f"lack of fit: it misses its runs by {rms:.0%} (rms), with a trend along {worst[1]}" if worst[1] else ""


def moran(residuals: Array, jacobian: Array, sets: NDArray[np.intp], along: Array) -> tuple[float, float]:
    """Return how many standard deviations Moran's I of residuals (rows,), with jacobian (free, rows), lies above its
    mean under independence, and their autocorrelation from row to row; neighbours are in one of the sets, along a
    column."""
    order = np.lexsort((along, sets))
    # by rank and not by size, so that one outlier or a heavy tail decides nothing
    e, sets = _normal_scores(residuals)[order], sets[order]
    q, triangle = np.linalg.qr(jacobian.T[order])
    q = q[:, np.abs(np.diag(triangle)) > 1e-10 * np.abs(triangle).max(initial=1e-300)]
    e = e - q @ (q.T @ e)
    n, spare = len(e), len(e) - q.shape[1]
    if spare < 3 or not e.any():
        return 0.0, 0.0
    turned = _near(q, sets)
    square = sum(2 * float((sets[k:] == sets[:-k]).sum()) / k**2 for k in range(1, min(_LAGS, n - 1) + 1))
    inner = q.T @ turned
    trace = -float(np.trace(inner))
    traces = square - 2 * float((turned**2).sum()) + float((inner**2).sum())
    mean = trace / spare
    variance = 2 * (spare * traces - trace**2) / (spare**2 * (spare + 2))
    if not variance > 0:
        return 0.0, 0.0
    ratio = float(e @ _near(e[:, None], sets)[:, 0] / (e @ e))
    next_to = sets[1:] == sets[:-1]
    lag_one = float((e[1:] * e[:-1])[next_to].sum() / max(int(next_to.sum()), 1) / (e @ e / n))
    return (ratio - mean) / float(np.sqrt(variance)), lag_one


def _near(x: Array, sets: NDArray[np.intp]) -> Array:
    """Return W x for x (rows, k): sums over neighbours in a set, each by the inverse of its distance in places."""
    out = np.zeros_like(x)
    for lag in range(1, min(_LAGS, len(x) - 1) + 1):
        same = (sets[lag:] == sets[:-lag])[:, None] / lag
        out[lag:] += same * x[:-lag]
        out[:-lag] += same * x[lag:]
    return out


def _normal_scores(x: Array) -> Array:
    """Return Gaussian quantiles of the ranks (van der Waerden), the sign of a residual kept by ranking its size."""
    from scipy.special import ndtri

    ranks = np.argsort(np.argsort(np.abs(x), kind="stable"), kind="stable") + 1.0
    return np.asarray(np.sign(x) * ndtri(0.5 + 0.5 * ranks / (len(x) + 1)))


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
