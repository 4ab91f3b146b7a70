"""What a fit is: estimates with bounds that may not exist, a status in words, and the rows it stands on.

answer = fit(runs, "chinchilla")
print(answer)                                   # a table
answer.params["alpha"].value, answer.status     # 0.347, 'converged'
answer.predict_interval(pd.DataFrame({"N": [1e9], "D": [2e10]}))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.laws.catalogue import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.errors import UserError

if TYPE_CHECKING:
    from isoflop.analysis.intervals.resampling import Spread
    from isoflop.analysis.intervals.scatter import Noise
    from isoflop.analysis.solving.descent import Problem

STATUSES = ("converged", "at_bound", "starts_disagree", "not_identified")


class FitError(UserError):
    """Runs that cannot be fitted: what was given, what is needed, what to do."""


class TooFewRowsError(FitError):
    """Fewer rows than parameters: no fit of this group, though others may have one."""


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; None where it does not exist."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        if self.low is None and self.high is None:
            return f"{self.value:.6g}"
        low, high = ("-" if x is None else f"{x:.4g}" for x in (self.low, self.high))
        return f"{self.value:.6g} ({low} to {high})"


class Starts(NamedTuple):
    """Starts tried, and those that ended at the best objective found."""

    tried: int
    at_optimum: int


@dataclass(frozen=True, repr=False)
class Fit:
    """The estimate of a law on some rows; soft trouble is in `status` and `reason`."""

    law: Law
    by: dict[str, Any]
    loss: str
    delta: float | None
    status: str
    reason: str
    params: dict[str, Estimate]
    derived: dict[str, Estimate]
    objective: float | None
    gradient_norm: float | None
    starts: Starts
    n_rows: int
    n_runs: int
    rows: pd.DataFrame
    excluded: list[tuple[str, int]]
    interval: str
    level: float
    notes: tuple[str, ...] = ()
    problem: "Problem | None" = field(default=None, repr=False)
    u: Array | None = None  # the optimum in the coordinates of the search
    spread: "Spread | None" = None  # how the optimum varies from one set of runs to another
    noise: "Noise | None" = None  # the scatter of one row's residual
    alternatives: Array | None = None  # (k, free) other places that noise cannot tell from the optimum

    @property
    def draws(self) -> dict[str, Array] | None:
        """Resampled parameters by name (resamples,), for `interval` jackknife or bootstrap; None where there are
        none."""
        if self.spread is None or self.problem is None:
            return None
        return {
            k: np.broadcast_to(v, len(self.spread.draws)) for k, v in self.problem.params(self.spread.draws).items()
        }

    @property
    def values(self) -> dict[str, float]:
        """The parameters as numbers."""
        return {name: float(e.value) for name, e in self.params.items() if e.value is not None}

    def quantity(self, function: Callable[..., Any], *, level: float | None = None, log: bool = False) -> Estimate:
        """Any function of the parameters, with an interval by this fit's method (`log`: of a positive quantity)."""
        return self.measured(function, level=level, log=log)[0]

    def measured(
        self, function: Callable[..., Any], *, level: float | None = None, log: bool = False
    ) -> tuple[Estimate, str]:
        """As `quantity`, and in words why a bound does not exist."""
        from isoflop.analysis.intervals.resampling import bounded

        if self.problem is None or self.u is None:
            return Estimate(None), ""
        with np.errstate(all="ignore"):  # numpy's numbers: one divided by zero is inf and no exception
            value = float(function(**{k: np.float64(v) for k, v in self.values.items()}))
            drawn = None if self.draws is None else np.asarray(function(**self.draws), dtype=float)
            elsewhere = None
            if self.alternatives is not None and len(self.alternatives):
                places = self.problem.params(self.alternatives)
                elsewhere = np.broadcast_to(np.asarray(function(**places), dtype=float), len(self.alternatives))
        return bounded(value, drawn, self.spread, level or self.level, log=log, elsewhere=elsewhere)

    def curve(self, name: str, C: Any, level: float | None = None) -> pd.DataFrame:
        """A derived curve of the law ('N_opt', 'D_opt') at compute C [FLOPs], with its interval."""
        C = np.atleast_1d(np.asarray(C, dtype=float))
        found = [self.quantity(lambda c=c, **p: self.law.curve(name, c, p), level=level, log=True) for c in C]
        columns = {"value": [e.value for e in found], "low": [e.low for e in found], "high": [e.high for e in found]}
        return pd.DataFrame({"C": C} | columns, dtype=float)

    def predict(self, frame: pd.DataFrame) -> Array:
        """The law at the rows of `frame`, in the units of its target."""
        columns = self._columns(frame)
        with np.errstate(all="ignore"):
            return np.asarray(np.broadcast_to(self.law(*columns, **self.values), len(frame)), dtype=float)

    def predict_interval(self, frame: pd.DataFrame, level: float = 0.9) -> pd.DataFrame:
        """Value, low and high for a new run at the rows of `frame`: the fit's uncertainty and the scatter of runs
        together."""
        from isoflop.analysis.intervals.resampling import by_size, error_of, new_run, reaches

        value, columns = self.predict(frame), self._columns(frame)
        bounds = np.full((2, len(frame)), np.nan)
        if self.spread is not None and self.noise is not None and self.problem is not None and self.u is not None:
            raw, spreads = self.problem.objective.raw, [self.spread]
            with np.errstate(all="ignore"):
                if self.n_runs == self.n_rows and (sizes := by_size(self.problem, self.u)) is not None:
                    spreads.append(sizes)
                errors = [error_of(self.problem.at(s.draws, columns), s, raw=raw) for s in spreads]
                # a size whose absence leaves no minimum has no say
                error = np.fmax.reduce(errors) if np.isfinite(errors[0]).all() else errors[0]
                bounds = new_run(value, error, self.noise.at(columns), self.spread, level, raw=raw)
                if self.alternatives is not None and len(self.alternatives):
                    # a band that misses what the data allow as well is none
                    elsewhere = self.problem.at(self.alternatives, columns)
                    bounds[:, ~reaches(value, *bounds, elsewhere, log=not raw).all(0)] = np.nan
        return pd.DataFrame({"value": value, "low": bounds[0], "high": bounds[1]}, index=frame.index)

    def _columns(self, frame: pd.DataFrame) -> list[Array]:
        if len(self.values) < len(self.params):
            raise FitError(f"{self.law.name} could not be fitted ({self.reason}), so it predicts nothing")
        missing = [c for c in self.law.columns if c not in frame]
        if missing:
            raise FitError(
                f"{self.law.name} predicts from {', '.join(self.law.columns)}; {', '.join(missing)} not given"
            )
        return [frame[c].to_numpy(float) for c in self.law.columns]

    def to_frame(self) -> pd.DataFrame:
        """One row for each parameter and derived quantity: name, value, low, high."""
        rows = [{**self.by, "name": k, "value": e.value, "low": e.low, "high": e.high} for k, e in self._all().items()]
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """One entry of `fits` in the answer of `isoflop fit --json`."""
        return {
            "by": {k: v.item() if hasattr(v, "item") else v for k, v in self.by.items()},
            "status": self.status,
            "reason": self.reason,
            "n_rows": self.n_rows,
            "n_runs": self.n_runs,
            "objective": self.objective,
            "gradient_norm": self.gradient_norm,
            "params": {k: vars(e) for k, e in self.params.items()},
            "derived": {k: vars(e) for k, e in self.derived.items()},
            "interval": self.interval,
            "level": self.level,
            "starts": self.starts._asdict(),
            "excluded": [{"reason": reason, "rows": rows} for reason, rows in self.excluded],
        }

    def _all(self) -> Mapping[str, Estimate]:
        return self.params | self.derived

    def __str__(self) -> str:
        group = "".join(f"  {k}={v}" for k, v in self.by.items())
        loss = self.loss if self.delta is None else f"{self.loss}({self.delta:g})"
        # the reason of the status, without the notes that follow it
        why = self.reason.removesuffix("; ".join(self.notes)).removesuffix("; ")
        lines = [f"{self.law.formula}{group}", f"  status     {self.status}" + (f": {why}" if why else "")]
        lines += [f"  {name:<10} {e}" for name, e in self._all().items()]
        if self.objective is not None:
            reached = f"{self.starts.at_optimum} of {self.starts.tried} starts reach it"
            lines.append(f"  objective  {self.objective:.10g} ({loss}), {reached}")
        runs = "" if self.n_runs == self.n_rows else f" of {self.n_runs} runs"
        by = "no intervals" if self.interval == "none" else f"{self.level:.0%} intervals by {self.interval}"
        lines.append(f"  rows       {self.n_rows}{runs}; {by}")
        lines += [f"  excluded   {rows}: {reason}" for reason, rows in self.excluded]
        lines += [f"  note       {note}" for note in self.notes]
        return "\n".join(lines)

    __repr__ = __str__
