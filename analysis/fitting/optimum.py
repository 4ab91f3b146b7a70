"""Where a search ended, how that varies, and what follows: quantities with intervals, bands for new runs.

optimum = fit(runs, "chinchilla").optimum
optimum.measure(lambda alpha, beta, **_: beta / (alpha + beta), level=0.95)     # (Estimate(...), '')
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.intervals.resampling import Spread, bounded, by_size, error_of, new_run, reaches
from isoflop.analysis.intervals.scatter import Noise
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.problem import Problem


@dataclass(frozen=True)
class Optimum:
    """Where the search ended, and how that varies: all that predictions and intervals are made from.

    problem        the law on the rows, and the objective
    u              the optimum (free,) in the coordinates of the search
    noise          the scatter of one row's residual
    spread         how the optimum varies from one set of runs to another; None where the interval is profile or none
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
        """Return a function of the parameters with its interval, and why a bound does not exist; `share`: inside (0,
        1)."""
        with np.errstate(all="ignore"):  # numpy's numbers: one divided by zero is inf and no exception
            draws = self.draws
            value = float(function(**{k: np.float64(v) for k, v in self.problem.params(self.u).items()}))
            drawn = None if draws is None else np.asarray(function(**draws), dtype=float)
            elsewhere = None
            if len(self.alternatives):
                places = self.problem.params(self.alternatives)
                elsewhere = np.broadcast_to(np.asarray(function(**places), dtype=float), len(self.alternatives))
        return bounded(value, drawn, self.spread, level, log=log, share=share, elsewhere=elsewhere)

    def residuals(self) -> Array:
        """Return the residuals at the optimum, (rows,), of ln of the target or of the target itself, without
        weights."""
        with np.errstate(all="ignore"):
            r = self.problem.residuals(self.u[None])[0]
        return np.asarray(r if self.problem.scale is None else r / self.problem.scale)

    def band(self, value: Array, columns: list[Array], level: float, *, by_run: bool) -> Array:
        """Return bounds (2, rows) for a new run at these columns, around the law's `value` there; NaN if there are
        none.

        `by_run`: every row is a run, so that sizes may be left out instead of runs.
        """
        if self.spread is None:
            return np.full((2, len(value)), np.nan)
        raw, error = self.problem.objective.raw, self.error(columns, by_run=by_run)
        with np.errstate(all="ignore"):
            bounds = new_run(value, error, self.noise.at(columns), self.spread, level, raw=raw)
            # a band that misses what the data allow as well is none
            bounds[:, self.missed(value, columns, bounds)] = np.nan
        return bounds

    def error(self, columns: list[Array], *, by_run: bool) -> Array:
        """Return the standard error of the law (rows,) at these columns, on the scale of the residuals; NaN without a
        spread."""
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
