"""What a law says where its terms may bend among the runs: intervals of a fit hold only if its form does.

    fitted = fit(runs, "chinchilla")
    fitted.params["E"].low, fitted.local(bent=True).bent["E"].low     # 1.66, 1.02

A mild break moves E and the slopes while no residual shows it. So the law is also taken with each column's logarithm z
bent at a quarter, half or three quarters of its range, z + bend ln(1 + e^(z - z0)), as the broken power law of
Caballero et al. 2023 (arXiv:2210.14891) with a break of one e-fold. One step of Newton finds the bends; by how much
they inflate a standard error widens the interval of the fit (Draper and Smith, Applied Regression Analysis).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.local import EXPONENT, Local, Space
from isoflop.analysis.fitting.optimum import Optimum
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.declare import Kind
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.problem import Problem

# where a column may bend, as shares of its range
PLACES = (0.25, 0.5, 0.75)
# standard deviation of a bend before any run is seen: a term that decays twice as fast beyond it, or not at all
MOST = 1.0
# residuals count up to so many standard deviations (Huber 1964: efficiency .95)
CLIPPED = 1.345
# of a central difference, in bends or standard errors
_STEP = 1e-3


def bend(optimum: Optimum, rows: pd.DataFrame, local: Local, params: Mapping[str, Estimate]) -> Local:
    """Return local quantities with the intervals of E and of the exponents, of those that have one, if terms bend."""
    known = {name: params[name] for name in ("E",) if name in params}
    known |= {name: e for name, e in sorted(local.estimates.items()) if name.startswith(EXPONENT)}
    found = {name: e for name, e in known.items() if e.low is not None and e.high is not None}
    if not optimum.noise.pooled > 0 or "curve" in optimum.problem.law.arguments:  # a whole curve is no place
        return local
    with np.errstate(all="ignore"):
        for problem in [_bent(optimum.problem, share) for share in PLACES]:
            space, around = Space(problem.law, rows), _around(optimum, problem)
            for name, estimate in found.items():
                quantity = _irreducible if name == "E" else space.quantity(name, local.at, local.along)
                found[name] = estimate.widened(_ends(quantity, known[name], problem, around))
    return replace(local, bent=found)


def _irreducible(**params: Any) -> Any:
    return params["E"]


def _bent(problem: Problem, share: float) -> Problem:
    """Return a problem whose law has a bend of each column, at a share of its range, as its last parameters."""
    law, logs = problem.law, [np.log(column) for column in problem.columns]
    places = [float(z.min() + share * np.ptp(z)) for z in logs]
    names = [f"bend_{column}" for column in law.columns]

    def function(*columns: Any, **params: Any) -> Any:
        bends = [params.pop(name) for name in names]
        beyond = [np.logaddexp(0.0, np.log(x) - place) for x, place in zip(columns, places, strict=True)]
        return law.function(*(x * np.exp(b * far) for x, b, far in zip(columns, bends, beyond, strict=True)), **params)

    kinds = dict(law.params) | dict.fromkeys(names, Kind())
    other = replace(law, function=function, params=kinds, curves={}, derived={}, straight=None)
    return replace(problem, law=other, places=None)


class _Around(NamedTuple):
    """What is known about the optimum of a law that may bend: where it lies without a bend, u (free,), the step to its
    own, the information of the rows on it, (free, free), and how many of the parameters are the law's own."""

    u: Array
    step: Array
    information: Array
    own: int


def _around(optimum: Optimum, problem: Problem) -> _Around:
    """Return one step from the optimum of a law to that of the same law with bends."""
    own, noise = len(optimum.u), optimum.noise.pooled
    u = np.append(optimum.u, np.zeros(len(problem.free) - own))
    r, jacobian = (part[0] for part in replace(optimum.problem, places=None).linearise(optimum.u[None]))
    ahead, behind = (problem.residuals(u + side * _STEP * np.eye(len(u))[own:]) for side in (1, -1))
    jacobian = np.concatenate([jacobian, (ahead - behind) / (2 * _STEP)])
    before = np.append(np.zeros(own), np.full(len(u) - own, (noise / MOST) ** 2))
    for name, prior in problem.priors.items():
        i = problem.free.index(name)
        before[i] = (noise / prior.error * (np.exp(u[i]) if problem.logs[i] else 1.0)) ** 2
    information, most = jacobian @ jacobian.T + np.diag(before), CLIPPED * noise
    counted = max(float((np.abs(r) < most).mean()), 0.5)
    return _Around(u, -_inverse(information) @ jacobian @ np.clip(r, -most, most) / counted, information, own)


def _ends(quantity: Callable[..., Any], estimate: Estimate, problem: Problem, around: _Around) -> Array:
    """Return the ends of an interval, moved by the step and widened as the bends inflate its standard error."""
    covariance = _inverse(around.information)
    steps = _STEP * np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    ahead, behind = quantity(**problem.params(around.u + np.multiply.outer((1, -1), np.diag(steps))))
    slope = (ahead - behind) / (2 * steps)
    without = slope[: around.own] @ _inverse(around.information[: around.own, : around.own]) @ slope[: around.own]
    inflated = np.sqrt(max(float(slope @ covariance @ slope / without), 1.0))
    value, low, high = (np.float64(x) for x in (estimate.value, estimate.low, estimate.high))
    ends = value + slope @ around.step + inflated * (np.array([low, high]) - value)
    return np.asarray(np.maximum(ends, problem.kinds["E"].low) if quantity is _irreducible else ends)


def _inverse(information: Array) -> Array:
    """Return the inverse of a matrix whose rows have different units; NaN where it has none."""
    if not np.isfinite(information).all():
        return np.full_like(information, np.nan)
    unit = 1 / np.sqrt(np.maximum(np.diag(information), 1e-300))
    return np.asarray(np.linalg.pinv(information * unit[:, None] * unit, rcond=1e-13) * unit[:, None] * unit)
