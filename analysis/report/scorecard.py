"""The scorecard: four criteria of each family, measured: expressivity, learnability, scalability, efficiency.

No single number: a row for each measure, family and kind of data, with an interval whose unit is the run or the seed.

    card = scorecard(runs)                                   # criterion, measure, data, family, value, low, high, ...
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop import record
from isoflop.analysis.claims.declare import QUANTITIES, Measured, NotIdentified, Sample, Unmeasured, Untested
from isoflop.analysis.claims.judge import sound_table
from isoflop.analysis.claims.quantities.cells import cell_of, choices, of_runs, with_derived
from isoflop.analysis.claims.quantities.columns import exponential, share_interval, t_interval
from isoflop.analysis.claims.quantities.reach import first_reach
from isoflop.analysis.claims.subjects import of_families
from isoflop.analysis.fitting.fit import Fits
from isoflop.analysis.runs.cells import choose_law
from isoflop.analysis.runs.rows import finished, usable
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.errors import FitError

Array = NDArray[np.float64]
CRITERIA = ("expressivity", "learnability", "scalability", "efficiency")
LEVEL = 0.95


@dataclass(frozen=True)
class _Shared:
    """What all families of one kind of data are compared at."""

    C: float
    """The largest compute that each of them has [FLOPs]."""
    loss: float
    """The largest of their lowest losses, which each of them reaches."""
    fits: Fits


@dataclass(frozen=True)
class _Measure:
    """One measure: a title with its unit, which end is better, and how it is taken from a family's rows."""

    criterion: str
    title: str
    better: str
    """lower or higher."""
    take: Callable[[pd.DataFrame, _Shared], Measured]


def scorecard(runs: RunsLike, fits: Fits | None = None) -> pd.DataFrame:
    """Return a row for each measure that some family has, kind of data and family of a table; value None, with the
    reason, where unknown; fits: where fits of these runs are kept.

    Columns: criterion, measure, title, better, data, family, value, low, high, runs, reason.
    """
    table = with_derived(sound_table(of_families(runs)), ["excess"]).frame
    fits = fits or Fits(table)
    table = table.assign(data="") if "data" not in table else table
    rows = []
    for data, part in table.groupby("data", sort=True):
        shared = _shared(usable(part), fits)
        for name, measure in MEASURES.items():
            cells = [_cell(measure, own, shared) | {"family": family} for family, own in part.groupby("family")]
            if any(cell["value"] is not None for cell in cells):
                about = {"criterion": measure.criterion, "measure": name, "title": measure.title}
                rows += [about | {"better": measure.better, "data": data} | cell for cell in cells]
    columns = ["criterion", "measure", "title", "better", "data", "family", "value", "low", "high", "runs", "reason"]
    return pd.DataFrame(rows, columns=columns)


def _cell(measure: _Measure, rows: pd.DataFrame, shared: _Shared) -> dict[str, object]:
    count = int(usable(rows)["run_id"].nunique()) if "run_id" in rows else len(usable(rows))
    try:
        with np.errstate(all="ignore"):
            one = measure.take(rows, shared)
    except (Unmeasured, FitError, KeyError) as outcome:
        return {"value": None, "low": None, "high": None, "runs": count, "reason": str(outcome)}
    return {"value": one.value, "low": one.low, "high": one.high, "runs": count, "reason": one.reason}


def _shared(rows: pd.DataFrame, fits: Fits) -> _Shared:
    if rows.empty or "C" not in rows:
        return _Shared(math.nan, math.nan, fits)
    by_family = rows.groupby("family")
    best = max(float(_best_cell(part)["L"].mean()) for _, part in by_family)
    return _Shared(float(by_family["C"].max().min()), best, fits)


def _best_cell(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a family's runs of the setting, seeds aside, with the lowest mean loss."""
    cell = cell_of(rows, [*choices(rows), *(c for c in ("lr", "mark") if c in rows)])
    return rows[cell == rows["L"].groupby(cell).mean().idxmin()]


def _excess(rows: pd.DataFrame, shared: _Shared) -> Measured:
    rows = usable(rows)
    if "excess" not in rows or rows["excess"].isna().all():
        raise Untested("the floor of this data is not known")
    values = _best_cell(rows)["excess"].to_numpy(float)
    return _mean(values, record.loss_unit(rows))


def _share_trained(rows: pd.DataFrame, shared: _Shared) -> Measured:
    """Measure the share of runs that have a loss, with the exact binomial interval."""
    runs = rows.assign(trained=finished(rows) & rows["L"].notna())
    each = runs.groupby("run_id")["trained"].all() if "run_id" in runs else runs["trained"]
    trained, n = int(each.sum()), len(each)
    return Measured(trained / n, *share_interval(trained, n, LEVEL), reason=f"{trained} of {n} runs")


def _loss_at_C(rows: pd.DataFrame, shared: _Shared) -> Measured:
    """Measure the lowest loss of each seed's runs at the shared compute, interpolated along their envelope."""
    losses = []
    for curve in _by_seed(usable(rows), "C"):
        x, y = np.log(curve["C"].to_numpy(float)), np.log(curve["L"].cummin().to_numpy(float))
        if x[0] <= math.log(shared.C) <= x[-1] + 1e-9:
            losses.append(math.exp(float(np.interp(math.log(shared.C), x, y))))
    if not losses:
        raise Untested("no seed has runs on both sides of the compute that all families share")
    return _mean(np.array(losses), record.loss_unit(rows))


def _price_of_loss(column: str) -> Callable[[pd.DataFrame, _Shared], Measured]:
    """Return a measure: how much of a column runs take to the loss that every family reaches, averaged over seeds."""

    def take(rows: pd.DataFrame, shared: _Shared) -> Measured:
        rows = usable(rows)
        if column not in rows or pd.to_numeric(rows[column], errors="coerce").isna().all():
            raise Untested(f"the runs have no {column}")
        prices, bounded = [], ""
        for curve in _by_seed(rows, column):
            x = np.log(pd.to_numeric(curve[column], errors="coerce").to_numpy(float))
            price, bound = first_reach(x, curve["L"].cummin().to_numpy(float), shared.loss, falls=True)
            if bound != "least":
                prices.append(price)
                bounded = bounded or bound
        if not prices:
            raise NotIdentified("no seed's runs reach the loss that all families reach on average")
        mean, low, high = t_interval(np.array(prices), LEVEL)
        reason = f"{len(prices)} seeds, to a loss of {shared.loss:.4g}" + (", at most" if bounded else "")
        return Measured(math.exp(mean), None if bounded else exponential(low), exponential(high), reason=reason)

    return take


def _by_seed(rows: pd.DataFrame, column: str) -> Iterator[pd.DataFrame]:
    """Yield the rows of each seed that have a number above 0 in a column, in its order."""
    numbers = pd.to_numeric(rows[column], errors="coerce")
    rows = rows[numbers > 0]
    for _, part in rows.groupby("seed") if "seed" in rows else [(0, rows)]:
        yield part.sort_values(column, kind="stable")


def _of_quantity(name: str, of: str = "", marks: str = "") -> Callable[[pd.DataFrame, _Shared], Measured]:

    def take(rows: pd.DataFrame, shared: _Shared) -> Measured:
        one = QUANTITIES[name](Sample(as_runs(rows), level=LEVEL, marks=marks, fits=shared.fits), of)
        assert isinstance(one, Measured)
        return one

    return take


def _of_law(name: str) -> Callable[[pd.DataFrame, _Shared], Measured]:

    def take(rows: pd.DataFrame, shared: _Shared) -> Measured:
        law = choose_law(usable(rows))
        if law is None:
            raise Untested("no law can be fitted to these runs: N or D has too few values")
        axis = "C" if law == "chinchilla" else law.rpartition("(")[2].rstrip(")")
        axis = axis if "axis" in QUANTITIES[name].needs else ""
        one = QUANTITIES[name](Sample(as_runs(rows), law=law, level=LEVEL, axis=axis, fits=shared.fits))
        assert isinstance(one, Measured)
        return replace(one, reason=f"{law}: {one.reason}")

    return take


def _slope_from_flat(rows: pd.DataFrame, shared: _Shared) -> Measured:
    values = of_runs(rows, "probe.gradients.slope", "last")["value"].abs().to_numpy(float)
    return _mean(values, "")


def _mean(values: Array, unit: str) -> Measured:
    mean, low, high = t_interval(values, LEVEL)
    return Measured(mean, low, high, reason=f"{len(values)} run{'s' * (len(values) != 1)}", unit=unit)


MEASURES: dict[str, _Measure] = {
    "excess": _Measure("expressivity", "loss above the floor, at the best setting", "lower", _excess),
    "accuracy_4": _Measure(
        "expressivity",
        "accuracy at four times the trained length",
        "higher",
        _of_quantity("run_mean", "probe.extrapolation.accuracy_4", marks="last"),
    ),
    "rate_window": _Measure(
        "learnability", "decades of learning rate within 1 % of the best", "higher", _of_quantity("rate_window")
    ),
    "gradient_slope": _Measure(
        "learnability", "distance from 0 of the slope of ln |gradient| per position", "lower", _slope_from_flat
    ),
    "share_trained": _Measure("learnability", "share of runs that train", "higher", _share_trained),
    "holdout_error": _Measure(
        "scalability", "error of prediction at the held-out largest size, in ln L", "lower", _of_law("holdout_error")
    ),
    "exponent_C": _Measure("scalability", "-d ln L / d ln C among the runs", "higher", _of_law("local_exponent_C")),
    "loss_at_C": _Measure("efficiency", "loss at the largest compute that all have", "lower", _loss_at_C),
    "C_to_loss": _Measure("efficiency", "FLOPs to the loss that all reach", "lower", _price_of_loss("C")),
    "time_to_loss": _Measure("efficiency", "seconds to the loss that all reach", "lower", _price_of_loss("wall_s")),
    "memory_to_loss": _Measure(
        "efficiency", "bytes to the loss that all reach", "lower", _price_of_loss("peak_memory")
    ),
    "decode_slope": _Measure(
        "efficiency",
        "exponent of a decoded token's time in the length",
        "lower",
        _of_quantity("run_mean", "probe.step_time.decode_slope", marks="last"),
    ),
}
