"""Which runs to make next, when every run is looked at before the next is chosen.

What a run x takes off the variance of ln L at targets t, mean over t of Cov(t, x)^2 / (noise(x)^2 + Var(x)) (Cohn 1996,
Neural network exploration using optimal experiment design; with basins weighed, arXiv:2604.22753), needs no loss at x,
so that a batch of runs can be chosen at once. Runs are those of a table, or of a composed design, with their marks.

    grid = pd.DataFrame({"N": [3e7, 3e8, 3e9], "D": [3e9, 3e10, 1e11]}).assign(C=lambda runs: 6 * runs["N"] * runs["D"])
    picks = improve_table(rows, grid, law, n=2)                       # rows of the grid, best first
    improve(rows, grid, Truth.assumed(rows), n=1)                     # by a stated law, whatever the losses
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.design.assumed_law import Truth, best_split, planned
from isoflop.analysis.design.ensemble import Ensemble, believe, imagine
from isoflop.analysis.intervals.estimate import t_quantile
from isoflop.analysis.laws.declare import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import UserError

# a run that gains less than this share of what the best run would is left for later
LEAST = 0.1
# of a run with marks: the trunk without its cooldown, and of each mark the cooldown, the last 20 % of its steps
COOLDOWN = 0.2
# coverage of the half-widths of a composed design; so many degrees of freedom that Student's t is normal
LEVEL, MANY = 0.95, 10**6


def choose(
    ensemble: Ensemble, candidates: Sequence[NDArray[np.intp]], targets: NDArray[np.intp], cost: Array,
    budget: float = np.inf, most: int | None = None,
) -> list[int]:  # fmt: skip
    """Return the candidates to take, in order, until none fits into the budget or there are `most`.

    candidates   the rows of the ensemble that each measures
    targets      the rows whose loss is wanted
    cost         (candidates,), in the unit of the budget

    A run is taken for its gain over the root of its cost, since gain alone buys the most expensive runs and gain per
    cost crumbs (Leskovec et al. 2007, Cost-effective outbreak detection in networks). One that gains less than LEAST of
    what the best of those that fit would is left for later.
    """
    open_, picks = np.ones(len(candidates), dtype=bool), list[int]()
    while (fits := open_ & (cost <= budget)).any() and (most is None or len(picks) < most):
        alone = ensemble.gains(targets)
        each = [alone[rows[0]] if len(rows) == 1 else ensemble.gain(rows, targets) for rows in candidates]
        gains = np.where(fits, each, -np.inf)
        best = int(np.where(gains >= LEAST * gains.max(), gains / np.sqrt(cost), -np.inf).argmax())
        ensemble, budget, open_[best] = ensemble.after(*candidates[best]), budget - cost[best], False
        picks.append(best)
    return picks


def improve_table(
    have: RunsLike, candidates: pd.DataFrame, law: Law, *, targets: pd.DataFrame | None = None, n: int = 5,
    cost: str = "C",
) -> pd.DataFrame:  # fmt: skip
    """Return the n rows among the candidates to make next, best first, for any law and any table of runs.

    have         rows with the columns of the law and its target
    candidates   rows with the columns of the law and with their cost, each place once
    targets      rows with the columns of the law whose loss is wanted; None: the most expensive candidates, a tenth
    cost         column of the cost: C [FLOPs], or any other in its own unit

    Columns of the result: those of the candidates, `before` and `after` (standard error of ln of the target at the
    targets, root mean square), gain_per_FLOP (of another cost gain_per_cost). UserError where no candidate is left.
    """
    if cost not in candidates:
        there = ", ".join(map(str, candidates.columns))
        raise UserError(f"the candidates have no column {cost} for the cost of a run; name it by --cost ({there})")
    have = as_runs(have).numbers([*law.columns, law.target], law.name).frame
    candidates = as_runs(candidates).numbers([*law.columns, cost], law.name).frame.reset_index(drop=True)
    if len(have) < len(law.params):
        raise UserError(f"{len(have)} rows are too few to fit {law.name}; give {len(law.params)} or more")
    if targets is None:
        targets = candidates[candidates[cost] >= candidates[cost].quantile(0.9)]
    candidates = _not_made(have, candidates, law)
    rows = pd.concat([candidates[[*law.columns]], targets[[*law.columns]]], ignore_index=True)
    each = [np.array([k]) for k in range(len(candidates))]
    picks, errors = _one_by_one(believe(have, law, rows, targets), each, candidates[cost].to_numpy(float), n)
    chosen = candidates.iloc[picks].reset_index(drop=True)
    gain = {"gain_per_FLOP" if cost == "C" else "gain_per_cost": -np.diff(errors) / chosen[cost]}
    return chosen.assign(before=errors[:-1], after=errors[1:], **gain)


def improve(
    have: RunsLike, candidates: pd.DataFrame, truth: Truth, *, target_C: float | None = None, n: int = 5,
    loss: str = "huber",
) -> pd.DataFrame:  # fmt: skip
    """Return the n runs of a composed design to make next, best first, by a stated truth.

    have         planned or finished rows that are there; may be empty
    candidates   rows of planned runs; rows of one run_id are one run, which costs `C_spent` where that is a column,
                 else its C, with marks that of the trunk and the cooldowns; without run_id every row is a run
    target_C     budget whose best split is the target; None: the largest C of the candidates. Where the law has no best
                 split, the target is the candidate of the largest C

    Columns of the result: run_id, those of the law and C at the run's last mark, cost [FLOPs], before and after
    (half-widths of L at the target, relative), gain_per_FLOP. UserError where C is missing.
    """
    have = as_runs(have)
    rows, last = _design(have, candidates, truth)
    there = planned(have.complete().frame, truth.form)
    target = _target(truth, last, target_C).assign(run_id="the target")
    ensemble = imagine(there, truth, pd.concat([rows, target], ignore_index=True), loss)
    codes = as_runs(rows).codes
    runs = [np.flatnonzero(codes == k) for k in range(len(last))]
    picks, errors = _one_by_one(ensemble, runs, last["cost"].to_numpy(float), n)
    chosen, halves = last.iloc[picks].reset_index(drop=True), t_quantile(LEVEL, MANY) * errors
    return chosen.assign(before=halves[:-1], after=halves[1:], gain_per_FLOP=-np.diff(halves) / chosen["cost"])


def _one_by_one(ensemble: Ensemble, runs: Sequence[NDArray[np.intp]], cost: Array, n: int) -> tuple[list[int], Array]:
    """Return the n runs to take, and the standard error at the targets (the rows behind theirs) before and after."""
    targets = np.arange(sum(map(len, runs)), len(ensemble.mean))
    picks = choose(ensemble, runs, targets, cost, most=n)
    errors = [ensemble.error(targets)]
    for pick in picks:
        ensemble = ensemble.after(*runs[pick])
        errors.append(ensemble.error(targets))
    return picks, np.array(errors)


def _not_made(have: pd.DataFrame, candidates: pd.DataFrame, law: Law) -> pd.DataFrame:
    """Return the candidates at places of the law where no run is, each place once; UserError where there is none."""
    columns = list(law.columns)
    made = pd.MultiIndex.from_frame(have[columns])
    places = candidates.drop_duplicates(columns)
    open_ = places[~pd.MultiIndex.from_frame(places[columns]).isin(made)].reset_index(drop=True)
    if open_.empty:
        by = ", ".join(columns)
        raise UserError(f"every candidate is there already, by its {by}; give runs that are not made yet")
    return open_


def _design(have: Runs, candidates: pd.DataFrame, truth: Truth) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the planned rows of the candidates that are not there yet, and a row for each run: last mark, cost."""
    if len(candidates) == 0:
        raise UserError("there are no candidates to choose from; give the overrides of the runs that could be made")
    if "C" not in candidates and "C_spent" not in candidates:
        raise UserError("candidates need the column C, or C_spent, for a run is chosen by what it gains for each FLOP")
    if "run_id" in candidates and "run_id" in have:
        candidates = candidates[~candidates["run_id"].isin(have["run_id"])]
        if candidates.empty:
            raise UserError("every candidate is there already; give the overrides of runs that are not made yet")
    if "run_id" not in candidates:
        candidates = candidates.assign(run_id=candidates.index)
    if candidates["run_id"].isna().any():
        raise UserError("a candidate has no run_id; give every run its own, or leave the column out")
    costs = [c for c in ("C", "C_spent") if c in candidates]
    rows = planned(candidates, truth.form, costs)
    ordered = rows.sort_values(["run_id", *costs[:1], *truth.form.columns], kind="stable")
    grouped = ordered.groupby("run_id", sort=True)
    last = grouped.last().reset_index()
    if "C_spent" in costs:
        last["cost"] = grouped["C_spent"].max().to_numpy()
    else:
        last["cost"] = ((1 - COOLDOWN) * grouped["C"].max() + COOLDOWN * grouped["C"].sum()).to_numpy()
    return rows, last.drop(columns="C_spent", errors="ignore")


def _target(truth: Truth, last: pd.DataFrame, target_C: float | None) -> pd.DataFrame:
    """Return the one row at which the loss is wanted."""
    largest = "C" if "C" in last else "cost"
    columns = list(truth.form.columns)
    split = best_split(truth.form, float(last[largest].max()) if target_C is None else target_C, truth.params)
    if split is None:
        return last.loc[[last[largest].idxmax()], columns]
    return pd.DataFrame([split], columns=columns, dtype=float)
