"""The profile of a parameter: the least objective with that parameter held, and how far it may move before noise
forbids it.

kappa = E psi^2 / E psi' is the scale at which objective / kappa acts as a log-likelihood (Huber and Ronchetti 2009,
section 13.7); an interval is where twice the rise over kappa stays below F(1, rows - parameters).

    profile(problem, u, "alpha", 0.30) - best    # the rise of the objective
    profile_intervals(problem, u, 0.95)["alpha"]  # Estimate(value=0.347, low=0.32, high=0.38)
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.duals import Array
from analysis.result import Estimate
from analysis.solver import Problem, minimise
from analysis.starts import starts

# starts for each point of a profile
PROFILE_STARTS = 6
# halvings of a bracket, and steps outward before a side counts as open
HALVINGS, STEPS = 20, 12


def noise_scale(problem: Problem, u: Array, runs: NDArray[np.intp]) -> float:
    """kappa at the optimum u (free,), with the run as the unit."""
    r, jacobian = problem.linearise(u[None])
    r, jacobian = r[0], jacobian[0]
    n, p = len(r), len(u)
    _, psi, _, _ = problem.objective.terms(r)
    spare = max(n - p, 1)
    slope = 1.0
    if problem.objective.loss != "l2":
        # share of residuals inside delta; through a wider window where delta is too narrow to count in
        delta, window = problem.objective.delta, max(problem.objective.delta, 0.5 * float(np.median(np.abs(r))))
        slope = max((np.abs(r) <= window).mean() * delta / max(window, 1e-300), 1e-12)
    kappa = (psi**2).sum() / spare / slope
    score = jacobian * psi
    metric = np.linalg.pinv(jacobian @ jacobian.T)
    rows = np.einsum("pn,pq,qn->", score, metric, score)
    by_run = np.zeros((p, int(runs.max()) + 1))
    np.add.at(by_run.T, runs, score.T)
    together = np.einsum("pn,pq,qn->", by_run, metric, by_run)
    return float(max(kappa * max(1.0, together / max(rows, 1e-300)), 1e-26))


def profile(problem: Problem, u: Array, name: str, value: float, others: int = PROFILE_STARTS) -> float:
    """The least objective with one parameter held at a value, from the optimum and from `others` fresh starts."""
    index = problem.free.index(name)
    held = replace(
        problem,
        fixed=dict(problem.fixed) | {name: value},
        priors={k: v for k, v in problem.priors.items() if k != name},
    )
    u0 = np.delete(u, index)[None]
    if others:
        u0 = np.concatenate([u0, starts(held, others)])
    found = float(minimise(held, u0, steps=60).objective.min())
    prior = problem.priors.get(name)
    return found + (prior.weight * (value - prior.mean) ** 2 / 2 if prior else 0.0)


def profile_intervals(problem: Problem, u: Array, level: float) -> dict[str, Estimate]:
    """Every parameter with its profile interval, rows taken as independent; an open side is None."""
    from scipy.special import fdtri

    rows = len(problem.target)
    kappa = noise_scale(problem, u, np.arange(rows))
    limit = float(fdtri(1, max(rows - len(u), 1), level)) * kappa / 2
    r = problem.residuals(u[None])[0]
    ceiling = float(problem.objective.terms(r)[0].sum()) + limit
    values = problem.params(u)
    out = {name: Estimate(float(values[name])) for name in problem.law.params}
    for i, name in enumerate(problem.free):
        low, high = (_end(problem, u, i, side, ceiling) for side in (-1.0, 1.0))
        out[name] = Estimate(float(values[name]), low, high)
    return out


def _end(problem: Problem, u: Array, i: int, side: float, ceiling: float) -> float | None:
    """Where the profile of parameter i reaches the ceiling on one side, in its own units; its bound, or None where
    open."""
    name, log = problem.free[i], bool(problem.logs[i])
    bound = float(problem.box[0 if side < 0 else 1][i])

    def rises(x: float) -> bool:
        return not profile(problem, u, name, float(np.exp(x)) if log else x, others=0) < ceiling

    inner, step = float(u[i]), 0.02 if log else 0.02 * max(abs(float(u[i])), 0.05)
    for _ in range(STEPS):
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
