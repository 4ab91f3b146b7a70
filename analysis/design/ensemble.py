"""What is known of the losses of runs, made or not: an ensemble of places where the law may lie.

    grid = pd.DataFrame({"N": [3e7, 3e8, 3e9], "D": [3e9, 3e10, 1e11]})
    believe(rows, law, grid).mean                                    # ln L (rows,) of the grid

From runs: the places where the law may lie on them, weighed by likelihood and by what is known beforehand, and about
each a normal distribution of the parameters (Laplace's approximation). Rows below the targets count less, since a law
that holds exactly there errs farther off. From a stated truth: one place.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.design.assumed_law import NOISE, Truth, covariance, inflation, prior_widths, problem_at
from isoflop.analysis.holdout.cuts import distance, sizes_of
from isoflop.analysis.laws.declare import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.analysis.solving.descent import Solution, minimise
from isoflop.analysis.solving.problem import Objective, Prior, Problem
from isoflop.analysis.solving.starts import starts

# starts of the search, and places beside the best that are weighed
STARTS, MOST_PLACES = 32, 8
# the noise that is expected before there are residuals counts as this many of them
PRIOR_DOF = 4
# Huber's delta at which the mean of normal noise loses 5 % (Huber 1964, Robust estimation of a location parameter)
DELTA = 1.345
# places whose predictions are all within this share of the noise are one
SAME = 0.1
# of ln of the target, for each e-fold of scale below what is asked for: a law that holds exactly at a run errs by so
# much there. The median slope of rolling hold-outs (analysis/holdout/cuts.py) of two laws on 20 published tables;
# none of them is a task of benchmarks/choose_runs.py, where the choice is measured. `benchmarks/band_coverage.py
# --slopes` measures it again.
FORM = 0.011


@dataclass(frozen=True)
class Ensemble:
    """ln L of a set of rows as a mixture.

    mean      (rows,)
    factors   (rows, factors) of the joint covariance, which is factors factors'
    noise     (rows,) standard deviation of a new measurement about the law
    """

    mean: Array
    factors: Array
    noise: Array

    def after(self, *rows: int) -> "Ensemble":
        """Return the ensemble once these rows are measured (Potter's form of Kalman's update)."""
        factors = self.factors
        for row in rows:
            x = factors[row]
            spread = float(x @ x)
            shrink = (1 - self.noise[row] / np.sqrt(self.noise[row] ** 2 + spread)) / max(spread, 1e-300)
            factors = factors - shrink * np.outer(factors @ x, x)
        return replace(self, factors=factors)

    def gains(self, targets: NDArray[np.intp]) -> Array:
        """Return by how much each row (rows,) would lower the mean variance of the targets, once measured."""
        shared = self.factors @ self.factors[targets].T
        gains: Array = (shared**2).mean(1) / (self.noise**2 + (self.factors**2).sum(1))
        return gains

    def gain(self, rows: NDArray[np.intp], targets: NDArray[np.intp]) -> float:
        """Return by how much rows that are measured together would lower the mean variance of the targets."""
        few = np.append(targets, rows)
        small = Ensemble(self.mean[few], self.factors[few], self.noise[few])
        here = np.arange(len(targets))
        return small.error(here) ** 2 - small.after(*range(len(targets), len(few))).error(here) ** 2

    def error(self, targets: NDArray[np.intp]) -> float:
        """Return the standard error of ln L at the targets, root mean square."""
        return float(np.sqrt((self.factors[targets] ** 2).sum(1).mean()))


def _usual(law: Law) -> dict[str, tuple[float, float]]:
    """Return mean and sd of what is published of a law's exponents and shapes, else of the range of its starts."""
    known = {}
    for name, kind in law.params.items():
        if kind.usual is not None:
            known[name] = kind.usual
        elif not (kind.linear or kind.log or kind.unit):
            known[name] = (sum(kind.start) / 2, max(kind.start[1] - kind.start[0], 1e-3) / 2)
    return known


def believe(have: RunsLike, law: Law, rows: pd.DataFrame, targets: pd.DataFrame | None = None) -> Ensemble:
    """Return what the runs that are there say of `rows`, (rows,); below the targets, if any, the law itself errs."""
    have = as_runs(have).frame
    form, form_rows = (0.0, 0.0) if targets is None else (_form_error(x, law, targets) for x in (have, rows))
    problem, ends, noise = _search(have, law, form)
    columns = tuple(rows[c].to_numpy(float) for c in law.columns)
    there = replace(problem, columns=columns, target=np.ones(len(rows)), scale=None)
    places, centres = _places(there, ends, noise)
    weights = np.exp(-np.minimum((ends.objective[places] - ends.objective[places[0]]) / noise**2, 700.0))
    weights /= weights.sum()
    middle = weights @ np.array(centres)
    factors = [np.sqrt(w) * (centre - middle)[:, None] for w, centre in zip(weights, centres, strict=True)]
    factors += [np.sqrt(w) * _inside(problem, there, ends.u[k], noise) for w, k in zip(weights, places, strict=True)]
    return Ensemble(middle, np.concatenate(factors, axis=1), np.sqrt(noise**2 + form_rows**2) + np.zeros(len(rows)))


def _search(have: pd.DataFrame, law: Law, form: Array | float) -> tuple[Problem, Solution, float]:
    """Return the law on the runs that are there, where the starts of its search ended, and the noise."""
    columns = tuple(have[c].to_numpy(float) for c in law.columns)
    target, noise = have[law.target].to_numpy(float), NOISE
    for _ in range(3):  # the noise is weighed against what is known beforehand, and the fit estimates it
        priors = {name: Prior(mean, noise**2 / error**2, error) for name, (mean, error) in _usual(law).items()}
        scale = noise / np.sqrt(noise**2 + form**2) + np.zeros(len(target))
        problem = Problem(law, columns, target, Objective("huber", DELTA * noise), priors=priors, scale=scale)
        ends = minimise(problem, starts(problem, STARTS))
        best = ends.u[int(ends.objective.argmin())]
        gaps = problem.residuals(best[None])[0]
        typical = (1.4826 * np.median(np.abs(gaps))) ** 2 * len(gaps)
        # MacKay 1992, Bayesian interpolation, eq. 4.10: parameters that the rows do not identify take nothing off
        # residuals
        spare = max(len(gaps) - _identified(problem, best, noise), 0.0)
        noise = float(np.sqrt((typical + PRIOR_DOF * NOISE**2) / (spare + PRIOR_DOF)))
    return problem, ends, noise


def _places(there: Problem, ends: Solution, noise: float) -> tuple[list[int], list[Array]]:
    """Return the ends of a search that predict differently, from the best, and what each predicts of other rows."""
    order = np.argsort(ends.objective)
    places, centres = list[int](), list[Array]()
    for k in order[np.isfinite(ends.objective[order])]:
        centre = np.log(there.predict(ends.u[k][None])[0])
        near = any(np.abs(centre - other).max() < SAME * noise for other in centres)
        if np.isfinite(centre).all() and not near and len(places) < MOST_PLACES:
            places.append(int(k))
            centres.append(centre)
    return places, centres


def imagine(have: pd.DataFrame, truth: Truth, rows: pd.DataFrame, loss: str = "huber") -> Ensemble:
    """Return what planned runs, each with a noise of its own, would say of `rows` (rows,) under a stated truth."""
    problem, u = problem_at(truth, rows)
    factors = problem.linearise(u[None])[1][0].T @ np.linalg.cholesky(covariance(have, truth, loss))
    noise = truth.noise * np.sqrt(inflation(loss, truth.noise))
    codes = as_runs(rows).codes
    by_run = (codes[:, None] == np.flatnonzero(np.bincount(codes) > 1)).astype(float)
    own = np.where(by_run.any(1), 1 - truth.shared, 1.0)
    factors = np.concatenate([factors, noise * np.sqrt(truth.shared) * by_run], axis=1)
    return Ensemble(np.log(truth.loss(rows)), factors, noise * np.sqrt(own))


def _form_error(rows: pd.DataFrame, law: Law, targets: pd.DataFrame) -> Array:
    """Return by how much the law itself may err (rows,) [ln L] at rows smaller than the targets."""
    here, there = ([table[c].to_numpy(float) for c in law.columns] for table in (rows, targets))
    errors: Array = FORM * distance(here, there, sizes_of(law.columns), sign=-1)
    return errors


def _left(problem: Problem, u: Array, noise: float) -> tuple[Array, Array]:
    """Return what is known beforehand of each parameter, a standard deviation (free,), and the covariance (free, free)
    that the rows leave of it, in its unit, about u (free,)."""
    wide = prior_widths(problem, u)
    for name, prior in problem.priors.items():
        wide[problem.free.index(name)] = prior.error
    slopes = problem.linearise(u[None])[1][0] * wide[:, None] / noise
    return wide, np.linalg.inv(np.eye(len(u)) + slopes @ slopes.T)


def _identified(problem: Problem, u: Array, noise: float) -> float:
    """Return how many parameters the rows identify, rather than what is known beforehand."""
    return len(u) - float(np.trace(_left(problem, u, noise)[1]))


def _inside(problem: Problem, there: Problem, u: Array, noise: float) -> Array:
    """Return factors (rows, free) of the covariance of ln L at other rows, by the normal about u (free,)."""
    wide, left = _left(problem, u, noise)
    factors: Array = (there.linearise(u[None])[1][0] * wide[:, None]).T @ np.linalg.cholesky(left)
    return factors
