"""A number and its interval, the one shape in which every room passes a result on, and how resamples bound it.

str(Estimate(0.347, 0.32, 0.38))     # '0.347 (0.32 to 0.38)'
spread = Spread("bootstrap", draws=np.zeros((3, 1)), dof=9.0, units=3)
bounded(0.3, np.array([0.29, 0.30, 0.31]), spread, level=0.95)[0].low     # 0.277
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.descent import MAX_STEPS

# times MAX_STEPS that a draw in a long valley goes on for
LONGER = 4
# a draw this many times the estimate, or this small a share of it, is a search that ran away
FAR = 1e6
# residuals of 1e-9 are rounding in the data, and so is an interval as narrow, beside its value
_ROUNDED = 1e-9
# an interval of one parameter is this much shorter than the region of all of them, sqrt(p F(p, dof) / F(1, dof)):
# 1.7 to 2.1 for four to seven parameters (Scheffe 1953)
_REACH = 2.0


@dataclass(frozen=True)
class Estimate:
    """A value and its interval.

    value   the estimate; None where there is none
    low     lower bound of the interval; None where it does not exist
    high    upper bound of the interval; None where it does not exist
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        if self.low is None and self.high is None:
            return f"{self.value:.6g}"
        return f"{self.value:.6g} ({self.interval})"

    @property
    def interval(self) -> str:
        """The interval in words, with as many digits as tell its ends apart."""
        texts = (["-" if x is None else f"{x:.{n}g}" for x in (self.low, self.high)] for n in (4, 6, 8, 10, 12))
        return " to ".join(next((ends for ends in texts if ends[0] != ends[1]), ["-", "-"]))

    def widened(self, values: Array) -> "Estimate":
        """Return the value with bounds that hold these values too; a side where one has no end is open."""
        low, high = float(np.min(values)), float(np.max(values))  # NaN where a value is none
        low_end = min(self.low, low) if self.low is not None and np.isfinite(low) else None
        high_end = max(self.high, high) if self.high is not None and np.isfinite(high) else None
        return Estimate(self.value, low_end, high_end)


@dataclass(frozen=True)
class Spread:
    """Estimates under resampling, and how their scatter becomes a standard error.

    method   jackknife or bootstrap
    draws    the optimum under each resample, u (draws, free)
    dof      degrees of freedom of Student's t
    units    runs left out, or resamples
    bounded  whether a parameter stands on its bound, at the optimum or without one of the runs; where one does, leaving
             a run out moves the others by jumps, whose sum of squares is no variance
    covariance  of u (free, free) under one noise for all rows, where few rows tell an exponent: what those few scatter
             by is mostly too small, so that an error is no less than by this (Angrist and Pischke 2009, Mostly Harmless
             Econometrics, 8.1)
    held     places (k, free) where noise ends for each exponent, which every interval holds: where two axes go together
             the objective is bent, and an interval that is even about the optimum ends too soon
    """

    method: str
    draws: Array
    dof: float
    units: int
    bounded: bool = False
    covariance: Array | None = None
    held: Array | None = None

    def error(self, values: Array) -> Array:
        """Return the standard error of a quantity whose value under each draw is given, along the first axis."""
        count = len(values)
        factors = {"jackknife": 1.0, "bootstrap": 1 / (count - 1)}
        with np.errstate(over="ignore", invalid="ignore"):  # a scatter beyond the doubles is infinite
            gaps = values - values.mean(0)
            error: Array = np.sqrt(factors[self.method] * (gaps**2).sum(0))
        return np.where(np.isnan(error), np.inf, error)


class Scale(NamedTuple):
    """On which scale a quantity has its interval, and inside which bounds."""

    log: bool = False
    """Whether the interval is of the logarithm."""
    low: float = -np.inf
    """The lowest value that the quantity can have."""
    high: float = np.inf
    """The highest value that it can have."""
    share: bool = False
    """Whether it is a share of a whole, inside (0, 1): its interval is of the logarithm of the odds x / (1 - x)."""


_LINEAR = Scale()


def t_quantile(level: float, dof: float) -> float:
    """Return the two-sided quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(dof, 0.5 + level / 2))


def bounded(
    value: float,
    drawn: Array | None,
    spread: Spread | None,
    level: float,
    scale: Scale = _LINEAR,
    elsewhere: Array | None = None,
    least: float = 0.0,
) -> tuple[Estimate, str]:
    """Return the value with its interval on its scale, a bound that the draws do not support being None; and why one
    does not exist (empty if both do).

    elsewhere: values of the quantity at other places that noise cannot tell from the optimum. Resamples never move
    along a flat direction, so an interval that misses one of them is far too narrow, and is none.
    least: the standard error counts as at least this much.
    """
    x, draws, places = value, drawn, elsewhere
    low, high = (0.0, 1.0) if scale.share else (scale.low, scale.high)
    if np.isfinite(value) and not (scale.log or low < value < high):
        return Estimate(value), "" if drawn is None else "it stands on its bound"
    if share := scale.share and 0 < value < 1:
        x, scale = value / (1 - value), Scale(log=True, low=0.0)
        least /= (1 - value) ** 2
        draws, places = (None if v is None else _odds(v) for v in (drawn, elsewhere))
    interval, why = _bounded(x, draws, spread, level, scale, least)
    if places is not None and elsewhere is not None and not (interval.low is None and interval.high is None):
        outside = elsewhere[~reaches(x, interval.low, interval.high, places, log=scale.log)]
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
    """Return whether an interval (None: open), taken _REACH times as wide, holds each of the values."""
    value, elsewhere = (np.log(np.maximum(x, 1e-300)) if log else np.asarray(x) for x in (value, elsewhere))
    ends = (None if end is None else np.log(np.maximum(end, 1e-300)) if log else np.asarray(end) for end in (low, high))
    bottom, top = (
        side * np.inf if end is None else value + _REACH * (end - value)
        for end, side in zip(ends, (-1, 1), strict=True)
    )
    held: NDArray[np.bool_] = (elsewhere >= bottom) & (elsewhere <= top)
    return held


def _bounded(
    value: float, drawn: Array | None, spread: Spread | None, level: float, scale: Scale, least: float
) -> tuple[Estimate, str]:
    log = scale.log
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
    least = least / value if log else least
    half = t_quantile(level, spread.dof) * max(float(spread.error(values[near])), least)
    if half <= _ROUNDED * (1.0 if log else abs(value)):
        return Estimate(value), "no resample moves it"
    ends = centre - half, centre + half
    if log:
        with np.errstate(over="ignore"):  # infinite beyond the doubles
            ends = float(np.exp(ends[0])), float(np.exp(ends[1]))
    sides = [float((far & (gaps < 0)).mean()), float((far & (gaps > 0)).mean())]
    opened = [side > allowed or not np.isfinite(end) for side, end in zip(sides, ends, strict=True)]
    inside = float(max(ends[0], scale.low)), float(min(ends[1], scale.high))
    estimate = Estimate(value, *(None if is_open else end for is_open, end in zip(opened, inside, strict=True)))
    why = f"{_share(max(sides), spread)} without end" if max(sides) > allowed else "its scatter is beyond any number"
    return estimate, why if any(opened) else ""


def _logs(drawn: Array) -> Array:
    """Return logarithms: minus infinity of what has vanished, NaN of what is no number or below zero."""
    drawn = np.asarray(drawn, dtype=float)
    logs = np.where(drawn > 0, np.log(np.where(drawn > 0, drawn, 1.0)), -np.inf)
    return np.where(drawn >= 0, logs, np.nan)


def _share(share: float, spread: Spread) -> str:
    """Return words for the share of the resampled fits: all, most, 12 of 1000 fits."""
    what = "resamples are" if spread.method == "bootstrap" else "fits without one run are"
    return f"{share:.1%} of the {what}"


def new_run(value: Array, error: Array, noise: Array, spread: Spread, level: float, *, raw: bool) -> Array:
    """Return bounds (2, rows) for a new run from the error of the law and the scatter of a row, as of residuals."""
    half = t_quantile(level, spread.dof) * np.sqrt(error**2 + noise**2)
    return np.stack([value - half, value + half]) if raw else np.stack([value * np.exp(-half), value * np.exp(half)])


def error_of(drawn: Array, spread: Spread, *, raw: bool) -> Array:
    """Return the standard error of predictions (draws, rows), as of residuals; NaN if too few draws are sound."""
    sound = np.isfinite(drawn).all(1) & (raw | (drawn > 0).all(1))
    if sound.sum() < 3:
        return np.full(drawn.shape[1], np.nan)
    return spread.error(drawn[sound] if raw else np.log(drawn[sound]))
