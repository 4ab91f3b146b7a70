"""The jackknife without its bias where runs are few or some of them weigh much.

To leave a run out moves the estimates by its residuals over 1 - leverage, which overstates their variance: of six runs
that must tell three parameters, twofold on the average and fivefold for the outermost ones. Over the root of
1 - leverage it is without bias for independent residuals of one variance, and Student's t has the degrees of freedom
that the variance itself has (Bell and McCaffrey 2002, Survey Methodology 28; Imbens and Kolesar 2016, Review of
Economics and Statistics 98, for how far that holds with few clusters).

    moved, dof = unbiased(problem, u, run_numbers, np.zeros((int(run_numbers.max()) + 1, len(u))))
"""

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.problem import Problem

# 1 - leverage of a run counts as at least this much: below, leaving it out tells nothing to first order
LEAST_FREE = 0.02


def unbiased(problem: Problem, u: Array, runs: NDArray[np.intp], moved: Array) -> tuple[Array, float]:
    """Return how far leaving out each run moves the optimum, (runs, free), over the root of 1 - leverage, and the
    degrees of freedom: the harmonic mean of those of the free parameters.

    problem   the law on the rows
    u         its optimum (free,)
    runs      (rows,) the number of each row's run
    moved     (runs, free) by how much each optimum without one run differs from u
    """
    count, low_high = int(runs.max()) + 1, problem.box
    r, jacobian = problem.linearise(u[None])
    inside = problem.objective.terms(r)[2]
    slopes = jacobian[0].T if inside is None else jacobian[0].T * inside[0][:, None]
    unit = np.sqrt((slopes**2).sum(0))
    free = np.flatnonzero((u > low_high[0]) & (u < low_high[1]) & (unit > 0))
    if len(free) == 0 or len(slopes) < len(free):
        return moved, count - 1.0
    q, triangle = np.linalg.qr(slopes[:, free] / unit[free])
    if np.abs(np.diag(triangle)).min() < 1e-7:
        return moved, count - 1.0
    shares = np.zeros((count, len(free), len(free)))  # of the information that each run holds; they add up to one
    np.add.at(shares, runs, q[:, :, None] * q[:, None, :])
    values, vectors = np.linalg.eigh(np.eye(len(free)) - shares)
    values = np.clip(values, LEAST_FREE, 1.0)
    root = np.einsum("gij,gj,gkj->gik", vectors, np.sqrt(values), vectors)
    scaled = np.einsum("gij,gj->gi", root, moved[:, free] * unit[free] @ triangle.T)
    result = moved.copy()
    result[:, free] = np.linalg.solve(triangle, scaled.T).T / unit[free]
    inverse_root = np.einsum("gij,gj,gkj->gik", vectors, 1 / np.sqrt(values), vectors)
    dofs = _satterthwaite(np.einsum("gij,jc->gic", inverse_root, np.linalg.inv(triangle).T), shares)
    return result, float(np.clip(len(dofs) / (1 / dofs).sum(), 1.0, count - 1.0))


def _satterthwaite(weights: Array, shares: Array) -> Array:
    """Return the degrees of freedom of the variance of each parameter, (free,): those of the chi-square with its mean
    and its variance, where residuals are independent and of one variance.

    weights   (runs, free, free) by how much a run's scores move each parameter (the last axis)
    shares    (runs, free, free) its share of the information
    """
    a = np.einsum("gij,gjc->gic", shares, weights)
    own = np.einsum("gic,gic->gc", weights, a)
    dofs = []
    for c in range(weights.shape[2]):
        matrix = np.diag(own[:, c]) - a[:, :, c] @ a[:, :, c].T
        dofs.append(np.trace(matrix) ** 2 / max(float((matrix**2).sum()), 1e-300))
    return np.array([max(dof, 1e-3) for dof in dofs], dtype=float)
