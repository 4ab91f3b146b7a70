"""What an interval may take as independent where no column says which rows are of one run.

rows, notes = join_dependent(problem, u, prepared)
rows.n_runs      # 6 where the 240 rows turn out to be points of six curves
"""

from dataclasses import replace

import numpy as np

from isoflop.analysis.fitting.diagnose import runs_needed
from isoflop.analysis.intervals.dependence import RARE, blocks, moran
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.recognise import equal_knobs
from isoflop.analysis.runs.rows import Observations
from isoflop.analysis.solving.problem import Problem


def join_dependent(problem: Problem, u: Array, rows: Observations) -> tuple[Observations, list[str]]:
    """Join rows into larger units if neighbours along D are not independent; also return a note that says so.

    problem   on the rows, or on the part of them that Observations.part takes
    rows      every row its own run as far as columns tell, or nothing is done
    """
    count = len(rows.target)
    if rows.n_runs < count or len(rows.rows) != count:
        return rows, []
    sets = equal_knobs(rows.rows)
    if sets is None:
        return rows, []
    along, n_sets = rows.rows["D"].to_numpy(float), int(sets.max()) + 1
    part = replace(rows, target=along, runs=sets, n_runs=n_sets).part(len(problem.target))
    r, jacobian = problem.linearise(u[None])
    z, lag_one = moran(r[0], jacobian[0], part.runs, part.target)
    if z < RARE:
        return rows, []
    chance = f"Moran's I {z:.1f} sd above chance: points of curves, or a law that is off"
    excess = f"neighbours along D at equal knobs err alike ({chance})"
    if n_sets >= runs_needed(problem, u, part.runs):
        units, what = sets, f"the rows of each of {n_sets} sets of equal knobs are one unit of the intervals"
    else:
        units = blocks(sets, along, lag_one, runs_needed(problem, u, np.arange(len(problem.target))))
        what = f"blocks of rows along D, {int(units.max()) + 1} in all, are the units of the intervals"
    note = f"{excess}: {what}; --run names the column that tells runs apart"
    return replace(rows, runs=units, n_runs=int(units.max()) + 1), [note]
