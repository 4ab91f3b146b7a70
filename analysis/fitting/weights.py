"""Rows weighed by the noise of seeds: where larger runs repeat better than small ones, they should count for more.

The noise of a size is the scatter of ln L between runs that differ only in their seed. Few seeds tell little of one
size, so it is taken as a power of the size, by the logarithms of the sample variances (Bartlett and Kendall 1946 give
their mean and variance), and only where they tell that power from none; else all rows count alike.

    weighted(prepared, get_law("chinchilla"), "seed").scale     # noise of the typical row over that of each row

Where no column says which rows are of one run, rows whose residuals are alike along D are joined into larger units.

    rows, notes = join_dependent(problem, u, prepared)
    rows.n_runs      # 6 where the 240 rows turn out to be points of six curves
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.diagnose import runs_needed
from isoflop.analysis.fitting.settings import NOISE
from isoflop.analysis.intervals.estimate import t_quantile
from isoflop.analysis.intervals.residuals import RARE, blocks, moran
from isoflop.analysis.laws.declare import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.observations import Observations
from isoflop.analysis.runs.recognise import equal_knobs
from isoflop.analysis.solving.problem import Problem
from isoflop.errors import TooFewRowsError

# sizes at which there must be replicates, for a slope to have a residual
SIZES = 3
# two-sided level at which the noise counts as changing with size
LEVEL = 0.95


@dataclass(frozen=True)
class _SizeNoise:
    """The noise of each size that has replicates: size, sd of ln L over seeds, degrees of freedom."""

    size: Array
    sd: Array
    dof: Array

    def power(self) -> tuple[float, float]:
        """Return the exponent of the noise in the size, and its standard error."""
        from scipy.special import polygamma, psi

        # ln s^2 = ln sigma^2 + psi(dof / 2) - ln(dof / 2), with variance psi'(dof / 2)
        half = self.dof / 2
        x, y = np.log(self.size), 2 * np.log(self.sd) - psi(half) + np.log(half)
        weight = 1 / polygamma(1, half)
        gap = x - np.average(x, weights=weight)
        spread = float((weight * gap**2).sum())
        return float((weight * gap * y).sum() / spread) / 2, 0.5 / np.sqrt(spread)


def size_noise(prepared: Observations, column: Array) -> _SizeNoise:
    """Return the scatter between replicates at each value of a column, the run as the unit."""
    key = prepared.table.cell_columns
    cells = prepared.rows.groupby(key, dropna=False, sort=False).ngroup().to_numpy() if key else column
    table = pd.DataFrame({"cell": cells, "run": prepared.runs, "L": np.log(prepared.target)})
    table["size"], table["level"] = column, level_index(column)
    sizes = []
    for _, part in table.groupby("level"):
        groups = part.groupby("cell")
        counts = groups["run"].nunique()
        again = part[part["cell"].isin(counts.index[counts > 1])]
        if again.empty:
            continue
        # the marks of a run move together: no more degrees of freedom than its runs have
        spare = len(again) - again["cell"].nunique()
        most = again["run"].nunique() - again.groupby("run")["cell"].agg(frozenset).nunique()
        squares = float(((again["L"] - again.groupby("cell")["L"].transform("mean")) ** 2).sum())
        if squares > 0 and most > 0:
            sizes.append((part["size"].mean(), np.sqrt(squares / spare), min(spare, most)))
    size, sd, dof = np.array(sizes).reshape(-1, 3).T
    return _SizeNoise(size, sd, dof)


def weighted(prepared: Observations, law: Law, weights: str) -> Observations:
    """Return the rows with the scale of their residuals, if they are to be weighed; TooFewRowsError without
    replicates."""
    if weights == NOISE:
        scale = 1 / prepared.table.numbers([NOISE])[NOISE].to_numpy(float)
        return replace(prepared, scale=scale / np.exp(np.log(scale).mean()))
    name, column = law.columns[0], prepared.columns[0]
    noise = size_noise(prepared, column)
    if len(noise.size) < SIZES:
        raise TooFewRowsError(
            f"weights by the noise of seeds need runs that differ only in their seed at {SIZES} or more {name}; "
            f"there are {len(noise.size)}: add seeds, or leave --weights out"
        )
    slope, error = noise.power()
    limit = t_quantile(LEVEL, float(noise.dof.sum()))
    known = (
        f"seed noise goes as {name}^{slope:.2f} (standard error {error:.2f}, {noise.dof.sum():.0f} degrees of freedom)"
    )
    if abs(slope) < limit * error:
        return replace(prepared, notes=[*prepared.notes, f"{known}, not told from none: rows weigh alike"])
    scale = column**-slope
    return replace(
        prepared,
        scale=scale / np.exp(np.log(scale).mean()),
        notes=[*prepared.notes, f"rows weigh by it: {known}"],
    )


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
