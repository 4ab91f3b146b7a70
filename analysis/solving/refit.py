"""Refit a law without some of its rows: a row that is held out weighs 0, so all refits are one batch of the solver.

without_last = np.tri(len(L))[3:-1]              # weights (refits, rows): the first 4, 5, ... rows are fitted
ends = refit(problem, u[None], without_last)     # ends.u[k] is the optimum on the rows of weight 1 in row k
"""

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.descent import MAX_STEPS, Solution, minimise
from isoflop.analysis.solving.problem import Problem


def refit(
    problem: Problem, begin: Array, weights: NDArray[np.generic], *, lam: float = 1.0, steps: int = MAX_STEPS
) -> Solution:
    """Minimise under each set of row weights (refits, rows) from every start in `begin` (starts, free), and return the
    lowest end of each refit."""
    count, refits = len(begin), len(weights)
    rows = np.tile(weights.astype(float), (count, 1))
    ends = minimise(problem, np.repeat(begin, refits, axis=0), rows, lam=lam, steps=steps)
    height = np.where(np.isfinite(ends.objective), ends.objective, np.inf).reshape(count, refits)
    best = height.argmin(0) * refits + np.arange(refits)
    return Solution(*(part[best] for part in ends))
