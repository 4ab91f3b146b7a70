"""Errors of each law on the expensive runs of ScaleBench (arXiv:2604.22753), fitted to the cheap ones.

    ISOFLOP_REFERENCE_DATA=... python benchmarks/held_out.py

For each task and law: the root mean square of the log error on the held-out rows, beside the error of the same law that
was measured before (with another solver, or with this one) where there is one; the objective on the fitted rows, the
status, and how many starts reach the optimum. `best`, the average of laws, is chosen without a look at held-out rows;
its reference is what was asked of it. Nothing is kept between runs; a minute of one core is enough.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.fit import Fit, fit
from isoflop.analysis.holdout.average import Average, average_laws
from isoflop.analysis.runs.read import read_runs
from isoflop.errors import UserError


@dataclass(frozen=True)
class Task:
    """A task, the laws that are defined on it with the reference error [%] of each, and how its rows are grouped."""

    name: str
    laws: dict[str, float | None]
    by: str | None = None
    pin: dict[str, dict[str, float]] = field(default_factory=dict)
    best_of: tuple[str, ...] = ()  # only the best row of each cell of these columns


TASKS = (
    Task(
        "farseer",
        {
            "best": 0.5,
            "chinchilla": 3.11,
            "chinchilla_tied": None,
            "kaplan": 1.28,
            "multiplicative": 0.486,
            "farseer": 0.461,
        },
    ),
    Task(
        "data_constrained",
        {
            "best": 2.8,
            "chinchilla": 3.91,
            "multiplicative": None,
            "data_constrained": 4.03,
            "overfit_penalty": 2.77,
            "repetition_penalty": 2.66,
        },
        # Muennighoff et al.'s data side alone: N' = N where excess parameters keep their worth
        pin={"data_constrained": {"R_N": 1e6}},
    ),
    Task("parallel", {"parscale": None}, by="group"),
    Task("sparsity", {"sparse": None}, by="group"),
    Task("lr_bsz", {"lr_rule": None, "batch_rule": None}, best_of=("N", "D")),
)


def rows_of(task: Task, part: str) -> pd.DataFrame:
    """Return the rows of one part of a task."""
    folder = os.environ.get("ISOFLOP_REFERENCE_DATA")
    if not folder:
        raise UserError("ISOFLOP_REFERENCE_DATA names no folder; set it to the folder that holds PlanarG__active-sl")
    rows = read_runs(f"{folder}/PlanarG__active-sl/{task.name}_{part}.csv").frame
    return rows.loc[rows.groupby(list(task.best_of))["L"].idxmin()] if task.best_of else rows


def pairs(task: Task) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield rows to fit and rows to predict, group by group."""
    train, test = rows_of(task, "train"), rows_of(task, "test")
    for group in train[task.by].unique() if task.by else (None,):
        yield (train, test) if group is None else tuple(rows[rows[task.by] == group] for rows in (train, test))


def measure(task: Task, name: str) -> dict[str, object]:
    """Return a line of the table."""
    begun = time.process_time()
    fits: list[Fit | Average] = []
    errors: list[np.ndarray] = []
    for train, test in pairs(task):
        best = name == "best"
        law = average_laws(train) if best else fit(train, name, pin=task.pin.get(name), interval="none")
        fits.append(law)
        errors.append(np.log(law.predict(test) / test[law.law.target].to_numpy(float)))
    error = 100 * float(np.sqrt((np.concatenate(errors) ** 2).mean()))
    reference = task.laws[name]
    return {
        "task": task.name,
        "law": name + "".join(f", {k}={v:g}" for k, v in task.pin.get(name, {}).items()),
        "fitted": sum(len(f.rows) for f in fits),
        "held out": sum(map(len, errors)),
        "RMSLE %": f"{error:.3f}",
        "reference %": "" if reference is None else f"{reference:g}",
        "objective": "" if name == "best" else f"{sum(f.objective or np.nan for f in fits):.8g}",
        "status": "/".join(dict.fromkeys(str(f.status) for f in fits)),
        "starts": " ".join(f"{f.starts.at_optimum}/{f.starts.tried}" for f in fits if isinstance(f, Fit)),
        "CPU s": f"{time.process_time() - begun:.1f}",
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of a task's name")
    options = parser.parse_args()
    table = pd.DataFrame([measure(t, name) for t in TASKS if options.only in t.name for name in t.laws])
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
