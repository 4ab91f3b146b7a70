"""Quantities of a law and of the loss: held-out errors, parameters and their differences, losses at matched compute.

law_parameter(Sample(rows, law="chinchilla"), "alpha").value
"""

import math

import numpy as np
import pandas as pd
from scipy.special import bdtr, stdtrit

from isoflop.analysis.claims.declare import Check, Contrast, Measured, NotIdentified, Sample, Untested, quantity
from isoflop.analysis.claims.quantities.pairs import (
    both_fits,
    cells,
    contrast,
    error_between_runs,
    matched,
    mean_of_rungs,
)
from isoflop.analysis.fitting.diagnose import FitStatus, locked
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.backtest import Backtest, HeldOut, backtest
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.cells import SeedNoise
from isoflop.analysis.runs.levels import level_index
from isoflop.wording import number, percent


@quantity(needs=("law", "axis"), unit="percent", wording="the worst prediction is off by {amount}")
def holdout_error(sample: Sample) -> Measured:
    """largest |ln(predicted / observed)| at the held-out largest size, where bands cover and no line does better

    The prediction is fixed before the largest size is looked at, so what is uncertain is the expected loss there: it is
    known from n seeds to t σ_seed / √n. With several cells at the largest size the interval holds for the worst of them
    (Bonferroni over cells). The status of the law's parameters plays no part: a flat E that trades against an exponent
    may predict well. But where the fit is open, a near miss may be luck, and its band at the largest size has to be no
    wider than the tolerance. Three more checks belong to it: prediction bands, of noise, parameters and form, that
    cover; a line without E that does no better; and a loss that falls by more than the tolerance, since without a gain
    there is none to predict.
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
    cells = _cell_errors(last, "error")
    half = stdtrit(noise.df, 1 - (1 - sample.level) / 2 / len(cells)) * noise.sd / np.sqrt(cells["n"])
    size = cells["error"].abs()
    place = int(size.to_numpy().argmax())
    worst = cells.iloc[place]
    sharp = () if last.status == FitStatus.CONVERGED else (_sharp(last, tolerance),)
    checks = (gained, _covers(test), *sharp, _no_better_line(last, noise))
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


@quantity(
    subject="pair",
    unit="percent",
    wording="at matched compute the loss is {amount} lower for {lower} than for {higher}",
)
def loss_contrast(sample: Sample) -> Contrast:
    """mean Δ ln L between two families at matched compute

    Pairs of runs with equal (data, seed, rung); a rung counts once, as the mean over its seeds, and the t interval is
    over rungs: it speaks of ladders like this one and is as wide as the difference varies along it. Where rungs are
    marks of one run it is over runs, if that is wider.
    """
    C, delta, rung = matched(*(sample.once(cells, side) for side in sample.sides))
    C, by_rung = mean_of_rungs(C, delta, rung)
    n = len(by_rung)
    if n < 3:
        both = " and ".join(sample.pair)
        raise Untested(f"{both} share {n} rung{'' if n == 1 else 's'} at matched C, and at least 3 are needed")
    noises = [side.seed_noise for side in sample.sides]
    df = sum(noise.df for noise in noises)
    sd = math.sqrt(sum(noise.df * noise.sd**2 for noise in noises if noise.sd is not None) / df) if df else None
    level = level_index(C)
    first, last = (percent(math.expm1(by_rung[level == end].mean()), signed=True) for end in (0, level[-1]))
    reason = f"{first} at the smallest C, {last} at the largest ({len(delta)} pairs on {n} rungs"
    reason += ")" if sd is None else f", seed noise {percent(sd, 2)})"
    # the wider of the two, at their own quantile of t
    errors = (float(by_rung.std(ddof=1) / math.sqrt(n)), n - 1), error_between_runs(sample)
    se, dof = max(errors, key=lambda error: error[0] * stdtrit(error[1], 0.975) if error[1] else 0.0)
    return Contrast(float(by_rung.mean()), se, dof, sd, reason)


@quantity(needs=("law",), of="parameter", wording="{of} of {law} is {amount}")
def law_parameter(sample: Sample, name: str) -> Measured:
    """a parameter of the fitted law, or a quantity derived from it"""
    fitted = sample.once(_fitted, sample)
    estimate = {**fitted.params, **fitted.derived}[name]
    if estimate.value is None:
        raise NotIdentified(f"{sample.law} gives no {name}: {fitted.reason}")
    return Measured(estimate.value, estimate.low, estimate.high, reason=f"{sample.law} on {fitted.n_runs} runs")


@quantity(
    needs=("law",),
    subject="pair",
    of="parameter",
    wording="{of} of {law} is {amount} lower for {lower} than for {higher}",
)
def law_contrast(sample: Sample, name: str) -> Contrast:
    """difference of a parameter of the law between two families

    Runs paired on (data, seed, rung), the interval by the delete-one-pair jackknife with t on pairs − 1 (where a
    parameter reaches its bound without a pair: by weighing the pairs at random); where fewer
    than four in five runs have a partner, as at other widths, the families are independent (Welch).
    """
    law = get_law(sample.law)
    return contrast(sample.once(_paired, sample), lambda **p: p[name] if name in p else law.derive(p)[name], name)


def _cell_errors(fold: HeldOut, column: str) -> pd.DataFrame:
    """Return the mean error of each held-out cell (one N and D), and its number of runs."""
    key = [c for c in ("N", "D", "C") if c in fold.errors] or ["reach"]
    grouped = fold.errors.groupby(key)[column]
    return pd.DataFrame({"error": grouped.mean(), "n": grouped.count()}).reset_index()


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
    """Check that 80 % of held-out losses lie in their 90 % interval; failed only where chance (5 %) cannot explain it.

    The losses of one hold-out stand on one fit and miss together, so chance counts hold-outs and not losses.
    """
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


def _no_better_line(fold: HeldOut, noise: SeedNoise) -> Check:
    """Check that the law is not worse than the straight line without E by more than two seed standard deviations."""
    law, line = (float(_cell_errors(fold, c)["error"].abs().max()) for c in ("error", "error_line"))
    held = law - line <= 2 * (noise.sd or 0.0)
    return Check(held, f"the straight line without E is {percent(line, 2)} off")


def _identified(fitted: Fit) -> Fit:
    if fitted.status in ("not_identified", "starts_disagree", "at_bound"):
        raise NotIdentified(f"the fit is {fitted.status.replace('_', ' ')}: {fitted.reason}")
    return fitted


def _fitted(sample: Sample) -> Fit:
    _of_one_axis(sample.runs.usable.frame, sample.law)
    return _identified(sample.fits.law(sample.law, sample.runs.usable, level=sample.level))


def _of_one_axis(rows: pd.DataFrame, law: str) -> None:
    """Raise Untested where a law of data alone would mix sizes, or one of size amounts of data."""
    axis = ",".join(get_law(law).columns)
    other = {"D": "N", "N": "D"}.get(axis)
    if other is None or other not in rows or rows[other].isna().any():
        return
    x, y = (rows[c].to_numpy(float) for c in (axis, other))
    levels = int(level_index(y).max()) + 1
    if levels > 1 and not locked(axis, other, x, y):
        raise Untested(f"the runs stand at {levels} {other}, which {law} does not distinguish")


def _paired(sample: Sample) -> tuple[Fit, Fit]:
    fits = both_fits(sample)
    for name, fitted in zip(sample.pair, fits, strict=True):
        try:
            _identified(fitted)
        except NotIdentified as outcome:
            raise NotIdentified(f"{name}: {outcome}") from None
    return fits
