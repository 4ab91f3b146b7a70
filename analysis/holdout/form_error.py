"""The error of a law's form: how fast it grows beyond the fitted rows, by hold-outs, and whether it shows among them.

    from isoflop.analysis.holdout.cuts import refit_folds, roll, sizes_of

    folds = refit_folds(problem, u, roll(problem.columns, sizes_of(["N", "D"])), noise=0.004)
    form_error(folds, noise=0.004)              # as in FormError(edge=0.002, slope=0.004, cuts=5)
    lack_of_fit(runs, "chinchilla").p           # 0.41: no sign of a wrong form

A hold-out at the distance d beyond the fitted rows, a logarithm, errs by a Gaussian of variance noise^2 + own^2 +
edge^2 + slope^2 d^2, where own is the standard error of the refit itself (Draper and Smith, Applied Regression
Analysis, 3.1). Edge and slope are averaged over their likelihood, where each cut counts once.

Among the rows, the residuals of a least-squares fit split into what replicates share and pure error; their ratio is an
F test (Fisher 1922; Draper and Smith), of means of runs and, where runs have several marks, of the shape along a run,
as in a split plot; the smaller p counts twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.fitting.diagnose import runs_needed
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.holdout.cuts import Fold
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.cells import cell_columns
from isoflop.analysis.runs.levels import SAME_LEVEL
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.errors import FitError

# edges and slopes over which the likelihood is averaged, as shares of the largest that an error could mean: their
# order of magnitude is unknown beforehand, so they are even in the logarithm (Jeffreys 1946). Up to twice that: where
# hold-outs of two, three and five cuts were drawn from this very model, 150 times each, bands covered .89 to .96 at
# 90 %, and .83 to .94 up to once that
_GRID = np.concatenate([[0.0], np.geomspace(1e-3, 2.0, 40)])
# degrees of freedom of what is known exactly
MOST_DOF = 1e6
UNTESTED = "untested: no two runs differ only in their seed, or they repeat exactly"
# a law does not fit where p of its test is below this
LEVEL = 0.05


@dataclass(frozen=True)
class FormError:
    """How fast the error of a law's form grows beyond the rows that it was fitted to.

    edge    standard error of what lies just beyond, besides the scatter of a row: the form is off there too
    slope   standard error added for each e-fold beyond; of ln of the target, or of the target for a raw loss
    cuts    how many cuts it was learnt from; 0 where there was none
    doubt   (2, 2) covariance of edge^2 and slope^2 over their likelihood
    tested  the farthest that any hold-out lay beyond its cut, a natural logarithm
    """

    edge: float
    slope: float
    cuts: int
    doubt: Array = field(default_factory=lambda: np.zeros((2, 2)))
    tested: float = np.inf

    def variance(self, far: Array) -> Array:
        """Return the variance of the form at distances beyond the fitted rows; 0 inside, where rows have it."""
        return np.where(far > 0, self.edge**2, 0.0) + (self.slope * self._grown(far)) ** 2

    def _grown(self, far: Array) -> Array:
        """Return distances as the error grows in them: beyond what was tested by the next order, a square."""
        return np.asarray(far * np.maximum(far / self.tested, 1.0))

    def student(self, far: Array) -> tuple[Array, Array]:
        """Return the squared scale and the degrees of freedom of Student's t at distances beyond the fitted rows:
        averaged over edge and slope, an error is a scale mixture of Gaussians, of whose variance and kurtosis this t
        is."""
        variance = self.variance(far)
        parts = np.stack([(far > 0).astype(float), self._grown(far) ** 2], axis=-1)
        spread = np.einsum("...i,ij,...j->...", parts, self.doubt, parts)
        with np.errstate(all="ignore"):  # what is known exactly has as many degrees of freedom as there are
            dof = 4 + 2 * variance**2 / spread
            scale = np.where(np.isfinite(dof), variance * (1 - 2 / dof), variance)
        return scale, np.where(np.isfinite(dof), dof, MOST_DOF)


class _Likelihoods(NamedTuple):
    """Log-likelihoods of the hold-outs of each cut over a grid of edges and slopes.

    numbers   the cuts that hold rows out
    edges     (edges, 1)
    slopes    (1, slopes)
    scores    (cuts, edges, slopes) the mean over the rows of a cut, so that each counts as one row
    held      errors, distances and variances of the refit of each cut
    floor     the scatter of a row, or a millionth of the largest error where there is none
    """

    numbers: list[int]
    edges: Array
    slopes: Array
    scores: Array
    held: list[tuple[Array, Array, Array]]
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
            held.append((fold.residuals[known], fold.distance[known], fold.own[known]))
            numbers.append(number)
    most = max((float(np.abs(e).max()) for e, _, _ in held), default=0.0)
    if most == 0:
        return None
    floor = max(noise, 1e-6 * most)
    # errors in units of what chance makes of them, so that a refit of few rows does not set the scale
    sizes = [np.abs(e) / np.sqrt(1 + own / floor**2) for e, _, own in held]
    largest = max(float(e.max()) for e in sizes)
    # rows level with the fitted ones identify no slope
    steepest = max(
        float((e / np.maximum(d, np.log1p(SAME_LEVEL))).max()) for e, (_, d, _) in zip(sizes, held, strict=True)
    )
    edges, slopes = _GRID[:, None] * largest, _GRID[None, :] * steepest
    scores = np.zeros((len(held), len(_GRID), len(_GRID)))
    for i, (e, d, own) in enumerate(held):
        # of a grid many rows lie equally far
        (far, own), of = np.unique(np.stack([d, own]), axis=1, return_inverse=True)
        count, squares = np.bincount(of) / len(d), np.bincount(of, weights=e**2) / len(d)
        variance = floor**2 + own + edges[:, :, None] ** 2 + (slopes[:, :, None] * far) ** 2
        scores[i] = -0.5 * (np.log(variance) @ count + (1 / variance) @ squares)
    return _Likelihoods(numbers, edges, slopes, scores, held, floor)


def form_error(folds: Sequence[Fold], noise: float) -> FormError:
    """Return edge and slope, root mean squares over their likelihood, from hold-outs and the scatter of one row."""
    like = _likelihoods(folds, noise)
    if like is None:
        return FormError(0.0, 0.0, sum(fold.counts for fold in folds))
    weights = like.weigh(like.scores)
    squares = np.stack([part.ravel() for part in np.broadcast_arrays(like.edges**2, like.slopes**2)])
    edge, slope = np.sqrt(squares @ weights.ravel())
    doubt = np.cov(squares, aweights=weights.ravel(), ddof=0)
    return FormError(float(edge), float(slope), len(like.held), doubt, max(float(d.max()) for _, d, _ in like.held))


def left_out_scores(folds: Sequence[Fold], noise: float) -> Array:
    """Return the log predictive density of each cut's hold-outs (cuts,), by edge and slope of the others, or NaN."""
    out = np.full(len(folds), np.nan)
    like = _likelihoods(folds, noise)
    if like is None or len(like.numbers) < 2:
        return out
    for i, number in enumerate(like.numbers):
        weights = like.weigh(np.delete(like.scores, i, axis=0))
        best = like.scores[i].max()
        out[number] = best + np.log((weights * np.exp(like.scores[i] - best)).sum())
    return out


@dataclass(frozen=True)
class LackOfFit:
    """The test of a law's form against replicates.

    p        of the test; None where there is none
    strata   runs, and marks within runs -> F and its two degrees of freedom
    reason   why there is no test; empty where there is one
    """

    p: float | None
    strata: dict[str, tuple[float, int, int]]
    reason: str = ""

    def __str__(self) -> str:
        if self.p is None:
            return self.reason
        parts = ", ".join(f"F({a}, {b}) = {F:.3g} between {name}" for name, (F, a, b) in self.strata.items())
        finding = "the form is off by more than the noise of seeds" if self.p < LEVEL else "no lack of fit is seen"
        return f"p = {self.p:.2g} ({parts}): {finding}"

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `isoflop compare --json`."""
        strata = [{"between": name, "F": F, "df": [a, b]} for name, (F, a, b) in self.strata.items()]
        return {"p": self.p, "strata": strata, "reason": str(self)}


def lack_of_fit(runs: RunsLike, law: str, *, run: str | None = None, **options: Any) -> LackOfFit:
    """Fit `law` by least squares, with `options` of fit, and set its error against that of replicates."""
    from scipy.special import fdtrc

    alike = _cells(as_runs(runs, run).usable.frame)
    if len(np.unique(alike)) == len(alike):
        return LackOfFit(None, {}, UNTESTED)
    try:
        result = fit(runs, law, run=run, **(options | {"loss": "l2", "interval": "none"}))
    except FitError as error:
        return LackOfFit(None, {}, f"untested: {error}")
    optimum = result.optimum
    assert optimum is not None, "fit raises where there is no optimum"
    codes = as_runs(result.rows, run).codes
    with np.errstate(all="ignore"):  # as in the fit itself
        r = optimum.problem.residuals(optimum.u[None])[0]
        alone = runs_needed(optimum.problem, optimum.u, codes) - 2
    strata = _strata(r, codes, _cells(result.rows), alone, len(optimum.u) - alone)
    if not strata:
        return LackOfFit(None, {}, UNTESTED)
    p = [float(fdtrc(a, b, F)) for F, a, b in strata.values()]
    return LackOfFit(min(1.0, len(p) * min(p)), strata)


def _cells(rows: pd.DataFrame) -> NDArray[np.intp]:
    """Return the number of each row's cell, in which all that can be set is equal, except the seed."""
    key = cell_columns(rows)
    return np.asarray(rows.groupby(key, dropna=False, sort=False).ngroup(), dtype=np.intp)


def _strata(
    r: Array, runs: NDArray[np.intp], cells: NDArray[np.intp], alone: int, within: int
) -> dict[str, tuple[float, int, int]]:
    """Return F and its degrees of freedom between runs, which determine `alone` parameters, and between marks."""
    table = pd.DataFrame({"r": r, "run": runs, "cell": cells})
    table["group"] = table["run"].map(table.groupby("run")["cell"].agg(frozenset))
    table["mean"] = table.groupby("run")["r"].transform("mean")
    table["off"] = table["r"] - table["mean"]
    n_rows, n_runs, n_cells = len(table), table["run"].nunique(), table["cell"].nunique()
    n_groups = table["group"].nunique()
    parts = {
        "runs": ("mean", "group", n_groups - alone, n_runs - n_groups),
        "marks": ("off", "cell", n_cells - n_groups - within, n_rows - n_runs - n_cells + n_groups),
    }
    strata = {}
    for name, (value, key, spare, pure) in parts.items():
        shared = table.groupby(key)[value].transform("mean")
        error = float(((table[value] - shared) ** 2).sum())
        if spare > 0 and pure > 0 and error > 1e-24 * n_rows:
            strata[name] = (float((shared**2).sum()) / spare / (error / pure), spare, pure)
    return strata
