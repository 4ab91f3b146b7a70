"""How fast the error of a law's form grows beyond the rows that it was fitted to, learnt from its hold-outs.

To first order, the error of a form is an offset and a slope: it grows in proportion to the distance d beyond the
fitted rows, a logarithm. So a hold-out errs by a Gaussian of variance noise^2 + edge^2 + slope^2 d^2. Edge and slope
are averaged over their likelihood (a few cuts identify them poorly, and the likeliest is often 0), where each cut
counts once, since its errors go together.

    from isoflop.analysis.holdout.cuts import refit_folds, roll, sizes_of

    folds = refit_folds(problem, u, roll(problem.columns, sizes_of(["N", "D"])))
    form_error(folds, noise=0.004)              # as in FormError(edge=0.002, slope=0.004, dof=5.1)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from isoflop.analysis.holdout.cuts import Fold
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import SAME_LEVEL

# edges and slopes over which the likelihood is averaged, as shares of the largest that an error could mean: their
# order of magnitude is unknown beforehand, so they are even in the logarithm (Jeffreys 1946)
_GRID = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 40)])


@dataclass(frozen=True)
class FormError:
    """How fast the error of a law's form grows beyond the rows that it was fitted to.

    edge    standard error of what lies just beyond, besides the scatter of a row: the form is off there too
    slope   standard error added for each e-fold beyond; of ln of the target, or of the target for a raw loss
    dof     how many cuts it was learnt from, each counting by its information; 0 where there was none
    """

    edge: float
    slope: float
    dof: float

    def variance(self, far: Array) -> Array:
        """Return the variance of the form at distances beyond the fitted rows; 0 inside, where the scatter of rows
        contains it."""
        return np.where(far > 0, self.edge**2, 0.0) + (self.slope * far) ** 2


class _Likelihoods(NamedTuple):
    """Log-likelihoods of the hold-outs of each cut over a grid of edges and slopes.

    numbers   the cuts that hold rows out
    edges     (edges, 1)
    slopes    (1, slopes)
    scores    (cuts, edges, slopes) the mean over the rows of a cut, so that each counts as one row
    held      errors and distances of each cut
    floor     the scatter of a row, or a millionth of the largest error where there is none
    """

    numbers: list[int]
    edges: Array
    slopes: Array
    scores: Array
    held: list[tuple[Array, Array]]
    floor: float

    def weigh(self, scores: Array) -> Array:
        """Return the grid's weights (edges, slopes) under the sum of these scores, from an even prior."""
        total = scores.sum(0) if len(scores) else np.zeros(self.scores.shape[1:])
        weights: Array = np.exp(total - total.max())
        return np.asarray(weights / weights.sum())


def _likelihoods(folds: Sequence[Fold], noise: float) -> _Likelihoods | None:
    """Return the likelihoods of hold-outs; None where no row is held out, or every prediction is exact."""
    held, numbers = [], []
    for number, fold in enumerate(folds):
        known = ~fold.fitted & (fold.distance > 0)
        if fold.counts and known.any():
            held.append((fold.residuals[known], fold.distance[known]))
            numbers.append(number)
    largest = max((float(np.abs(e).max()) for e, _ in held), default=0.0)
    if largest == 0:
        return None
    # rows level with the fitted ones identify no slope
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


def form_error(folds: Sequence[Fold], noise: float) -> FormError:
    """Return edge and slope, root mean squares over their likelihood, from hold-outs and the scatter of one row."""
    like = _likelihoods(folds, noise)
    if like is None:
        return FormError(0.0, 0.0, float(sum(fold.counts for fold in folds)))
    weights = like.weigh(like.scores)
    form = FormError(
        float(np.sqrt((weights * like.edges**2).sum())), float(np.sqrt((weights * like.slopes**2).sum())), 0
    )
    # Fisher's information of a cut about the size of the error: near 0 where the noise hides it
    told = np.array([((v := form.variance(d)) ** 2 / (like.floor**2 + v) ** 2).mean() for _, d in like.held])
    return replace(form, dof=float(told.sum() / told.max()))


def left_out_scores(folds: Sequence[Fold], noise: float) -> Array:
    """Return the log predictive density of the hold-outs of each cut (cuts,), edge and slope being learnt from the
    other cuts; NaN where a cut was not fitted, or is the only one."""
    out = np.full(len(folds), np.nan)
    like = _likelihoods(folds, noise)
    if like is None or len(like.numbers) < 2:
        return out
    for i, number in enumerate(like.numbers):
        weights = like.weigh(np.delete(like.scores, i, axis=0))
        best = like.scores[i].max()
        out[number] = best + np.log((weights * np.exp(like.scores[i] - best)).sum())
    return out
