"""How the noise between seeds changes with scale: exponents in a law's columns, learnt from replicates.

    trend = noise_trend([cnn, lstm], ["N", "D"])
    trend.exponents[0], trend.told     # array([-0.02, -0.29]), True
    weighted([prepared], get_law("chinchilla"), "seed")[0].scale     # noise of the typical row over that of each row

Within a cell of n replicates, runs that differ only in their seed, the sample variance of ln L is sigma^2 chi^2_(n-1) /
(n - 1) whatever the law, so that ln sigma^2 = c_group + 2 sum p ln column is a generalised linear model of gamma errors
with known dispersion: residual maximum likelihood (Verbyla 1993, J. R. Statist. Soc. B 55: 493-508). The correlation of
a run's marks enters the errors. Exponents that are told from none are shrunk, those of a group towards all groups'
(empirical Bayes, Morris 1983, J. Am. Statist. Assoc. 78: 47-55), and only then rows are weighed by them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.arguments import NOISE
from isoflop.analysis.fitting.diagnose import runs_needed
from isoflop.analysis.intervals.residuals import RARE, blocks, moran
from isoflop.analysis.laws.declare import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.observations import Observations
from isoflop.analysis.runs.recognise import equal_knobs
from isoflop.analysis.solving.problem import Problem
from isoflop.errors import TooFewRowsError

# levels of a column at which there must be replicates, for an exponent to have a residual
LEVELS = 3
# two-sided level at which the noise counts as changing with scale
CHANCE = 0.05
_STEPS, _ENOUGH = 100, 1e-10
# the columns of a law that seed noise may follow: the data, and counts of parameters or compute
_SCALE, _COUNTS = ("N", "D", "C"), ("n_",)


@dataclass(frozen=True)
class NoiseTrend:
    """Exponents of the noise.

    names       the columns whose exponent replicates can tell
    pooled      the exponents that all groups share, as they were estimated
    error       their standard errors
    dof         degrees of freedom of the noise
    told        whether the exponents are told from none
    exponents   (groups, names) of each group, shrunk; 0 where they are not told from none
    doubt       (names,) standard errors of these
    levels      (groups,) ln of the noise where all columns are 1; NaN of a group without replicates
    """

    names: tuple[str, ...]
    pooled: Array
    error: Array
    dof: float
    told: bool
    exponents: Array
    doubt: Array
    levels: Array

    def sd(self, columns: Mapping[str, Array], group: int = 0) -> Array:
        """Return the standard deviation of ln L at places that have these columns, (places,)."""
        x = np.log(np.stack([columns[name] for name in self.names], axis=-1))
        return np.asarray(np.exp(self.levels[group] + x @ self.exponents[group]))

    def __str__(self) -> str:
        return f"seed noise goes as {self._powers(self.pooled, self.error)}"

    def used(self, group: int) -> str:
        """Return in words what the rows of a group weigh by, and what that was shrunk from."""
        shrunk = self._powers(self.exponents[group], self.doubt)
        return f"rows weigh by it: seed noise goes as {shrunk}, shrunk from {self._powers(self.pooled, self.error)}"

    def _powers(self, exponents: Array, errors: Array) -> str:
        powers = " ".join(f"{name}^{power:.2f}" for name, power in zip(self.names, exponents, strict=True))
        doubt = ", ".join(f"{error:.2f}" for error in errors)
        return f"{powers} (standard error {doubt}, {self.dof:.0f} degrees of freedom)"


@dataclass(frozen=True)
class _Cells:
    """The cells that have replicates.

    x          (cells, columns) logarithms, less their mean in the group
    centre     (cells, columns) that mean
    group      the number of each cell's group
    weight     half the degrees of freedom of each cell's variance: the information on its logarithm
    variance   of ln L over seeds
    joined     the number of each cell's set of runs
    gaps       a row for each run of a cell: `cell`, `run`, `gap` of ln L to the mean of the cell
    """

    x: Array
    centre: Array
    group: NDArray[np.intp]
    weight: Array
    variance: Array
    joined: NDArray[np.intp]
    gaps: pd.DataFrame

    def alike(self, log_variance: Array) -> float:
        """Return the correlation of the gaps of one run in several cells, by moments."""
        scaled: pd.Series = self.gaps["gap"] / np.exp(log_variance[self.gaps["cell"]] / 2)
        spare = np.sqrt(self.weight)
        pairs = np.bincount(self.joined, spare) ** 2 - np.bincount(self.joined, self.weight)
        if not pairs.sum() > 0:
            return 0.0
        products = float((scaled.groupby(self.gaps["run"]).sum() ** 2).sum() - (scaled**2).sum())
        return float(np.clip(products / (2 * pairs.sum()), 0.0, 1.0))

    def spread(self, x: Array, correlation: float) -> Array:
        """Return the variance of the scores sum x weight (variance / expected - 1), given that of gaps within a run."""
        sums = np.stack([np.bincount(self.joined, column) for column in (x * np.sqrt(self.weight)[:, None]).T])
        own = (x * self.weight[:, None]).T @ x
        return np.asarray(correlation**2 * sums @ sums.T + (1 - correlation**2) * own)


def noise_trend(parts: Sequence[Observations], names: Sequence[str]) -> NoiseTrend | None:
    """Return the exponents of the noise of groups in their columns of enough levels; None where none is left."""
    cells = [_replicates(part, names) for part in parts]
    table, gaps = (pd.concat([pair[i] for pair in cells], keys=range(len(parts))) for i in (0, 1))
    kept = [name for name in names if len(table) and len(set(level_index(table[name].to_numpy()))) >= LEVELS]
    if not kept:
        return None
    found = _cells(table, gaps, kept)
    log_variance, pooled = _estimate(found)
    rho = found.alike(log_variance)
    flat = np.linalg.pinv((found.x * found.weight[:, None]).T @ found.x)
    covariance = flat @ found.spread(found.x, rho) @ flat
    even = found.spread(np.ones((len(found.x), 1)), rho).item()
    dof = 2 * found.weight.sum() ** 2 / even
    told = _chance(pooled, covariance, dof) < CHANCE
    own, doubt = _shrunk(found, log_variance, pooled, covariance, rho, len(parts))
    own, error = own / 2 if told else 0 * own, np.sqrt(np.diag(covariance)) / 2
    levels = _levels(found, own)
    return NoiseTrend(tuple(kept), pooled / 2, error, dof, told, own, doubt / 2, levels)


def _levels(cells: _Cells, exponents: Array) -> Array:
    """Return ln of the noise of each group where all columns are 1, given its exponents (groups, columns)."""
    slope = np.einsum("ij,ij->i", cells.x + cells.centre, exponents[cells.group])
    count = len(exponents)
    total = np.bincount(cells.group, cells.weight * cells.variance * np.exp(-2 * slope), minlength=count)
    with np.errstate(all="ignore"):
        return np.asarray(np.log(total / np.bincount(cells.group, cells.weight, minlength=count)) / 2)


def _replicates(rows: Observations, names: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row for each cell that has replicates, and one for each of their runs."""
    key = rows.table.cell_columns or list(names)
    table = rows.rows[list(names)].astype(float).reset_index(drop=True)
    table["cell"] = rows.rows.groupby(key, dropna=False, sort=False).ngroup().to_numpy()
    table = table.assign(run=rows.runs, gap=np.log(rows.target)).groupby(["cell", "run"], as_index=False).mean()
    table["gap"] -= table.groupby("cell")["gap"].transform("mean")
    of = table.assign(square=table["gap"] ** 2).groupby("cell")
    cells = of[list(names)].mean().assign(n=of.size(), squares=of["square"].sum())
    cells = cells[(cells["n"] > 1) & (cells["squares"] > 0)]  # runs that repeat to the digit tell no noise
    return cells, table[table["cell"].isin(cells.index)].set_index("cell")[["run", "gap"]]


def _cells(table: pd.DataFrame, gaps: pd.DataFrame, names: list[str]) -> _Cells:
    """Return the cells of all groups; table and gaps carry the group's number and the cell's."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    group, cell = table.index.get_level_values(0).to_numpy(), table.index.get_indexer(gaps.index)
    run = pd.factorize(pd.MultiIndex.from_arrays([gaps.index.get_level_values(0), gaps["run"]]))[0]
    count = len(table)
    links = coo_array((np.ones(len(cell)), (cell, count + run)), shape=(count + run.max() + 1,) * 2)
    joined = connected_components(links, directed=False)[1][:count].astype(np.intp)
    spare = table["n"].to_numpy(float) - 1
    x = np.log(table[names].to_numpy(float))
    means = np.stack([np.bincount(group, spare * c) for c in x.T], -1) / np.bincount(group, spare)[:, None].clip(1)
    tidy = pd.DataFrame({"cell": cell, "run": run, "gap": gaps["gap"].to_numpy(float)})
    return _Cells(
        x - means[group], means[group], group, spare / 2, table["squares"].to_numpy(float) / spare, joined, tidy
    )


def _estimate(cells: _Cells) -> tuple[Array, Array]:
    """Return ln of the variance of each cell under the model, and the exponents (columns,) of the variance."""
    weight, total = cells.weight, np.bincount(cells.group, cells.weight).clip(1e-300)
    flat = np.linalg.pinv((cells.x * weight[:, None]).T @ cells.x)
    level = np.log((np.bincount(cells.group, weight * cells.variance) / total).clip(1e-300))
    exponents = np.zeros(cells.x.shape[1])
    for _ in range(_STEPS):  # Fisher's scoring: the logarithm of the likelihood is concave
        over = cells.variance * np.exp(-(level[cells.group] + cells.x @ exponents)) - 1
        rise, turn = np.bincount(cells.group, weight * over) / total, flat @ (cells.x.T @ (weight * over))
        step = rise[cells.group] + cells.x @ turn
        part = 1 / max(1.0, float(np.abs(step).max()))
        level, exponents = level + part * rise, exponents + part * turn
        if np.abs(step).max() < _ENOUGH:
            break
    return level[cells.group] + cells.x @ exponents, exponents


def _chance(exponents: Array, covariance: Array, dof: float) -> float:
    """Return how likely exponents as far from none are by chance (Wald's F)."""
    from scipy.special import fdtrc

    size = np.linalg.matrix_rank(covariance)
    return float(fdtrc(size, dof, exponents @ np.linalg.pinv(covariance) @ exponents / size)) if size else 1.0


def _shrunk(
    cells: _Cells, log_variance: Array, pooled: Array, covariance: Array, rho: float, groups: int
) -> tuple[Array, Array]:
    """Return the exponents of each group (groups, columns), shrunk, and their standard errors (columns,)."""
    one = np.eye(len(pooled))
    spread = max((pooled @ pooled - np.trace(covariance)) / len(pooled), 0.0)
    keep = spread * np.linalg.pinv(covariance + spread * one)
    scores = cells.weight * (cells.variance * np.exp(-log_variance) - 1)
    told, left, errors = [], [], []
    for number in range(groups):
        here = cells.group == number
        x = np.where(here[:, None], cells.x, 0.0)
        told.append((x * cells.weight[:, None]).T @ x)
        left.append(x.T @ scores)
        errors.append(cells.spread(x, rho))
    surplus = sum(float(u @ u - np.trace(e)) for u, e in zip(left, errors, strict=True))
    square = sum(float(np.trace(i @ i)) for i in told)
    apart = max(surplus / square, 0.0) if groups > 1 else 0.0
    own = [
        keep @ pooled + apart * i @ np.linalg.pinv(apart * i @ i + e) @ u
        for i, e, u in zip(told, errors, left, strict=True)
    ]
    return np.stack(own), np.sqrt(np.diag(keep @ covariance) + apart)


def weighted(parts: Sequence[Observations], law: Law, weights: str) -> list[Observations]:
    """Return the rows of groups with the scale of their residuals, if weighed; TooFewRowsError without replicates."""
    if weights == NOISE:
        return [_scaled(part, part.table.numbers([NOISE])[NOISE].to_numpy(float)) for part in parts]
    names = [name for name in law.columns if name in _SCALE or name.startswith(_COUNTS)] or list(law.columns[:1])
    trend = noise_trend(parts, names)
    if trend is None:
        lack = f"runs that differ only in their seed at {LEVELS} or more {' or '.join(names)}"
        if weights == "auto":
            return [_noted(part, f"rows weigh alike: there are no {lack}") for part in parts]
        raise TooFewRowsError(f"weights by the noise of seeds need {lack}: add seeds, or leave --weights out")
    if not trend.told:
        return [_noted(part, f"{trend}, not told from none: rows weigh alike") for part in parts]
    return [_by_trend(part, law, trend, number) for number, part in enumerate(parts)]


def _by_trend(part: Observations, law: Law, trend: NoiseTrend, number: int) -> Observations:
    exponents, doubt = np.zeros((2, len(law.columns)))
    places = [law.columns.index(name) for name in trend.names]
    exponents[places], doubt[places] = trend.exponents[number], trend.doubt
    noise = np.exp(np.log(np.stack(part.columns, -1)) @ exponents)
    part = replace(_scaled(part, noise), powers=(exponents, doubt))
    return _noted(part, trend.used(number))


def _scaled(part: Observations, noise: Array) -> Observations:
    """Return rows of this noise (rows,), their typical scale being 1."""
    return replace(part, scale=np.exp(np.log(noise).mean()) / noise)


def _noted(part: Observations, note: str) -> Observations:
    return replace(part, notes=[*part.notes, note])


def join_dependent(problem: Problem, u: Array, rows: Observations) -> tuple[Observations, list[str]]:
    """Join rows into larger units, every row being its own run before, if neighbours along D are not independent under
    the problem (on a part of the rows); also return a note that says so."""
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
