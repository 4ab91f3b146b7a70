"""Local quantities of a law: its slopes, its loss and its best split at a point among the runs, which these tell where
they do not tell its parameters apart, E trading against exponents and alpha against A.

    from isoflop.analysis.fitting.fit import fit

    local = fit(runs, "chinchilla").local()
    local.at                                     # the geometric centre of the runs, such as N=1e8, D=2e9
    local.estimates["local_exponent_N"]          # Estimate(...): by how much ln L falls for each e-fold of N
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.diagnose import LEAST_SLOPE, VANISHED, locked
from isoflop.analysis.fitting.optimum import Optimum
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.declare import TRAIN, Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import SAME_LEVEL
from isoflop.errors import FitError

# step of ln x of a central difference, at which rounding and curvature err alike (Press et al., Numerical Recipes, 5.7)
STEP = float(np.finfo(float).eps ** (1 / 3))
# a size as a law's argument, the first that it has; with D it makes a compute of TRAIN N D
SIZES = ("N", "n_active")
EXPONENT, LOSS, SPLIT = "local_exponent_", "local_loss", "best_D_per_N"
_SIGNED = "it is of the logarithm of losses, and some are not above 0"
# how far beyond the fitted ratios D/N the best one is looked for, in ln; and halvings of that bracket, to 1e-8
FAR, HALVINGS = float(np.log(1e6)), 32


@dataclass(frozen=True)
class Local:
    """Quantities of a fitted law at one point.

    at          the columns of the law there, and C = 6 N D where the law is of a size and of data
    along       what local_exponent_C follows: the optimum, where that lies among the fitted ratios D/N, or the ray of
                the point's own D/N; empty where there is no C
    inside      whether the point lies in the fitted range of every column
    estimates   local_exponent_X for each column X and for C: by how much ln L falls for each e-fold of X; local_loss;
                and best_D_per_N at that C
    missing     for each quantity without a bound, why
    bent        E and local exponents with the intervals that hold if terms of the law bend, where asked for
    """

    at: dict[str, float]
    along: str
    inside: bool
    estimates: dict[str, Estimate]
    missing: dict[str, str]
    bent: dict[str, Estimate] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the entry `local` in the JSON of `isoflop fit --json`."""
        estimates = {name: vars(e) for name, e in self.estimates.items()}
        about = {"at": self.at, "along": self.along, "inside": self.inside, "estimates": estimates}
        return about | {"missing": self.missing, "bent": {name: vars(e) for name, e in self.bent.items()}}

    @property
    def place(self) -> str:
        """The point in words."""
        where = ", ".join(f"{name}={value:.4g}" for name, value in self.at.items())
        return where if self.inside else f"{where}, outside the fitted range"

    def if_bent(self, *names: str) -> list[str]:
        """Return a line of the intervals of these that hold if terms bend; none where there are none."""
        ends = ", ".join(f"{name} {self.bent[name].interval}" for name in names if name in self.bent)
        return [f"  if bent    {ends}: a term may bend unseen, and intervals above hold if none does"] if ends else []

    def __str__(self) -> str:
        width = max(map(len, self.estimates))
        lines = [f"  {name:<{width}} {e}" for name, e in self.estimates.items()]
        reasons: dict[str, list[str]] = {}
        for name, why in self.missing.items():
            reasons.setdefault(why, []).append(name)
        along = f" (C along the {self.along})" if self.along else ""
        split = self.estimates.get(SPLIT, Estimate(None)).value
        if self.along == "ray" and split is not None:
            lines.append(f"  note       {SPLIT} lies outside the fitted ratios")
        gaps = [f"  note       no interval for {', '.join(names)}: {why}" for why, names in reasons.items()]
        return "\n".join([f"  locally    at {self.place}{along}", *lines, *self.if_bent(*self.bent), *gaps])


def local_names(law: Law) -> tuple[str, ...]:
    """Return the local quantities that a law has."""
    both = size_and_data(law)
    columns = [*law.columns, *(["C"] if both and "C" not in law.columns else [])]
    return (*(f"{EXPONENT}{column}" for column in columns), LOSS, *([SPLIT] if both else []))


def size_and_data(law: Law) -> tuple[str, str] | None:
    """Return the columns that stand for N and D in a law; None where it lacks one."""
    columns = dict(zip(law.arguments, law.columns, strict=True))
    size = next((columns[name] for name in SIZES if name in columns), None)
    return (size, columns["D"]) if size and "D" in columns else None


def centre(law: Law, rows: pd.DataFrame) -> dict[str, float]:
    """Return the geometric mean of each column of the law over the rows."""
    return {c: float(np.exp(np.log(rows[c].astype(float)).mean())) for c in law.columns}


def local_quantities(
    law: Law, rows: pd.DataFrame, optimum: Optimum | None, at: Mapping[str, float] | None, level: float
) -> Local:
    """Return the local quantities of a law that was fitted to rows, with intervals by the method of the fit.

    at      columns of the law and numbers above 0; a column that is not given as at the geometric centre of the rows;
            of a law of N and D also C, at its best split where the rows tell one, else at the centre's D/N
    level   coverage of the intervals

    FitError where the law has no such column, or a number cannot be.
    """
    rows = rows[list(law.columns)].astype(float)
    both, given = size_and_data(law), dict(at or {})
    budget = ["C"] if both and "C" not in law.columns else []
    for name, value in given.items():
        if name not in (*law.columns, *budget):
            raise FitError(f"{law.name} has no column {name}; a point of it gives {', '.join(law.columns)}")
        if not 0 < value < np.inf:
            raise FitError(f"{name}={value:g} is not above 0; a point is such as {name}=1e9")
    space, along = Space(law, rows), ""
    point = centre(law, rows) | given
    if budget and "C" in given:
        point = space.at_budget(point, given, {} if optimum is None else optimum.problem.params(optimum.u))
    estimates, missing = dict.fromkeys(local_names(law), Estimate(None)), {}
    if optimum is not None:
        along, signed = space.along(point, optimum.problem.params(optimum.u)), optimum.problem.target.min() <= 0
        for name in estimates:
            if cause := space.unvaried(name, along) or (_SIGNED if signed and name.startswith(EXPONENT) else ""):
                missing[name] = cause
                continue
            quantity, log = space.quantity(name, point, along), name == SPLIT or (name == LOSS and not signed)
            estimates[name], why = optimum.measure(quantity, level, log=log)
            why = why or ("the fit has none" if optimum.spread is None else "")
            if name.startswith(EXPONENT) and abs(estimates[name].value or 0.0) < VANISHED:
                # every resample is as flat, whatever the runs do: no interval of how they fall
                estimates[name], why = Estimate(estimates[name].value), space.flat(name, optimum.problem.target)
            missing |= {name: why} if why else {}
    inside = all(rows[c].min() * (1 - STEP) <= x <= rows[c].max() * (1 + STEP) for c, x in point.items())
    compute = {"C": TRAIN * point[both[0]] * point[both[1]]} if both and "C" not in point else {}
    return Local(point | compute, along, inside, estimates, missing)


class Space:
    """The logarithms of a law's columns on fitted rows above 0: which way rows vary, and slopes at a point."""

    def __init__(self, law: Law, rows: pd.DataFrame) -> None:
        self.law = law
        self.logs = np.log(rows[list(law.columns)].to_numpy(float))
        both = size_and_data(law)
        self.pair = [law.columns.index(column) for column in both] if both else []

    def along(self, point: Mapping[str, float], params: Mapping[str, Any]) -> str:
        """Return what an exponent of C follows: the optimum if it lies among the fitted ratios, else the ray."""
        if not self.pair or "C" in self.law.columns:
            return ""
        low, high = self._ratios()
        with np.errstate(all="ignore"):
            best = float(self.best_ratio(self._place(point), {k: np.float64(v) for k, v in params.items()}))
        return "optimum" if not self.unvaried(SPLIT, "") and low <= best <= high else "ray"

    def at_budget(
        self, point: Mapping[str, float], given: Mapping[str, float], params: Mapping[str, Any]
    ) -> dict[str, float]:
        """Return the point moved to the C that is given: along N or D, to the best split, or at its own D/N."""
        size, data = (self.law.columns[i] for i in self.pair)
        place = {name: value for name, value in point.items() if name != "C"}
        if size in given and data in given:
            raise FitError(f"C follows from {size} and {data}; give two of the three")
        if size in given or data in given:
            known, other = (size, data) if size in given else (data, size)
            return place | {other: point["C"] / TRAIN / place[known]}
        scale = np.sqrt(point["C"] / TRAIN / place[size] / place[data])
        place |= {size: place[size] * scale, data: place[data] * scale}
        if params and self.along(place, params) == "optimum":
            ratio = self.best_ratio(self._place(place), {k: np.float64(v) for k, v in params.items()})
            moved = np.exp(self.at_ratio(self._place(place), float(ratio)))
            place = dict(zip(self.law.columns, map(float, moved), strict=True))
        return place

    def quantity(self, name: str, point: Mapping[str, float], along: str) -> Callable[..., Any]:
        """Return a local quantity at a point as a function of the law's parameters, numbers or arrays of draws."""
        x = self._place(point)
        if name == LOSS:
            return lambda **params: self.law(*np.exp(x), **params)
        if name == SPLIT:
            return lambda **params: np.exp(self.best_ratio(x, params))
        direction = self._direction(name)
        if name != f"{EXPONENT}C" or along != "optimum":
            return lambda **params: self.exponent(x, direction, params)
        # along the optimum ln L falls with ln C as it does along any split of C there, the split being stationary
        return lambda **params: self.exponent(self.at_ratio(x, self.best_ratio(x, params)), direction, params)

    def exponent(self, x: Any, direction: Array, params: Mapping[str, Any]) -> Any:
        """Return -d ln L along a direction (columns,) at x, the logarithms of the columns, numbers or arrays."""
        ahead, behind = (
            self.law(*(np.exp(a + step * d) for a, d in zip(x, direction, strict=True)), **params)
            for step in (STEP, -STEP)
        )
        return (np.log(behind) - np.log(ahead)) / (2 * STEP)

    def at_ratio(self, x: Any, ratio: Any) -> list[Any]:
        """Return the logarithms at the same N D with another ln(D/N)."""
        place, (size, data) = list(x), self.pair
        product = x[size] + x[data]
        place[size], place[data] = (product - ratio) / 2, (product + ratio) / 2
        return place

    def best_ratio(self, x: Any, params: Mapping[str, Any]) -> Any:
        """Return the ln(D/N) of the least loss at the N D of x; infinite further than FAR from the fitted ones."""
        if {"N_opt", "D_opt"} <= set(self.law.curves):
            C = TRAIN * np.exp(x[self.pair[0]] + x[self.pair[1]])
            return np.log(self.law.curve("D_opt", C, params)) - np.log(self.law.curve("N_opt", C, params))
        towards_data = np.zeros(self.logs.shape[1])
        towards_data[self.pair] = -0.5, 0.5

        def gain(ratio: Any) -> Any:
            return self.exponent(self.at_ratio(x, ratio), towards_data, params)

        low, high = (end + side * FAR for end, side in zip(self._ratios(), (-1, 1), strict=True))
        shape = np.shape(gain(low))
        below, above = np.full(shape, low), np.full(shape, high)
        for _ in range(HALVINGS):
            middle = (below + above) / 2
            more = gain(middle) > 0
            below, above = np.where(more, middle, below), np.where(more, above, middle)
        edge = np.where(below == low, -np.inf, np.where(above == high, np.inf, (below + above) / 2))
        return np.where(np.isfinite(gain(middle)), edge, np.nan)

    def unvaried(self, name: str, along: str) -> str:
        """Return why the rows cannot identify a local quantity, whatever their losses: they do not vary that way."""
        if name == LOSS:
            return ""
        needed = [self._direction(name)] if name != SPLIT else list(np.eye(self.logs.shape[1])[self.pair])
        centred = self.logs - self.logs.mean(0)
        # all axes, those without any row along them too, and not as many left vectors as there are rows
        axes = np.linalg.svd(centred, full_matrices=len(centred) < centred.shape[1])[2]
        fixed = axes[np.ptp(centred @ axes.T, axis=0) <= np.log1p(SAME_LEVEL)]
        # the share of a direction that lies across what varies, as of an exponent between two columns
        if all(np.linalg.norm(fixed @ d) <= LEAST_SLOPE * np.linalg.norm(d) for d in needed):
            return ""
        columns, spans = self.law.columns, np.ptp(self.logs, axis=0)
        single = [c for c, span in zip(columns, spans, strict=True) if span <= np.log1p(SAME_LEVEL)]
        if single:
            return f"{' and '.join(single)} {'has' if len(single) == 1 else 'have'} a single value"
        for one, other in itertools.combinations(range(len(columns)), 2):
            x, y = np.exp(self.logs[:, [one, other]].T)
            if cause := locked(columns[one], columns[other], x, y):
                return cause
        return f"{', '.join(columns)} vary along fewer directions than they are"

    def flat(self, name: str, target: Array) -> str:
        """Return why a law that does not move in an exponent's direction by target (rows,) does not identify it."""
        column, direction = name.removeprefix(EXPONENT), self._direction(name)
        centred, logs = self.logs - self.logs.mean(0), np.log(target)
        slope, *_ = np.linalg.lstsq(centred, logs - logs.mean(), rcond=None)
        rest, spare = logs - logs.mean() - centred @ slope, len(logs) - len(slope) - 1
        variance = direction @ np.linalg.pinv(centred.T @ centred) @ direction * (rest @ rest) / max(spare, 1)
        # two standard errors above zero, which chance alone is once in forty
        if spare > 0 and slope @ direction > 2 * np.sqrt(max(variance, 0.0)):
            return f"{self.law.target} rises with {column}, which the law does not follow"
        return f"no term of {column} is left in the law"

    def _direction(self, name: str) -> Array:
        """Return the direction in which an exponent is taken, (columns,): of C both N and D grow, each by half."""
        column = name.removeprefix(EXPONENT)
        direction, known = np.zeros(self.logs.shape[1]), column in self.law.columns
        direction[self.law.columns.index(column) if known else self.pair] = 1.0 if known else 0.5
        return direction

    def _ratios(self) -> tuple[float, float]:
        """Return the least and greatest fitted ln(D/N)."""
        size, data = self.pair
        ratios = self.logs[:, data] - self.logs[:, size]
        return float(ratios.min()), float(ratios.max())

    def _place(self, point: Mapping[str, float]) -> Array:
        """Return the logarithms of a point, (columns,)."""
        return np.log([point[column] for column in self.law.columns])
