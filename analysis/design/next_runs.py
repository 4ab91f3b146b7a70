"""Improve: which runs to make next, by how much each narrows what is known of a target for the compute it costs.

A run adds J' J / sd^2 to what is known of the parameters, J the exact Jacobian of ln L at the truth; the covariance of
the fit follows by the delta method, with the rows of a run moving together (the fit itself takes rows alike, so it is
a sandwich, as in Liang and Zeger 1986). Runs are taken one at a time, each the best after those before it. A weak
prior, each parameter known to 100 % of itself and an amplitude to a factor of e^10, lets it start without runs. The law
is believed as far as the candidates reach: a run far from the frontier (large N, small D) tells much if the law holds
there, so offer only runs where it should.

    improve(have, candidates, truth, target_C=1e22, n=3)
    #   run_id         N         D         C      cost  before   after  gain_per_FLOP
    # 0    r03  3.16e+08  1.00e+08  1.90e+17  1.90e+17   0.169   0.131       2.00e-19
"""

from math import erf, exp, pi, sqrt
from typing import NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.design.assumed_law import Truth, best_split, planned
from isoflop.analysis.fitting.settings import LOSSES
from isoflop.analysis.intervals.resampling import t_quantile
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.rows import number_runs, usable
from isoflop.analysis.solving.problem import Objective, Problem
from isoflop.errors import UserError

# standard deviation of ln of what a law is searched in the logarithm of, an amplitude: it is a value at N = 1, so many
# factors of e from the runs, and moves by ln N where an exponent moves by one
WIDE = 10.0
# a run that gains less than this share of what the best run would is no step worth a place among n
LEAST = 0.1
# of a run with marks: the trunk without its cooldown, and of each mark the cooldown, the last 20 % of its steps
COOLDOWN = 0.2
# large enough for Student's t to be normal
MANY = 10**6


class Known(NamedTuple):
    """What each run adds, in units of the prior's standard deviation: curvature of the fit's objective and the variance
    of its slope, (runs, free, free) both."""

    bread: Array
    meat: Array


def improve(
    have: pd.DataFrame,
    candidates: pd.DataFrame,
    truth: Truth,
    *,
    target_C: float | None = None,
    n: int = 5,
    loss: str = "huber",
    delta: float = 1e-3,
    level: float = 0.95,
    least: float = LEAST,
) -> pd.DataFrame:
    """The n runs among the candidates that most narrow the interval of ln L at the target for each FLOP.

    The target is the best split of `target_C` (of the largest C of the candidates where that is None), or the candidate
    of the largest C where the law has no best split. Rows of one run_id are one run, which costs `C_spent` where that
    is a column, else its C, with marks that of the trunk and the cooldowns; without run_id every row is a run, known by
    its label in the index. Of the runs that gain at least `least` of what the best would, the one of the most gain per
    FLOP is taken. Columns of the result: run_id, those of the law and C at the run's last mark, cost [FLOPs], before
    and after (half-widths of L at the target, relative, for Student's t of many runs), gain_per_FLOP. Fewer than n rows
    where no run gains. UserError where C is missing.
    """
    rows, last = _candidates(have, candidates, truth)
    whitened = _whitening(truth, rows)
    slope = _slopes(truth, _target(truth, last, target_C), whitened)[:, 0]
    old, new = (known(part, truth, whitened, loss, delta) for part in (planned(usable(have, ()), truth.form), rows))
    bread, meat = np.eye(len(slope)) + old.bread.sum(0), np.eye(len(slope)) + old.meat.sum(0)
    z = t_quantile(level, MANY)
    now = z * float(_errors(slope, bread[None], meat[None])[0])
    cost, open_, picks = last["cost"].to_numpy(float), np.ones(len(last), dtype=bool), list[tuple[int, float, float]]()
    while len(picks) < n and open_.any():
        then = z * _errors(slope, bread + new.bread, meat + new.meat)
        best = _best_gain(np.where(open_, now - then, -np.inf), cost, least)
        if best is None:
            break
        picks.append((best, now, float(then[best])))
        bread, meat, now, open_[best] = bread + new.bread[best], meat + new.meat[best], float(then[best]), False
    chosen = last.iloc[[best for best, _, _ in picks]].reset_index(drop=True)
    before, after = (np.array([pick[i] for pick in picks], dtype=float) for i in (1, 2))
    return chosen.assign(before=before, after=after, gain_per_FLOP=(before - after) / chosen["cost"])


def _best_gain(gain: Array, cost: Array, least: float) -> int | None:
    """Of the runs that gain at least this share of what the best does, the one of the most gain per cost; None where no
    run gains."""
    if gain.max() <= 0:
        return None
    return int(np.where(gain >= least * gain.max(), gain / cost, -np.inf).argmax())


def errors(rows: pd.DataFrame, truth: Truth, loss: str = "huber", delta: float = 1e-3) -> dict[str, float]:
    """Standard error of each parameter after the runs of `rows`, by the delta method: of ln of an amplitude."""
    rows = planned(rows, truth.form)
    whitened = _whitening(truth, rows)
    information = known(rows, truth, whitened, loss, delta)
    bread, meat = np.eye(len(whitened)) + information.bread.sum(0), np.eye(len(whitened)) + information.meat.sum(0)
    wide = np.linalg.solve(bread, np.eye(len(whitened)))
    standard_errors = np.sqrt(np.diag(wide @ meat @ wide)) * whitened
    return {name: float(error) for name, error in zip(truth.form.params, standard_errors, strict=True)}


def known(rows: pd.DataFrame, truth: Truth, whitened: Array, loss: str, delta: float) -> Known:
    """What each run of planned rows adds, in the order of its first row."""
    size = len(whitened)
    if rows.empty:
        return Known(np.zeros((0, size, size)), np.zeros((0, size, size)))
    runs, count = number_runs(rows, None)
    slopes = _slopes(truth, rows, whitened) / (truth.noise * sqrt(_inflation(loss, delta, truth.noise)))
    bread, sums = np.zeros((count, size, size)), np.zeros((count, size))
    np.add.at(bread, runs, slopes.T[:, :, None] * slopes.T[:, None, :])
    np.add.at(sums, runs, slopes.T)
    return Known(bread, (1 - truth.shared) * bread + truth.shared * sums[:, :, None] * sums[:, None, :])


def problem_at(truth: Truth, rows: pd.DataFrame) -> tuple[Problem, Array]:
    """The law on planned rows with the losses of the truth, and the truth as a place u (free,) of the search."""
    columns = tuple(rows[c].to_numpy(float) for c in truth.form.columns)
    problem = Problem(truth.form, columns, truth.loss(rows), Objective("l2", 1.0))
    values = np.array([truth.params[name] for name in problem.free])
    return problem, np.where(problem.logs, np.log(np.where(problem.logs, values, 1.0)), values)


def _slopes(truth: Truth, rows: pd.DataFrame, whitened: Array) -> Array:
    """Derivatives of ln L (free, rows) by the parameters, in units of the prior's standard deviation."""
    problem, u = problem_at(truth, rows)
    slopes: Array = problem.linearise(u[None])[1][0] * whitened[:, None]
    return slopes


def _whitening(truth: Truth, rows: pd.DataFrame) -> Array:
    """Standard deviation of the prior of each parameter, (free,): in the coordinates of the search."""
    problem, _ = problem_at(truth, rows)
    values = np.abs([truth.params[name] for name in problem.free])
    return np.where(problem.logs, WIDE, np.where(values > 0, values, 1.0))


def _errors(slope: Array, bread: Array, meat: Array) -> Array:
    """Standard errors (sets,) of a quantity of this gradient (free,) under each set of runs."""
    turned = np.linalg.solve(bread, np.broadcast_to(slope, bread.shape[:2])[:, :, None])
    return np.asarray(np.sqrt((turned.transpose(0, 2, 1) @ meat @ turned)[:, 0, 0]))


def _inflation(loss: str, delta: float, noise: float) -> float:
    """How much more an estimate varies under a loss than under least squares, for normal noise: E psi^2 / (E psi')^2
    (Huber 1964, Robust estimation of a location parameter)."""
    if LOSSES[loss][0] == "l2":
        return 1.0
    if LOSSES[loss][0] == "l1":
        return pi / 2
    cut = delta / noise
    inside, height = erf(cut / sqrt(2)), exp(-(cut**2) / 2) / sqrt(2 * pi)
    return (inside - 2 * cut * height + cut**2 * (1 - inside)) / inside**2


def _candidates(have: pd.DataFrame, candidates: pd.DataFrame, truth: Truth) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The planned rows of the candidates that are not there yet, and a row for each run: last mark, cost."""
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
    """The one row at which the loss is wanted."""
    largest = "C" if "C" in last else "cost"
    columns = list(truth.form.columns)
    split = best_split(truth.form, float(last[largest].max()) if target_C is None else target_C, truth.params)
    if split is None:
        return last.loc[[last[largest].idxmax()], columns]
    return pd.DataFrame([split], columns=columns, dtype=float)
