"""What a fit may claim: whether it is a minimum, whether the starts agree, and whether the data tell its parameters
apart.

A parameter is identified when moving it by its kind's factor (three for an exponent), with all others fitted again,
makes the objective worse than noise would: the profile is not flat. The scale of noise is kappa = E psi^2 / E psi',
with which objective / kappa acts as a log-likelihood (after Huber and Ronchetti, Robust Statistics, 2009), inflated
where the rows of a run move together.

    status, reason = judge_fit(problem, u, noise_scale(problem, u, runs), solution, dof=235)
"""

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.fitting.status import FitStatus
from isoflop.analysis.intervals.profile import profile
from isoflop.analysis.laws.catalogue import Kind
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.descent import Solution, expand
from isoflop.analysis.solving.problem import Problem

# of the starts, at least this share must reach the best objective
AGREE = 0.05
# relative: objectives closer than this are the same optimum
SAME = 1e-6
# a parameter whose effect on every prediction is below this share has vanished
VANISHED = 1e-7
# decades that an axis of size, data or compute should span: at 0.5 % noise a 6 x 6 grid of 1.5 decades an axis gives
# alpha to 0.02, one of 2.5 decades to 0.008
SPAN = 1.5
SCALES = ("N", "n_", "D", "C")


def at_optimum(objectives: Array, rows: int) -> int:
    """How many starts reach the best objective."""
    best = objectives.min()
    # residuals of 1e-9 are rounding in the data
    return int((objectives <= best * (1 + SAME) + rows * 1e-18).sum())


def judge_fit(problem: Problem, u: Array, kappa: float, solution: Solution, dof: int) -> tuple[FitStatus, str]:
    """Status and reason of the optimum u (free,)."""
    best = float(solution.objective.min())
    tried, reached = len(solution.objective), at_optimum(solution.objective, len(problem.target))
    flat = unidentified(problem, u, best, kappa, dof)
    bound = at_bound(problem, u)
    apart = tried > 1 and reached < max(2, AGREE * tried)
    reasons = [*flat, *([f"only {reached} of {tried} starts reach the best objective"] if apart else []), *bound]
    if flat:
        return FitStatus.NOT_IDENTIFIED, "; ".join(reasons)
    if apart:
        return FitStatus.STARTS_DISAGREE, "; ".join(reasons)
    return FitStatus.AT_BOUND if bound else FitStatus.CONVERGED, "; ".join(reasons)


def runs_needed(problem: Problem, u: Array, runs: NDArray[np.intp]) -> int:
    """The fewest runs that give an interval: two more than the parameters that only differences between runs can tell.

    Where every run is one row, those are all parameters; marks along a run tell the terms of the data by themselves.
    """
    _, jacobian = problem.linearise(u[None])
    slope = jacobian[0] if problem.objective.raw else jacobian[0] * problem.predict(u[None])[0]
    slope = slope / np.maximum(np.abs(slope).max(-1, keepdims=True), 1e-300)  # so that its square is a number
    count = np.bincount(runs)
    means = np.stack([np.bincount(runs, weights=row) for row in slope]) / count
    size = np.sqrt((slope**2).sum(-1)) + 1e-300
    within = (slope - means[:, runs]) / size[:, None]
    along_runs = int((np.linalg.eigvalsh(within @ within.T) > 1e-12).sum())
    return len(u) - along_runs + 2


def at_bound(problem: Problem, u: Array) -> list[str]:
    """A sentence for each parameter that stands on its bound or has vanished."""
    low, high = problem.box
    _, jacobian = problem.linearise(u[None])
    effect = np.abs(jacobian[0]).max(-1)
    reasons = []
    for i, name in enumerate(problem.free):
        if u[i] <= low[i] or u[i] >= high[i]:
            reasons.append(f"{name} stands on its bound {u[i]:g}")
        elif problem.logs[i] and effect[i] < VANISHED * (np.median(problem.target) if problem.objective.raw else 1):
            reasons.append(f"{name} has no effect on any row")
    return reasons


def unidentified(problem: Problem, u: Array, best: float, kappa: float, dof: int) -> list[str]:
    """A sentence for each parameter that the data do not tell."""
    one = [c for c, x in zip(problem.law.columns, problem.columns, strict=True) if np.ptp(x) == 0]
    if one:
        return [f"{' and '.join(one)} {'has' if len(one) == 1 else 'have'} a single value"]
    if len(problem.target) <= len(u):
        return [f"{len(problem.target)} rows leave nothing to judge {len(u)} parameters by"]
    low, high = problem.box
    local = expand(problem, u[None], None)
    inside = [i for i in range(len(u)) if low[i] < u[i] < high[i]]
    unit = 1 / np.sqrt(np.maximum(np.diag(local.major[0]), 1e-300))
    scaled = (local.major[0] * unit[:, None] * unit[None, :])[np.ix_(inside, inside)]
    # least eigenvalue of the correlation of the Jacobian's columns: rounding, not data, below this
    if len(inside) and np.linalg.eigvalsh(scaled)[0] < 1e-13:
        return ["the parameters cannot be told apart: the Jacobian has no full rank"]
    from scipy.special import fdtri

    limit = float(fdtri(1, max(dof, 1), 0.95))
    reasons = []
    for i, name in enumerate(problem.free):
        ends = _distant_values(problem, name, problem.law.params[name], u[i])
        rises = [2 * (profile(problem, u, name, end) - best) / kappa for end in ends]
        kind = problem.law.params[name]
        if ends and (min(rises) < limit if kind.flat else max(rises) < limit):
            end = ends[int(np.argmin(rises))]
            reasons.append(f"{name} could as well be {end:.3g}: the profile is flat within the noise")
    return reasons


def _distant_values(problem: Problem, name: str, kind: Kind, u: float) -> list[float]:
    """Values that the data should tell from the optimum."""
    if kind.flat:
        value = float(np.exp(u)) if kind.log else float(u)
        ends = [value / kind.flat, value * kind.flat]
        return [x for x in ends if kind.low < x < kind.high and x != value]
    if kind.linear and not kind.log and kind.low == 0:  # an irreducible loss: none, or nearly all of the least loss
        return [0.0, 0.98 * float(problem.target.min())]
    return []


def spans(problem: Problem) -> list[str]:
    """A note for each axis that is too short to tell an exponent well."""
    notes = []
    for name, x in zip(problem.law.columns, problem.columns, strict=True):
        if not name.startswith(SCALES):
            continue
        decades = float(np.log10(x.max() / x.min()))
        if decades < SPAN:
            notes.append(f"{name} spans {decades:.1f} decades, an exponent needs {SPAN}")
    return notes
