"""Loss curves as rows of a law of schedules.

add_schedule(pd.DataFrame({"step": [100.0, 200.0], "lr": [3e-4, 3e-5], "L": [3.0, 2.9]}))["S1"]
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from isoflop.analysis.laws.training import is_gradual
from isoflop.analysis.runs.read import read_runs
from isoflop.errors import UserError

_LABELS = ("curve", "run_id")


def add_schedule(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with `curve` (1, 2, ...) and `S1`. The rate of a row is that of the steps up to the next, or
    moves evenly to that of the next if it changes from row to row; before the first lies a straight warmup from zero.

    Curves are told apart by `curve` or run_id; a table without either is one. UserError without step or lr.
    """
    missing = [c for c in ("step", "lr") if c not in table]
    if missing:
        raise UserError(f"a curve has the columns step and lr; this table has no {' and no '.join(missing)}")
    label = next((c for c in _LABELS if c in table), None)
    codes = np.zeros(len(table), dtype=int) if label is None else pd.factorize(table[label])[0]
    step, lr, total = table["step"].to_numpy(float), table["lr"].to_numpy(float), np.zeros(len(table))
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        rows = rows[np.argsort(step[rows], kind="stable")]
        rate = lr[rows]
        rate = np.where(is_gradual(rate), (rate[:-1] + rate[1:]) / 2, rate[:-1])
        parts = np.diff(step[rows]) * rate
        total[rows] = step[rows[0]] * lr[rows[0]] / 2 + np.concatenate([[0.0], np.cumsum(parts)])
    names = codes + 1 if label is None else table[label]
    return table.assign(run_id=names, curve=codes + 1.0, S1=total)


def read_curves(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Read files of (step, lr, L), a curve each, into one table; run_id is the name of the file."""
    parts = [read_runs(path).frame.assign(run_id=Path(path).stem) for path in paths]
    return add_schedule(pd.concat([part.drop(columns="curve", errors="ignore") for part in parts], ignore_index=True))
