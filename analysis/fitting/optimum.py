"""The search for the optimum of a law, how the optimum varies, and what follows: quantities with intervals, bands.

ended = search_optimum(problem_of(prepared, law, settings), prepared.runs, settings)
ended.u, ended.kappa     # where the best start ended, and the scale of the noise

optimum = fit(runs, "chinchilla").optimum
optimum.measure(lambda alpha, beta, **_: beta / (alpha + beta), level=0.95)     # (Estimate(...), '')
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.arguments import LOSSES, Settings
from isoflop.analysis.intervals.estimate import Estimate, Scale, Spread, bounded, error_of, new_run, reaches
from isoflop.analysis.intervals.profile import noise_scale
from isoflop.analysis.intervals.resampling import by_size
from isoflop.analysis.intervals.residuals import Noise
from isoflop.analysis.laws.declare import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.observations import Observations
from isoflop.analysis.solving.descent import WARM, Solution, minimise
from isoflop.analysis.solving.problem import Objective, Prior, Problem
from isoflop.analysis.solving.starts import search, starts
from isoflop.errors import FitError, TooFewRowsError

STARTS = 64
# ... beside the optimum of almost the same problem
_FEW_STARTS = 12
# rows that starts and profiles see of a longer table; the best of them is then fitted to all of it
FEW_ROWS = 1_000
# ... and profiles that are flat on so few are looked at again on as many as this; also the most that share parameters
MOST_ROWS = 20_000
# least absolute deviations as Huber's loss of a vanishing delta, in units of the scatter: down this ladder, from the
# best start
_L1_LADDER = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
# ... and at this step of it for resamples, where the rest of the way is far below their scatter
_L1_RESAMPLES = 1e-2
# objectives that differ by less are equal; residuals, as shares of the largest, that differ by more are not
_EQUAL, _APART = 1e-9, 1e-3
# of a central difference, in standard errors
_STEP = 1e-3


class Starts(NamedTuple):
    """How many starts the search had.

    tried        starts in all
    at_optimum   starts that ended at the best objective found
    """

    tried: int
    at_optimum: int


@dataclass(frozen=True)
class Search:
    """The problem, where its starts ended, the best of them, and the scale of the noise."""

    problem: Problem
    solution: Solution
    kappa: float

    @property
    def best(self) -> int:
        return int(self.solution.objective.argmin())

    @cached_property
    def level(self) -> bool:
        """Whether the objective is level about its least: starts that end equally low say different losses of the rows,
        as where rows at each place have two losses and a loss linear in residuals takes any between them."""
        least = self.solution.objective <= self.solution.objective[self.best] * (1 + _EQUAL)
        r = self.problem.residuals(self.solution.u[least])
        return bool(np.ptp(r, axis=0).max() > _APART * max(float(np.abs(r).max()), 1e-12))

    @property
    def u(self) -> Array:
        best: Array = self.solution.u[self.best]
        return best


def problem_of(prepared: Observations, law: Law, settings: Settings) -> Problem:
    """Return the rows under the law, least squares for the time being; an error if there are too few of them."""
    settings.check_names(law)
    objective = Objective("l2", 1.0, LOSSES[settings.loss][1])
    fixed = dict(settings.pin or {})
    lowest = float(prepared.target.min())
    if (E := fixed.get("E", lowest)) < 0 < lowest:
        raise FitError(f"E={E:g} is below 0, and no {law.target} is; pin 0 or more")
    if (highest := float(prepared.target.max())) < E:
        raise FitError(f"E={E:g} is above every {law.target} of the rows, which reach {highest:.4g}; pin a smaller E")
    problem = Problem(law, prepared.columns, prepared.target, objective, fixed, scale=prepared.scale)
    if not problem.free:
        raise FitError(f"every parameter of {law.name} is pinned; leave one free")
    if len(prepared.target) + len(settings.prior or {}) < len(problem.free):
        need = f"{law.name} has {len(problem.free)} parameters and needs as many rows at the least"
        have = "1 row is" if len(prepared.target) == 1 else f"{len(prepared.target)} rows are"
        raise TooFewRowsError(f"{have} too few: {need}; add runs, pin some or choose a smaller law")
    return problem


def search_optimum(
    problem: Problem,
    runs: NDArray[np.intp],
    settings: Settings,
    u0: Array | None = None,
    near: Array | None = None,
) -> Search:
    """Minimise under the objective and the priors of the settings, from fresh starts, from u0 (starts, free), or from
    near, places (k, free) where the optimum of almost the same problem lies, and a few fresh starts."""
    fresh = u0 is None
    if near is not None:
        u0 = np.concatenate([near, starts(problem, _FEW_STARTS, settings.seed)])
    problem = replace(problem, objective=_objective(problem, settings, u0))
    u0 = starts(problem, STARTS, settings.seed) if u0 is None else u0
    ended = _search(problem, u0, runs)
    for _ in range(3 if settings.prior else 0):  # a prior weighs against the noise, which the fit itself tells
        weighed = {k: Prior(mean, ended.kappa / error**2, error) for k, (mean, error) in (settings.prior or {}).items()}
        ended = _search(replace(problem, priors=weighed), u0, runs)
    if ended.level and fresh:  # rounding chooses the place: let it do so in one order of the rows, whatever theirs is
        rows = ended.problem.in_order
        ended = replace(ended, solution=search(rows, starts(rows, STARTS, settings.seed)))
    return ended


def _search(problem: Problem, u0: Array, runs: NDArray[np.intp]) -> Search:
    solution = search(problem, u0)
    if not np.isfinite(solution.objective).any():
        raise FitError(f"{problem.law.name} is not defined at any start on these rows; look at their units")
    return Search(problem, solution, noise_scale(problem, solution.u[int(solution.objective.argmin())], runs))


def _objective(problem: Problem, settings: Settings, u0: Array | None) -> Objective:
    loss, raw = LOSSES[settings.loss]
    if loss != "l1":
        return Objective(loss, settings.delta, raw)
    ends = minimise(problem, starts(problem, STARTS, settings.seed) if u0 is None else u0)
    best = ends.u[int(ends.objective.argmin())]
    scatter = spread_of(problem.residuals(best[None])[0], len(best))
    return Objective("l1", max(_L1_LADDER[0] * scatter, 1e-12), raw)


def spread_of(residuals: Array, free: int) -> float:
    """Scale of the residuals by their median size (1.4826 makes it the sd of a Gaussian), as of n - free of them."""
    n = len(residuals)
    return float(1.4826 * np.median(np.abs(residuals)) * np.sqrt(n / max(n - free, 1)))


def on_all_rows(problem: Problem, u: Array, prepared: Observations) -> tuple[Problem, Array]:
    """Return the problem on all rows, from the optimum on a part of them."""
    all_rows = replace(problem, columns=prepared.columns, target=prepared.target, scale=prepared.scale)
    if problem.priors:
        kappa = noise_scale(all_rows, u, prepared.runs)
        priors = {k: prior._replace(weight=kappa / prior.error**2) for k, prior in problem.priors.items()}
        all_rows = replace(all_rows, priors=priors)
    return all_rows, minimise(all_rows, u[None], pace=WARM).u[0]


def polish(problem: Problem, u: Array) -> tuple[Problem, Array]:
    """Follow least absolute deviations down to its corner; any other loss is there already."""
    if problem.objective.loss != "l1":
        return problem, u
    start = problem.objective.delta
    for rung in _L1_LADDER[1:]:
        delta = start * rung / _L1_LADDER[0]
        sharper = replace(problem, objective=replace(problem.objective, delta=delta))
        u = minimise(sharper, u[None]).u[0]
    return replace(problem, objective=replace(problem.objective, delta=start * _L1_RESAMPLES / _L1_LADDER[0])), u


@dataclass(frozen=True)
class Optimum:
    """Where the search ended, and how that varies: all that predictions and intervals are made from.

    problem        the law on the rows, and the objective
    u              the optimum (free,) in the coordinates of the search
    noise          the scatter of one row's residual
    spread         how the optimum varies from one set of runs to another; None where the interval is none
    alternatives   other places u (k, free) that noise cannot tell from the optimum
    remembered     what was worked out from it at some cost, such as its hold-outs, by a key of whoever did
    """

    problem: Problem
    u: Array
    noise: Noise
    spread: Spread | None
    alternatives: Array
    remembered: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def draws(self) -> dict[str, Array] | None:
        """Resampled parameters by name, (draws,) each; None without a spread."""
        if self.spread is None:
            return None
        count = len(self.spread.draws)
        return {k: np.broadcast_to(v, count) for k, v in self.problem.params(self.spread.draws).items()}

    def measure(
        self, function: Callable[..., Any], level: float, *, log: bool = False, share: bool = False
    ) -> tuple[Estimate, str]:
        """Return a function of the parameters with its interval, and why a bound is missing; `share`: inside (0, 1)."""
        with np.errstate(all="ignore"):  # numpy's numbers: one divided by zero is inf and no exception
            draws = self.draws
            value = float(function(**{k: np.float64(v) for k, v in self.problem.params(self.u).items()}))
            drawn = None if draws is None else np.asarray(function(**draws), dtype=float)
            elsewhere = None
            if len(self.alternatives):
                places = self.problem.params(self.alternatives)
                elsewhere = np.broadcast_to(np.asarray(function(**places), dtype=float), len(self.alternatives))
            least = self._least(function)
            held = None if self.spread is None else self.spread.held
            ends = None if held is None else np.atleast_1d(function(**self.problem.params(np.asarray(held))))
        estimate, why = bounded(value, drawn, self.spread, level, Scale(log, share=share), elsewhere, least)
        return (estimate if ends is None else estimate.widened(ends)), why

    def _least(self, function: Callable[..., Any]) -> float:
        """Return the least standard error of a function of the parameters, to first order; 0 where there is none."""
        if self.spread is None or self.spread.covariance is None:
            return 0.0
        covariance = np.asarray(self.spread.covariance)
        steps = np.diag(_STEP * np.sqrt(np.diag(covariance)))
        ahead, behind = (
            np.broadcast_to(np.asarray(function(**self.problem.params(self.u + side * steps)), dtype=float), len(steps))
            for side in (1, -1)
        )
        slope = (ahead - behind) / (2 * np.diag(steps))
        error = float(np.sqrt(max(slope @ covariance @ slope, 0.0)))
        return error if np.isfinite(error) else 0.0

    def residuals(self) -> Array:
        """Return the residuals at the optimum, (rows,), of ln of the target or of the target, without weights."""
        with np.errstate(all="ignore"):
            r = self.problem.residuals(self.u[None])[0]
        return np.asarray(r if self.problem.scale is None else r / self.problem.scale)

    def band(self, value: Array, columns: list[Array], level: float, *, by_run: bool) -> Array:
        """Return bounds (2, rows) around the law's `value` for a new run, NaN if none; by_run: sizes may be left
        out."""
        if self.spread is None:
            return np.full((2, len(value)), np.nan)
        raw, error = self.problem.objective.raw, self.error(columns, by_run=by_run)
        with np.errstate(all="ignore"):
            bounds = new_run(value, error, self.noise.at(columns), self.spread, level, raw=raw)
            # a band that misses what the data allow as well is none
            bounds[:, self.missed(value, columns, bounds)] = np.nan
        return bounds

    def error(self, columns: list[Array], *, by_run: bool) -> Array:
        """Return the standard error of the law (rows,) at these columns, as of residuals; NaN without a spread."""
        if self.spread is None:
            return np.full(len(columns[0]), np.nan)
        spreads = [self.spread]
        with np.errstate(all="ignore"):
            if by_run and (sizes := by_size(self.problem, self.u)) is not None:
                spreads.append(sizes)
            errors = [error_of(self.problem.at(s.draws, columns), s, raw=self.problem.objective.raw) for s in spreads]
            # a size whose absence leaves no minimum has no say
            return np.asarray(np.fmax.reduce(errors) if np.isfinite(errors[0]).all() else errors[0])

    def missed(self, value: Array, columns: list[Array], bounds: Array) -> Array:
        """Return whether bounds (2, rows) around the law's `value` miss what the data allow as well, (rows,)."""
        if not len(self.alternatives):
            return np.zeros(len(value), dtype=bool)
        with np.errstate(all="ignore"):
            elsewhere = self.problem.at(self.alternatives, columns)
            log = not self.problem.objective.raw
            return np.asarray(~reaches(value, bounds[0], bounds[1], elsewhere, log=log).all(0))
