"""The quantities that are read off a law at a point: slopes, loss and best split among the runs, and the speed-up.

local_exponent_D(Sample(runs, law="power(D)", point={"D": 1e5})).value
"""

import math
from dataclasses import replace
from functools import partial

import pandas as pd

from isoflop.analysis.claims.declare import Contrast, Measured, NotIdentified, Sample, Untested, quantity
from isoflop.analysis.claims.quantities.pairs import both_fits, contrast
from isoflop.analysis.fitting.local import EXPONENT, LOSS, SPLIT, Local, Space, centre
from isoflop.analysis.fitting.result import Fit
from isoflop.wording import number

at_point = partial(quantity, needs=("law",), takes=("point",))


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
