"""The hold-out engine: cut some rows, refit the law to one side of each cut, and read its errors on the other side.

    cuts = roll(problem.columns, sizes_of(["N", "D"]))       # masks of rows, and distances beyond them
    folds = refit_folds(problem, u, cuts, noise=.004)        # one Fold for each cut
    [fold.mean_square for fold in folds]

Rows are cut along the scale of a run, the sum of the logarithms of its size, data or compute (leave-future-out;
Buerkner, Gabry and Vehtari 2020, arXiv:1902.06281). A row that is held out weighs 0, so all refits are one batch.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.fitting.diagnose import FitStatus, locked
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import SAME_LEVEL
from isoflop.analysis.solving.descent import WARM, Pace, minimise
from isoflop.analysis.solving.problem import Problem
from isoflop.analysis.solving.starts import refit, starts

# columns that measure the size of a run; the amount of distinct data does not measure how much of it was used
SIZES, NOT_SIZES = ("N", "n_", "D", "C"), ("D_unique",)
MOST_CUTS, COLUMN_CUTS = 6, 3
# the deepest cut lies this factor of scale inside the last row, and deeper where that leaves fewer than four cuts:
# Student's t of four degrees of freedom is 2.1 for a band of 90 %, of two 2.9, of one 6.3
DEEPEST, WANTED = 16.0, 4
# fewest different places that any cut leaves to fit
FEWEST = 4
# decimals of a logarithm of scale: budgets that are equal but for rounding are one level
ROUNDED = 6
# a column of sizes that spans less than this factor tells nothing of others
NARROW = 2.0
# eigenvalues of a correlation of parameters below this are rounding: what leans on them has no bound
ROUNDING = 1e-12
# steps of a refit, which begins at the optimum on all rows: it moves little, and only its errors are read
STEPS = 60
# starts of a refit beside that optimum
FRESH = 3
# rows of a longer table on which laws are searched and held out; the best start is then fitted to all
MOST_ROWS = 500


@dataclass(frozen=True, eq=False)
class Cuts:
    """Rolling cuts of some rows.

    fitted     (cuts, rows) whether a row is on the fitted side, from the deepest cut
    distance   (cuts, rows) how far beyond the fitted rows it lies, a natural logarithm; 0 where fitted
    beyond     (columns,) in which columns any cut holds out rows beyond the fitted ones
    scale      how many of the cuts, the first, are along the scale of a run; the others are each along one column
    """

    fitted: NDArray[np.bool_]
    distance: Array
    beyond: NDArray[np.bool_]
    scale: int = 0

    def __len__(self) -> int:
        return len(self.fitted)


@dataclass(frozen=True, eq=False)
class Fold:
    """One cut: what was held out, the refit to the other rows, its status, and its errors.

    fitted      (rows,) whether each row was fitted
    distance    (rows,) how far beyond the fitted rows each lies, a natural logarithm; 0 where fitted
    status      of the refit; REFUSED where there is none
    reason      why the status; empty where the refit is sound
    residuals   (rows,) predicted less observed, on the scale of the fit's residuals; NaN where fitted or refused
    own         (rows,) variance of the refit itself at each row, by how few rows it saw; NaN where residuals are
    noise       the scatter of a fitted row about the refit
    """

    fitted: NDArray[np.bool_]
    distance: Array
    status: FitStatus
    reason: str
    residuals: Array
    own: Array
    noise: float

    @property
    def counts(self) -> bool:
        """Whether the refit says anything of the rows that were held out."""
        return self.status is not FitStatus.REFUSED

    @property
    def mean_square(self) -> float:
        """Mean square of the errors; NaN where the refit does not count."""
        return mean_square(self.residuals) if self.counts else float("nan")

    def among(self, rows: NDArray[np.bool_]) -> "Fold":
        """Return what this fold says of some of the rows (rows,) alone."""
        own = {name: getattr(self, name)[rows] for name in ("fitted", "distance", "residuals", "own")}
        return replace(self, **own)


def mean_square(errors: Array) -> float:
    """Return the mean square of the errors that are known; NaN where none is."""
    known = errors[~np.isnan(errors)]
    with np.errstate(over="ignore"):  # a distant guess may be off without bound
        return float((known**2).mean()) if len(known) else float("nan")


def refit_folds(problem: Problem, u: Array, cuts: Cuts, noise: float) -> list[Fold]:
    """Refit a law (optimum on all rows u (free,), scatter of a row `noise`) at every cut; return a Fold for each."""
    stated = [_refusal(problem, fitted) for fitted in cuts.fitted]
    residuals, own = np.full((2, *cuts.fitted.shape), np.nan)
    scatter = np.full(len(cuts), np.nan)
    if (open_ := np.array([not reason for reason in stated], dtype=bool)).any():
        fitted = cuts.fitted[open_]
        with np.errstate(all="ignore"):
            begin = np.concatenate([u[None], starts(problem, FRESH, seed=1)])
            found = problem.residuals(_refit(problem, begin, fitted))
            variance = noise**2 * leverage(problem, u, fitted)
        found = found if problem.scale is None else found / problem.scale
        residuals[open_], own[open_] = (np.where(fitted, np.nan, x) for x in (found, variance))
        scatter[open_] = np.sqrt((found**2 * fitted).sum(1) / np.maximum(fitted.sum(1) - len(u), 1))
    return [_fold(*each) for each in zip(cuts.fitted, cuts.distance, stated, residuals, own, scatter, strict=True)]


def _refit(problem: Problem, begin: Array, fitted: NDArray[np.bool_]) -> Array:
    """Return the optimum (refits, free) on some rows each (refits, rows), searched on MOST_ROWS of a longer table."""
    if (rows := _few(len(problem.target))) is None:
        return refit(problem, begin, fitted, Pace(steps=STEPS)).u
    found = refit(_part_of(problem, rows), begin, fitted[:, rows], Pace(steps=STEPS)).u
    return minimise(problem, found, fitted.astype(float), WARM).u


def _few(rows: int) -> NDArray[np.intp] | None:
    """Return MOST_ROWS of so many rows, drawn once, since every k-th row of a grid is a line; None of few."""
    if rows <= MOST_ROWS:
        return None
    return np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))


def _part_of(problem: Problem, rows: NDArray[np.intp]) -> Problem:
    columns, scale = tuple(c[rows] for c in problem.columns), problem.scale
    return replace(problem, columns=columns, target=problem.target[rows], scale=None if scale is None else scale[rows])


def thin(problem: Problem) -> Problem:
    """Return a problem on few enough of its rows."""
    rows = _few(len(problem.target))
    return problem if rows is None else _part_of(problem, rows)


def leverage(problem: Problem, u: Array, fitted: NDArray[np.bool_], columns: Sequence[Array] | None = None) -> Array:
    """Return the variance (refits, places) of refits to some rows each (refits, rows), if rows scatter by one, about
    the optimum u (free,) on all rows; columns: of the places, the rows by default."""
    seen = problem.linearise(u[None])[1][0]
    there = replace(problem, scale=None)
    if columns is not None:
        there = replace(there, columns=tuple(columns), target=np.ones(len(columns[0])))
    at = there.linearise(u[None])[1][0]
    metric = (seen * fitted[:, None, :]) @ seen.T
    unit = 1 / np.sqrt(np.maximum(np.diagonal(metric, axis1=1, axis2=2), 1e-300))[:, :, None]
    scaled = metric * unit * unit.transpose(0, 2, 1) + ROUNDING * np.eye(len(seen))
    at = at * unit
    return np.asarray((at * np.linalg.solve(scaled, at)).sum(1))


def _refusal(problem: Problem, fitted: NDArray[np.bool_]) -> str:
    """Return why a refit to these rows (rows,) would say nothing of the others; empty where it counts."""
    places = len(np.unique(np.stack(problem.columns, -1)[fitted], axis=0))
    if places <= len(problem.free):
        return f"{places} places are too few for the {len(problem.free)} parameters of {problem.law.name}"
    axes = {c: x for c, x in zip(problem.law.columns, problem.columns, strict=True) if c.startswith(SIZES)}
    for name, x in axes.items():
        few = x[fitted]
        if few.max() < NARROW * few.min() and (x.max() > few.max() or x.min() < few.min()):
            return f"{name} spans a factor of {few.max() / few.min():.2g}, too little to tell of other {name}"
    for (one, x), (other, y) in itertools.combinations(axes.items(), 2):
        if (cause := locked(one, other, x[fitted], y[fitted])) and not locked(one, other, x, y):
            return cause
    return ""


def _fold(fitted: NDArray[np.bool_], distance: Array, reason: str, residuals: Array, own: Array, noise: float) -> Fold:
    """Return the Fold of a refit, refused where it is not defined at every row that was held out."""
    if not reason and not np.isfinite(residuals[~fitted]).all():
        reason = "the refit is not defined at every row beyond its cut"
        residuals = own = np.full(len(fitted), np.nan)
    status = FitStatus.REFUSED if reason else FitStatus.CONVERGED
    return Fold(fitted, distance, status, reason, residuals, own, float(noise))


def sizes_of(columns: Sequence[str]) -> list[bool]:
    """Return which columns add up to the scale of a run; all of them where none is a size."""
    sizes = [c.startswith(SIZES) and c not in NOT_SIZES for c in columns]
    return sizes if any(sizes) else [True] * len(sizes)


def distance(columns: Sequence[Array], rows: Sequence[Array], sizes: Sequence[bool], sign: int = 1) -> Array:
    """Return how far (ln) places lie beyond the largest rows, with sign -1 the smallest, in scale or a column."""
    x, z = (sign * np.log(np.stack(part, axis=-1)) for part in (columns, rows))
    far = (x - z.max(0)).max(-1)
    along = x[:, np.asarray(sizes)].sum(-1) - z[:, np.asarray(sizes)].sum(-1).max()
    outside: Array = np.maximum(np.maximum(far, along), 0.0)
    return outside


def outside(columns: Sequence[Array], rows: Sequence[Array], sign: int = 1) -> NDArray[np.bool_]:
    """Return (places, columns) whether each lies beyond the rows in a column, by more than the rounding of budgets."""
    x, z = (sign * np.log(np.stack(part, axis=-1)) for part in (columns, rows))
    far: NDArray[np.bool_] = x > z.max(0) + np.log1p(SAME_LEVEL)
    return far


def roll(columns: Sequence[Array], sizes: Sequence[bool], sign: int = 1) -> Cuts:
    """Cut at most MOST_CUTS times, evenly over the last factor DEEPEST of scale; sign -1 holds the smallest rows out. A
    size that grows beyond the fitted rows at none of them has COLUMN_CUTS cuts of its own."""
    z = sign * np.log(np.stack(columns, axis=-1))
    fitted = _masks(z, z[:, np.asarray(sizes)].sum(-1), MOST_CUTS)
    left, scale = beyond(columns, fitted, sign), len(fitted)
    for i in np.flatnonzero(np.asarray(sizes) & ~left):
        fitted = np.concatenate([fitted, _masks(z, z[:, i], COLUMN_CUTS)])
    if not len(fitted):
        return Cuts(fitted, np.zeros(fitted.shape), left, scale)
    far = np.stack([distance(columns, [c[mask] for c in columns], sizes, sign) for mask in fitted])
    return Cuts(fitted, np.where(fitted, 0.0, far), beyond(columns, fitted, sign), scale)


def _masks(z: Array, along: Array, most: int) -> NDArray[np.bool_]:
    """Return the fitted rows (cuts, rows) of cuts along a coordinate of the rows z (rows, columns)."""
    masks: NDArray[np.bool_] = np.round(along, ROUNDED)[None, :] <= cut_levels(z, along, most)[:, None]
    return masks


def cut_levels(z: Array, along: Array, most: int) -> Array:
    """Return the values (cuts,) of a coordinate (rows,), a logarithm, up to which rows z (rows, columns) are fitted:
    from the deepest cut, evenly over the last factor DEEPEST, each leaving FEWEST places or more."""
    along = np.round(along, ROUNDED)
    levels = np.unique(along)
    # what is level with the last is held out with it
    levels = levels[levels <= levels[-1] - np.log1p(SAME_LEVEL)]
    order = np.argsort(along, kind="stable")
    new = np.zeros(len(z), dtype=int)
    new[np.unique(z[order], axis=0, return_index=True)[1]] = 1
    places = new.cumsum()[np.searchsorted(along[order], levels, side="right") - 1]
    levels = levels[places >= FEWEST]
    if not len(levels):
        return np.empty(0)
    first = max(levels[0], min(along.max() - np.log(DEEPEST), levels[-min(WANTED, most, len(levels))]))
    wanted = np.linspace(first, levels[-1], most)
    chosen: Array = levels[np.unique([np.abs(levels - level).argmin() for level in wanted])]
    return chosen


def beyond(columns: Sequence[Array], fitted: NDArray[np.bool_], sign: int = 1) -> NDArray[np.bool_]:
    """Return in which columns (columns,) any cut holds out rows beyond the fitted ones."""
    far = [outside(columns, [c[mask] for c in columns], sign).any(0) for mask in fitted]
    return np.asarray(np.stack(far).any(0)) if far else np.zeros(len(columns), dtype=bool)
