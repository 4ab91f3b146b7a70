"""Rolling hold-outs: fit the smaller runs, predict the larger ones, and compare with naive guesses and seed noise.

    test = backtest(runs, "power_offset(D)", axis="D")
    test.last.errors          # ln(predicted / observed) of the largest size, one row per run
    test.coverage             # (5, 6): five of six held-out losses inside their 90 % interval

Quality of fit within the range is no evidence, so a law is judged by what it says of runs that it has not seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.fit import Fits
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.bands import bands
from isoflop.analysis.holdout.cuts import ROUNDED, Fold, cut_levels
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.errors import FitError

# distances that are computed at once
MOST_PAIRS = 2_000_000
# draws behind the standard error of a hold-out's prediction, where the caller does not say: known to 5 % by then
RESAMPLES = 200
# coverage of the bands
LEVEL = 0.9
# what is predicted -> the column of its error
GUESSES = {"predicted": "error", "line": "error_line", "last": "error_last"}


@dataclass(frozen=True, eq=False)
class HeldOut(Fold):
    """A Fold whose refit was made in full, with a status and with bands for the rows that were held out.

    cut      the largest fitted value of the axis
    n_runs   runs that were fitted
    errors   a row for each held-out row: predicted, low, high, the baselines line and last, and the error of each in
             ln L (NaN where there is no fit)
    fit      the law on the fitted runs; None where it was refused
    """

    cut: float
    n_runs: int
    errors: pd.DataFrame
    fit: Fit | None = None


@dataclass(frozen=True, eq=False)
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
    folds: tuple[HeldOut, ...]

    @property
    def last(self) -> HeldOut:
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
        return coverage(self.rows)


def coverage(rows: pd.DataFrame) -> tuple[int, int]:
    """Return how many losses lie inside their band, low to high, of how many that have one."""
    known = rows[rows["low"].notna() & rows["high"].notna()]
    return int(((known["low"] <= known["L"]) & (known["L"] <= known["high"])).sum()), len(known)


@np.errstate(invalid="ignore")  # of a target below 0 the line says nothing
def log_line(train: pd.DataFrame, test: pd.DataFrame, columns: Sequence[str], target: str = "L") -> NDArray[np.float64]:
    """Predict by the straight line through ln of the target against the logarithms of `columns`, the law without E."""

    def design(frame: pd.DataFrame) -> NDArray[np.float64]:
        return np.column_stack([np.ones(len(frame)), *(np.log(frame[c].to_numpy(float)) for c in columns)])

    solution = np.linalg.lstsq(design(train), np.log(train[target].to_numpy(float)), rcond=None)[0]
    return np.asarray(np.exp(design(test) @ solution), dtype=float)


def last_value(
    train: pd.DataFrame, test: pd.DataFrame, columns: Sequence[str], axis: str, target: str = "L"
) -> NDArray[np.float64]:
    """Predict no progress: the target at the largest fitted level of the axis, nearest on the other columns."""
    top = train[level_index(train[axis]) == level_index(train[axis]).max()]
    others = [c for c in columns if c != axis]
    if not others:
        return np.full(len(test), float(np.exp(np.log(top[target].astype(float)).mean())))
    here, there = (np.log(frame[others].to_numpy(float)) for frame in (test, top))
    # a place once, its first row, and few places at a time: of 1e5 rows the distances are more than memory holds
    here, back = np.unique(here, axis=0, return_inverse=True)
    there, first = np.unique(there, axis=0, return_index=True)
    parts = np.array_split(here, -(-len(here) * len(there) // MOST_PAIRS))
    nearest = [((part[:, None, :] - there[None, :, :]) ** 2).sum(axis=2).argmin(axis=1) for part in parts]
    return np.asarray(top[target].to_numpy(float)[first[np.concatenate(nearest)]][back.reshape(-1)])


def naive_guesses(train: pd.DataFrame, test: pd.DataFrame, columns: Sequence[str], axis: str) -> pd.DataFrame:
    """Return the rows of `test` with the largest fitted value of the axis, the reach beyond, and the naive guesses."""
    cut = float(train[axis].max())
    guesses = {"line": log_line(train, test, columns), "last": last_value(train, test, columns, axis)}
    return test.assign(cut=cut, reach=test[axis] / cut, **guesses)


def with_errors(out: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the error in ln L of what was predicted and of each naive guess."""
    observed = np.log(out["L"].astype(float))
    return out.assign(**{name: np.log(out[guess].astype(float)) - observed for guess, name in GUESSES.items()})


def hold_out(
    train: RunsLike, test: pd.DataFrame, law: str, *, axis: str, fits: Fits | None = None, **options: Any
) -> HeldOut:
    """Fit `law` on `train`, predict `test`: predicted, low, high, the baselines, and each one's error in ln L.

    fits      where fits of these runs are kept
    options   those of `Fits.law`, with `near` a fit to almost the same rows, where the search may begin

    The bands, at LEVEL, hold noise, parameters and the error of the form that hold-outs within `train` say.
    """
    train = as_runs(train)
    columns, noise = get_law(law).columns, float("nan")
    out = naive_guesses(train.frame, test, columns, axis).assign(predicted=np.nan, low=np.nan, high=np.nan)
    made: Fit | None = None
    try:
        made = (fits or Fits(train)).law(law, train, **{"resamples": RESAMPLES} | options)
        band = bands(made, test, LEVEL, rivals=False)
        status, reason, n_runs = made.status, made.reason, made.n_runs
        noise = made.optimum.noise.pooled if made.optimum else noise
        out["predicted"], out["low"], out["high"] = (np.asarray(band[c], dtype=float) for c in ("value", "low", "high"))
    except FitError as error:
        status, reason, n_runs = FitStatus.REFUSED, str(error), len(train)
    out = with_errors(out)
    fitted = np.asarray(test.index.isin(train.frame.index))
    residuals = np.where(fitted, np.nan, out["error"].to_numpy(float))
    far = np.where(fitted, 0.0, np.maximum(np.log(out["reach"].to_numpy(float)), 0.0))
    own = np.where(np.isnan(residuals), np.nan, 0.0)
    cut = float(train[axis].max())
    return HeldOut(fitted, far, status, reason, residuals, own, noise, cut, n_runs, out.reset_index(drop=True), made)


def hold_largest_out(rows: pd.DataFrame, law: str, near: Fit, fits: Fits | None = None) -> HeldOut:
    """Fit the law without the largest C, starting at its fit `near`, and predict every run; `held`: the unseen."""
    index = level_index(rows["C"])
    if index.max() < 2:
        raise FitError(f"a hold-out needs 3 different C, and there are {int(index.max()) + 1}")
    held = rows.assign(held=index == index.max())
    with np.errstate(all="ignore"):  # a naive guess far away may overflow: its error is then infinite
        fold = hold_out(rows[index < index.max()], held, law, axis="C", fits=fits, near=near)
    if fold.status == "refused":
        raise FitError(fold.reason)
    return fold


def backtest(
    runs: RunsLike, law: str, *, axis: str, folds: int = 6, fits: Fits | None = None, **options: Any
) -> Backtest:
    """Roll the hold-out along `axis` (D, N or C), at most `folds` times, with cuts where a prediction's bands have them
    (cuts.py), the last before the top.

    `runs` are those of one group; `fits` and `options` are those of `hold_out`. A cut leaves more different points to
    fit than the law has parameters, but for the last. FitError where the axis has fewer than three levels.
    """
    runs = as_runs(runs).usable
    rows = runs.frame
    index, columns = level_index(rows[axis]) if len(rows) else np.zeros(0, dtype=np.int64), get_law(law).columns
    done: list[HeldOut] = []
    for level in reversed(last_levels(rows, columns, axis, folds)):
        if len(rows[list(columns)][index <= level].drop_duplicates()) <= len(get_law(law).params) and done:
            break
        # from the most runs to the fewest, each beginning where the one before ended
        near = done[-1].fit if done else None
        train = runs.with_frame(rows[index <= level])
        given = {"axis": axis, "fits": fits, "near": near} | options
        done.append(hold_out(train, rows[index > level], law, **given))
    return Backtest(law, axis, LEVEL, tuple(reversed(done)))


def last_levels(rows: pd.DataFrame, columns: Sequence[str], axis: str, folds: int) -> list[int]:
    """Return the last fitted level of the axis at each cut, ascending; FitError where it has fewer than three."""
    levels = np.unique(along := levels_along(rows[axis]))
    if len(levels) < 3:
        raise FitError(
            f"a rolling hold-out along {axis} needs at least 3 different {axis}, "
            f"and these {len(rows)} rows have {len(levels)}; add runs at other {axis}"
        )
    # a little above the levels, whose last decimals are rounded
    cuts = cut_levels(np.log(rows[list(columns)].to_numpy(float)), along, folds) + 10.0**-ROUNDED
    return sorted({*map(int, np.searchsorted(levels, cuts, side="right") - 1), len(levels) - 2})


def levels_along(values: pd.Series) -> NDArray[np.float64]:
    """Return the mean logarithm of the level that each value of an axis is at."""
    if not len(values):
        return np.zeros(0)
    index = level_index(values)
    return np.asarray((np.bincount(index, weights=np.log(values.to_numpy(float))) / np.bincount(index))[index])
