"""Quantities of how a family trains: the range of good learning rates, and whether the curves of all sizes coincide.

_window(np.array([-3.0, -2.0, -1.0]), np.array([1.0, 0.9, 1.0]))      # decades about the best; whether it is inside
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtri

from isoflop.analysis.claims.declare import Measured, NotIdentified, Sample, Untested, quantity
from isoflop.analysis.claims.quantities.cells import choices
from isoflop.analysis.claims.quantities.columns import t_interval
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.runs.rows import joined
from isoflop.errors import FitError
from isoflop.wording import number, percent

Array = NDArray[np.float64]
# a rate is as good as the best where its loss is at most this much higher, in ln L
AS_GOOD = math.log1p(0.01)
# where along a run its curve is compared, as shares of its compute (Qiu et al. 2025, arXiv:2507.02119)
SHARES = (0.3, 0.6, 0.9)


@quantity(wording="learning rates within 1 % of the best loss span {amount} decades")
def rate_window(sample: Sample) -> Measured:
    """decades of learning rate within 1 % of the best loss

    Interpolated between the rates that were tried, for each size and seed; where the best is among the outermost rates
    the window is at least what is seen of it.
    """
    rows = sample.runs.usable.frame
    names = [c for c in choices(rows, ("lr", *sample.compared)) if not c.startswith("recipe.lr")]
    cell = joined(rows, names)
    seed = rows["seed"].astype(str) if "seed" in rows else pd.Series("", index=rows.index)
    widths, open_ends = [], 0
    for _, part in rows.groupby([seed, cell, *([rows["mark"]] if "mark" in rows else [])]):
        curve = np.log(part.groupby("lr")["L"].mean().sort_index())
        if len(curve) < 3:
            continue
        width, inside = _window(np.log10(curve.index.to_numpy(float)), curve.to_numpy(float))
        widths.append(width)
        open_ends += not inside
    if not widths:
        raise Untested("no size has three learning rates at one seed")
    mean, low, high = t_interval(np.array(widths), sample.level)
    reason = f"{len(widths)} sweep{'s' * (len(widths) > 1)} of rates"
    if open_ends:  # what lies beyond the grid is not seen
        high, reason = None, f"{reason}, {open_ends} of them open at an end of the grid"
    return Measured(mean, low, high, reason=reason, unit="decades")


def _window(x: Array, y: Array) -> tuple[float, bool]:
    """Return the range of x (ascending) about the lowest y within AS_GOOD of it, and whether both ends lie inside."""
    best, goal = int(y.argmin()), float(y.min()) + AS_GOOD
    ends, inside = [], True
    for step, last in ((-1, 0), (1, len(y) - 1)):
        at = best
        while at != last and y[at + step] <= goal:
            at += step
        if at == last:
            ends.append(float(x[at]))
            inside = False
        else:
            share = (goal - y[at]) / (y[at + step] - y[at])
            ends.append(float(x[at] + share * (x[at + step] - x[at])))
    return ends[1] - ends[0], inside


@quantity(wording="the spread of the normalised loss curves over sizes is {amount}")
def collapse(sample: Sample) -> Measured:
    """spread over sizes of the normalised loss curves (L(xC) − E) / (L(C) − E) at x = .3, .6, .9

    The standard deviation over sizes of the logarithm of the mean curve over seeds, root mean square over x, set
    against that over seeds of one size. E is the floor where the task has one, or is fitted to the ends of the curves;
    the interval is that of a standard deviation (χ² on sizes − 1). After Qiu et al. 2025, arXiv:2507.02119.
    """
    E, curves = _normalised(sample.runs.usable.frame)
    means = curves.groupby(level=0).mean()
    sizes = len(means)
    if sizes < 3:
        raise Untested(f"runs of {sizes} sizes have marks over their course, and a spread over sizes needs 3")
    spread = float(np.sqrt((means.std(ddof=1) ** 2).mean()))
    counts = curves.groupby(level=0).size()
    replicated = curves[curves.index.isin(counts[counts > 1].index)]
    if replicated.empty:
        raise Untested("no size has two seeds, so what seeds do to a curve is unknown")
    within = replicated - replicated.groupby(level=0).transform("mean")
    seed_sd = float(np.sqrt((within**2).sum().mean() / (len(within) - within.index.nunique())))
    half = (1 - sample.level) / 2
    low, high = (spread * math.sqrt((sizes - 1) / chdtri(sizes - 1, p)) for p in (half, 1 - half))
    reason = f"{len(curves)} runs of {sizes} sizes, E {number(E)}, seed noise {percent(seed_sd, 2)}"
    return Measured(spread, low, high, seed_sd, reason=reason)


def _normalised(rows: pd.DataFrame) -> tuple[float, pd.DataFrame]:
    """Return E, and ln of each run's curve less E over its end, at SHARES of its compute, (runs, shares), by size."""
    parts = [part.sort_values("C") for _, part in rows.groupby("run_id") if len(part) > 2]
    parts = [part for part in parts if part["C"].iloc[0] <= SHARES[0] * 1.1 * part["C"].iloc[-1]]
    if not parts:
        raise Untested("no run has marks from .3 of its compute on, as of budget.D=[3e5,6e5,9e5,1e6]")
    E = _irreducible(pd.concat([part.tail(1) for part in parts]))
    table = {}
    for part in parts:
        end = part.iloc[-1]
        y = np.log((part["L"] - E).clip(lower=1e-12)) - math.log(max(end["L"] - E, 1e-12))
        at = np.log(np.array(SHARES) * end["C"])
        table[end["N"], end["run_id"]] = np.interp(at, np.log(part["C"]), y)
    frame = pd.DataFrame.from_dict(table, orient="index", columns=list(SHARES))
    frame.index = pd.Index([size for size, _ in table], name="N")
    return E, frame


def _irreducible(ends: pd.DataFrame) -> float:
    """Return the floor of the task, or E of L(C) = E + A C^-alpha at the ends of the curves."""
    if "floor" in ends and ends["floor"].notna().all():
        return float(ends["floor"].mean())
    try:
        fitted = fit(ends, "power_offset(C)")
    except FitError as error:
        raise NotIdentified(f"E is not known and cannot be fitted: {error}") from None
    if "E" not in fitted.values or fitted.values["E"] >= float(ends["L"].min()):
        raise NotIdentified(f"E is not known and not fitted: {fitted.reason}")
    return float(fitted.values["E"])
