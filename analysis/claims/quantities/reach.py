"""Quantities of a price: the data that a loss takes, how that grows, and the loss at an equal size or compute.

    first_reach(np.array([0.0, 1.0]), np.array([4.0, 1.0]), 2.0, falls=True)      # (0.5, '')

A curve is the runs of one seed that are equal in all choices but the axis, interpolated in logarithms. One that does
not reach the value bounds the price from below, one that starts beyond it from above; the verdict uses only the bound.
"""

import math
from collections.abc import Hashable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.claims.declare import Contrast, Measured, NotIdentified, Sample, Untested, quantity
from isoflop.analysis.claims.quantities.cells import cell_of, choices, shared_choices
from isoflop.analysis.claims.quantities.columns import (
    exponential,
    least_squares,
    mean_difference,
    measured_slope,
    minus,
    standard_error,
    t_interval,
)
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.rows import joined
from isoflop.analysis.runs.runs import Runs
from isoflop.wording import number

Array = NDArray[np.float64]
LEAST, MOST = "least", "most"
of_price = partial(quantity, needs=("axis", "reach"))


@of_price(wording="{reach} is first reached at {axis} = {amount}")
def reach(sample: Sample) -> Measured:
    """where along an axis a column first reaches a value, the geometric mean over seeds"""
    prices = _prices_of(sample, sample.runs)
    bound = _bound(prices)
    mean, low, high = t_interval(prices["value"].to_numpy(float), sample.level)
    low, high = (None if bound == MOST else low), (None if bound == LEAST else high)
    return Measured(math.exp(mean), exponential(low), exponential(high), reason=_reason(prices))


@of_price(subject="pair", unit="data", wording="to reach {reach}, {lower} {amount} than {higher}")
def reach_ratio(sample: Sample) -> Contrast:
    """ln of the ratio between two groups of where along an axis a column first reaches a value"""
    one, two = (_prices_of(sample, side) for side in sample.sides)
    bound = _bound_of_difference(_bound(one), _bound(two))
    reason = f"{_reason(one)}; {_reason(two)}"
    value, se, df, _ = mean_difference(one, two, sample.compared)
    return Contrast(value, se, df, reason=reason, bound=bound)


@quantity(
    needs=("axis", "reach", "against"),
    wording="{axis} at which {reach} is first reached grows as {against} to the power {amount}",
)
def reach_slope(sample: Sample) -> Measured:
    """exponent in another of where along an axis a column first reaches a value"""
    return measured_slope(_slope(sample, sample.runs), sample.level)


@quantity(
    subject="pair",
    needs=("axis", "reach", "against"),
    wording="the power of {against} with which {axis} at {reach} grows is {amount} lower for {lower} than for {higher}",
)
def reach_slope_difference(sample: Sample) -> Contrast:
    """difference between two groups of the exponent in another of where along an axis a column first reaches a value"""
    one, two = (_slope(sample, side) for side in sample.sides)
    return minus(one, two, f"exponents {number(one.value)} and {number(two.value)}")


@quantity(
    subject="pair",
    needs=("axis",),
    unit="percent",
    wording="at equal {axis} the loss is {amount} lower for {lower} than for {higher}",
)
def loss_at_equal(sample: Sample) -> Contrast:
    """mean Δ ln L between two groups at equal values of an axis

    Along each group's curve of ln L on the logarithm of the axis, over the range that both curves share; along C, where
    the amount of data varies besides, along the lower envelope. The seed is the unit.
    """
    return _at_equal(sample, "L")


@quantity(
    subject="pair",
    needs=("axis",),
    of="column",
    unit="percent",
    wording="at equal {axis} {of} is {amount} lower for {lower} than for {higher}",
)
def column_at_equal(sample: Sample, column: str) -> Contrast:
    """mean Δ ln of a column between two groups at equal values of an axis, as loss_at_equal"""
    return _at_equal(sample, column)


def _at_equal(sample: Sample, column: str) -> Contrast:
    """Return the mean difference of ln of a column over the range of the axis that both groups share, by seed."""
    a, b = (side.usable.frame for side in sample.sides)
    names = shared_choices(a, b, (*sample.compared, sample.axis))
    envelope = sample.axis == "C" and any(len(set(level_index(rows["D"]))) > 1 for rows in (a, b) if "D" in rows)
    one, two = (_curves_of(side, sample.axis, column, names) for side in sample.sides)
    pairs_of = {key: _between(one[key], two[key], envelope) for key in one if key in two}
    by_seed: dict[Hashable, list[float]] = {}
    for key, delta in pairs_of.items():
        if delta is not None:
            by_seed.setdefault(key[0], []).append(delta)
    deltas = [float(np.mean(each)) for each in by_seed.values()]
    if not deltas:
        raise Untested(f"{' and '.join(sample.pair)} share no range of {sample.axis} at one seed, with two of each")
    values = np.array(deltas)
    se, df = standard_error(values)
    return Contrast(float(values.mean()), se, df, reason=f"{len(values)} pair{'s' * (len(values) > 1)} of curves")


class _PriceCurve(NamedTuple):
    """x, y: along one curve, ascending in x. first: the choices of its runs."""

    x: Array
    y: Array
    first: pd.Series


def _curves_of(runs: Runs, axis: str, column: str, names: list[str]) -> dict[tuple[Hashable, ...], _PriceCurve]:
    """Return the curves of a column along an axis, by seed and by the values of the named columns."""
    rows = runs.usable.frame
    values = {name: pd.to_numeric(rows[name], errors="coerce") for name in (axis, column)}
    rows = rows.assign(_x=np.log(values[axis].where(values[axis] > 0)), _y=values[column]).dropna(subset=["_x", "_y"])
    cell = joined(rows, names)
    seed = rows["seed"].astype(str) if "seed" in rows else pd.Series("", index=rows.index)
    curves = {}
    for key, part in rows.groupby([seed, cell], sort=True):
        means = part.groupby("_x")["_y"].mean()
        curves[key] = _PriceCurve(means.index.to_numpy(float), means.to_numpy(float), part.iloc[0])
    return curves


def _prices_of(sample: Sample, runs: Runs) -> pd.DataFrame:
    """Return a row for each curve: ln of the axis where it reaches the value, and whether that is a bound."""
    ((column, goal),) = sample.reach.items()
    curves = _curves_of(runs, sample.axis, column, choices(runs.usable.frame, (*sample.compared, sample.axis)))
    many = {key: curve for key, curve in curves.items() if len(curve.x) > 1}
    if not many:
        raise Untested(f"no curve of {column} along {sample.axis} has two points of one seed")
    falls = np.median([curve.y[-1] - curve.y[0] for curve in many.values()]) < 0
    rows = []
    for curve in many.values():
        value, bound = first_reach(curve.x, curve.y, goal, bool(falls))
        rows.append({**curve.first.to_dict(), "value": value, "bound": bound})
    return pd.DataFrame(rows)


def first_reach(x: Array, y: Array, goal: float, falls: bool) -> tuple[float, str]:
    """Return where a curve, ascending in x (logarithms), first reaches a value; least or most if only a bound."""
    beyond = y <= goal if falls else y >= goal
    if beyond[0]:
        return float(x[0]), MOST
    if not beyond.any():
        return float(x[-1]), LEAST
    first = int(beyond.argmax())
    before, after, target = y[first - 1], y[first], goal
    if min(before, after, goal) > 0:  # a power law is straight in logarithms
        before, after, target = math.log(before), math.log(after), math.log(goal)
    return float(x[first - 1] + (x[first] - x[first - 1]) * (target - before) / (after - before)), ""


def _slope(sample: Sample, runs: Runs) -> Contrast:
    """Return the slope of the logarithm of the price on that of another column, over curves."""
    prices = _prices_of(sample, runs)
    if bounds := int((prices["bound"] != "").sum()):
        raise NotIdentified(
            f"{bounds} of {len(prices)} curves do not cross the value within their range of {sample.axis}"
        )
    x = np.log(pd.to_numeric(prices[sample.against], errors="coerce").to_numpy(float))
    cell = cell_of(prices, choices(prices, (*sample.compared, sample.against, sample.axis)))
    return least_squares(x, prices["value"].to_numpy(float), cell, sample.against)


def _bound(prices: pd.DataFrame) -> str:
    """Return whether the mean price is only a bound; NotIdentified where curves bound it from both sides."""
    kinds = {*prices["bound"]} - {""}
    if len(kinds) > 1:
        raise NotIdentified("some curves start beyond the value and some do not reach it: the runs do not span it")
    return next(iter(kinds), "")


def _bound_of_difference(one: str, two: str) -> str:
    turned = {LEAST: MOST, MOST: LEAST, "": ""}[two]
    if one and turned and one != turned:
        raise NotIdentified("neither group crosses the value within its range, so their ratio is not known")
    return one or turned


def _reason(prices: pd.DataFrame) -> str:
    bounds = prices["bound"].value_counts()
    words = {LEAST: "do not reach it", MOST: "start beyond it"}
    parts = [f"{bounds[kind]} {text}" for kind, text in words.items() if kind in bounds]
    return f"{len(prices)} curves, about {number(math.exp(prices['value'].mean()))}{''.join(f', {p}' for p in parts)}"


def _between(one: _PriceCurve, two: _PriceCurve, envelope: bool) -> float | None:
    """Return the mean difference of ln y of two curves, or lower envelopes, over their common range, if any."""
    low, high = max(one.x[0], two.x[0]), min(one.x[-1], two.x[-1])
    if min(len(one.x), len(two.x)) < 2 or high <= low:
        return None
    x = np.linspace(low, high, 33)  # the mean over the range, not over where the runs happen to be
    a, b = (np.log(np.minimum.accumulate(curve.y) if envelope else curve.y) for curve in (one, two))
    gap = np.interp(x, one.x, a) - np.interp(x, two.x, b)
    return float(np.trapezoid(gap, x) / (high - low))
