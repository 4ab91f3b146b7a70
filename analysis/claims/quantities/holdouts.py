"""Quantities of hold-outs: of the largest size, and of whole runs, as a mark that shares its trunk with fitted rows is
no hold-out.

whole_run_error(Sample(rows, law="chinchilla", axis="C")).value
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import bdtr, stdtrit

from isoflop.analysis.claims.declare import Check, Measured, NotIdentified, Sample, Untested, quantity
from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.fit import Fits, observe
from isoflop.analysis.fitting.noise_trend import noise_trend
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.backtest import Backtest, HeldOut, backtest, hold_out
from isoflop.analysis.laws.declare import Law, get_law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.runs import Runs
from isoflop.wording import number, percent

# the median of |z|, z standard normal
MEDIAN = 0.6745


@quantity(needs=("law", "axis"), unit="percent", wording="the worst prediction is off by {amount}")
def holdout_error(sample: Sample) -> Measured:
    """largest |ln(predicted / observed)| at the held-out largest size, where bands cover and no line does better

    The prediction is fixed before the largest size is looked at, so what is uncertain is the expected loss there: it is
    known from n seeds to t σ_seed / √n. With several cells at the largest size the interval holds for the worst of them
    (Bonferroni over cells). The status of the law's parameters plays no part; but where the fit is open, a near miss
    may be luck, and its band at the largest size has to be no wider than the tolerance. Checked too: bands that cover;
    a line without E that does no better; and a loss that falls by more than the tolerance.
    """
    noise = sample.runs.seed_noise
    if noise.sd is None:
        raise Untested("no cell has two seeds, so the seed noise is unknown")
    tolerance = sample.region.band(noise.sd) if sample.region else 0.0
    gained = gain(sample, tolerance)
    test = backtest(sample.runs, sample.law, axis=sample.axis, fits=sample.fits)
    last = test.last
    if last.status == "refused":
        raise NotIdentified(last.reason)
    cells = _cell_errors(last)
    half = stdtrit(noise.df, 1 - (1 - sample.level) / 2 / len(cells)) * noise.sd / np.sqrt(cells["n"])
    size = cells["error"].abs()
    place = int(size.to_numpy().argmax())
    worst = cells.iloc[place]
    sharp = () if last.status == FitStatus.CONVERGED else (_sharp(last, tolerance),)
    checks = (gained, _covers(test), *sharp, _beats_line(cells, noise.sd))
    top = last.errors[sample.axis].max()
    off = f"{percent(abs(math.expm1(worst['error'])), 2)} too {'high' if worst['error'] > 0 else 'low'}"
    seeds = f"{worst['n']:.0f} seed{'s' if worst['n'] > 1 else ''}"
    known = percent(float(half.iloc[place]), 2)
    reason = (
        f"from {sample.axis} up to {number(last.cut)} ({last.n_runs} runs, fit {last.status.replace('_', ' ')}) "
        f"the loss at {number(top)} is predicted {off}; with {seeds} there it is known to ±{known} "
        f"(seed noise {percent(noise.sd, 2)})"
    )
    low, high = float((size - half).clip(lower=0).max()), float((size + half).max())
    return Measured(float(size.max()), low, high, noise.sd, checks, reason)


@quantity(needs=("law", "axis"), unit="percent", wording="the worst prediction of a run left out is off by {amount}")
def whole_run_error(sample: Sample) -> Measured:
    """worst |ln(predicted / observed)| of the cells at the largest size, whole runs held out

    A run that has a mark at the largest size is left out with all its marks; the law is fitted to the others by least
    squares, weighed by their noise where replicates tell how it changes with scale. The interval of a cell, the mean of
    n seeds, holds σ / √n of the noise there and the standard error of the fit; over several cells it holds for the
    worst by its own tolerance (Bonferroni). σ_seed of the region is the noise at that cell. The straight line without E
    may not be nearer by more than two of it, and the loss has to fall by more than the tolerance.
    """
    fold, left_out, cells = sample.once(_without_largest, sample.runs.usable, sample.law, sample.axis, sample.fits)
    size, parts = cells["error"].abs().to_numpy(float), cells[["noise", "own"]].to_numpy(float)
    se = np.hypot(*parts.T)
    dof = se**4 / (parts**4 / cells[["noise_dof", "own_dof"]].to_numpy(float)).sum(1)  # Satterthwaite
    half = stdtrit(dof, 1 - (1 - sample.level) / 2 / len(cells)) * se
    # cells of unlike noise have bands of their own, and all are told in units of the band of the worst
    band = np.array([sample.region.band(sd) if sample.region else 1.0 for sd in cells["sd"]]).clip(1e-300)
    place = int((size / band).argmax())
    worst, sd, part = cells.iloc[place], float(cells["sd"].iloc[place]), band[place] / band
    floor = MEDIAN * float(cells["noise"].median())
    reason = (
        f"{fold.n_runs} runs fitted, {left_out} left out: median |error| of {len(cells)} cells "
        f"{percent(float(np.median(size)), 2)}, of noise alone {percent(floor, 2)}; at the worst, seed noise "
        f"{percent(sd, 2)}, the fit's own error {percent(float(worst['own']), 2)}"
    )
    low, high = float(((size - half) * part).clip(min=0).max()), float(((size + half) * part).max())
    checks = gain(sample, float(band[place])), _beats_line(cells, sd)
    return Measured(float(size[place]), low, high, sd, checks, reason)


def _cell_errors(fold: HeldOut) -> pd.DataFrame:
    """Return the mean error and error_line of each held-out cell (one N and D), and its number of runs."""
    grouped = fold.errors.groupby([c for c in ("N", "D", "C") if c in fold.errors] or ["reach"])
    return grouped[["error", "error_line"]].mean().assign(n=grouped["error"].count()).reset_index()


def gain(sample: Sample, tolerance: float) -> Check:
    """Check that the loss falls along the axis by more than the tolerance."""
    rows = sample.runs.usable.frame
    loss = rows.assign(ln_L=np.log(rows["L"])).groupby(sample.axis)["ln_L"].mean().sort_index()
    fall = float(loss.iloc[0] - loss.iloc[-1])
    if fall <= tolerance:
        raise NotIdentified(
            f"the loss falls by {percent(fall, 2)} over the range of {sample.axis}, no more than the tolerance of "
            f"{percent(tolerance, 2)}: there is no gain to predict"
        )
    return Check(True, f"the loss falls by {percent(-math.expm1(-fall), 0)} over the range")


def _covers(test: Backtest) -> Check:
    """Check that 80 % of held-out losses lie in their 90 % interval; failed beyond chance (5 %) over hold-outs."""
    inside, known = test.coverage
    if not known:
        return Check(None, "no prediction interval exists for any hold-out")
    within = f"their {percent(test.level, 0)} interval over {len(test.folds)} hold-outs"
    text = f"{inside} of {known} held-out losses inside {within}"
    if inside >= 0.8 * known:
        return Check(True, text)
    rows = test.rows.assign(hit=lambda r: (r["low"] <= r["L"]) & (r["L"] <= r["high"]))
    shares = rows[rows["low"].notna() & rows["high"].notna()].groupby("cut")["hit"].mean()
    chance = float(bdtr((shares >= 0.8).sum(), len(shares), test.level))
    return Check(False if chance < 0.05 else None, f"{text} (80 % are required)")


def _sharp(fold: HeldOut, tolerance: float) -> Check:
    """Check that the band at the largest size is no wider than the tolerance."""
    low, high = (fold.errors[side].to_numpy(float) for side in ("low", "high"))
    half = np.log(high / low) / 2
    if np.isnan(half).any():
        return Check(None, "no prediction band exists at the largest size")
    wide = float(half.max())
    return Check(True if wide <= tolerance else None, f"the band there is ±{percent(wide, 2)}")


def _without_largest(rows: Runs, law: str, axis: str, fits: Fits) -> tuple[HeldOut, int, pd.DataFrame]:
    """Return the rows at the largest size, predicted without their runs, how many runs these are, and their cells."""
    index = level_index(rows[axis].to_numpy(float))
    largest = np.isin(rows.codes, rows.codes[index == index.max()])
    if largest.all():
        raise Untested(f"every run has a mark at the largest {axis}: no whole run is left to fit")
    train, test = rows.with_frame(rows.frame[~largest]), rows.frame[index == index.max()]
    options: dict[str, Any] = {"loss": "l2", "weights": "auto", "interval": "jackknife"}
    fold = hold_out(train, test, law, axis=axis, fits=fits, **options)
    if fold.status == "refused":
        raise NotIdentified(fold.reason)
    return fold, len(set(rows.codes[largest])), _cells(rows, get_law(law), axis, fold)


def _cells(rows: Runs, law: Law, axis: str, fold: HeldOut) -> pd.DataFrame:
    """Return a row for each cell: mean error and error_line over seeds, the noise's sd of a run and of that mean, the
    fit's own standard error, and the degrees of freedom of both."""
    fitted = fold.fit
    key = [c for c in dict.fromkeys(("N", "D", "C", *law.columns)) if c in fold.errors]
    groups = fold.errors.groupby(key)
    cells = groups[["error", "error_line"]].mean().assign(n=groups.size()).reset_index()
    columns, noise = [cells[c].to_numpy(float) for c in law.columns], _noise_at(rows, law, cells)
    optimum = fitted.optimum if isinstance(fitted, Fit) else None
    own = optimum.error(columns, by_run=False) if optimum else np.full(len(cells), np.nan)
    if optimum is None or optimum.spread is None or not np.isfinite(own).all():
        why = fitted.no_interval if isinstance(fitted, Fit) else fold.reason
        raise NotIdentified(f"the fit has no standard error at the largest {axis}: {why}")
    mean = noise.sd / np.sqrt(cells["n"])
    return cells.assign(sd=noise.sd, noise=mean, noise_dof=noise.dof, own=own, own_dof=optimum.spread.dof)


class _LocalNoise(NamedTuple):
    """The noise of ln L between seeds at some places, (places,), and its degrees of freedom."""

    sd: Array
    dof: float


def _noise_at(rows: Runs, law: Law, places: pd.DataFrame) -> _LocalNoise:
    """Return the noise at places that have the law's columns; the pooled one where too few sizes have replicates."""
    trend = noise_trend([observe(rows, law)], law.columns)
    if trend is not None:
        return _LocalNoise(trend.sd({c: places[c].to_numpy(float) for c in trend.names}), trend.dof)
    if rows.seed_noise.sd is None:
        raise Untested("no cell has two seeds, so the seed noise is unknown")
    return _LocalNoise(np.full(len(places), rows.seed_noise.sd), rows.seed_noise.df)


def _beats_line(cells: pd.DataFrame, sd: float) -> Check:
    """Check that the straight line without E is not nearer by more than two standard deviations."""
    law, line = (float(cells[name].abs().max()) for name in ("error", "error_line"))
    return Check(law - line <= 2 * sd, f"the straight line without E is {percent(line, 2)} off")
