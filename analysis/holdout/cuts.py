"""What a law says of rows that it was not fitted to: refits at rolling cuts, and how fast their errors grow.

Rows are cut along the scale of a run, the sum of the logarithms of its size, data or compute. The law is fitted to what
lies on one side of each cut and predicts the other (leave-future-out; Buerkner, Gabry and Vehtari 2020,
arXiv:1902.06281). A held-out row is one of weight zero, so all cuts are one batch of the solver.

To first order, the error of a form is an offset and a slope: it grows in proportion to the distance d beyond the
fitted rows, a logarithm. So a hold-out errs by a Gaussian of variance noise^2 + edge^2 + slope^2 d^2. Edge and slope
are averaged over their likelihood (a few cuts tell them poorly, and the likeliest is often none), where each cut counts
once, since its errors go together.

    cuts = roll(problem.columns, sizes_of(["N", "D"]))              # masks of rows, distances beyond them
    form_error(errors_beyond(problem, u, cuts), cuts, noise=0.004)  # as in FormError(edge=0.002, slope=0.004, dof=5.1)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import SAME_LEVEL
from isoflop.analysis.solving.descent import minimise
from isoflop.analysis.solving.problem import Problem
from isoflop.analysis.solving.starts import starts

# columns that say how large a run is; how much distinct data there was says nothing of how much was used
SIZES, NOT_SIZES = ("N", "n_", "D", "C"), ("D_unique",)
MOST_CUTS, COLUMN_CUTS = 6, 3
# the deepest cut lies this factor of scale inside the last row, and deeper where that leaves fewer than four of them:
# Student's t of four degrees of freedom is 2.1 for a band of 90 %, of two 2.9, of one 6.3
DEEPEST, WANTED = 16.0, 4
# fewest different places that any cut leaves to fit
FEWEST = 4
# decimals of a logarithm of scale: budgets that are equal but for rounding are one level
ROUNDED = 6
# steps of a refit, which begins at the optimum on all rows: it moves little, and only its errors are read
STEPS = 60
# starts of a refit beside that optimum
FRESH = 3
# edges and slopes over which the likelihood is averaged, as shares of the largest that an error could mean: their
# order of magnitude is unknown beforehand, so they are even in the logarithm (Jeffreys 1946)
_GRID = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 40)])


@dataclass(frozen=True)
class Cuts:
    """Rolling cuts of some rows."""

    fitted: NDArray[np.bool_]
    """(cuts, rows): whether a row is on the fitted side, from the deepest cut."""
    distance: Array
    """(cuts, rows): how far beyond the fitted rows it lies, a natural logarithm; 0 where fitted."""
    beyond: NDArray[np.bool_]
    """(columns,): in which columns any cut holds out rows beyond the fitted ones."""
    scale: int = 0
    """How many of the cuts, the first, are along the scale of a run; the others are each along one column."""

    def __len__(self) -> int:
        return len(self.fitted)


@dataclass(frozen=True)
class FormError:
    """How fast the error of a law's form grows beyond the rows that it was fitted to."""

    edge: float
    """Standard error of what lies just beyond, besides the scatter of a row: the form is off there too."""
    slope: float
    """Standard error added for each e-fold beyond; of ln of the target, or of the target for a raw loss."""
    dof: float
    """How many cuts it was learnt from, each counting as much as it tells; 0 where there was none."""

    def variance(self, far: Array) -> Array:
        """Of the form at distances beyond the fitted rows (0 inside, where the scatter of rows holds it)."""
        return np.where(far > 0, self.edge**2, 0.0) + (self.slope * far) ** 2


def sizes_of(columns: Sequence[str]) -> list[bool]:
    """Which columns add up to the scale of a run; all of them where none is a size."""
    sizes = [c.startswith(SIZES) and c not in NOT_SIZES for c in columns]
    return sizes if any(sizes) else [True] * len(sizes)


def distance(columns: Sequence[Array], rows: Sequence[Array], sizes: Sequence[bool], sign: int = 1) -> Array:
    """How far places lie beyond the largest rows (with sign -1 below the smallest), in scale or in any one column.

    A natural logarithm, 0 for what lies inside.
    """
    x, z = (sign * np.log(np.stack(part, axis=-1)) for part in (columns, rows))
    far = (x - z.max(0)).max(-1)
    along = x[:, np.asarray(sizes)].sum(-1) - z[:, np.asarray(sizes)].sum(-1).max()
    outside: Array = np.maximum(np.maximum(far, along), 0.0)
    return outside


def outside(columns: Sequence[Array], rows: Sequence[Array], sign: int = 1) -> NDArray[np.bool_]:
    """(places, columns): whether each lies beyond the rows in a column, by more than the rounding of budgets."""
    x, z = (sign * np.log(np.stack(part, axis=-1)) for part in (columns, rows))
    far: NDArray[np.bool_] = x > z.max(0) + np.log1p(SAME_LEVEL)
    return far


def roll(columns: Sequence[Array], sizes: Sequence[bool], sign: int = 1) -> Cuts:
    """At most MOST_CUTS cuts, evenly over the last factor DEEPEST of scale; with sign -1 the smallest are held out.

    A size that grows beyond the fitted rows at none of them, as where all sizes were run at small budgets too, has
    COLUMN_CUTS cuts of its own.
    """
    z = sign * np.log(np.stack(columns, axis=-1))
    fitted = _masks(z, z[:, np.asarray(sizes)].sum(-1), MOST_CUTS)
    beyond, scale = _beyond(columns, fitted, sign), len(fitted)
    for i in np.flatnonzero(np.asarray(sizes) & ~beyond):
        fitted = np.concatenate([fitted, _masks(z, z[:, i], COLUMN_CUTS)])
    if not len(fitted):
        return Cuts(fitted, np.zeros(fitted.shape), beyond, scale)
    far = np.stack([distance(columns, [c[mask] for c in columns], sizes, sign) for mask in fitted])
    return Cuts(fitted, np.where(fitted, 0.0, far), _beyond(columns, fitted, sign), scale)


def _masks(z: Array, along: Array, most: int) -> NDArray[np.bool_]:
    """The fitted rows (cuts, rows) of cuts along a coordinate of the rows z (rows, columns)."""
    masks: NDArray[np.bool_] = np.round(along, ROUNDED)[None, :] <= cut_levels(z, along, most)[:, None]
    return masks


def cut_levels(z: Array, along: Array, most: int) -> Array:
    """The values (cuts,) of a coordinate (rows,), a logarithm, up to which rows z (rows, columns) are fitted, from the
    deepest cut: evenly over the last factor DEEPEST, each leaving FEWEST places or more."""
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


def _beyond(columns: Sequence[Array], fitted: NDArray[np.bool_], sign: int) -> NDArray[np.bool_]:
    """In which columns (columns,) any cut holds out rows beyond the fitted ones."""
    far = [outside(columns, [c[mask] for c in columns], sign).any(0) for mask in fitted]
    return np.asarray(np.stack(far).any(0)) if far else np.zeros(len(columns), dtype=bool)


def errors_beyond(problem: Problem, u: Array, cuts: Cuts) -> Array:
    """Errors (cuts, rows) of the law fitted on one side of each cut, predicted less observed, on the scale of the
    residuals; NaN for the fitted rows, and for a cut that leaves the law no more places than parameters."""
    errors = np.full(cuts.fitted.shape, np.nan)
    places = [len(np.unique(np.stack(problem.columns, -1)[mask], axis=0)) for mask in cuts.fitted]
    enough = np.flatnonzero(np.array(places, dtype=int) > len(u))
    if not len(enough):
        return errors
    with np.errstate(all="ignore"):
        begin = np.concatenate([u[None], starts(problem, FRESH, seed=1)])
        weights = cuts.fitted[enough].astype(float)
        ends = minimise(problem, np.repeat(begin, len(enough), axis=0), np.tile(weights, (len(begin), 1)), steps=STEPS)
        height = np.where(np.isfinite(ends.objective), ends.objective, np.inf).reshape(len(begin), len(enough))
        best = ends.u.reshape(len(begin), len(enough), len(u))[height.argmin(0), np.arange(len(enough))]
        residuals = problem.residuals(best)
        residuals = residuals if problem.scale is None else residuals / problem.scale
    errors[enough] = np.where(cuts.fitted[enough], np.nan, residuals)
    # a refit that is not defined beyond its cut has said nothing there
    errors[~np.isfinite(np.where(cuts.fitted, 0.0, errors)).all(1)] = np.nan
    return errors


class _Likelihoods(NamedTuple):
    """Log-likelihoods of the hold-outs of each cut over a grid of edges and slopes."""

    numbers: list[int]
    """The cuts that hold rows out."""
    edges: Array
    """(edges, 1)."""
    slopes: Array
    """(1, slopes)."""
    scores: Array
    """(cuts, edges, slopes): the mean over the rows of a cut, so that each counts as one row."""
    held: list[tuple[Array, Array]]
    """Errors and distances of each cut."""
    floor: float
    """The scatter of a row, or a millionth of the largest error where there is none."""

    def weigh(self, scores: Array) -> Array:
        """The grid's weights (edges, slopes) under the sum of these scores, even beforehand."""
        total = scores.sum(0) if len(scores) else np.zeros(self.scores.shape[1:])
        weights: Array = np.exp(total - total.max())
        return np.asarray(weights / weights.sum())


def _likelihoods(errors: Array, cuts: Cuts, noise: float) -> _Likelihoods | None:
    """None where no row is held out, or every prediction is exact."""
    held, numbers = [], []
    for number, (error, far) in enumerate(zip(errors, cuts.distance, strict=True)):
        known = ~np.isnan(error) & (far > 0)
        if known.any():
            held.append((error[known], far[known]))
            numbers.append(number)
    largest = max((float(np.abs(e).max()) for e, _ in held), default=0.0)
    if largest == 0:
        return None
    # what lies level with the fitted rows tells no slope
    steepest = max(float((np.abs(e) / np.maximum(d, np.log1p(SAME_LEVEL))).max()) for e, d in held)
    floor = max(noise, 1e-6 * largest)
    edges, slopes = _GRID[:, None] * largest, _GRID[None, :] * steepest
    scores = np.zeros((len(held), len(_GRID), len(_GRID)))
    for i, (e, d) in enumerate(held):
        far, of = np.unique(d, return_inverse=True)  # of a grid many rows lie equally far
        count, squares = np.bincount(of) / len(d), np.bincount(of, weights=e**2) / len(d)
        variance = floor**2 + edges[:, :, None] ** 2 + (slopes[:, :, None] * far) ** 2
        scores[i] = -0.5 * (np.log(variance) @ count + (1 / variance) @ squares)
    return _Likelihoods(numbers, edges, slopes, scores, held, floor)


def form_error(errors: Array, cuts: Cuts, noise: float) -> FormError:
    """Edge and slope, as root mean squares over their likelihood, from errors (cuts, rows) of hold-outs and the scatter
    of one row."""
    like = _likelihoods(errors, cuts, noise)
    if like is None:
        return FormError(0.0, 0.0, float((~np.isnan(errors)).any(1).sum()))
    weights = like.weigh(like.scores)
    form = FormError(
        float(np.sqrt((weights * like.edges**2).sum())), float(np.sqrt((weights * like.slopes**2).sum())), 0
    )
    # what a cut tells of the size of the error: Fisher's information, near 0 where the noise hides it
    told = np.array([((v := form.variance(d)) ** 2 / (like.floor**2 + v) ** 2).mean() for _, d in like.held])
    return replace(form, dof=float(told.sum() / told.max()))


def left_out_scores(errors: Array, cuts: Cuts, noise: float) -> Array:
    """Log predictive density of the hold-outs of each cut (cuts,), edge and slope being learnt from the other cuts; NaN
    where a cut was not fitted, or is the only one."""
    out = np.full(len(cuts), np.nan)
    like = _likelihoods(errors, cuts, noise)
    if like is None or len(like.numbers) < 2:
        return out
    for i, number in enumerate(like.numbers):
        weights = like.weigh(np.delete(like.scores, i, axis=0))
        best = like.scores[i].max()
        out[number] = best + np.log((weights * np.exp(like.scores[i] - best)).sum())
    return out
