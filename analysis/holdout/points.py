"""Predictions at a table of points, and how good they were where the outcome is known.

table = predict_points([fit(rows, "chinchilla")], rows)     # the same rows with value, low, high, ...
print(score(table, "L", level=0.9))                         # RMSLE and coverage
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.fitting.settings import check_level
from isoflop.analysis.holdout.average import Average
from isoflop.analysis.holdout.bands import bands
from isoflop.analysis.holdout.predictability import predictability
from isoflop.errors import FitError

# what is written beside every point
COLUMNS = ("value", "low", "high", "band", "predicts", "status", "reason")


@dataclass(frozen=True)
class Score:
    """How predictions compare with what was observed."""

    rows: int
    """Points whose target is known and that were predicted."""
    rmsle: float
    """Root mean square of ln(predicted / observed)."""
    banded: int
    """Those of them that have a band."""
    coverage: float
    """Share of the banded that lie inside it; NaN without any."""
    level: float
    """What the bands should cover."""

    def __str__(self) -> str:
        band = f"{self.coverage:.0%} of {self.banded} inside their {self.level:.0%} band" if self.banded else "no bands"
        return f"RMSLE {self.rmsle:.3%} on {self.rows} rows; {band}"


def predict_points(
    fits: Sequence[Fit | Average], points: pd.DataFrame, by: Sequence[str] = (), level: float = 0.9
) -> pd.DataFrame:
    """The rows of `points` with the law's value, the band of a new run and what it contains, whether the law predicts
    by its hold-outs, and the status of the fit that they rest on.

    fits     of `fit_groups`, one for each group
    points   the columns of the law for every point, and those of `by`
    by       the columns by which the fits were grouped
    level    coverage of the band

    A point whose group has no fit, or whose columns hold no number above 0, has an empty value and the reason.
    FitError where a column of the law or of `by` is missing.
    """
    check_level(level)
    if missing := [c for c in (*_needed(fits), *by) if c not in points]:
        source, there = points.attrs.get("source", "the points"), ", ".join(map(str, points.columns[:30]))
        needed = ", ".join((*_needed(fits), *by))
        raise FitError(f"{source}: {fits[0].law.name} predicts from {needed}; there is no {missing[0]} ({there})")
    reason = "no runs of this group were fitted"
    out = points.assign(value=np.nan, low=np.nan, high=np.nan, band="", predicts="", status="", reason=reason)
    for fit in fits:
        mine = np.ones(len(points), dtype=bool)
        for name, label in fit.by.items():
            mine &= (points[name].isna() if pd.isna(label) else points[name] == label).to_numpy()
        if not mine.any():
            continue
        columns = points[list(fit.law.columns)].apply(pd.to_numeric, errors="coerce").astype(float)
        sound = (np.isfinite(columns) & (columns > 0)).all(axis=1).to_numpy()
        verdict = predictability(fit)
        out.loc[mine, ["predicts", "status", "reason"]] = str(verdict.predicts), str(fit.status), str(fit.reason)
        if fit.objective is not None and (rows := mine & sound).any():
            band = bands(fit, columns[rows], level)
            out.loc[rows, ["value", "low", "high", "band"]] = band[["value", "low", "high", "band"]].to_numpy()
        out.loc[mine & ~sound, ["predicts", "reason"]] = "", f"{', '.join(fit.law.columns)} must be numbers above 0"
    return out


def _needed(fits: Sequence[Fit | Average]) -> list[str]:
    """The columns that any of the laws predicts from, in order."""
    return list(dict.fromkeys(c for fit in fits for c in fit.law.columns))


def score(predictions: pd.DataFrame, target: str, level: float) -> Score | None:
    """How the predictions compare with the column `target`; None where no predicted point has a value there."""
    if target not in predictions:
        return None
    observed = pd.to_numeric(predictions[target], errors="coerce").to_numpy(float)
    value, low, high = (predictions[c].to_numpy(float) for c in ("value", "low", "high"))
    known = (observed > 0) & (value > 0)
    if not known.any():
        return None
    banded = known & np.isfinite(low) & np.isfinite(high)
    inside = banded & (low <= observed) & (observed <= high)
    error = np.log(value[known] / observed[known])
    coverage = float(inside.sum() / banded.sum()) if banded.any() else float("nan")
    return Score(int(known.sum()), float(np.sqrt((error**2).mean())), int(banded.sum()), coverage, level)
