"""How an estimate would vary with other runs: the unit of every interval is the run, never the row.

Jackknife: each run is left out in turn; what that moves the estimates by is made unbiased (small_samples.py), and its
spread times Student's t covers 93-97 % of the time for least squares, with clustered rows too. Bootstrap-t: runs are
weighed at random and the standard deviation of the estimates is multiplied by Student's t; where Huber's delta lies
below the scatter (nearly least absolute deviations) the jackknife of a median-like estimate is known to fail (Efron
1982, The Jackknife, the Bootstrap), and this is used instead. A resample is the same problem under other weights on its
rows, so all of them are one batch of the solver.

    spread = jackknife(problem, u, runs)               # runs: the number of the run that each row is of
    bounded(0.3, drawn, spread, level=0.95)   # (Estimate(value=0.3, low=0.27, high=0.33), '')
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.intervals.profile import noise_scale
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.solving.descent import MAX_STEPS, TOLERANCE, expand, minimise
from isoflop.analysis.solving.problem import Problem

METHODS = ("auto", "jackknife", "bootstrap", "mixed", "profile", "none")
# groups of runs left out at a time where there are more runs than this; t is then on the number of groups
MOST_GROUPS = 1000
# a warm start is near its optimum: begin close to Newton
WARM = 1e-3
# elements of a Jacobian over all draws: beyond this, one Newton step from sums over each run stands for the search
MOST_WORK = 200_000_000
# times MAX_STEPS that a draw in a long valley goes on for
LONGER = 4
# problems solved at once: bounds the memory that their weights take
BATCH = 2000
# a draw may stop this share of its objective above its minimum, times the rows: the objective is half of rows times the
# noise, so that it is within sqrt(2e-3) of a standard error of where it would end
NEAR_ENOUGH = 1e-3
# sizes closer than this share are one; fewer of them than this tell nothing of their scatter
SAME_SIZE, FEWEST_SIZES = 0.05, 8
# draws that are made first: where so large a share of them come to no minimum there is no interval (at 95 % it bears
# a fortieth without), and the others are spared
PILOT, MOST_LOST = 100, 0.2
# a draw is at its minimum when its next step would lower the objective by this share of what a standard error adds: it
# is then within a few thousandths of a standard error, sqrt(2 NEAR), of where it would end
NEAR = 1e-5
# a draw this many times the estimate, or this small a share of it, is a search that ran away
FAR = 1e6
# an interval of one parameter is this much shorter than the region of all of them, sqrt(p F(p, dof) / F(1, dof)):
# 1.7 to 2.1 for four to seven parameters (Scheffe 1953)
REACH = 2.0


@dataclass(frozen=True)
class Spread:
    """Estimates under resampling, and how their scatter becomes a standard error.

    method   jackknife, bootstrap or mixed
    draws    the optimum under each resample, u (draws, free)
    dof      degrees of freedom of Student's t
    units    runs left out, or resamples
    bounded  whether a parameter stands on its bound, at the optimum or without one of the runs; where one does, leaving
             a run out moves the others by jumps, whose sum of squares is no variance
    """

    method: str
    draws: Array
    dof: float
    units: int
    bounded: bool = False

    def error(self, values: Array) -> Array:
        """Return the standard error of a quantity whose value under each draw is given, along the first axis."""
        count = len(values)
        factors = {"jackknife": 1.0, "bootstrap": 1 / (count - 1), "mixed": 1 / count}
        with np.errstate(over="ignore", invalid="ignore"):  # a scatter beyond the doubles is infinite
            gaps = values - values.mean(0)
            error: Array = np.sqrt(factors[self.method] * (gaps**2).sum(0))
        return np.where(np.isnan(error), np.inf, error)


def shortcuts(method: str, rows: int, free: int, n_runs: int, resamples: int) -> list[str]:
    """Return a note for each step in which a large table is treated more coarsely than a small one."""
    notes = []
    if method == "jackknife" and n_runs > MOST_GROUPS:
        notes.append(f"the {n_runs} runs are left out in {MOST_GROUPS} groups")
    if method == "bootstrap" and n_runs > MOST_GROUPS:
        notes.append(f"the {n_runs} runs are drawn in {MOST_GROUPS} groups")
    draws, units = min(n_runs, MOST_GROUPS) if method == "jackknife" else resamples, min(n_runs, MOST_GROUPS)
    if method in ("jackknife", "bootstrap") and _in_one_step(draws, units, rows, free):
        notes.append(f"{draws} refits of {rows} rows are each one Newton step from the optimum")
    return notes


def t_quantile(level: float, dof: float) -> float:
    """Return the two-sided quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(dof, 0.5 + level / 2))


def jackknife(problem: Problem, u: Array, runs: NDArray[np.intp], *, bias: bool = False) -> Spread:
    """Leave each run out in turn (each of at most MOST_GROUPS groups of runs); `runs` is the number of each row's run.

    bias: leave the spread as far out as leaving a run out brings it, as a prediction of that run would need.
    """
    groups = runs % min(int(runs.max()) + 1, MOST_GROUPS)
    count = int(groups.max()) + 1
    draws, dof = _draws(problem, u, groups, 1.0 - np.eye(count)), count - 1.0
    low, high = problem.box
    on_bound = bool(((draws <= low) | (draws >= high) | (u <= low) | (u >= high)).any())
    if not bias:
        from isoflop.analysis.intervals.small_samples import unbiased

        moved, dof = unbiased(problem, u, groups, draws - u)
        draws = np.clip(u + moved, *problem.box)
    shift = _prior_shift(problem, u)
    # what is known beforehand counts as one more measurement for each prior: a pair of draws that adds its variance
    gaps = np.concatenate([shift, -shift]) * np.sqrt(0.5)
    centre = np.where(np.isfinite(draws), draws, u).mean(0)
    return Spread("jackknife", np.concatenate([draws, centre + gaps]), dof, count, on_bound)


def bootstrap(problem: Problem, u: Array, runs: NDArray[np.intp], resamples: int, seed: int) -> Spread:
    """Weigh the runs (of more than MOST_GROUPS, groups of them) at random, `resamples` times, by weights that sum to
    their number; what is known beforehand varies likewise.

    The weights are exponential (Rubin 1981, Annals of Statistics 9: the Bayesian bootstrap; Rao and Zhao 1992, Sankhya
    A 54, for M-estimates). Their first two moments are those of runs drawn with replacement, but no run is ever left
    out, so that few runs never degenerate into fewer than the law has parameters: drawn eight from eight, they do in
    one resample of three, and the intervals were twice too wide.
    """
    groups = runs % min(int(runs.max()) + 1, MOST_GROUPS)
    count = int(groups.max()) + 1
    rng = np.random.default_rng(seed)
    weights = count * rng.dirichlet(np.ones(count), size=resamples)
    tolerance = NEAR * noise_scale(problem, u, runs) / max(float(expand(problem, u[None], None).f[0]), 1e-300)
    at_once = resamples <= 2 * PILOT or _in_one_step(resamples, count, len(groups), len(u))
    pilot = resamples if at_once else PILOT
    draws = _draws(problem, u, groups, weights[:pilot], min(tolerance, NEAR))
    if pilot < resamples and np.isnan(draws).any(1).mean() <= MOST_LOST:
        draws = np.concatenate([draws, _draws(problem, u, groups, weights[pilot:], min(tolerance, NEAR))])
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
    batches = [counts[i : i + BATCH] for i in range(0, len(counts), BATCH)]
    return np.concatenate([_refit(problem, u, batch[:, runs], tolerance) for batch in batches])


def _in_one_step(draws: int, units: int, rows: int, free: int) -> bool:
    """Return whether resamples are each one Newton step from the optimum: where they are much work, or runs so many
    that what a step leaves out, of order 1 / runs, is nothing beside the scatter of the resamples themselves."""
    return units >= MOST_GROUPS or draws * rows * free > MOST_WORK


def _one_step(problem: Problem, u: Array, runs: NDArray[np.intp], counts: Array) -> Array:
    """Take one Newton step from the optimum for each draw, from sums over each run: exact to first order in 1 /
    runs."""
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
    ends = minimise(problem, np.broadcast_to(u, (len(weights), len(u))), weights, lam=WARM, tolerance=tolerance)
    near = NEAR_ENOUGH / len(problem.target)
    left = np.flatnonzero(~ends.done & np.isfinite(ends.objective) & ~(ends.decrement < near))
    if len(left):
        longer = minimise(problem, ends.u[left], weights[left], steps=LONGER * MAX_STEPS, tolerance=tolerance)
        for mine, theirs in zip(ends, longer, strict=True):
            mine[left] = theirs
    # a search that came to no minimum is no estimate
    sound = np.isfinite(ends.objective) & (ends.done | (ends.decrement < near))
    return np.where(sound[:, None], ends.u, np.nan)


def bounded(
    value: float,
    drawn: Array | None,
    spread: Spread | None,
    level: float,
    *,
    log: bool = False,
    low: float = -np.inf,
    high: float = np.inf,
    share: bool = False,
    elsewhere: Array | None = None,
) -> tuple[Estimate, str]:
    """Return the value with its interval inside [low, high], a bound that the draws do not support being None; and why
    one does not exist (empty if both do).

    share: of a whole, inside (0, 1); the interval is that of the odds x / (1 - x), on their logarithm.

    elsewhere: values of the quantity at other places that noise cannot tell from the optimum. Resamples never move
    along a flat direction, so an interval that misses one of them is far too narrow, and is none.
    """
    x, draws, places = value, drawn, elsewhere
    if share := share and 0 < value < 1:
        x, log, low, high = value / (1 - value), True, 0.0, np.inf
        draws, places = (None if v is None else _odds(v) for v in (drawn, elsewhere))
    interval, why = _bounded(x, draws, spread, level, log, low, high)
    if places is not None and elsewhere is not None and not (interval.low is None and interval.high is None):
        outside = elsewhere[~reaches(x, interval.low, interval.high, places, log=log)]
        if len(outside):
            far = outside[np.argmax(np.abs(outside - value))]
            allowed = f"{far:.3g}" if np.isfinite(far) else "places where it has no value"
            return Estimate(value), f"noise allows {allowed} as well"
    if not share:
        return interval, why
    return Estimate(value, *(None if end is None else end / (1 + end) for end in (interval.low, interval.high))), why


def _odds(x: Array) -> Array:
    """Return x / (1 - x); infinite for 1 and above."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x < 1, x / (1 - x), np.where(np.isnan(x), np.nan, np.inf))


def reaches(value: Any, low: Any, high: Any, elsewhere: Array, *, log: bool) -> NDArray[np.bool_]:
    """Return whether an interval (None: open), taken REACH times as wide, holds each of the values."""
    value, elsewhere = (np.log(np.maximum(x, 1e-300)) if log else np.asarray(x) for x in (value, elsewhere))
    ends = (None if end is None else np.log(np.maximum(end, 1e-300)) if log else np.asarray(end) for end in (low, high))
    bottom, top = (
        side * np.inf if end is None else value + REACH * (end - value) for end, side in zip(ends, (-1, 1), strict=True)
    )
    held: NDArray[np.bool_] = (elsewhere >= bottom) & (elsewhere <= top)
    return held


def _bounded(
    value: float, drawn: Array | None, spread: Spread | None, level: float, log: bool, low: float, high: float
) -> tuple[Estimate, str]:
    if drawn is None or spread is None or not np.isfinite(value):
        return Estimate(value if np.isfinite(value) else None), ""
    if log and not value > 0:
        return Estimate(value), "it has vanished, and a logarithm has no interval there"
    centre, values = (np.log(value), _logs(drawn)) if log else (value, np.asarray(drawn, dtype=float))
    lost = float(np.isnan(values).mean())
    allowed = (1 - level) / 2 if spread.method == "bootstrap" else 0.0
    if lost > allowed:
        return Estimate(value), f"{_share(lost, spread)} short of a minimum after {(1 + LONGER) * MAX_STEPS} steps"
    gaps = np.where(np.isnan(values), centre, values) - centre
    far = np.abs(gaps) >= (np.log(FAR) if log else np.inf)
    near = ~np.isnan(values) & ~far
    if near.sum() < 3:
        return Estimate(value), f"{_share(float(far.mean()), spread)} without end"
    half = t_quantile(level, spread.dof) * float(spread.error(values[near]))
    ends = _exponentials(centre - half, centre + half) if log else (centre - half, centre + half)
    sides = [float((far & (gaps < 0)).mean()), float((far & (gaps > 0)).mean())]
    opened = [side > allowed or not np.isfinite(end) for side, end in zip(sides, ends, strict=True)]
    estimate = Estimate(
        value, None if opened[0] else float(max(ends[0], low)), None if opened[1] else float(min(ends[1], high))
    )
    why = f"{_share(max(sides), spread)} without end" if max(sides) > allowed else "its scatter is beyond any number"
    return estimate, why if any(opened) else ""


def _logs(drawn: Array) -> Array:
    """Return logarithms: minus infinity of what has vanished, NaN of what is no number or below zero."""
    drawn = np.asarray(drawn, dtype=float)
    logs = np.where(drawn > 0, np.log(np.where(drawn > 0, drawn, 1.0)), -np.inf)
    return np.where(drawn >= 0, logs, np.nan)


def _exponentials(*ends: float) -> tuple[float, ...]:
    """Return powers of e, infinite beyond the doubles."""
    return tuple(float(np.exp(x)) if x < np.log(np.finfo(float).max) else np.inf for x in ends)


def _share(share: float, spread: Spread) -> str:
    """Return words for the share of the resampled fits: all, most, 12 of 1000 fits."""
    what = "resamples are" if spread.method == "bootstrap" else "fits without one run are"
    return f"{share:.1%} of the {what}"


def by_size(problem: Problem, u: Array) -> Spread | None:
    """Leave out one value of the law's first column at a time, as a jackknife; None if there are few of them.

    A new run at a new size meets what the rows of one size share (its tuning, its shape), run by run as they may be.
    """
    sizes = level_index(problem.columns[0], SAME_SIZE)
    if int(sizes.max()) + 1 < FEWEST_SIZES:
        return None
    return jackknife(problem, u, sizes, bias=True)


def new_run(value: Array, error: Array, noise: Array, spread: Spread, level: float, *, raw: bool) -> Array:
    """Return bounds (2, rows) for a new run from the error of the law and the scatter of a row, on the scale of the
    residuals."""
    half = t_quantile(level, spread.dof) * np.sqrt(error**2 + noise**2)
    return np.stack([value - half, value + half]) if raw else np.stack([value * np.exp(-half), value * np.exp(half)])


def error_of(drawn: Array, spread: Spread, *, raw: bool) -> Array:
    """Return the standard error of predictions (draws, rows), on the scale of the residuals; NaN if too few draws are
    sound."""
    sound = np.isfinite(drawn).all(1) & (raw | (drawn > 0).all(1))
    if sound.sum() < 3:
        return np.full(drawn.shape[1], np.nan)
    return spread.error(drawn[sound] if raw else np.log(drawn[sound]))
