"""Which run of a table to make next, when every run is looked at before the next is chosen.

What is known is an ensemble: the places where the law may stand on the runs that are there, weighed by likelihood and
by what is known of such parameters beforehand, and about each place the normal distribution of the parameters
(Laplace's approximation). The loss of a run that was not made is then a mixture, with a covariance between any two
runs: of the parameters inside a place, and of the places among themselves, so that a run which tells two basins apart
counts as much as one that narrows a basin. A law that holds exactly at one run errs at another, by more the farther off
it is: rows below the targets count less, in the fit and in the choice.

What a run x takes off the variance of ln L at targets t,

    mean over t of Cov(t, x)^2 / (noise(x)^2 + Var(x))

(Cohn 1996, Neural network exploration using optimal experiment design; with basins weighed, arXiv:2604.22753), needs no
loss at x, so that a batch of runs can be chosen at once.

    from isoflop.analysis.laws.catalogue import get_law

    runs = pd.DataFrame({"N": [1e7, 1e8, 1e9] * 2, "D": [1e9] * 3 + [1e10] * 3, "L": [5.0, 4.2, 3.9, 4.6, 3.6, 3.1]})
    grid = pd.DataFrame({"N": [3e7, 3e8, 3e9], "D": [3e9, 3e10, 1e11]}).assign(C=lambda runs: 6 * runs["N"] * runs["D"])
    picks = improve_table(runs, grid, get_law("chinchilla"), n=2)     # rows of the grid, best first
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.design.assumed_law import NOISE
from isoflop.analysis.design.next_runs import LEAST, WIDE
from isoflop.analysis.holdout.cuts import distance, sizes_of
from isoflop.analysis.laws.catalogue import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.rows import usable_numbers
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.analysis.solving.descent import minimise
from isoflop.analysis.solving.problem import Objective, Prior, Problem
from isoflop.analysis.solving.starts import starts
from isoflop.errors import UserError

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
    """ln L of a set of rows as a mixture: its mean (rows,), the joint covariance as factors (rows, factors), so that
    covariance = factors factors', and the standard deviation of a new measurement about the law."""

    mean: Array
    factors: Array
    noise: Array

    def after(self, row: int) -> "Ensemble":
        """The ensemble once this row is measured: what is left of each factor (Potter's form of Kalman's update)."""
        x = self.factors[row]
        spread = float(x @ x)
        shrink = (1 - self.noise[row] / np.sqrt(self.noise[row] ** 2 + spread)) / max(spread, 1e-300)
        return replace(self, factors=self.factors - shrink * np.outer(self.factors @ x, x))

    def gains(self, targets: NDArray[np.intp]) -> Array:
        """By how much each row (rows,) would lower the mean variance of the targets, once measured."""
        shared = self.factors @ self.factors[targets].T
        gains: Array = (shared**2).mean(1) / (self.noise**2 + (self.factors**2).sum(1))
        return gains


def usual(law: Law) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of what is known of a law's exponents and shapes before any run: what is published of
    such parameters, else the range of the starts of its search. Nothing of amplitudes, nor of offsets."""
    known = {}
    for name, kind in law.params.items():
        if kind.usual is not None:
            known[name] = kind.usual
        elif not (kind.linear or kind.log or kind.unit):
            known[name] = (sum(kind.start) / 2, max(kind.start[1] - kind.start[0], 1e-3) / 2)
    return known


def believe(have: RunsLike, law: Law, rows: pd.DataFrame, targets: pd.DataFrame | None = None) -> Ensemble:
    """What the runs that are there say of `rows`, (rows,)."""
    have = as_runs(have).frame
    columns = tuple(have[c].to_numpy(float) for c in law.columns)
    target = have[law.target].to_numpy(float)
    form, form_rows = (0.0, 0.0) if targets is None else (form_error(x, law, targets) for x in (have, rows))
    noise = NOISE
    for _ in range(3):  # the noise weighs against what is known beforehand, and the fit tells it
        priors = {name: Prior(mean, noise**2 / error**2, error) for name, (mean, error) in usual(law).items()}
        problem = Problem(
            law,
            columns,
            target,
            Objective("huber", DELTA * noise),
            priors=priors,
            scale=noise / np.sqrt(noise**2 + form**2) + np.zeros(len(target)),
        )
        ends = minimise(problem, starts(problem, STARTS))
        best = ends.u[int(ends.objective.argmin())]
        gaps = problem.residuals(best[None])[0]
        typical = (1.4826 * np.median(np.abs(gaps))) ** 2 * len(gaps)
        # MacKay 1992, Bayesian interpolation, eq. 4.10: parameters that the rows do not tell take nothing off residuals
        spare = max(len(gaps) - _told(problem, best, noise), 0.0)
        noise = float(np.sqrt((typical + PRIOR_DOF * NOISE**2) / (spare + PRIOR_DOF)))
    order = np.argsort(ends.objective)
    order = order[np.isfinite(ends.objective[order])]
    at = replace(
        problem, columns=tuple(rows[c].to_numpy(float) for c in law.columns), target=np.ones(len(rows)), scale=None
    )
    places, centres = list[int](), list[Array]()
    for k in order:
        centre = np.log(at.predict(ends.u[k][None])[0])
        near = any(np.abs(centre - other).max() < SAME * noise for other in centres)
        if np.isfinite(centre).all() and not near and len(places) < MOST_PLACES:
            places.append(int(k))
            centres.append(centre)
    weights = np.exp(-np.minimum((ends.objective[places] - ends.objective[places[0]]) / noise**2, 700.0))
    weights /= weights.sum()
    middle = weights @ np.array(centres)
    factors = [np.sqrt(w) * (centre - middle)[:, None] for w, centre in zip(weights, centres, strict=True)]
    factors += [np.sqrt(w) * _inside(problem, at, ends.u[k], noise) for w, k in zip(weights, places, strict=True)]
    return Ensemble(middle, np.concatenate(factors, axis=1), np.sqrt(noise**2 + form_rows**2) + np.zeros(len(rows)))


def form_error(rows: pd.DataFrame, law: Law, targets: pd.DataFrame) -> Array:
    """By how much the law itself may err (rows,) [ln L] at rows smaller than the targets."""
    here, there = ([table[c].to_numpy(float) for c in law.columns] for table in (rows, targets))
    errors: Array = FORM * distance(here, there, sizes_of(law.columns), sign=-1)
    return errors


def _left(problem: Problem, u: Array, noise: float) -> tuple[Array, Array]:
    """What is known beforehand of each parameter, a standard deviation (free,), and the covariance (free, free) that
    the rows leave of it, in its unit, about u (free,)."""
    values = np.abs(np.where(problem.logs, 1.0, u))
    wide = np.where(problem.logs, WIDE, np.where(values > 0, values, 1.0))
    for name, prior in problem.priors.items():
        wide[problem.free.index(name)] = prior.error
    slopes = problem.linearise(u[None])[1][0] * wide[:, None] / noise
    return wide, np.linalg.inv(np.eye(len(u)) + slopes @ slopes.T)


def _told(problem: Problem, u: Array, noise: float) -> float:
    """How many parameters the rows tell, rather than what is known beforehand."""
    return len(u) - float(np.trace(_left(problem, u, noise)[1]))


def _inside(problem: Problem, at: Problem, u: Array, noise: float) -> Array:
    """Factors (rows, free) of the covariance of ln L at other rows, from the normal distribution about u (free,)."""
    wide, left = _left(problem, u, noise)
    factors: Array = (at.linearise(u[None])[1][0] * wide[:, None]).T @ np.linalg.cholesky(left)
    return factors


def together(ensembles: Sequence[Ensemble]) -> Ensemble:
    """Rows of several groups, each with a law of its own, as one ensemble: none tells anything of another's."""
    rows, factors = (np.cumsum([0, *(e.factors.shape[i] for e in ensembles)]) for i in (0, 1))
    joint = np.zeros((rows[-1], factors[-1]))
    for e, row, factor in zip(ensembles, rows, factors, strict=False):
        joint[row : row + e.factors.shape[0], factor : factor + e.factors.shape[1]] = e.factors
    return Ensemble(np.concatenate([e.mean for e in ensembles]), joint, np.concatenate([e.noise for e in ensembles]))


def choose(
    ensemble: Ensemble,
    candidates: NDArray[np.intp],
    targets: NDArray[np.intp],
    cost: Array,
    budget: float = np.inf,
    most: int | None = None,
) -> list[int]:
    """Rows among the candidates (places of the ensemble), in the order in which they are taken, until none fits into
    the budget or there are `most`; `cost` (rows,) in its unit.

    A row is taken for its gain over the root of its cost, the geometric mean of what it gains and of what it gains for
    its cost: the first alone buys the dearest rows and the second crumbs, and either may end far from the best set
    (Leskovec et al. 2007, Cost-effective outbreak detection in networks, who follow both). A row that gains less than
    LEAST of what the best of those that fit would is left for later, whatever it costs.
    """
    open_, picks = np.zeros(len(cost), dtype=bool), list[int]()
    open_[candidates] = True
    weigh = np.sqrt(np.where(np.isfinite(cost), cost, 1.0))
    while (fits := open_ & (cost <= budget)).any() and (most is None or len(picks) < most):
        gains = np.where(fits, ensemble.gains(targets), -np.inf)
        best = int(np.where(gains >= LEAST * gains.max(), gains / weigh, -np.inf).argmax())
        ensemble, budget, open_[best] = ensemble.after(best), budget - cost[best], False
        picks.append(best)
    return picks


def first_runs(candidates: pd.DataFrame, law: Law, cost: Array, budget: float) -> list[int]:
    """The rows to begin with, as many as the law has parameters: each the one farthest from those before it on the
    logarithms of the law's columns, among rows so cheap that a third of the budget buys as many."""
    count = min(len(law.params), len(candidates))
    ends = np.log(candidates[list(law.columns)].to_numpy(float))
    width = np.ptp(ends, axis=0)
    ends = ends / np.where(width > 0, width, 1.0)
    cheap = np.flatnonzero(cost <= max(budget / 3 / count, np.sort(cost)[min(count, len(cost)) - 1]))
    picks = [int(cheap[cost[cheap].argmin()])]
    spent = cost[picks[0]]
    while len(picks) < count:
        gaps = ((ends[cheap][:, None] - ends[picks][None]) ** 2).sum(-1).min(1)
        gaps = np.where(cost[cheap] <= budget - spent, gaps, 0.0)
        if not gaps.any():
            break
        picks.append(int(cheap[gaps.argmax()]))
        spent += cost[picks[-1]]
    return picks


def improve_table(
    have: pd.DataFrame, candidates: pd.DataFrame, law: Law, *, targets: pd.DataFrame | None = None, n: int = 5
) -> pd.DataFrame:
    """The n rows among the candidates to make next, best first, for any law and any table of runs that are there.

    have: rows with the columns of the law and its target. candidates: rows with the columns of the law and with C, the
    cost [FLOPs]; a place that is there twice is one candidate, and one where a run is already is none. targets: rows
    with the columns of the law whose loss is wanted; None: the candidates of the largest C, a tenth of them. Columns of
    the result: those of the candidates, `before` and `after` (standard error of ln of the target at the targets, root
    mean square), gain_per_FLOP. UserError where a column is missing, or no candidate is left.
    """
    for name, table, columns in (
        ("runs", have, [*law.columns, law.target]),
        ("candidates", candidates, [*law.columns]),
    ):
        if lacking := [c for c in columns if c not in table]:
            raise UserError(f"{law.name} needs the columns {', '.join(columns)}; the {name} have no {lacking[0]}")
    if "C" not in candidates:
        raise UserError("the candidates have no column C, and a run is chosen by what it gains for its FLOPs; add C")
    have = usable_numbers(have, [*law.columns, law.target])
    candidates = usable_numbers(candidates, [*law.columns, "C"]).reset_index(drop=True)
    if len(have) < len(law.params):
        raise UserError(f"{len(have)} rows are too few to learn {law.name} from; give {len(law.params)} or more")
    if targets is None:
        targets = candidates[candidates["C"] >= candidates["C"].quantile(0.9)]
    candidates = _not_made(have, candidates, law)
    rows = pd.concat([candidates[[*law.columns]], targets[[*law.columns]]], ignore_index=True)
    cost = np.append(candidates["C"].to_numpy(float), np.full(len(targets), np.inf))
    ensemble, at = believe(have, law, rows, targets), np.arange(len(candidates), len(rows))
    picks = choose(ensemble, np.arange(len(candidates)), at, cost, most=n)
    errors = [_error(ensemble, at)]
    for pick in picks:
        ensemble = ensemble.after(pick)
        errors.append(_error(ensemble, at))
    chosen = candidates.iloc[picks].reset_index(drop=True)
    return chosen.assign(before=errors[:-1], after=errors[1:], gain_per_FLOP=-np.diff(errors) / chosen["C"])


def _not_made(have: pd.DataFrame, candidates: pd.DataFrame, law: Law) -> pd.DataFrame:
    """The candidates at places of the law where no run is, each place once; UserError where there is none."""
    columns = list(law.columns)
    made = pd.MultiIndex.from_frame(have[columns])
    places = candidates.drop_duplicates(columns)
    open_ = places[~pd.MultiIndex.from_frame(places[columns]).isin(made)].reset_index(drop=True)
    if open_.empty:
        raise UserError(
            f"every candidate is there already, by its {', '.join(columns)}; give runs that are not made yet"
        )
    return open_


def _error(ensemble: Ensemble, targets: NDArray[np.intp]) -> float:
    return float(np.sqrt((ensemble.factors[targets] ** 2).sum(1).mean()))
