"""Quantities of any column, a probe's or a result's: means, shares, slopes and correlations, differences and ratios.

    from isoflop.analysis.claims.declare import Pair
    difference(Sample(runs, pair=Pair("lstm", "transformer")), "L").value

The run is the unit of every interval: its marks make one number (key `marks`), and Student's t is over runs, over pairs
that are alike but for what is compared, or over residuals about a slope.
"""

import math
from collections.abc import Iterable
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri

from isoflop import record
from isoflop.analysis.claims.declare import Contrast, Measured, NotIdentified, Ratio, Sample, Untested, quantity
from isoflop.analysis.claims.quantities.cells import cell_of, choices, of_runs, pairs
from isoflop.analysis.runs.runs import Runs

Array = NDArray[np.float64]
# declares a quantity of a column, which may be reduced over marks and have another column subtracted
of_column = partial(quantity, of="column", takes=("less", "marks"))


@of_column(wording="the mean of {of} over runs is {amount}")
def run_mean(sample: Sample, name: str) -> Measured:
    """mean over runs of a column"""
    values = of_runs(sample.runs, name, sample.marks, sample.less)["value"].to_numpy(float)
    unit = record.unit(name, sample.runs.usable.loss_unit)
    mean, low, high = t_interval(values, sample.level)
    return Measured(mean, low, high, reason=_count(len(values)), unit=unit)


@of_column(wording="the geometric mean of {of} over runs is {amount}")
def geometric_mean(sample: Sample, name: str) -> Measured:
    """geometric mean over runs of a column"""
    values = of_runs(sample.runs, name, sample.marks, sample.less)["value"].to_numpy(float)
    mean, low, high = t_interval(np.log(_positive(values, name)), sample.level)
    unit = record.unit(name, sample.runs.usable.loss_unit)
    return Measured(math.exp(mean), exponential(low), exponential(high), reason=_count(len(values)), unit=unit)


@of_column(needs=("threshold",), wording="the share of runs whose {of} is above the threshold is {amount}")
def share_above(sample: Sample, name: str) -> Measured:
    """share of runs above a threshold in a column

    With the exact binomial interval.
    """
    values = of_runs(sample.runs, name, sample.marks, sample.less)["value"].to_numpy(float)
    above = int((values > sample.threshold).sum())
    low, high = share_interval(above, len(values), sample.level)
    return Measured(above / len(values), low, high, reason=f"{above} of {_count(len(values))}")


@of_column(needs=("against",), wording="the slope of ln {of} on ln {against} is {amount}")
def log_slope(sample: Sample, name: str) -> Measured:
    """slope of the logarithm of a column on the logarithm of another

    By least squares over runs, within cells of runs that are equal in all other choices.
    """
    return measured_slope(_slope_of(sample, sample.runs, name, logarithm=True), sample.level)


@of_column(needs=("against",), wording="the slope of {of} on ln {against} is {amount}")
def slope(sample: Sample, name: str) -> Measured:
    """slope of a column on the logarithm of another

    By least squares over runs, within cells of runs that are equal in all other choices.
    """
    return measured_slope(_slope_of(sample, sample.runs, name, logarithm=False), sample.level)


@of_column(needs=("against",), wording="the partial correlation of {of} with {against} is {amount}")
def correlation(sample: Sample, name: str) -> Measured:
    """partial correlation over runs of a column with another, within cells of runs that are equal in all choices

    With Fisher's interval, atanh r ± z / √(n − cells − 2). `marks` is of the first column; of the other the last mark
    counts.
    """
    one = of_runs(sample.runs, name, sample.marks, sample.less)
    two = of_runs(sample.runs, sample.against, "last")
    key = ["run_id"] if "run_id" in one else ["index"]
    both = one.reset_index(drop="run_id" in one).merge(
        two.reset_index(drop="run_id" in two)[[*key, "value"]], on=key, suffixes=("", "_other")
    )
    cell = cell_of(both, choices(both, sample.compared))
    x, y = (_centred(both[c].to_numpy(float), cell) for c in ("value", "value_other"))
    free = len(both) - int(cell.nunique()) - 2
    if free < 1 or x.std() == 0 or y.std() == 0:
        raise Untested(
            f"{_count(len(both))} in {cell.nunique()} cells give no correlation of {name} with {sample.against}"
        )
    r = float(np.clip((x @ y) / math.sqrt((x @ x) * (y @ y)), -1 + 1e-12, 1 - 1e-12))
    half = float(ndtri((1 + sample.level) / 2)) / math.sqrt(free)
    low, high = (math.tanh(math.atanh(r) + side * half) for side in (-1, 1))
    return Measured(r, low, high, reason=f"{_count(len(both))} in {cell.nunique()} cells")


@of_column(subject="pair", wording="the mean of {of} is {amount} lower for {lower} than for {higher}")
def difference(sample: Sample, name: str) -> Contrast:
    """difference of the mean of a column between two groups

    Of runs that are equal in seed and in all that both groups vary; where none are, of two independent means (Welch).
    """
    one, two = (of_runs(side, name, sample.marks, sample.less) for side in sample.sides)
    value, se, df, count = mean_difference(one, two, sample.compared)
    unpaired = f"{len(one)} and {_count(len(two))}, which have no partners"
    return Contrast(value, se, df, reason=f"{count} pairs of runs" if count else unpaired)


@of_column(subject="pair", unit="ratio", wording="the mean of {of} for {first} is {amount} times that for {second}")
def ratio(sample: Sample, name: str) -> Contrast:
    """ratio of the mean of a column between two groups

    Of paired runs as in difference; the interval is Fieller's.
    """
    one, two = (of_runs(side, name, sample.marks, sample.less) for side in sample.sides)
    both = pairs(one, two, sample.compared)
    a, b = (both[side].to_numpy(float) for side in ("one", "two"))
    n = len(both)
    if n < 2:
        raise Untested(
            f"{' and '.join(sample.pair)} share {n or 'no'} pair{'' if n == 1 else 's'} of runs, and a ratio with an "
            "interval needs 2"
        )
    if b.mean() == 0:
        raise NotIdentified(f"the mean of {name} is 0 for {sample.pair.second}, by which it would be divided")
    ((of_a, both_ab), (_, of_b)) = np.cov(a, b) / n
    value = float(a.mean() / b.mean())
    se = math.sqrt(max(0.0, of_a - 2 * value * both_ab + value**2 * of_b)) / abs(float(b.mean()))
    means, covariance = (float(a.mean()), float(b.mean())), (float(of_a), float(of_b), float(both_ab))
    return Ratio(value, se, n - 1, reason=f"{n} pairs of runs", means=means, covariance=covariance)


def mean_difference(one: pd.DataFrame, two: pd.DataFrame, compared: Iterable[str]) -> tuple[float, float, float, int]:
    """Return the difference of the means of `value`, its error, dof and pairs: 0 pairs for independent means."""
    both = pairs(one, two, compared)
    if len(both) >= 2:
        delta = (both["one"] - both["two"]).to_numpy(float)
        return float(delta.mean()), *standard_error(delta), len(delta)
    first, second = (group["value"].to_numpy(float) for group in (one, two))
    return float(first.mean() - second.mean()), *welch([standard_error(first), standard_error(second)]), 0


def _slope_of(sample: Sample, runs: Runs, name: str, logarithm: bool) -> Contrast:
    """Return the slope of a column on the logarithm of another, over runs, or within runs where that varies there."""
    along = sample.against
    rows = runs.usable.frame
    if not sample.marks and "run_id" in rows and int(rows.groupby("run_id")[along].nunique().max()) > 1:
        return _mean_slope(rows, name, along, logarithm, sample.less)
    values = of_runs(runs, name, sample.marks, sample.less)
    y = np.log(_positive(values["value"].to_numpy(float), name)) if logarithm else values["value"].to_numpy(float)
    x = np.log(_positive(pd.to_numeric(values[along], errors="coerce").to_numpy(float), along))
    return least_squares(x, y, cell_of(values, choices(values, (*sample.compared, along))), along)


def least_squares(x: Array, y: Array, cell: pd.Series, along: str) -> Contrast:
    """Return the common slope within cells."""
    x, y = _centred(x, cell), _centred(y, cell)
    spread = float(x @ x)
    if spread <= 0:
        raise Untested(f"the runs have one value of {along} beside equal other choices, and a slope needs several")
    value = float(x @ y) / spread
    df = len(x) - int(cell.nunique()) - 1
    rest = y - value * x
    se = math.sqrt(float(rest @ rest) / df / spread) if df > 0 else math.nan
    several = f" in {cell.nunique()} cells" if cell.nunique() > 1 else ""
    return Contrast(value, se, df, reason=_count(len(x)) + several)


def _mean_slope(rows: pd.DataFrame, name: str, along: str, logarithm: bool, less: str) -> Contrast:
    """Return the mean of each run's own slope over its marks; the run is the unit."""
    y = pd.to_numeric(rows[name], errors="coerce") - (pd.to_numeric(rows[less], errors="coerce") if less else 0.0)
    rows = rows.assign(x=np.log(pd.to_numeric(rows[along], errors="coerce")), y=np.log(y) if logarithm else y)
    rows = rows[np.isfinite(rows["x"]) & np.isfinite(rows["y"])]
    parts = [part for _, part in rows.groupby("run_id") if part["x"].nunique() > 1]
    if not parts:
        raise Untested(f"no run has numbers in the column {name} at several {along}")
    slopes = np.array([np.polyfit(part["x"], part["y"], 1)[0] for part in parts])
    return Contrast(float(slopes.mean()), *standard_error(slopes), reason=f"the marks of {_count(len(slopes))}")


def measured_slope(slope: Contrast, level: float) -> Measured:
    """Return a slope with Student's interval."""
    return Measured(slope.value, *slope.interval(level), reason=slope.reason)


def minus(one: Contrast, two: Contrast, reason: str) -> Contrast:
    """Return the difference of two independent numbers."""
    return Contrast(one.value - two.value, *welch([(one.se, one.df), (two.se, two.df)]), reason=reason)


def exponential(bound: float | None) -> float | None:
    """Return the bound of a number from that of its logarithm."""
    return None if bound is None else math.exp(bound)


def t_interval(values: Array, level: float) -> tuple[float, float | None, float | None]:
    """Return the mean and Student's interval; no bounds for a single value."""
    mean = float(values.mean())
    return mean, *Contrast(mean, *standard_error(values)).interval(level)


def share_interval(many: int, n: int, level: float) -> tuple[float, float]:
    """Return the exact interval of a share of `many` in `n` (Clopper and Pearson 1934)."""
    low = float(betaincinv(many, n - many + 1, (1 - level) / 2)) if many else 0.0
    return low, float(betaincinv(many + 1, n - many, (1 + level) / 2)) if many < n else 1.0


def standard_error(values: Array) -> tuple[float, float]:
    """Return the standard error of the mean and its degrees of freedom; NaN for a single value."""
    n = len(values)
    return (float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan), n - 1


def welch(errors: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the standard error of a sum of independent (se, df), and its degrees of freedom (Welch 1947)."""
    squares = [se**2 for se, _ in errors]
    total = sum(squares)
    if not math.isfinite(total) or any(df <= 0 for _, df in errors):
        return math.nan, 0.0
    if total == 0:
        return 0.0, min(df for _, df in errors)
    return math.sqrt(total), total**2 / sum(s**2 / df for s, (_, df) in zip(squares, errors, strict=True))


def _centred(values: Array, cell: pd.Series) -> Array:
    series = pd.Series(values, index=cell.index)
    return (series - series.groupby(cell).transform("mean")).to_numpy(float)


def _positive(values: Array, name: str) -> Array:
    if not (values > 0).all():
        raise NotIdentified(f"a logarithm is taken of {name}, not above 0 in {int((~(values > 0)).sum())} runs")
    return values


def _count(n: int) -> str:
    return f"{n} run{'' if n == 1 else 's'}"
