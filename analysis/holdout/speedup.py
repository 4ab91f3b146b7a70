"""Measure how many times less compute one family, recipe or data set needs than another for the same loss.

    from isoflop.analysis.fitting.fit import fit_groups

    fits = fit_groups(runs, "power(D)", by=["family"])
    faster = speedup(fits[0], fits[1], {"L": 2.6})
    faster.estimate, faster.extrapolated      # Estimate(...), and what lies outside the fitted range, in words

The compute of a loss is the least that reaches it by the law of a group: along the best split where the runs identify
one, else at the D/N of the runs; of a law over C, or over a single column, that column itself. The measure is that of
Hernandez and Brown 2020, arXiv:2005.04305, and of Ho et al. 2024, arXiv:2403.05812.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoflop.analysis.fitting.local import FAR, HALVINGS, SPLIT, STEP, Space
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.bands import form_variance
from isoflop.analysis.intervals.estimate import Estimate, t_quantile
from isoflop.analysis.laws.declare import TRAIN
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.errors import FitError

# of ln C: a search by halves ends this near a range's own end, which is inside it
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Speedup:
    """How many times less compute one fit needs than another for one loss.

    over          the reference, by the label of its group
    estimate      C of the reference over C of the fit, with its interval
    loss          the loss at which they are compared
    compute       the compute of the fit and that of the reference [FLOPs, or the unit of the law's only column]
    extrapolated  what lies outside the fitted range, in words; empty where nothing does
    error         standard error of ln of the estimate; None where there is no interval
    dof           its degrees of freedom
    envelope      the same ratio by the lower envelopes of the runs alone, without any law; None outside their range
    reason        why a bound does not exist
    """

    over: str
    estimate: Estimate
    loss: float
    compute: tuple[float, float]
    extrapolated: tuple[str, ...]
    error: float | None
    dof: float
    envelope: float | None = None
    reason: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Caveats beside the number."""
        notes = [f"extrapolated: {'; '.join(self.extrapolated)}"] if self.extrapolated else []
        if self.envelope is not None:
            notes.append(f"{self.envelope:.3g} by the lower envelopes of the runs alone")
        return (*notes, *filter(None, [self.reason]))

    def to_json(self) -> dict[str, Any]:
        """Return the entry `speedup` of a prediction."""
        document = vars(self.estimate) | {"over": self.over, "loss": self.loss, "compute": list(self.compute)}
        return document | {"envelope": self.envelope, "extrapolated": list(self.extrapolated), "reason": self.reason}

    def __str__(self) -> str:
        of = f"for a loss of {self.loss:.4g}"
        known = f"{self.estimate} times less compute than {self.over} {of}"
        text = known if self.estimate.value is not None else f"no speed-up over {self.over} is known {of}"
        return "; ".join([text, *self.notes])


def speedup(fit: Fit, reference: Fit, at: Mapping[str, float] | None = None, level: float | None = None) -> Speedup:
    """Return how many times less compute `fit` needs than `reference` for the same loss; below 1 where it needs more.

    fit, reference   fits of one law to two groups, with no parameter in common
    at               {"L": 2.1}, a loss (the law's target); or {"C": 1e20}, a compute that the reference spends; by
                     default the largest compute that both groups have runs of
    level            coverage of the interval; that of `fit` by default

    FitError where a fit has no values, the law has no compute, or a place is neither.
    """
    level = level or fit.level
    one, other = Route(fit), Route(reference)
    place = dict(at or {"C": float(np.exp(min(one.range[1], other.range[1])))})
    name = fit.law.target
    if list(place) not in ([name], ["C"]) or not all(0 < x < np.inf for x in place.values()):
        raise FitError(f"a speed-up is at a loss or a compute above 0, {name}=2.1 or C=1e20, not at {place}")
    target, C = place.get(name), place.get("C", np.nan)
    loss = other.loss(C, reference.values) if target is None else target

    def of_fit(**params: Any) -> Any:
        return 1 / one.compute(loss, params)

    def of_reference(**params: Any) -> Any:
        # at a stated compute the loss is what moves with the reference's law, at a stated loss the compute
        return 1 / one.compute(other.loss(C, params), fit.values) if target is None else other.compute(loss, params)

    with np.errstate(all="ignore"):
        spent = float(one.compute(loss, fit.values)), float(other.compute(loss, reference.values))
    if reason := _beyond((fit, reference), spent, float(loss)):
        return Speedup(label(reference), Estimate(None), float(loss), spent, (), None, 0, reason=reason)
    outside = tuple(filter(None, [one.outside(spent[0]), other.outside(spent[1])]))
    forms = [route.form(C, level) for route, C in zip((one, other), spent, strict=True)]
    parts = [(fit, of_fit, forms[0]), (reference, of_reference, forms[1])]
    estimate, error, dof, reason = _ratio(spent[1] / spent[0], parts, level)
    envelope = one.envelope(float(loss)), other.envelope(float(loss))
    ratio = None if None in envelope else float(envelope[1] / envelope[0])  # type: ignore[operator]
    return Speedup(label(reference), estimate, float(loss), spent, outside, error, dof, ratio, reason)


def _beyond(fits: Sequence[Fit], spent: Sequence[float], loss: float) -> str:
    """Return why a law does not have a loss at any compute; empty where each does."""
    for fit, C in zip(fits, spent, strict=True):
        if C <= 0:
            return f"{label(fit)} is below L={loss:.4g} by {fit.law.name} before anything is spent"
        if not np.inf > C:
            return f"{label(fit)} does not reach L={loss:.4g} by {fit.law.name}, however much is spent"
    return ""


@np.errstate(all="ignore")  # a law may overflow far from its rows, and then has no value there
def speedups(fits: Sequence[Fit], at: Mapping[str, float], level: float) -> list[Speedup | None]:
    """Return for each fit its speed-up over the slowest at this place; None for the slowest and without a fit."""
    able = [i for i, fit in enumerate(fits) if fit.objective is not None]
    if len(able) < 2:
        return [None] * len(fits)
    routes = {i: Route(fits[i]) for i in able}
    (place,) = at.values()
    cost = {i: float((r.loss if "C" in at else r.compute)(place, fits[i].values)) for i, r in routes.items()}
    slowest = max((i for i in able if np.isfinite(cost[i])), key=lambda i: cost[i], default=able[0])
    others = {i: speedup(fits[i], fits[slowest], at, level) for i in able if i != slowest}
    return [others.get(i) for i in range(len(fits))]


def least_compute(fit: Fit, loss: float, level: float | None = None) -> tuple[Estimate, str]:
    """Return the least compute that reaches a loss by a fit, with its interval, and what is lacking or beyond."""
    route = Route(fit)
    with np.errstate(all="ignore"):
        spent = float(route.compute(loss, fit.values))
    if fit.optimum is None or not 0 < spent < np.inf:
        return Estimate(None), f"{fit.law.name} does not reach it within {np.exp(FAR):.0g} times the fitted range"
    outside = route.outside(spent)
    known, why = fit.optimum.measure(lambda **p: route.compute(loss, p), level or fit.level, log=True)
    least, most = np.exp(route.range[0] - FAR), np.exp(route.range[1] + FAR)  # beyond them no law is sought
    low, high = (end if end is not None and least < end < most else None for end in (known.low, known.high))
    open_ends = [side for side, end, was in (("below", low, known.low), ("above", high, known.high)) if end != was]
    parts = [f"extrapolated: {outside}" if outside else "", why, *(f"unbounded {side}" for side in open_ends)]
    return Estimate(known.value, low, high), "; ".join(filter(None, parts))


def label(fit: Fit) -> str:
    """Return what a group is called in a sentence."""
    return ", ".join(f"{k}={v}" for k, v in fit.by.items()) or "the fit"


class Route:
    """Compute and loss of a law (of N and D, of C, or of one column) along the best split or the runs' rays."""

    def __init__(self, fit: Fit) -> None:
        law, rows = fit.law, fit.rows
        if fit.objective is None:
            raise FitError(f"{label(fit)} has no fit, so no speed-up: {fit.reason}")
        self.fit, self.law = fit, law
        self.space = Space(law, rows[list(law.columns)].astype(float))
        self.centre = self.space.logs.mean(0)
        self.best = False
        if self.space.pair and "C" not in law.columns:
            self.best = not self.space.unvaried(SPLIT, "")
            self.unit = np.log(TRAIN)
            spent = self.space.logs[:, self.space.pair].sum(1) + self.unit
        elif len(law.columns) == 1 or "C" in law.columns:
            self.column = law.columns.index("C") if "C" in law.columns else 0
            self.unit = 0.0
            spent = self.space.logs[:, self.column]
        else:
            raise FitError(f"{law.name} has no compute: a speed-up needs a law of N and D, of C, or of one column")
        self.range = float(spent.min()), float(spent.max())
        losses = rows[law.target].to_numpy(float)
        # of runs of one budget the best first: the others are not on the envelope
        order = np.lexsort((losses, spent.round(2)))
        self.spent, self.least = spent[order], np.minimum.accumulate(losses[order])

    def loss(self, C: Any, params: Mapping[str, Any]) -> Any:
        """Return the loss at a compute."""
        return self.law(*(np.exp(x) for x in self._place(np.log(C), params)), **params)

    def compute(self, loss: Any, params: Mapping[str, Any]) -> Any:
        """Return the least compute of a loss; infinite where the law reaches it nowhere within FAR of the runs."""
        low, high = self.range[0] - FAR, self.range[1] + FAR
        shape = np.broadcast_shapes(np.shape(loss), np.shape(self.loss(np.exp(low), params)))
        below, above = np.full(shape, low), np.full(shape, high)
        for _ in range(HALVINGS):
            middle = (below + above) / 2
            more = self.loss(np.exp(middle), params) > loss
            below, above = np.where(more, middle, below), np.where(more, above, middle)
        return np.where(above == high, np.inf, np.where(below == low, 0.0, np.exp((below + above) / 2)))

    def envelope(self, loss: float) -> float | None:
        """Return the compute at which the lowest loss of the runs falls to this one, ln L over ln C between runs."""
        first = np.concatenate([[True], np.diff(self.least) < 0])
        at, least = self.spent[first], self.least[first]
        if not least[-1] <= loss <= least[0]:
            return None
        return float(np.exp(np.interp(-np.log(loss), -np.log(least), at)))

    def outside(self, C: float) -> str:
        """Return that a compute lies outside the fitted range, in words; empty where it does not."""
        if self.range[0] - _ROUNDING <= np.log(C) <= self.range[1] + _ROUNDING:
            return ""
        what, (low, high) = "C" if self.unit else self.law.columns[self.column], np.exp(self.range)
        return f"the {what} of {label(self.fit)}, {C:.3g}, lies outside its runs' {low:.3g} to {high:.3g}"

    def form(self, C: float, level: float) -> float:
        """Return the half-width of ln C by the error of the law's form outside the runs; 0 without hold-outs."""
        optimum, params = self.fit.optimum, self.fit.values
        if optimum is None or not self.outside(C):
            return 0.0
        ahead, here, behind = (self._place(np.log(C) + step, params) for step in (STEP, 0.0, -STEP))
        columns = [np.array([np.exp(x)]) for x in here]
        value = np.asarray(self.law(*columns, **params), dtype=float)
        variance, dof = form_variance(self.fit, value, columns, rivals=False)
        if not np.isfinite(variance[0]):
            return 0.0
        error = float(np.sqrt(variance[0])) / (float(value[0]) if optimum.problem.objective.raw else 1.0)
        losses = [float(self.law(*np.exp(x), **params)) for x in (ahead, behind)]
        slope = float(np.log(losses[1] / losses[0])) / (2 * STEP)
        return t_quantile(level, max(float(dof[0]), 1.0)) * error / max(slope, 1e-300)

    def _place(self, log_C: Any, params: Mapping[str, Any]) -> list[Any] | Array:
        """Return the logarithms of the columns at a compute, the others as at the centre of the runs."""
        x: list[Any] = list(self.centre)
        if not self.unit:
            x[self.column] = log_C
            return x
        size, data = self.space.pair
        move = (log_C - self.unit - x[size] - x[data]) / 2
        x[size], x[data] = x[size] + move, x[data] + move
        return self.space.at_ratio(x, self.space.best_ratio(x, params)) if self.best else x


def _ratio(
    value: float, parts: Sequence[tuple[Fit, Callable[..., Any], float]], level: float
) -> tuple[Estimate, float | None, float, str]:
    """Return a ratio of two independent fits, with the larger of the variances of parameters and of form."""
    lows, highs, errors, dofs = [], [], [], []
    for fit, function, form in parts:
        if fit.optimum is None or fit.optimum.spread is None:
            return Estimate(value), None, 0, f"{label(fit)}: {fit.no_interval or 'its fit has no resamples'}"
        alone, why = fit.optimum.measure(function, level, log=True)
        if alone.value is None or alone.low is None or alone.high is None:
            return Estimate(value), None, 0, f"{label(fit)}: {why}"
        lows.append(max(np.log(alone.value / alone.low), form))
        highs.append(max(np.log(alone.high / alone.value), form))
        dofs.append(fit.optimum.spread.dof)
        errors.append((lows[-1] + highs[-1]) / 2 / t_quantile(level, dofs[-1]))
    # the half-widths that each would give alone, added as variances are: Welch 1947, with each part's own t
    reach = {-1: np.sqrt(np.square(lows).sum()), 1: np.sqrt(np.square(highs).sum())}
    # no law is sought further than FAR beyond its runs: an end beyond that is none
    ends = (float(value * np.exp(side * half)) if half < FAR else None for side, half in reach.items())
    reason = "; ".join(f"unbounded {'above' if side > 0 else 'below'}" for side, half in reach.items() if half >= FAR)
    return Estimate(value, *ends), float(np.sqrt(np.square(errors).sum())), min(dofs), reason
