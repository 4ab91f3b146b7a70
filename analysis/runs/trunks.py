"""The trunks of a sweep's runs beside their marks: rows of the training loss at the constant rate, from curve.csv.

A run of several marks trains on at a constant rate, and its training loss there is that of new targets, as long as none
is seen twice: a measurement that costs nothing. Such a row has `heat` 1, a cooled mark COOLED. The loss of a point of
the curve is the mean since the point before, so it counts for the middle of the two. The law is asked for from the
first mark of any run on, and earlier steps follow none.

    from isoflop.analysis.runs.read import read_runs

    add_trunks(read_runs("theirs.csv"), Path("theirs.csv"))     # UserError: a table has no curves; give the folder
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from isoflop.analysis.laws.trunk import HEAT
from isoflop.analysis.runs.formats import check_file
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import UserError
from isoflop.folder import RunFolder

# heat of a cooled mark; a law takes numbers above 0 alone, and this is none beside 1
COOLED = 1e-9
# of the peak rate: a rate as near to it is the constant one, which a file holds in decimals
SAME_RATE = 1e-6
POINT = ("step", "D", "C", "lr", "L_train")


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
