"""Loss curves beside the table of runs: as rows of a law of schedules, and trunks beside the marks cut from them.

add_schedule turns (step, lr) into S1, the sum of the rates so far, and the number of the curve. add_trunks adds to a
sweep's marks the training loss at the constant rate, from curve.csv: a run of several marks trains on at a constant
rate, and its training loss there is that of new targets, as long as none is seen twice: a measurement that costs
nothing. Such a row has `heat` 1, a cooled mark COOLED. The loss of a point of the curve is the mean since the point
before, so it counts for the middle of the two; earlier steps than the first mark of any run follow no law.

    from isoflop.analysis.runs.read import read_runs

    add_schedule(pd.DataFrame({"step": [100, 200], "lr": [3e-4, 3e-5]}))     # with curve and S1
    add_trunks(read_runs("theirs.csv"), Path("theirs.csv"))     # UserError: a table has no curves; give the folder
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from isoflop.analysis.laws.schedules import is_gradual
from isoflop.analysis.laws.trunk import HEAT
from isoflop.analysis.runs.formats import check_file
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import UserError
from isoflop.folder import RunFolder

LABELS = ("curve", "run_id")
# heat of a cooled mark; a law takes numbers above 0 alone, and this is none beside 1
COOLED = 1e-9
# of the peak rate: a rate as near to it is the constant one, which a file holds in decimals
SAME_RATE = 1e-6
POINT = ("step", "D", "C", "lr", "L_train")


def add_schedule(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with `curve` (1, 2, ...) and `S1`. The rate of a row is that of the steps up to the next, or
    moves evenly to that of the next if it changes from row to row; before the first lies a straight warmup from zero.

    Curves are told apart by `curve` or run_id; a table without either is one. UserError without step or lr.
    """
    missing = [c for c in ("step", "lr") if c not in table]
    if missing:
        raise UserError(f"a curve has the columns step and lr; this table has no {' and no '.join(missing)}")
    label = next((c for c in LABELS if c in table), None)
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


def add_trunks(runs: RunsLike, folder: Path) -> Runs:
    """Return the rows of `runs` (of a folder of runs), heat COOLED, and those of their trunks from the first mark on,
    heat 1.

    UserError where no run has a trunk beyond the first mark.
    """
    runs = as_runs(runs)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of runs, and --curves reads the curve.csv of each run; give the folder")
    files = {file.parent.name: file.parent for file in sorted(folder.rglob(RunFolder.RECORDS))}
    marks = runs.usable.frame
    first = float(marks["D"].min())
    parts = [_trunk(rows, files[str(run)], first) for run, rows in marks.groupby("run_id") if str(run) in files]
    trunks = pd.concat(parts) if parts else pd.DataFrame()
    if trunks.empty:
        raise UserError(
            f"no run in {folder} has points of its curve at a constant rate beyond the first mark (D={first:.3g}): "
            "give its runs several marks, as in budget.D=[1e5,1e6], or leave --curves out"
        )
    table = pd.concat([runs.frame.assign(**{HEAT: COOLED}), trunks], ignore_index=True)
    note = f"{len(trunks)} rows are points of the curve of {trunks['run_id'].nunique()} runs at a constant rate"
    return replace(runs.with_frame(table, note), lines=False)


def _trunk(marks: pd.DataFrame, folder: Path, first: float) -> pd.DataFrame:
    """Return the rows of one run's trunk, which share what is not measured with its last mark."""
    last = marks.sort_values("D").iloc[-1]
    points = _points(RunFolder(folder).curve)
    before = np.concatenate([[0.0], points["D"].to_numpy()[:-1]])
    middle = (points["D"] + before) / 2
    once = points["D"] <= last["D_unique"] if pd.notna(last.get("D_unique")) else True
    peak = points["lr"] >= (1 - SAME_RATE) * points["lr"].max()
    # a schedule that never holds its rate has one point at its peak
    steady = peak & peak.shift(fill_value=False)
    points = points.assign(D=middle)[steady & once & (middle >= first)]
    own = {"D", "C", "L", HEAT, "mark", *(c for c in last.index if str(c).startswith(("L_", "metric.", "probe.")))}
    shared = {name: last[name] for name in last.index if name not in own}
    rows = pd.DataFrame(shared, index=points.index).assign(
        D=points["D"], C=points["D"] * (last["C"] / last["D"]), L=points["L_train"], **{HEAT: 1.0}
    )
    return rows.assign(mark=[-(k + 1) for k in range(len(rows))])


def _points(path: Path) -> pd.DataFrame:
    """Return the sound points of a curve, by step; none where there is no file."""
    try:
        check_file(path)
        table = pd.read_csv(path, usecols=list(POINT), on_bad_lines="skip")
    except (OSError, ValueError):  # a curve that is damaged tells nothing
        return pd.DataFrame({name: np.empty(0) for name in POINT})
    numbers = table.apply(pd.to_numeric, errors="coerce").astype(float)
    sound = np.isfinite(numbers).all(axis=1) & (numbers > 0).all(axis=1)
    points: pd.DataFrame = numbers[sound].drop_duplicates("step", keep="last").sort_values("step", ignore_index=True)
    return points
