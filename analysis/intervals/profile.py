"""How far noise lets a parameter move: the least objective with that parameter held.

kappa = E psi^2 / E psi' is the scale at which objective / kappa acts as a log-likelihood (after Huber and Ronchetti,
Robust Statistics, 2009).

    held_optima(problem, u, [("alpha", 0.30)])[0][0] - best    # the rise of the objective
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.intervals.estimate import t_quantile
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
# axes are almost one where the variance of their slopes is inflated more than this often, by the usual rule (five to
# ten; O'Brien 2007, Quality and Quantity 41): a ratio that scatters by half, over three decades
_INFLATED = 10.0
# halvings of the factor between an exponent and the end of its profile: to half a percent
_HALVINGS = 8


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
    """Return E psi': the share of residuals inside delta, or in a wider window where delta is too narrow."""
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


def ends_of(problem: Problem, u: Array, runs: NDArray[np.intp], level: float, dof: float) -> Array | None:
    """Return places (k, free) at which each exponent, held below or above its optimum, makes the objective worse by
    just what noise may, at most its `flat` factor away; None unless two axes are almost one, and with priors."""
    factors = {n: k.flat for n in problem.free if (k := problem.law.params[n]).flat}
    values = problem.params(u)
    sides = [(name, side) for name in factors if values[name] > 0 for side in (-1, 1)]
    if not sides or problem.priors or not _together(problem):
        return None
    limit, kappa = t_quantile(level, dof) ** 2, noise_scale(problem, u, runs)
    best = float(expand(problem, u[None], None).f[0])
    near, far, places = np.zeros(len(sides)), np.ones(len(sides)), np.tile(u, (len(sides), 1))
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        held = [(n, values[n] * factors[n] ** (side * m)) for (n, side), m in zip(sides, middle, strict=True)]
        for i, (objective, place) in enumerate(held_optima(problem, u, held, others=0)):
            allowed = 2 * (objective - best) / kappa < limit
            near[i], far[i] = (middle[i], far[i]) if allowed else (near[i], middle[i])
            places[i] = place if allowed else places[i]
    return places


def leans_on(problem: Problem, u: Array, name: str, flat: Collection[str]) -> bool:
    """Return whether a derived quantity depends on one of the parameters in `flat`."""
    slope = _derived(problem, u, name)[1]
    return any(slope[i] != 0 for i, free in enumerate(problem.free) if free in flat)


def _together(problem: Problem) -> bool:
    """Return whether two axes are almost one, as those of a ladder whose ratio scatters are."""
    logs = [np.log(x) for x in problem.columns if np.ptp(x) > 0]
    return len(logs) > 1 and bool(np.abs(np.corrcoef(logs) - np.eye(len(logs))).max() ** 2 > 1 - 1 / _INFLATED)


def leaning(problem: Problem, u: Array, flat: frozenset[str]) -> frozenset[str]:
    """Return the parameters whose variance is mostly that of the `flat` ones, along the ridge; where two axes are
    almost one, the term of either stands for both, and no exponent is known if one is not."""
    if not flat or len(flat) == len(u):
        return frozenset()
    exponents = frozenset(n for n in problem.free if problem.law.params[n].flat)
    if flat & exponents and not exponents <= flat and _together(problem):
        return exponents | leaning(problem, u, flat | exponents)
    at = np.array([name in flat for name in problem.free])
    major = expand(problem, u[None], None).major[0]
    unit = 1 / np.sqrt(np.maximum(np.diag(major), 1e-300))
    # the variance of the others with the flat ones held, over that with them free
    held = np.diag(np.linalg.pinv((major * unit[:, None] * unit)[np.ix_(~at, ~at)]))
    free = np.diag(np.linalg.pinv(major * unit[:, None] * unit))[~at]
    names = [name for name, is_flat in zip(problem.free, at, strict=True) if not is_flat]
    return frozenset(n for n, h, f in zip(names, held, free, strict=True) if h < (1 - _MOSTLY) * f)


def _derived(problem: Problem, u: Array, name: str) -> tuple[float, Array]:
    duals: dict[str, Any] = {k: np.float64(v) for k, v in problem.fixed.items()}
    for i, (p, x) in enumerate(zip(problem.free, u, strict=True)):
        value = np.array(np.exp(x) if problem.logs[i] else x)
        duals[p] = Dual(value, {i: value if problem.logs[i] else np.array(1.0)})
    quantity = problem.law.derive(duals)[name]
    parts = quantity.d if isinstance(quantity, Dual) else {}
    return float(getattr(quantity, "value", quantity)), np.array([float(parts.get(i, 0.0)) for i in range(len(u))])
