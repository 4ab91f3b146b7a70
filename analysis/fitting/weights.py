"""Rows weighed by the noise of seeds: where larger runs repeat better than small ones, they should count for more.

The noise of a size is the scatter of ln L between runs that differ only in their seed. Few seeds tell little of one
size, so it is taken as a power of the size, by the logarithms of the sample variances (Bartlett and Kendall 1946 give
their mean and variance), and only where they tell that power from none; else all rows count alike.

    weighted(prepared, get_law("chinchilla"), "seed").scale     # noise of the typical row over that of each row
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from isoflop.analysis.intervals.resampling import t_quantile
from isoflop.analysis.laws.catalogue import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.rows import Observations
from isoflop.errors import TooFewRowsError

# sizes at which there must be replicates, for a slope to have a residual
SIZES = 3
# the column of `--weights noise`
NOISE = "noise"
# two-sided level at which the noise counts as changing with size
LEVEL = 0.95


@dataclass(frozen=True)
class SizeNoise:
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


def size_noise(prepared: Observations, column: Array) -> SizeNoise:
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
    return SizeNoise(size, sd, dof)


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
