"""Rows that alone move an estimate or widen its interval: outliers that are influential too.

An outlier lies further from the law, fitted without its run, than the farthest of as many independent rows would (the
outlier test of Cook and Weisberg 1982, Residuals and Influence in Regression, section 2.2.2, with Bonferroni's
correction). It is influential where leaving its run out moves a parameter by more than one of its standard errors
(DFBETAS above 1: Belsley, Kuh and Welsch 1980, Regression Diagnostics, section 2.1), or narrows all intervals by a
fifth.

    for case in influential(problem, u, run_numbers): print(case.row, case.name, case.moved)
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.intervals.resampling import WARM
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.observations import Observations
from isoflop.analysis.solving.problem import Problem
from isoflop.analysis.solving.refit import refit

# level of the outlier test, for all rows together
RARE = 0.01
# standard errors that a parameter moves by
MOVED = 1.0
# how many times wider the intervals are: a difference that a reader of two digits sees
WIDE = 1.25
# outliers that are examined, the farthest first: with more of them the law is wrong, not the rows
MOST = 3


class Outlier(NamedTuple):
    """An influential outlier.

    row     its place among the rows
    sds     standard deviations of the other rows from the law that is fitted without its run
    name    the parameter that it moves most
    moved   by how many standard errors, signed: the estimate with the run less that without
    wider   how many times wider the intervals are for it
    """

    row: int
    sds: float
    name: str
    moved: float
    wider: float


def influential(problem: Problem, u: Array, runs: NDArray[np.intp]) -> list[Outlier]:
    """Return the influential outliers, the farthest first; none where more than MOST rows are outliers."""
    from scipy.special import stdtrit

    n, free = len(problem.target), len(u)
    spare = n - free - 1
    if spare < 2 or int(runs.max()) < free + 1:
        return []
    r = problem.residuals(u[None])[0]
    limit = float(stdtrit(spare, 1 - RARE / 2 / n))
    far = np.argsort(-np.abs(r))[: MOST + 1]
    others = runs[None, :] != runs[far][:, None]
    without = refit(problem, u[None], others, lam=WARM)
    cases = []
    for k in np.flatnonzero(without.done):
        case = _outlier(problem, u, int(far[k]), others[k], without.u[k])
        if case is not None and abs(case.sds) > limit:
            cases.append(case)
    moving = [x for x in cases if abs(x.moved) > MOVED or x.wider > WIDE]
    return moving if len(cases) <= MOST else []


def influence_notes(problem: Problem, u: Array, rows: Observations) -> list[str]:
    """Return a sentence for each influential outlier, that names its row."""
    notes = []
    for case in influential(problem, u, rows.runs):
        place = rows.table.where_is(rows.rows.index[case.row])
        moves = f"moves {case.name} by {abs(case.moved):.1f} standard errors" if abs(case.moved) > MOVED else ""
        widens = f"makes the intervals {case.wider:.2g} times as wide" if case.wider > WIDE else ""
        what = " and ".join(filter(None, [moves, widens])) or "counts"
        side = "below" if case.sds > 0 else "above"
        notes.append(
            f"{place} lies {abs(case.sds):.1f} sd {side} the law of the other runs and {what}: look at it, or leave it "
            "out with --where"
        )
    return notes


def _outlier(problem: Problem, u: Array, row: int, others: NDArray[np.bool_], optimum: Array) -> Outlier | None:
    """Return what the run of a row does to the fit, from the optimum without it; None without any scatter."""
    spare = int(others.sum()) - len(u)
    if spare < 1:
        return None
    r, jacobian = problem.linearise(optimum[None])
    r, jacobian = r[0], jacobian[0]
    inverse = np.linalg.pinv(jacobian[:, others] @ jacobian[:, others].T)
    scale = float(np.sqrt((r[others] ** 2).sum() / spare))
    if not scale > 0:
        return None
    errors = scale * np.sqrt(np.maximum(np.diag(inverse), 1e-300))
    moved = (u - optimum) / errors
    most = int(np.argmax(np.abs(moved)))
    own = jacobian[:, row]
    sds = float(r[row] / scale / np.sqrt(1 + own @ inverse @ own))
    all_rows = problem.residuals(u[None])[0]
    wider = float(np.sqrt((all_rows**2).sum() / max(len(all_rows) - len(u), 1)) / scale)
    return Outlier(row, sds, problem.free[most], float(moved[most]), wider)
