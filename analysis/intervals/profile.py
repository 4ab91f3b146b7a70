"""The profile of a parameter: the least objective with that parameter held, and how far it may move before noise
forbids it.

kappa = E psi^2 / E psi' is the scale at which objective / kappa acts as a log-likelihood (after Huber and Ronchetti,
Robust Statistics, 2009); an interval is where twice the rise over kappa stays below F(1, rows - parameters). That of a
derived quantity is its least and greatest value below the same ceiling.

    profile(problem, u, "alpha", 0.30) - best    # the rise of the objective
    profile_intervals(problem, u, 0.95)["alpha"]  # Estimate(value=0.347, low=0.32, high=0.38)
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.dual_numbers import Array, Dual
from isoflop.analysis.solving.descent import Pace, expand, minimise
from isoflop.analysis.solving.problem import Problem
from isoflop.analysis.solving.starts import starts

# starts for each point of a profile
_PROFILE_STARTS = 6
# ... but only from the optimum where parameters of several groups are fitted together
_MOST_FREE = 10
# a parameter of which more than this share of the variance is that of parameters not identified leans on them
_MOSTLY = 0.5
# halvings of a bracket, and steps outward before a side counts as open
HALVINGS, _STEPS, _STEPS_PULLED = 20, 12, 60


def noise_scale(problem: Problem, u: Array, runs: NDArray[np.intp]) -> float:
    """Return kappa at the optimum u (free,), with the run as the unit."""
    r, jacobian = problem.linearise(u[None])
    r, jacobian = r[0], jacobian[0]
    n, p = len(r), len(u)
    _, psi, _, _ = problem.objective.terms(r)
    spare = max(n - p, 1)
    kappa = (psi**2).sum() / spare / _slope(problem, r)
    score = jacobian * psi
    metric = np.linalg.pinv(jacobian @ jacobian.T)
    rows = np.einsum("pn,pq,qn->", score, metric, score)
    by_run = np.zeros((p, int(runs.max()) + 1))
    np.add.at(by_run.T, runs, score.T)
    together = np.einsum("pn,pq,qn->", by_run, metric, by_run)
    return float(max(kappa * max(1.0, together / max(rows, 1e-300)), 1e-26))


def _slope(problem: Problem, r: Array) -> float:
    """Return E psi': the share of residuals inside delta, through a wider window where delta is too narrow to count
    in."""
    if problem.objective.loss == "l2":
        return 1.0
    delta, window = problem.objective.delta, max(problem.objective.delta, 0.5 * float(np.median(np.abs(r))))
    return float(max((np.abs(r) <= window).mean() * delta / max(window, 1e-300), 1e-12))


def covariance(problem: Problem, u: Array, kappa: float) -> Array:
    """Return the covariance (free, free) of the optimum u (free,) by the information of the rows under one noise."""
    r, jacobian = problem.linearise(u[None])
    unit = 1 / np.maximum(np.sqrt((jacobian[0] ** 2).sum(-1)), 1e-300)
    scaled = jacobian[0] * unit[:, None]
    inverse: Array = np.linalg.pinv(scaled @ scaled.T, rcond=1e-13) * unit[:, None] * unit
    return inverse * kappa / _slope(problem, r[0])


def profile(problem: Problem, u: Array, name: str, value: float, others: int = _PROFILE_STARTS) -> float:
    """Return the least objective with one parameter held at a value, from the optimum and from `others` fresh
    starts."""
    return held_optima(problem, u, [(name, value)], others)[0][0]


def held_optima(
    problem: Problem, u: Array, held: Sequence[tuple[str, float]], others: int = _PROFILE_STARTS
) -> list[tuple[float, Array]]:
    """Return for each parameter held at a value the least objective, and the u (free,) at which it is reached."""
    begin: list[Array] = []
    low: list[Array] = []
    high: list[Array] = []
    for name, value in held:
        i = problem.free.index(name)
        at = np.log(max(value, 1e-300)) if problem.logs[i] else value
        rest = replace(
            problem,
            fixed=dict(problem.fixed) | {name: value},
            priors={k: v for k, v in problem.priors.items() if k != name},
        )
        u0 = np.delete(u, i)[None]
        if others and 1 < len(problem.free) <= _MOST_FREE:
            u0 = np.concatenate([u0, starts(rest, others)])
        begin.append(np.insert(u0, i, at, axis=1))
        for ends, bound in zip((low, high), problem.box, strict=True):
            ends.append(np.tile(np.where(np.arange(len(u)) == i, at, bound), (len(u0), 1)))
    if not held:
        return []
    box = np.concatenate(low), np.concatenate(high)
    solution = minimise(problem, np.concatenate(begin), pace=Pace(steps=60), box=box)
    optima = []
    for part in np.split(np.arange(len(solution.u)), np.cumsum([len(x) for x in begin])[:-1]):
        best = part[solution.objective[part].argmin()]
        optima.append((float(solution.objective[best]), solution.u[best]))
    return optima


def profile_intervals(problem: Problem, u: Array, level: float) -> dict[str, Estimate]:
    """Return every parameter with its profile interval, rows taken as independent; an open side is None."""
    ceiling = _ceiling(problem, u, level)
    values = problem.params(u)
    out = {name: Estimate(float(values[name])) for name in problem.law.params}
    for i, name in enumerate(problem.free):
        low, high = (_end(problem, u, i, side, ceiling) for side in (-1.0, 1.0))
        out[name] = Estimate(float(values[name]), low, high)
    return out


def _end(problem: Problem, u: Array, i: int, side: float, ceiling: float) -> float | None:
    """Return where the profile of parameter i reaches the ceiling on one side, in its own units; its bound, or None if
    open."""
    name, log = problem.free[i], bool(problem.logs[i])
    bound = float(problem.box[0 if side < 0 else 1][i])

    def rises(x: float) -> bool:
        return not profile(problem, u, name, float(np.exp(x)) if log else x, others=0) < ceiling

    inner, step = float(u[i]), 0.02 if log else 0.02 * max(abs(float(u[i])), 0.05)
    for _ in range(_STEPS):
        outer = inner + side * step
        if side * (outer - bound) >= 0:
            if not rises(bound):
                return float(np.exp(bound)) if log else bound
            outer = bound
            break
        if rises(outer):
            break
        inner, step = outer, 2 * step
    else:
        return None
    for _ in range(HALVINGS):
        middle = (inner + outer) / 2
        inner, outer = (inner, middle) if rises(middle) else (middle, outer)
    return float(np.exp(inner)) if log else inner


def _ceiling(problem: Problem, u: Array, level: float) -> float:
    """Return the objective up to which noise does not forbid a place, rows taken as independent."""
    from scipy.special import fdtri

    rows = len(problem.target)
    kappa = noise_scale(problem, u, np.arange(rows))
    limit = float(fdtri(1, max(rows - len(u), 1), level)) * kappa / 2
    return float(expand(problem, u[None], None).f[0]) + limit


def derived_intervals(problem: Problem, u: Array, level: float) -> dict[str, Estimate]:
    """Return every derived quantity with its profile interval: the least and greatest value below the ceiling."""
    ceiling = _ceiling(problem, u, level)
    out = {}
    for name in problem.law.derived:
        value, slope = _derived(problem, u, name)
        low, high = (_extreme(problem, u, name, side * slope, ceiling) for side in (-1.0, 1.0))
        out[name] = Estimate(value, low, high)
    return out


def leans_on(problem: Problem, u: Array, name: str, flat: Collection[str]) -> bool:
    """Return whether a derived quantity depends on one of the parameters in `flat`."""
    slope = _derived(problem, u, name)[1]
    return any(slope[i] != 0 for i, free in enumerate(problem.free) if free in flat)


def leaning(problem: Problem, u: Array, flat: frozenset[str]) -> frozenset[str]:
    """Return the parameters whose variance is mostly that of the `flat` ones: along the ridge, they move together."""
    if not flat or len(flat) == len(u):
        return frozenset()
    at = np.array([name in flat for name in problem.free])
    major = expand(problem, u[None], None).major[0]
    unit = 1 / np.sqrt(np.maximum(np.diag(major), 1e-300))
    # the variance of the others with the flat ones held, over that with them free
    held = np.diag(np.linalg.pinv((major * unit[:, None] * unit)[np.ix_(~at, ~at)]))
    free = np.diag(np.linalg.pinv(major * unit[:, None] * unit))[~at]
    names = [name for name, is_flat in zip(problem.free, at, strict=True) if not is_flat]
    return frozenset(n for n, h, f in zip(names, held, free, strict=True) if h < (1 - _MOSTLY) * f)


def _derived(problem: Problem, u: Array, name: str) -> tuple[float, Array]:
    """Return a derived quantity and its gradient (free,) at u."""
    duals: dict[str, Any] = {k: np.float64(v) for k, v in problem.fixed.items()}
    for i, (p, x) in enumerate(zip(problem.free, u, strict=True)):
        value = np.array(np.exp(x) if problem.logs[i] else x)
        duals[p] = Dual(value, {i: value if problem.logs[i] else np.array(1.0)})
    quantity = problem.law.derive(duals)[name]
    parts = quantity.d if isinstance(quantity, Dual) else {}
    return float(getattr(quantity, "value", quantity)), np.array([float(parts.get(i, 0.0)) for i in range(len(u))])


def _extreme(problem: Problem, u: Array, name: str, slope: Array, ceiling: float) -> float | None:
    """Return the quantity at the end of its profile; None if the profile never reaches the ceiling.

    The end is the least of objective - pull * quantity, with the pull (a Lagrange multiplier) at which the objective
    stands at the ceiling.
    """
    if not slope.any():
        return _derived(problem, u, name)[0]
    side, here = float(np.sign(slope @ _derived(problem, u, name)[1])), u
    local = expand(problem, u[None], None)
    rise = float(slope @ np.linalg.pinv(local.newton[0] + 1e-9 * local.major[0]) @ slope) / 2
    pull = np.sqrt((ceiling - local.f[0]) / max(rise, 1e-300))
    low, high = 0.0, np.inf
    for _ in range(HALVINGS + _STEPS):
        at = _pulled(problem, here, name, side * pull)
        height = float(expand(problem, at[None], None).f[0])
        if abs(height - ceiling) < 1e-4 * (ceiling - local.f[0]):
            return _derived(problem, at, name)[0]
        if height < ceiling:
            low, here = pull, at
        else:
            high = pull
        pull = 2 * low if not np.isfinite(high) else (low + high) / 2
    return None


def _pulled(problem: Problem, u: Array, name: str, pull: float) -> Array:
    """Return the least of objective - pull * quantity, by damped Newton steps from u."""
    low, high = problem.box
    lam, local = 1e-3, expand(problem, u[None], None)
    value, slope = _derived(problem, u, name)
    least = local.f[0] - pull * value
    for _ in range(_STEPS_PULLED):
        matrix = local.newton[0] + lam * local.major[0]
        step = -np.linalg.lstsq(matrix, local.g[0] - pull * slope, rcond=1e-14)[0]
        at = np.clip(u + step, low, high)
        trial = expand(problem, at[None], None)
        value, slope_there = _derived(problem, at, name)
        gain = least - (trial.f[0] - pull * value)
        if gain > 0:
            u, local, slope, least, lam = at, trial, slope_there, least - gain, max(lam / 8, 1e-9)
            if gain < 1e-12 * abs(least):
                break
        else:
            lam *= 8
            if lam > 1e9:
                break
    return u
