"""How an estimate would vary with other runs: the unit of every interval is the run, never the row.

    spread = jackknife(problem, u, runs)               # runs: the number of the run that each row is of

Jackknife: each run is left out in turn, what that moves the estimates by is made unbiased (Bell and McCaffrey 2002),
and Student's t used. Bootstrap: runs are weighed at random, where Huber's delta lies below the scatter, since the
jackknife of a median-like estimate fails (Efron 1982, The Jackknife, the Bootstrap). Resamples are other weights on the
rows of one problem, so all of them are one batch of the solver.
"""

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.intervals.estimate import LONGER, Spread
from isoflop.analysis.intervals.profile import noise_scale
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.solving.descent import MAX_STEPS, TOLERANCE, WARM, Pace, expand, minimise
from isoflop.analysis.solving.problem import Problem

# groups of runs left out at a time where there are more runs than this; t is then on the number of groups
_MOST_GROUPS = 1000
# elements of a Jacobian over all draws: beyond this, one Newton step from sums over each run stands for the search
_MOST_WORK = 200_000_000
# problems solved at once: bounds the memory that their weights take
_BATCH = 2000
# a draw may stop this share of its objective above its minimum, times the rows: the objective is half of rows times the
# noise, so that it is within sqrt(2e-3) of a standard error of where it would end
_NEAR_ENOUGH = 1e-3
# sizes closer than this share are one; fewer of them than this tell nothing of their scatter
_SAME_SIZE, _FEWEST_SIZES = 0.05, 8
# draws that are made first: where so large a share of them come to no minimum there is no interval (at 95 % it bears
# a fortieth without), and the others are spared
_PILOT, _MOST_LOST = 100, 0.2
# a draw is at its minimum when its next step would lower the objective by this share of what a standard error adds: it
# is then within a few thousandths of a standard error, sqrt(2 _NEAR), of where it would end
_NEAR = 1e-5
# 1 - leverage of a run counts as at least this much: below, leaving it out tells nothing to first order
_LEAST_FREE = 0.02


def shortcuts(method: str, rows: int, free: int, n_runs: int, resamples: int) -> list[str]:
    """Return a note for each step in which a large table is treated more coarsely than a small one."""
    how = {"jackknife": "left out", "bootstrap": "drawn"}.get(method)
    if how is None:
        return []
    notes, units = [], min(n_runs, _MOST_GROUPS)
    if n_runs > _MOST_GROUPS:
        notes.append(f"the {n_runs} runs are {how} in {_MOST_GROUPS} groups")
    draws = units if method == "jackknife" else resamples
    if _in_one_step(draws, units, rows, free):
        notes.append(f"{draws} refits of {rows} rows are each one Newton step from the optimum")
    return notes


def jackknife(problem: Problem, u: Array, runs: NDArray[np.intp], *, bias: bool = False) -> Spread:
    """Leave each run out in turn (each of at most _MOST_GROUPS groups of runs); `runs` is the number of each row's run;
    bias: leave the spread as far out as leaving a run out brings it, as a prediction of that run would need."""
    groups = runs % min(int(runs.max()) + 1, _MOST_GROUPS)
    count = int(groups.max()) + 1
    draws, dof = _draws(problem, u, groups, 1.0 - np.eye(count)), count - 1.0
    low, high = problem.box
    on_bound = bool(((draws <= low) | (draws >= high) | (u <= low) | (u >= high)).any())
    if not bias:
        moved, dof = _unbiased(problem, u, groups, draws - u)
        draws = np.clip(u + moved, *problem.box)
    shift = _prior_shift(problem, u)
    # what is known beforehand counts as one more measurement for each prior: a pair of draws that adds its variance
    gaps = np.concatenate([shift, -shift]) * np.sqrt(0.5)
    centre = np.where(np.isfinite(draws), draws, u).mean(0)
    return Spread("jackknife", np.concatenate([draws, centre + gaps]), dof, count, on_bound)


def bootstrap(problem: Problem, u: Array, runs: NDArray[np.intp], resamples: int, seed: int) -> Spread:
    """Weigh the runs (of more than _MOST_GROUPS, groups of them) at random, `resamples` times, by weights that sum to
    their number; what is known beforehand varies likewise.

    The weights are exponential (Rubin 1981, Annals of Statistics 9: the Bayesian bootstrap; Rao and Zhao 1992, Sankhya
    A 54, for M-estimates): no run is ever left out, so that few runs never become fewer than the law has parameters.
    """
    groups = runs % min(int(runs.max()) + 1, _MOST_GROUPS)
    count = int(groups.max()) + 1
    rng = np.random.default_rng(seed)
    weights = count * rng.dirichlet(np.ones(count), size=resamples)
    tolerance = _NEAR * noise_scale(problem, u, runs) / max(float(expand(problem, u[None], None).f[0]), 1e-300)
    at_once = resamples <= 2 * _PILOT or _in_one_step(resamples, count, len(groups), len(u))
    pilot = resamples if at_once else _PILOT
    draws = _draws(problem, u, groups, weights[:pilot], min(tolerance, _NEAR))
    if pilot < resamples and np.isnan(draws).any(1).mean() <= _MOST_LOST:
        draws = np.concatenate([draws, _draws(problem, u, groups, weights[pilot:], min(tolerance, _NEAR))])
    shift = _prior_shift(problem, u)
    return Spread("bootstrap", draws + rng.normal(size=(len(draws), len(shift))) @ shift, count - 1, len(draws))


def _prior_shift(problem: Problem, u: Array) -> Array:
    """Return how far the optimum moves (priors, free) when the mean of each prior moves by its standard error."""
    if not problem.priors:
        return np.zeros((0, len(u)))
    local = expand(problem, u[None], None)
    rows = []
    for name, prior in problem.priors.items():
        i = problem.free.index(name)
        pull = np.zeros(len(u))
        pull[i] = prior.weight * prior.error * (np.exp(u[i]) if problem.logs[i] else 1.0)
        rows.append(np.linalg.lstsq(local.major[0], pull, rcond=None)[0])
    return np.array(rows)


def _draws(problem: Problem, u: Array, runs: NDArray[np.intp], counts: Array, tolerance: float = TOLERANCE) -> Array:
    """Return the optimum under each row of counts (draws, runs): how often each run is taken."""
    if _in_one_step(counts.shape[0], counts.shape[1], len(runs), len(u)):
        return _one_step(problem, u, runs, counts)
    batches = [counts[i : i + _BATCH] for i in range(0, len(counts), _BATCH)]
    return np.concatenate([_refit(problem, u, batch[:, runs], tolerance) for batch in batches])


def _in_one_step(draws: int, units: int, rows: int, free: int) -> bool:
    """Return whether resamples are each one Newton step from the optimum: where they are much work, or runs so many
    that what a step leaves out, of order 1 / runs, is nothing beside the scatter of the resamples themselves."""
    return units >= _MOST_GROUPS or draws * rows * free > _MOST_WORK


def _one_step(problem: Problem, u: Array, runs: NDArray[np.intp], counts: Array) -> Array:
    """Take one Newton step from the optimum for each draw, from sums over runs: exact to first order in 1 / runs."""
    r, jacobian = problem.linearise(u[None])
    _, psi, inside, _ = problem.objective.terms(r)
    size, free = counts.shape[1], len(u)
    slope = np.stack([np.bincount(runs, weights=row, minlength=size) for row in jacobian[0] * psi], axis=-1)
    weighted = jacobian[0] if inside is None else jacobian[0] * _curvature(r[0], problem.objective.delta)
    curve = np.empty((size, free, free))
    for i in range(free):
        for k in range(free):
            curve[:, i, k] = np.bincount(runs, weights=weighted[i] * jacobian[0][k], minlength=size)
    matrix = (counts @ curve.reshape(size, -1)).reshape(-1, free, free)
    # in units of each parameter's curvature, so that a solve is as exact as doubles allow
    unit = 1 / np.sqrt(np.maximum(np.einsum("dii->di", matrix), 1e-300))
    scaled = matrix * unit[:, :, None] * unit[:, None, :] + 1e-13 * np.eye(free)
    return np.asarray(u - np.linalg.solve(scaled, (counts @ slope * unit)[:, :, None])[:, :, 0] * unit)


def _curvature(r: Array, delta: float) -> Array:
    """Return Huber's second derivative at residuals (rows,), as wide as an estimate of their density needs.

    Where delta lies far below the scatter, the share of rows inside it tells the density at zero badly. A kernel
    estimate takes those within h instead (Powell 1991), h being where 2 h_n of them lie, h_n of Hall and Sheather 1988
    at the median: 0.97 n^(-1/3) for 95 % (Koenker 2005, Quantile Regression, section 3.4.2).
    """
    share = min(1.0, 2 * 0.97 * len(r) ** (-1 / 3))
    h = max(delta, float(np.quantile(np.abs(r), share)))
    return np.asarray((np.abs(r) <= h) * (delta / h), dtype=np.float64)


def _refit(problem: Problem, u: Array, weights: Array, tolerance: float) -> Array:
    pace = WARM._replace(tolerance=tolerance)
    ends = minimise(problem, np.broadcast_to(u, (len(weights), len(u))), weights, pace)
    near = _NEAR_ENOUGH / len(problem.target)
    left = np.flatnonzero(~ends.done & np.isfinite(ends.objective) & ~(ends.decrement < near))
    if len(left):
        longer = minimise(problem, ends.u[left], weights[left], Pace(steps=LONGER * MAX_STEPS, tolerance=tolerance))
        for mine, theirs in zip(ends, longer, strict=True):
            mine[left] = theirs
    # a search that came to no minimum is no estimate
    sound = np.isfinite(ends.objective) & (ends.done | (ends.decrement < near))
    return np.where(sound[:, None], ends.u, np.nan)


def by_size(problem: Problem, u: Array) -> Spread | None:
    """Leave out one value of the law's first column at a time, for a run at a new size; None if few of them."""
    sizes = level_index(problem.columns[0], _SAME_SIZE)
    if int(sizes.max()) + 1 < _FEWEST_SIZES:
        return None
    return jackknife(problem, u, sizes, bias=True)


def _unbiased(problem: Problem, u: Array, runs: NDArray[np.intp], moved: Array) -> tuple[Array, float]:
    """Return how far leaving out each run moves the optimum, (runs, free), over the root of 1 - leverage, and the
    degrees of freedom: the harmonic mean of those of the free parameters.

    Over 1 - leverage itself the variance is overstated, fivefold for the outermost of six runs; over its root it is
    without bias for independent residuals of one variance (Bell and McCaffrey 2002, Survey Methodology 28; Imbens and
    Kolesar 2016, Review of Economics and Statistics 98, for few clusters).

    problem   the law on the rows
    u         its optimum (free,)
    runs      (rows,) the number of each row's run
    moved     (runs, free) by how much each optimum without one run differs from u
    """
    count, low_high = int(runs.max()) + 1, problem.box
    r, jacobian = problem.linearise(u[None])
    inside = problem.objective.terms(r)[2]
    slopes = jacobian[0].T if inside is None else jacobian[0].T * inside[0][:, None]
    unit = np.sqrt((slopes**2).sum(0))
    free = np.flatnonzero((u > low_high[0]) & (u < low_high[1]) & (unit > 0))
    if len(free) == 0 or len(slopes) < len(free):
        return moved, count - 1.0
    q, triangle = np.linalg.qr(slopes[:, free] / unit[free])
    if np.abs(np.diag(triangle)).min() < 1e-7:
        return moved, count - 1.0
    shares = np.zeros((count, len(free), len(free)))  # of the information that each run holds; they add up to one
    np.add.at(shares, runs, q[:, :, None] * q[:, None, :])
    values, vectors = np.linalg.eigh(np.eye(len(free)) - shares)
    values = np.clip(values, _LEAST_FREE, 1.0)
    root = np.einsum("gij,gj,gkj->gik", vectors, np.sqrt(values), vectors)
    scaled = np.einsum("gij,gj->gi", root, moved[:, free] * unit[free] @ triangle.T)
    result = moved.copy()
    result[:, free] = np.linalg.solve(triangle, scaled.T).T / unit[free]
    inverse_root = np.einsum("gij,gj,gkj->gik", vectors, 1 / np.sqrt(values), vectors)
    dofs = _satterthwaite(np.einsum("gij,jc->gic", inverse_root, np.linalg.inv(triangle).T), shares)
    return result, float(np.clip(len(dofs) / (1 / dofs).sum(), 1.0, count - 1.0))


def _satterthwaite(weights: Array, shares: Array) -> Array:
    """Return the degrees of freedom of the variance of each parameter, (free,): those of the chi-square with its mean
    and its variance, by how much a run's scores move each, (runs, free, free), and its share of the information."""
    a = np.einsum("gij,gjc->gic", shares, weights)
    own, size, gram = np.einsum("gic,gic->gc", weights, a), (a**2).sum(1), np.einsum("gic,gjc->cij", a, a)
    # trace and squares of diag(own) - a a', which is (runs, runs), for each parameter
    trace, squares = (own - size).sum(0), (own**2 - 2 * own * size).sum(0) + (gram**2).sum((1, 2))
    return np.asarray(np.maximum(trace**2 / np.maximum(squares, 1e-300), 1e-3))
