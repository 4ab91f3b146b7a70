"""The number of runs that a choice of runs needs: the protocol and prices of ScaleBench (arXiv:2604.22753), five tasks.

    ISOFLOP_REFERENCE_DATA=... python benchmarks/choose_runs.py [--only TASK] [--share 0.1] [--seeds 5] [--variants 5]

Of each task a tenth of what all training rows cost may be spent, row by row, each row being looked at before the next
batch is chosen; the law is then fitted to what was bought and predicts the held-out rows. Beside our choice: all rows,
as `isoflop fit` fits them and as the choice itself does (rows far below the targets count less), rows at random (mean
of some seeds), the cheapest first, and greedy D- and V-optimal designs about the current optimum. Every choice begins
with the same few rows. A row is the root mean square of the log error in percent.

One path of choices says little of the next: with --variants each figure is the median over as many tables of which a
random part of the training rows is left out, for all methods alike.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isoflop.analysis.design.ensemble import Ensemble, believe
from isoflop.analysis.design.sequence import choose
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.laws.declare import Law, get_law
from isoflop.analysis.runs.read import read_runs
from isoflop.errors import UserError

# the ensemble is recomputed whenever the amount spent has grown by this share
GROWTH = 0.25
# of the training rows, in each of the variants of a task
LEFT_OUT = 0.15

Parts = list[tuple[pd.DataFrame, pd.DataFrame]]


@dataclass(frozen=True)
class Task:
    """A task, its law, how its rows are grouped, and what a row costs: the sum of products of columns.

    Prices are those of ScaleBench's own registry (github.com/PlanarG/active-sl, benchmark/dataset/registry.py).
    """

    name: str
    law: str
    cost: tuple[tuple[str, ...], ...]
    by: str | None = None

    def price(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the cost of each row, (rows,), in a unit of the task."""
        parts = [rows[list(product)].prod(axis=1).to_numpy(float) for product in self.cost]
        return np.asarray(np.sum(parts, axis=0))


TASKS = (
    Task("farseer", "multiplicative", (("N", "D"),)),
    Task("data_constrained", "repetition_penalty", (("N", "D"),)),
    Task("parallel", "parscale", (("N",),), by="group"),
    Task("sparsity", "sparse", (("N_dense", "D1"), ("N_active", "D2")), by="group"),
    Task("lr_bsz", "rate_and_batch", (("N", "D"),)),
)

# the runs made, all rows, open candidates, targets, cost, money -> rows to make next
Choice = Callable[[Ensemble, np.ndarray, np.ndarray, np.ndarray, float], list[int]]


def ours(ensemble: Ensemble, open_: np.ndarray, targets: np.ndarray, cost: np.ndarray, budget: float) -> list[int]:
    """Return the choice of `plan --improve`."""
    return [int(open_[k]) for k in choose(ensemble, [np.array([k]) for k in open_], targets, cost[open_], budget)]


def cheapest(ensemble: Ensemble, open_: np.ndarray, targets: np.ndarray, cost: np.ndarray, budget: float) -> list[int]:
    """Return the cheapest first."""
    return _until(open_[np.argsort(cost[open_], kind="stable")], cost, budget)


def at_random(seed: int) -> Choice:
    """Return rows in random order."""

    def choice(
        ensemble: Ensemble, open_: np.ndarray, targets: np.ndarray, cost: np.ndarray, budget: float
    ) -> list[int]:
        return _until(np.random.default_rng(seed).permutation(open_), cost, budget)

    return choice


def d_optimal(ensemble: Ensemble, open_: np.ndarray, targets: np.ndarray, cost: np.ndarray, budget: float) -> list[int]:
    """Return the row whose own loss is least known, which adds most to the determinant of the information."""
    return _greedy(ensemble, open_, cost, budget, lambda e: (e.factors**2).sum(1))


def v_optimal(ensemble: Ensemble, open_: np.ndarray, targets: np.ndarray, cost: np.ndarray, budget: float) -> list[int]:
    """Return the row that takes most off the variance at the targets, whatever it costs."""
    return _greedy(ensemble, open_, cost, budget, lambda e: e.gains(targets))


def _until(order: np.ndarray, cost: np.ndarray, budget: float) -> list[int]:
    picks = []
    for row in order:
        if cost[row] <= budget:
            picks.append(int(row))
            budget -= cost[row]
    return picks


def _greedy(
    ensemble: Ensemble, open_: np.ndarray, cost: np.ndarray, budget: float, score: Callable[[Ensemble], np.ndarray]
) -> list[int]:
    left, picks = np.zeros(len(cost), dtype=bool), list[int]()
    left[open_] = True
    while (fits := left & (cost <= budget)).any():
        best = int(np.where(fits, score(ensemble), -np.inf).argmax())
        ensemble, budget, left[best] = ensemble.after(best), budget - cost[best], False
        picks.append(best)
    return picks


def first_runs(candidates: pd.DataFrame, law: Law, cost: np.ndarray, budget: float) -> list[int]:
    """Return the rows to begin with, as many as the law has parameters.

    Each is the one farthest from those before it on the logarithms of the law's columns, among rows so cheap that a
    third of the budget buys as many.
    """
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


def together(ensembles: Sequence[Ensemble]) -> Ensemble:
    """Join the rows of several groups, each with a law of its own: no group says anything of another's."""
    rows, factors = (np.cumsum([0, *(e.factors.shape[i] for e in ensembles)]) for i in (0, 1))
    joint = np.zeros((rows[-1], factors[-1]))
    for e, row, factor in zip(ensembles, rows, factors, strict=False):
        joint[row : row + e.factors.shape[0], factor : factor + e.factors.shape[1]] = e.factors
    return Ensemble(np.concatenate([e.mean for e in ensembles]), joint, np.concatenate([e.noise for e in ensembles]))


def spend(task: Task, parts: Parts, share: float, choice: Choice | None) -> np.ndarray:
    """Return log errors (rows,) on the held-out rows of all groups after this share of the cost; None: of all rows."""
    law = get_law(task.law)
    cost = [task.price(train) for train, _ in parts]
    budget, spent = share * sum(c.sum() for c in cost), 0.0
    made = [np.arange(len(train)) for train, _ in parts]
    if choice is not None:
        # the groups' rows one after another: those to choose among, then those to predict
        rows = [pd.concat(part, ignore_index=True) for part in parts]
        first = np.cumsum([0, *map(len, rows)])
        prices = np.concatenate(
            [np.append(c, np.full(len(test), np.inf)) for c, (_, test) in zip(cost, parts, strict=True)]
        )
        targets = np.flatnonzero(np.isinf(prices))
        made = [
            np.array(first_runs(train, law, c, budget / len(parts))) for c, (train, _) in zip(cost, parts, strict=True)
        ]
        spent = sum(c[m].sum() for c, m in zip(cost, made, strict=True))
        while spent < budget:
            ensemble = together([believe(r.iloc[m], law, r, t) for r, m, (_, t) in zip(rows, made, parts, strict=True)])
            open_ = np.setdiff1d(
                np.flatnonzero(np.isfinite(prices)), np.concatenate([m + f for m, f in zip(made, first, strict=False)])
            )
            picks = np.array(choice(ensemble, open_, targets, prices, budget - spent), dtype=int)
            if not len(picks):
                break
            # as many as raise what was spent by a quarter
            bought = picks[: max(1, int((np.cumsum(prices[picks]) <= GROWTH * spent).sum()))]
            made = [
                np.append(m, bought[(bought >= f) & (bought < f + len(r))] - f)
                for m, f, r in zip(made, first, rows, strict=False)
            ]
            spent += prices[bought].sum()
    errors = [
        believe(train.iloc[m], law, test, test).mean - np.log(test[law.target].to_numpy(float))
        for m, (train, test) in zip(made, parts, strict=True)
    ]
    return np.concatenate(errors)


def read(task: Task) -> Parts:
    """Return the rows to choose among and those to predict, of each group."""
    folder = os.environ.get("ISOFLOP_REFERENCE_DATA")
    if not folder:
        raise UserError("ISOFLOP_REFERENCE_DATA names no folder; set it to the folder that holds PlanarG__active-sl")
    train, test = (read_runs(f"{folder}/PlanarG__active-sl/{task.name}_{part}.csv").frame for part in ("train", "test"))
    if not task.by:
        return [(train, test)]
    names = train[task.by].unique()
    return [(train[train[task.by] == name], test[test[task.by] == name]) for name in names]


def thinned(parts: Parts, seed: int) -> Parts:
    """Return the same with a random part of the rows to choose among left out of each group."""
    rng = np.random.default_rng(seed)
    return [(train.sample(frac=1 - LEFT_OUT, random_state=rng).sort_index(), test) for train, test in parts]


def measure(task: Task, parts: Parts, share: float, seeds: int) -> dict[str, object]:
    """Return a line of the table."""

    def error(choice: Choice | None) -> float:
        return _percent(spend(task, parts, share, choice))

    begun = time.process_time()
    plain = [
        np.log(fit(train, task.law, interval="none").predict(test) / test["L"].to_numpy(float)) for train, test in parts
    ]
    line = {"task": task.name, "law": task.law, "fit of all rows": _percent(np.concatenate(plain))}
    line |= {"all rows": error(None), "ours": error(ours)}
    line |= {"cheapest": error(cheapest), "D-optimal": error(d_optimal), "V-optimal": error(v_optimal)}
    line |= {"random": float(np.mean([error(at_random(seed)) for seed in range(seeds)]))}
    return line | {"CPU s": time.process_time() - begun}


def _percent(errors: np.ndarray) -> float:
    return 100 * float(np.sqrt((errors**2).mean()))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of a task's name")
    parser.add_argument("--share", type=float, default=0.1, help="of the cost of all training rows")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--variants", type=int, default=0, help="tables with rows left out; 0: the table itself")
    options = parser.parse_args()
    lines = []
    for task in TASKS:
        if options.only not in task.name:
            continue
        parts = read(task)
        tables = [thinned(parts, seed) for seed in range(options.variants)] or [parts]
        for each in tables:
            lines.append(measure(task, each, options.share, options.seeds))
            print(lines[-1], flush=True)
    table = pd.DataFrame(lines).groupby(["task", "law"], sort=False, as_index=False).median()
    print(table.to_string(index=False, float_format="{:.3f}".format))
    print("mean of the tasks:", table.drop(columns=["task", "law", "CPU s"]).mean().round(3).to_dict())


if __name__ == "__main__":
    main()
