"""The levels of an axis, and the layout of a table: isoFLOP budgets, a grid, a ladder, one axis, marks or scattered.

Which laws a table can tell apart follows from where its runs stand, whatever their losses; a report and `isoflop check`
say it first.

    level_index([1.00e10, 1.01e10, 2e10])     # [0, 0, 1]
    layout(pd.DataFrame({"N": [1e6, 2e6, 4e6], "D": [2e7, 4e7, 8e7]})).kind      # 'ladder'
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from isoflop.analysis.laws.declare import TRAIN

# budgets are rounded up to whole steps: values closer than this are one level of an axis
SAME_LEVEL = 0.1
# levels of a column from which a law over it is worth fitting
LEVELS = 3
# how rarely chance may make values crowd at one level: the usual one in twenty (Fisher 1925)
_CHANCE = 0.05
# what each kind is, and what it can tell
KINDS = {
    "isoflop": "several sizes at each of several budgets of compute: the best size and its exponent",
    "grid": "sizes crossed with amounts of data: a law of both",
    "ladder": "one ratio of D to N at growing size: a law of compute (--law 'power_offset(C)'), not one of N and D",
    "axis": "one column varies: a law of that column",
    "marks": "several amounts of data along each of few runs: a law of D well, one of N as far as runs go",
    "scattered": "no two runs share a size, an amount of data or a budget: a law of both where they span enough",
    "single": "no column varies enough for a law",
}
# decades that an axis of size, data or compute should span: at 0.5 % noise a 6 x 6 grid of 1.5 decades an axis gives
# alpha to 0.02, one of 2.5 decades to 0.008
SPAN = 1.5
# what a number may be, of a table that nobody measured
_FINITE = (np.finfo(float).tiny, np.finfo(float).max)
# a budget is level where this share of the rows stands in budgets of at least LEVELS sizes
_MOST = 0.6
# values that repeat but for rounding: sizes and data that grow by one factor repeat their products as well as
# themselves, and only those of a grid repeat so closely
_EXACT = 0.003


def level_index(values: ArrayLike, tolerance: float = SAME_LEVEL) -> NDArray[np.int64]:
    """Return the rank of each positive value among the distinct ones, from 0; values within `tolerance` are one
    level. A chain of near values is cut at its widest gaps, so that no level is wider than that to either side of
    its middle."""
    x = np.log(np.asarray(values, dtype=float))
    order = np.argsort(x, kind="stable")
    step, x = np.log1p(tolerance), x[order]
    steps = np.diff(x, prepend=x[:1])
    starts = steps > step
    starts[:1] = True
    edges = [*np.flatnonzero(starts), len(x)]
    chains = list(itertools.pairwise(edges))
    while chains:
        first, last = chains.pop()
        if x[last - 1] - x[first] > 2 * step * (1 + 1e-9):
            cut = first + 1 + int(steps[first + 1 : last].argmax())
            starts[cut] = True
            chains += [(first, cut), (cut, last)]
    index = np.empty(len(x), dtype=np.int64)
    index[order] = np.cumsum(starts) - 1
    return index


def stand_apart(values: ArrayLike, sizes: ArrayLike | None = None, tolerance: float = SAME_LEVEL) -> NDArray[np.bool_]:
    """Return whether the level of each value stands apart from its neighbours, (rows,): by a gap wider than the
    tolerance, or, where most values do, by how closely values crowd there.

    Values crowd where the half of the tolerance to either side of the median of a level holds more of them than chance
    would put there from the two stretches of that width beside it. Rows equal in value and in `sizes`, (rows,), count
    once.
    """
    x, index = np.log(np.asarray(values, dtype=float)), level_index(values, tolerance)
    ends = pd.Series(x).groupby(index).agg(["min", "max"])
    gap = ends["min"].to_numpy()[1:] - ends["max"].to_numpy()[:-1] > np.log1p(tolerance)
    apart = np.r_[True, gap] & np.r_[gap, True]
    places = pd.DataFrame({"x": x, "index": index, "size": 0.0 if sizes is None else np.asarray(sizes, dtype=float)})
    places = places.drop_duplicates(["x", "size"])
    crowded = _crowded(places["x"].to_numpy(), places["index"].to_numpy(), np.log1p(tolerance) / 2)
    if crowded[places["index"]].mean() > 0.5:
        apart |= crowded
    by_row: NDArray[np.bool_] = apart[index]
    return by_row


def _crowded(x: NDArray[np.float64], index: NDArray[np.int64], half: float) -> NDArray[np.bool_]:
    """Return whether values crowd at each level, (levels,): by a binomial test of its core, a third of it all."""
    from scipy.special import bdtrc

    x_sorted, middles = np.sort(x), pd.Series(x).groupby(index).median().to_numpy()

    def count(reach: float) -> NDArray[np.intp]:
        ends = (middles - reach * (1 + 1e-9), middles + reach * (1 + 1e-9))
        return x_sorted.searchsorted(ends[1], "right") - x_sorted.searchsorted(ends[0], "left")

    core = count(half)
    crowded: NDArray[np.bool_] = (core > 0) & (bdtrc(np.maximum(core - 1, 0), count(3 * half), 1 / 3) <= _CHANCE)
    return crowded


@dataclass(frozen=True)
class Layout:
    """Where the runs of a table stand.

    kind      isoflop, grid, ladder, axis, marks, scattered or single
    levels    distinct values of each of N, D and C
    decades   what each of them spans
    ratio     D/N of a ladder; None of any other
    axis      the column that varies, of an axis
    """

    kind: str
    levels: dict[str, int]
    decades: dict[str, float]
    ratio: float | None = None
    axis: str = ""

    @property
    def sentence(self) -> str:
        """The layout in words."""
        counts = ", ".join(f"{n} {name} over {self.decades[name]:.1f} decades" for name, n in self.levels.items())
        detail = f" at D = {self.ratio:.3g} N" if self.ratio else f" of {self.axis}" if self.axis else ""
        return f"{self.kind}{detail} ({counts}): {KINDS[self.kind]}"


def layout(rows: pd.DataFrame, runs: NDArray[np.intp] | None = None) -> Layout:
    """Return the layout of usable rows, by the N, D and C they have; runs: the number of each row's run, (rows,)."""
    columns = {c: rows[c].to_numpy(float) for c in ("N", "D", "C") if c in rows and rows[c].notna().all()}
    with np.errstate(over="ignore", under="ignore"):  # of a foreign table's 1e300 FLOPs and 1e-300 parameters
        if {"N", "D"} <= set(columns) and "C" not in columns:
            columns["C"] = np.clip(TRAIN * columns["N"] * columns["D"], *_FINITE)
        elif {"N", "C"} <= set(columns) and "D" not in columns:
            columns["D"] = np.clip(columns["C"] / TRAIN / columns["N"], *_FINITE)
    index = {c: level_index(x) for c, x in columns.items()}
    levels = {c: int(i.max(initial=-1)) + 1 for c, i in index.items()}
    decades = {c: float(np.log10(x.max()) - np.log10(x.min())) for c, x in columns.items()}
    kind, ratio, axis = _kind(columns, levels, runs)
    return Layout(kind, levels, decades, ratio, axis)


def _kind(
    columns: dict[str, NDArray[np.float64]], levels: dict[str, int], runs: NDArray[np.intp] | None
) -> tuple[str, float | None, str]:
    varies = [c for c in ("N", "D") if levels.get(c, 0) >= LEVELS]
    if not varies:
        return ("axis", None, "C") if levels.get("C", 0) >= LEVELS and "N" not in levels else ("single", None, "")
    if len(varies) == 1:
        other = levels.get("D" if varies == ["N"] else "N", 1)
        return ("grid", None, "") if other > 1 else ("axis", None, varies[0])
    log_ratio = np.log(columns["D"]) - np.log(columns["N"])
    if np.ptp(log_ratio) <= 2 * np.log1p(SAME_LEVEL):
        return "ladder", float(np.exp(np.clip(log_ratio.mean(), *np.log(_FINITE)))), ""
    if runs is not None and int(runs.max()) + 1 < len(runs):
        return "marks", None, ""
    return _repeated(columns), None, ""


def _repeated(columns: dict[str, NDArray[np.float64]]) -> str:
    """Return what repeats: budgets (isoflop), sizes and amounts of data (grid), or nothing (scattered)."""
    budgets, crossed, few = _shares(columns, _EXACT)
    if min(crossed) >= _MOST:
        return "grid"
    if not (budgets >= _MOST and few):
        budgets, crossed, few = _shares(columns, SAME_LEVEL)
    # a budget holds sizes that differ; a grid repeats both its sizes and its amounts of data
    if budgets >= _MOST and budgets > min(crossed) and few:
        return "isoflop"
    # places all over a plane come near one another too: sizes or amounts of data are levels where they stand apart
    for share, (axis, other) in zip(crossed, (("N", "D"), ("D", "N")), strict=True):
        if share >= _MOST and stand_apart(columns[axis], columns[other]).mean() >= _MOST:
            return "grid"
    return "scattered"


def _shares(columns: dict[str, NDArray[np.float64]], tolerance: float) -> tuple[float, tuple[float, float], bool]:
    """Return the shares of rows in budgets of several sizes, sizes of several data, the reverse; if budgets are few."""
    index = {c: level_index(x, tolerance) for c, x in columns.items()}
    crossed = _share(index["N"], index["D"]), _share(index["D"], index["N"])
    return _share(index["C"], index["N"]), crossed, bool(index["C"].max() + 1 < len(index["C"]) / 2)


def _share(level: ArrayLike, inner: ArrayLike) -> float:
    """Return the share of rows that stand at a level with at least LEVELS values of the inner column."""
    table = pd.DataFrame({"level": level, "inner": inner})
    counts = table.groupby("level")["inner"].transform("nunique")
    return float((counts >= LEVELS).mean())
