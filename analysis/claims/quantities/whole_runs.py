"""Hold-outs of whole runs: a mark that shares its trunk with fitted rows is no hold-out.

whole_run_error(Sample(rows, law="chinchilla", axis="C")).value
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from isoflop.analysis.claims.declare import Check, Measured, NotIdentified, Sample, Untested, quantity
from isoflop.analysis.claims.quantities.laws import gain
from isoflop.analysis.fitting.fit import observe
from isoflop.analysis.fitting.noise_trend import noise_trend
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.backtest import HeldOut, hold_out
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import level_index
from isoflop.wording import percent

# the median of |z|, z standard normal
MEDIAN = 0.6745


@quantity(needs=("law", "axis"), unit="percent", wording="the worst prediction of a run left out is off by {amount}")
def whole_run_error(sample: Sample) -> Measured:
    """worst |ln(predicted / observed)| of the cells at the largest size, whole runs held out

    A run that has a mark at the largest size is left out with all its marks; the law is fitted to the others by least
    squares, weighed by their noise where replicates tell how it changes with scale. The interval of a cell, the mean of
    n seeds, holds σ / √n of the noise there and the standard error of the fit; over several cells it holds for the
    worst by its own tolerance (Bonferroni). σ_seed of the region is the noise at that cell. The straight line without E
    may not be nearer by more than two of it, and the loss has to fall by more than the tolerance.
    """
    fold, left_out = _without_largest(sample)
    cells = _cells(sample, fold)
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


def _without_largest(sample: Sample) -> tuple[HeldOut, int]:
    """Return the rows at the largest size, predicted without their runs, and how many runs these are."""
    rows = sample.runs.usable
    index = level_index(rows[sample.axis].to_numpy(float))
    largest = np.isin(rows.codes, rows.codes[index == index.max()])
    if largest.all():
        raise Untested(f"every run has a mark at the largest {sample.axis}: no whole run is left to fit")
    train, test = rows.with_frame(rows.frame[~largest]), rows.frame[index == index.max()]
    options: dict[str, Any] = {"loss": "l2", "weights": "auto", "interval": "jackknife"}
    fold = hold_out(train, test, sample.law, axis=sample.axis, fits=sample.fits, **options)
    if fold.status == "refused":
        raise NotIdentified(fold.reason)
    return fold, len(set(rows.codes[largest]))


def _cells(sample: Sample, fold: HeldOut) -> pd.DataFrame:
    """Return a row for each cell: mean error and error_line over seeds, the noise's sd of a run and of that mean, the
    fit's own standard error, and the degrees of freedom of both."""
    law, fitted = get_law(sample.law), fold.fit
    key = [c for c in dict.fromkeys(("N", "D", "C", *law.columns)) if c in fold.errors]
    groups = fold.errors.groupby(key)
    cells = groups[["error", "error_line"]].mean().assign(n=groups.size()).reset_index()
    columns, noise = [cells[c].to_numpy(float) for c in law.columns], _noise_at(sample, cells)
    optimum = fitted.optimum if isinstance(fitted, Fit) else None
    own = optimum.error(columns, by_run=False) if optimum else np.full(len(cells), np.nan)
    if optimum is None or optimum.spread is None or not np.isfinite(own).all():
        why = fitted.no_interval if isinstance(fitted, Fit) else fold.reason
        raise NotIdentified(f"the fit has no standard error at the largest {sample.axis}: {why}")
    mean = noise.sd / np.sqrt(cells["n"])
    return cells.assign(sd=noise.sd, noise=mean, noise_dof=noise.dof, own=own, own_dof=optimum.spread.dof)


class _LocalNoise(NamedTuple):
    """The noise of ln L between seeds at some places, (places,), and its degrees of freedom."""

    sd: Array
    dof: float


def _noise_at(sample: Sample, places: pd.DataFrame) -> _LocalNoise:
    """Return the noise at places that have the law's columns; the pooled one where too few sizes have replicates."""
    law, rows = get_law(sample.law), sample.runs.usable
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
