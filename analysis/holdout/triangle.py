"""Hold laws out together: one refit of a law at each cut, read by every later cut as what was known by then.

    from isoflop.analysis.fitting.fit import fit

    laws = {name: fit(runs, name) for name in ("chinchilla", "kaplan")}
    rows = laws["chinchilla"].rows
    triangle = Triangle(rows, laws, "C", cuts_along(rows, ["N", "D"], "C", 6))
    triangle.held_out("chinchilla")            # a HeldOut for each cut: predicted, low, high, baselines, errors
    triangle.held_out("chinchilla", ("chinchilla", "kaplan"), mean=True)     # of their average

The refit to the rows up to one level predicts all rows beyond; those up to a later level are the hold-outs from which
the later cut learns how far the law errs and how laws are weighed.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.backtest import LEVEL, HeldOut, last_levels, levels_along, naive_guesses, with_errors
from isoflop.analysis.holdout.bands import Variances
from isoflop.analysis.holdout.cuts import (
    DEEPEST,
    MOST_CUTS,
    ROUNDED,
    WANTED,
    Cuts,
    Fold,
    beyond,
    cut_levels,
    distance,
    outside,
    refit_folds,
    sizes_of,
)
from isoflop.analysis.holdout.form_error import form_error
from isoflop.analysis.holdout.stacking import average, weigh
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.runs import Runs
from isoflop.errors import FitError


def cuts_along(frame: pd.DataFrame, columns: Sequence[str], axis: str, most: int) -> list[NDArray[np.bool_]]:
    """Return the fitted rows of each cut along an axis, of runs whose place these columns give."""
    index = level_index(frame[axis])
    return [index <= level for level in last_levels(frame, columns, axis, most)]


def cut_by(runs: Runs, condition: str) -> list[NDArray[np.bool_]]:
    """Return the rows that remain to fit where those of a condition are held out."""
    fitted = ~np.asarray(runs.frame.index.isin(runs.select(condition).frame.index))
    if fitted.all() or not fitted.any():
        taken = f"takes {'none' if fitted.all() else 'all'} of the {len(runs)} rows"
        raise FitError(f"--holdout {condition!r} {taken}; it must leave some to fit and some to test")
    return [fitted]


class Triangle:
    """Hold-outs of several laws of one table, whose refits are shared between cuts."""

    def __init__(self, frame: pd.DataFrame, fits: Mapping[str, Fit], axis: str, cuts: Sequence[NDArray[np.bool_]]):
        """Refit laws, by name, that were fitted to all rows of the frame, at every cut along the axis (its fitted rows,
        from the fewest) and at the levels below the deepest."""
        self.frame, self.axis, self.fits = frame, axis, fits
        names = list(dict.fromkeys([axis, *(c for fit in fits.values() for c in fit.law.columns)]))
        z, along = np.log(frame[names].to_numpy(float)), levels_along(frame[axis])
        first = np.asarray(cuts[0])
        levels = cut_levels(z[first], along[first], MOST_CUTS) + 10.0**-ROUNDED
        self.masks = np.stack([*((along <= level) & first for level in levels), *cuts])
        self.cuts = range(len(levels), len(self.masks))
        self._top = np.array([along[mask].max() for mask in self.masks])
        self._folds = {name: self._refit(fit) for name, fit in fits.items()}
        self.naive, self.stacks = lru_cache(self._naive), lru_cache(self._stack)

    def _refit(self, fit: Fit) -> list[Fold]:
        assert fit.optimum is not None, "a law that could not be fitted is left out"
        problem, u = fit.optimum.problem, fit.optimum.u
        columns, sizes = problem.columns, sizes_of(problem.law.columns)
        far = np.stack([distance(columns, [c[mask] for c in columns], sizes) for mask in self.masks])
        cuts = Cuts(self.masks, np.where(self.masks, 0.0, far), np.ones(len(columns), dtype=bool))
        return refit_folds(problem, u, cuts, fit.optimum.noise.pooled)

    def _below(self, cut: int) -> list[int]:
        """Return the cuts that hold out some of the rows fitted here, within the last factor DEEPEST or more."""
        mask, top = self.masks[cut], self._top
        inside = [k for k in range(cut) if top[k] < top[cut] and (mask | ~self.masks[k]).all()]
        return [k for i, k in enumerate(reversed(inside)) if i < WANTED or top[k] > top[cut] - np.log(DEEPEST)][::-1]

    def _known(self, name: str, cut: int) -> list[Fold]:
        """Return the hold-outs of a law that were known at a cut."""
        mask = self.masks[cut]
        return [self._folds[name][k].among(mask) for k in self._below(cut)]

    def _naive(self, columns: tuple[str, ...], cut: int) -> pd.DataFrame:
        """Return the rows that a cut holds out, and the naive guesses of them."""
        return naive_guesses(self.frame[self.masks[cut]], self.frame[~self.masks[cut]], columns, self.axis)

    def _stack(self, names: tuple[str, ...], cut: int) -> tuple[list[Fold], list[list[Fold]], Array]:
        """Return the folds at a cut of the laws that count there, their hold-outs known by then, and their weights."""
        names = tuple(name for name in names if self._folds[name][cut].counts)
        folds, known = [self._folds[name][cut] for name in names], [self._known(name, cut) for name in names]
        return folds, known, weigh(known, [fold.noise for fold in folds]) if names else np.ones(0)

    def held_out(self, law: str, rivals: tuple[str, ...] = (), *, mean: bool = False) -> tuple[HeldOut, ...]:
        """Return what a law, or with `mean` the average of the rivals, says at each cut of the rows beyond; how far the
        rivals, the laws that suit its columns, lie from it counts as an error of its form."""
        return tuple(self._held_out(law, rivals, cut, mean) for cut in self.cuts)

    @np.errstate(all="ignore")  # a distant guess may overflow
    def _held_out(self, law: str, rivals: tuple[str, ...], cut: int, mean: bool) -> HeldOut:
        folds, known, shares = self.stacks(rivals, cut)
        fold, mine = self._folds[law][cut], self._known(law, cut)
        if mean and folds:
            fold, mine = average(folds, shares), [average(each, shares) for each in zip(*known, strict=True)]
        fit, mask = self.fits[law], self.masks[cut]
        apart = shares @ np.array([(f.residuals - fold.residuals) ** 2 for f in folds]) if folds else 0.0
        half = self._half_width(fit, fold, mine, apart, cut)
        raw, loss = fit.loss.startswith("raw"), self.frame["L"].to_numpy(float)
        ends = [fold.residuals, fold.residuals - half, fold.residuals + half]
        predicted, low, high = ((loss + x if raw else loss * np.exp(x))[~mask] for x in ends)
        errors = with_errors(self.naive(fit.law.columns, cut).assign(predicted=predicted, low=low, high=high))
        top, runs = float(self.frame[self.axis][mask].max()), int(mask.sum())
        about = {f: getattr(fold, f) for f in fold.__dataclass_fields__}
        about |= {"status": fit.status} if fold.counts and not mean else {}
        return HeldOut(**about, cut=top, n_runs=runs, errors=errors.reset_index(drop=True))

    def _half_width(self, fit: Fit, fold: Fold, known: Sequence[Fold], apart: Array | float, cut: int) -> Array:
        """Return half the width of the bands at all rows, on the scale of the residuals; NaN where there are none."""
        assert fit.optimum is not None
        mask, columns = self.masks[cut], fit.optimum.problem.columns
        form = form_error(known, fold.noise)
        variance, dof = form.student(fold.distance)
        dof, variance = np.where(apart > variance, max(form.cuts - 1, 1), dof), np.fmax(variance, apart)
        fitted = [c[mask] for c in columns]
        left = beyond(fitted, np.array([other.fitted for other in known], dtype=bool), 1)
        bare = (form.cuts == 0) | (outside(columns, fitted) & ~left).any(1) | (outside(columns, fitted, -1)).any(1)
        spare = max(int(mask.sum()) - len(fit.optimum.u), 1)
        noise = np.full(len(mask), fold.noise**2)
        variances = Variances(fit.loss.startswith("raw"), noise, spare, fold.own, spare, variance, dof)
        half: Array = np.where(bare, np.nan, variances.half(LEVEL))
        return half
