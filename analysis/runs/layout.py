"""The layout of a table of runs: isoFLOP budgets, a grid, a ladder, one axis, marks along curves, or scattered places.

Which laws a table can tell apart follows from where its runs stand, whatever their losses; a report and `isoflop check`
say it first.

    rows = pd.DataFrame({"N": [1e6, 2e6, 4e6], "D": [2e7, 4e7, 8e7]})
    layout(rows).kind      # 'ladder'
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from isoflop.analysis.laws.flops import TRAIN
from isoflop.analysis.runs.levels import LEVELS, SAME_LEVEL, level_index, stand_apart

# what each kind is, and what it can tell
KINDS = {
    "isoflop": "several sizes at each of several budgets of compute: the best size and its exponent",
    "grid": "sizes crossed with amounts of data: a law of both",
    "ladder": "one ratio of D to N at growing size: a law of compute, not one of N and D",
    "axis": "one column varies: a law of that column",
    "marks": "several amounts of data along each of few runs: a law of D well, one of N as far as runs go",
    "scattered": "no two runs share a size, an amount of data or a budget: a law of both where they span enough",
    "single": "no column varies enough for a law",
}
# decades that an axis of size, data or compute should span: at 0.5 % noise a 6 x 6 grid of 1.5 decades an axis gives
# alpha to 0.02, one of 2.5 decades to 0.008
SPAN = 1.5
# what a number may be, of a table that nobody measured
FINITE = (np.finfo(float).tiny, np.finfo(float).max)
# a budget is level where this share of the rows stands in budgets of at least LEVELS sizes
_MOST = 0.6
# values that repeat but for rounding: sizes and data that grow by one factor repeat their products as well as
# themselves, and only those of a grid repeat so closely
_EXACT = 0.003


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
    """The layout of usable rows with positive numbers in N, D and C, as far as they have these columns.

    runs    the number of each row's run, (rows,), where several rows are of one
    """
    columns = {c: rows[c].to_numpy(float) for c in ("N", "D", "C") if c in rows and rows[c].notna().all()}
    with np.errstate(over="ignore", under="ignore"):  # of a foreign table's 1e300 FLOPs and 1e-300 parameters
        if {"N", "D"} <= set(columns) and "C" not in columns:
            columns["C"] = np.clip(TRAIN * columns["N"] * columns["D"], *FINITE)
        elif {"N", "C"} <= set(columns) and "D" not in columns:
            columns["D"] = np.clip(columns["C"] / TRAIN / columns["N"], *FINITE)
    index = {c: level_index(x) for c, x in columns.items()}
    levels = {c: int(i.max(initial=-1)) + 1 for c, i in index.items()}
    decades = {c: float(np.log10(x.max()) - np.log10(x.min())) for c, x in columns.items()}
    kind, ratio, axis = _kind(columns, levels, runs)
    return Layout(kind, levels, decades, ratio, axis)


def _kind(
    columns: dict[str, NDArray[np.float64]],
    levels: dict[str, int],
    runs: NDArray[np.intp] | None,
) -> tuple[str, float | None, str]:
    varies = [c for c in ("N", "D") if levels.get(c, 0) >= LEVELS]
    if not varies:
        return ("axis", None, "C") if levels.get("C", 0) >= LEVELS and "N" not in levels else ("single", None, "")
    if len(varies) == 1:
        other = levels.get("D" if varies == ["N"] else "N", 1)
        return ("grid", None, "") if other > 1 else ("axis", None, varies[0])
    log_ratio = np.log(columns["D"]) - np.log(columns["N"])
    if np.ptp(log_ratio) <= 2 * np.log1p(SAME_LEVEL):
        return "ladder", float(np.exp(np.clip(log_ratio.mean(), *np.log(FINITE)))), ""
    if runs is not None and int(runs.max()) + 1 < len(runs):
        return "marks", None, ""
    return _repeated(columns), None, ""


def _repeated(columns: dict[str, NDArray[np.float64]]) -> str:
    """What repeats: budgets (isoflop), sizes and amounts of data (grid), or nothing (scattered); what repeats but for
    rounding before what is near."""
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
    """The shares of the rows in budgets of several sizes, in sizes of several data and the reverse, and whether the
    budgets are few."""
    index = {c: level_index(x, tolerance) for c, x in columns.items()}
    crossed = _share(index["N"], index["D"]), _share(index["D"], index["N"])
    return _share(index["C"], index["N"]), crossed, bool(index["C"].max() + 1 < len(index["C"]) / 2)


def _share(level: ArrayLike, inner: ArrayLike) -> float:
    """The share of rows that stand at a level with at least LEVELS values of the inner column."""
    table = pd.DataFrame({"level": level, "inner": inner})
    counts = table.groupby("level")["inner"].transform("nunique")
    return float((counts >= LEVELS).mean())
