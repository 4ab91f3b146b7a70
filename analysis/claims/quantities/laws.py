"""Quantities of a law and of the loss: parameters and their differences, losses at matched compute; and what is
read off a law at a point among the runs: slopes, loss, best split, speed-up.

law_parameter(Sample(rows, law="chinchilla"), "alpha").value
local_exponent_D(Sample(runs, law="power(D)", point={"D": 1e5})).value
"""

import math
from dataclasses import replace
from functools import partial

import pandas as pd
from scipy.special import stdtrit

from isoflop.analysis.claims.declare import Contrast, Measured, NotIdentified, Sample, Untested, quantity
from isoflop.analysis.claims.quantities.pairs import (
    both_fits,
    cells,
    contrast,
    error_between_runs,
    matched,
    mean_of_rungs,
)
from isoflop.analysis.fitting.diagnose import locked
from isoflop.analysis.fitting.local import EXPONENT, LOSS, SPLIT, Local, Space, centre
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.levels import level_index
from isoflop.wording import number, percent

at_point = partial(quantity, needs=("law",), takes=("point",))


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


@at_point(wording="among the runs −∂ ln L / ∂ ln N is {amount}")
def local_exponent_N(sample: Sample) -> Measured:
    """-∂ ln L / ∂ ln N of the fitted law at a point among the runs"""
    return _local(sample, "N")


@at_point(wording="among the runs −∂ ln L / ∂ ln D is {amount}")
def local_exponent_D(sample: Sample) -> Measured:
    """-∂ ln L / ∂ ln D of the fitted law at a point among the runs"""
    return _local(sample, "D")


@at_point(wording="among the runs −d ln L / d ln C is {amount}")
def local_exponent_C(sample: Sample) -> Measured:
    """-d ln L / d ln C at a point among the runs, along the optimum or the runs' D/N"""
    return _local(sample, "C")


@at_point(wording="the loss by {law} at a point among the runs is {amount}")
def local_loss(sample: Sample) -> Measured:
    """loss of the fitted law at a point among the runs"""
    measured = _local(sample, "local_loss")
    return replace(measured, unit=sample.runs.usable.loss_unit)


@at_point(wording="the best D/N by {law} is {amount}")
def best_D_per_N(sample: Sample) -> Measured:
    """best D/N by the fitted law at the compute of a point among the runs"""
    return _local(sample, "best_D_per_N")


@at_point(
    subject="pair", of="local", wording="among the runs {of} of {law} is {amount} lower for {lower} than for {higher}"
)
def local_contrast(sample: Sample, name: str) -> Contrast:
    """difference of a local quantity of the law between two families at one point among their runs

    Runs and interval as in law_contrast; it needs no parameter to be identified.
    """
    fits, local, point = sample.once(_at_one_point, sample)
    law, place = fits[0].law, next((each.place for each in local if not each.inside), local[0].place)
    for each, family in zip(local, sample.pair, strict=True):
        if name in each.missing:
            raise NotIdentified(f"{family}: {name} is not identified at {place}: {each.missing[name]}")
    along = "ray" if "ray" in {each.along for each in local} else local[0].along
    function = Space(law, pd.concat([each.rows for each in fits])).quantity(name, point, along)
    difference = contrast(fits, function, name)
    return replace(difference, reason=f"{difference.reason} at {place}")


@at_point(subject="pair", unit="times", wording="for the same loss {lower} {amount} than {higher}")
def effective_speedup(sample: Sample) -> Contrast:
    """ln of the compute that one family needs over that of another for the same loss

    By default at the largest compute that both have; point: {C: 1e20} or {L: 2.1} states another.
    """
    from isoflop.analysis.holdout.speedup import speedup

    one, two = (
        sample.fits.law(sample.law, side.usable, by={"family": name})
        for side, name in zip(sample.sides, sample.pair, strict=True)
    )
    ratio = speedup(two, one, sample.point or None, sample.level)
    if ratio.error is None or ratio.estimate.value is None:
        raise NotIdentified(ratio.reason)
    spent = f"{number(ratio.compute[1])} and {number(ratio.compute[0])} for a loss of {ratio.loss:.4g}"
    return Contrast(math.log(ratio.estimate.value), ratio.error, ratio.dof, reason="; ".join([spent, *ratio.notes]))


def _local(sample: Sample, name: str) -> Measured:
    """Return a local quantity of the law on the runs of one family; an exponent by its column."""
    fitted = sample.fits.law(sample.law, sample.runs.usable, level=sample.level)
    local = fitted.local(sample.point)
    name = name if name in (LOSS, SPLIT) else f"{EXPONENT}{name}"
    if name not in local.estimates:
        raise Untested(f"law {sample.law} has no {name}; it has {', '.join(local.estimates)}")
    estimate = local.estimates[name]
    if estimate.value is None or (estimate.low is None and estimate.high is None):
        raise NotIdentified(f"{name} is not identified at {local.place}: {local.missing.get(name, fitted.reason)}")
    along = f" along the {local.along}" if name == f"{EXPONENT}C" and local.along else ""
    reason = f"{sample.law} on {fitted.n_runs} runs at {local.place}{along}"
    return Measured(estimate.value, estimate.low, estimate.high, reason=reason)


def _at_one_point(sample: Sample) -> tuple[tuple[Fit, Fit], tuple[Local, Local], dict[str, float]]:
    """Return the law on both families, what it is at one point of both, and the point."""
    fits = both_fits(sample)
    law = fits[0].law
    point = centre(law, pd.concat([each.rows for each in fits])) | dict(sample.point)
    one, two = (each.local(point) for each in fits)
    return fits, (one, two), point
