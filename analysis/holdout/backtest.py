"""Rolling hold-outs: fit the smaller runs, predict the larger ones, and compare with naive guesses and with seed noise.

Quality of fit within the range is no evidence (Chinchilla's points: the training order of three objectives is the
reverse of their order on the 104 held-out ones), so a law is judged by what it says of runs that it has not seen.

    test = backtest(runs, "power_offset(D)", axis="D")
    test.last.errors          # ln(predicted / observed) of the largest size, one row per run
    test.coverage             # (5, 6): five of six held-out losses inside their 90 % interval
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.fitting.fit import fit, fit_near
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.fitting.status import FitStatus
from isoflop.analysis.holdout.average import Average, average_laws, law_of, names_average
from isoflop.analysis.holdout.bands import bands
from isoflop.analysis.holdout.cuts import ROUNDED, cut_levels
from isoflop.analysis.laws.catalogue import Law, get_law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.rows import usable
from isoflop.errors import FitError

# distances that are looked at at once
MOST_PAIRS = 2_000_000
# draws behind the standard error of a hold-out's prediction, where the caller does not say: known to 5 % by then
RESAMPLES = 200


@dataclass(frozen=True)
class Fold:
    """One hold-out.

    cut      the largest fitted value of the axis
    n_runs   runs that were fitted
    status   of the fit; refused where there is none
    reason   why the status; empty where it is converged
    errors   a row for each held-out row: predicted, low, high, the baselines line and last, and the error of each in
             ln L (NaN where there is no fit)
    fit      the law on the fitted runs; None where it was refused
    """

    cut: float
    n_runs: int
    status: FitStatus
    reason: str
    errors: pd.DataFrame
    fit: Fit | Average | None = None


@dataclass(frozen=True)
class Backtest:
    """A rolling hold-out.

    law     the law's name
    axis    the column along which larger runs are held out
    level   coverage of the prediction intervals
    folds   from the smallest fitted part to the one that leaves only the largest level out
    """

    law: str
    axis: str
    level: float
    folds: tuple[Fold, ...]

    @property
    def last(self) -> Fold:
        """The fold that leaves only the largest level of the axis out."""
        return self.folds[-1]

    @property
    def rows(self) -> pd.DataFrame:
        """All held-out rows of all folds, with the fold's `cut`."""
        frames = [fold.errors for fold in self.folds if len(fold.errors)]
        return pd.concat(frames, ignore_index=True) if frames else self.folds[-1].errors

    @property
    def coverage(self) -> tuple[int, int]:
        """How many held-out losses lie inside their prediction interval, of how many that have one."""
        rows = self.rows
        known = rows[rows["low"].notna() & rows["high"].notna()]
        return int(((known["low"] <= known["L"]) & (known["L"] <= known["high"])).sum()), len(known)


def log_line(train: pd.DataFrame, test: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    """The straight line through ln L against the logarithms of `columns`, that is the law without E, at `test`."""

    def design(frame: pd.DataFrame) -> NDArray[np.float64]:
        return np.column_stack([np.ones(len(frame)), *(np.log(frame[c].to_numpy(float)) for c in columns)])

    solution = np.linalg.lstsq(design(train), np.log(train["L"].to_numpy(float)), rcond=None)[0]
    return np.asarray(np.exp(design(test) @ solution), dtype=float)


def last_value(train: pd.DataFrame, test: pd.DataFrame, columns: Sequence[str], axis: str) -> NDArray[np.float64]:
    """The loss at the largest fitted level of the axis, at the nearest place on the other columns: no progress."""
    top = train[level_index(train[axis]) == level_index(train[axis]).max()]
    others = [c for c in columns if c != axis]
    if not others:
        return np.full(len(test), float(np.exp(np.log(top["L"].astype(float)).mean())))
    here, there = (np.log(frame[others].to_numpy(float)) for frame in (test, top))
    # a place once, its first row, and few places at a time: of 1e5 rows the distances are more than memory holds
    here, back = np.unique(here, axis=0, return_inverse=True)
    there, first = np.unique(there, axis=0, return_index=True)
    parts = np.array_split(here, -(-len(here) * len(there) // MOST_PAIRS))
    nearest = [((part[:, None, :] - there[None, :, :]) ** 2).sum(axis=2).argmin(axis=1) for part in parts]
    return np.asarray(top["L"].to_numpy(float)[first[np.concatenate(nearest)]][back.reshape(-1)])


def hold_out(
    train: pd.DataFrame,
    test: pd.DataFrame,
    law: str,
    *,
    axis: str,
    level: float = 0.9,
    rivals: bool = False,
    near: Fit | None = None,
    **options: Any,
) -> Fold:
    """Fit `law` on `train`, predict `test`: predicted, low, high, the baselines, and each one's error in ln L.

    The bands hold noise, parameters and the error of the form that hold-outs within `train` tell; with `rivals` also
    what other laws say, which takes their fits. `near` is a fit of the law to almost the same rows, where the search
    may begin.
    """
    cut = float(train[axis].max())
    columns = declare(law, train).columns
    out = test.assign(cut=cut, reach=test[axis] / cut)
    out["line"] = log_line(train, test, columns)
    out["last"] = last_value(train, test, columns, axis)
    made: Any = None
    try:
        if names_average(law):
            made = average_laws(train, law, **options)
        else:
            options = {"resamples": RESAMPLES} | options
            made = fit(train, law, **options) if near is None else fit_near(train, law, near, **options)
        band = bands(made, test, level, rivals=rivals)
        status, reason, n_runs = made.status, made.reason, made.n_runs
        out["predicted"], out["low"], out["high"] = (np.asarray(band[c], dtype=float) for c in ("value", "low", "high"))
    except FitError as error:
        status, reason, n_runs = FitStatus.REFUSED, str(error), len(train)
        out["predicted"] = out["low"] = out["high"] = np.nan
    for guess, name in (("predicted", "error"), ("line", "error_line"), ("last", "error_last")):
        out[name] = np.log(out[guess].astype(float)) - np.log(out["L"].astype(float))
    return Fold(cut, n_runs, status, reason, out.reset_index(drop=True), made)


def _levels(places: pd.DataFrame, along: Array, folds: int) -> Array:
    """Where to cut, a little above the levels of a coordinate, whose last decimals are rounded."""
    return cut_levels(np.log(places.to_numpy(float)), along, folds) + 10.0**-ROUNDED


def declare(law: str, runs: pd.DataFrame) -> Law:
    """The law that a text names; of the average of laws, the one without parameters that stands for it on these
    runs."""
    return law_of(runs, law) if names_average(law) else get_law(law)


def backtest(
    runs: pd.DataFrame, law: str, *, axis: str, folds: int = 6, level: float = 0.9, rivals: bool = False, **options: Any
) -> Backtest:
    """Roll the hold-out along `axis` (D, N or C): at most `folds` cuts, where the bands of a prediction have theirs
    (rolling.py), the last before the top.

    `runs` are those of one group; `options` go to `fit`. A cut leaves more different points to fit than the law has
    parameters, since a curve through all its points says nothing of the next; only the last cut is always made.
    FitError where the axis has fewer than three levels.
    """
    rows = usable(runs)
    index = level_index(rows[axis]) if len(rows) else np.zeros(0, dtype=np.int64)
    top = int(index.max(initial=-1))
    if top < 2:
        raise FitError(
            f"a rolling hold-out along {axis} needs at least 3 different {axis}, "
            f"and these {len(rows)} rows have {top + 1}; add runs at other {axis}"
        )
    declared = declare(law, rows)
    places = rows[list(declared.columns)]
    x = np.log(rows[axis].to_numpy(float))
    along = (np.bincount(index, weights=x) / np.bincount(index))[index]
    last = [np.searchsorted(np.unique(along), level, side="right") - 1 for level in _levels(places, along, folds)]
    enough = [k for k in last if len(places[index <= k].drop_duplicates()) > len(declared.params)]
    cuts = sorted({*map(int, enough), top - 1})
    done: list[Fold] = []
    for k in reversed(cuts):  # from the most runs to the fewest, each beginning where the one before ended
        near = done[-1].fit if done and isinstance(done[-1].fit, Fit) else None
        train, test = rows[index <= k], rows[index > k]
        done.append(hold_out(train, test, law, axis=axis, level=level, rivals=rivals, near=near, **options))
    return Backtest(law, axis, level, tuple(reversed(done)))
