"""Loss curves beside the table of runs: as rows of a law of schedules, and trunks beside the marks cut from them.

`add_schedule` turns (step, lr) into S1, the sum of the rates so far, and the number of the curve. `add_trunks` adds to
a sweep's marks the training loss at the constant rate, from curve.csv: a run of several marks trains on at a constant
rate, and its training loss there is that of new targets, as long as none is seen twice: a measurement that costs
nothing. Such a row has `heat` 1, a cooled mark COOLED. The loss of a point of the curve is the mean since the point
before, so it counts for the middle of the two; earlier steps than the first mark of any run follow no law.

Both are fitted together: at a constant rate a model is worse by a gap, a power of the data, or of a law without D of
its last column. It needs no theory of annealing: cooled marks tell it where they are, and it is followed along the
trunk between and around them (Hagele et al. 2024, arXiv:2405.18392, train so, at a constant rate with cooldowns).

    on_trunks(get_law("chinchilla")).columns     # ('N', 'D', 'heat')
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.arguments import describe
from isoflop.analysis.fitting.fit import OPTIONS, fit, fit_groups
from isoflop.analysis.fitting.optimum import spread_of
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.fitting.settings import NOISE
from isoflop.analysis.laws.declare import Kind, Law, get_law
from isoflop.analysis.laws.training import is_gradual
from isoflop.analysis.runs.formats import check_file
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import TooFewRowsError, UserError
from isoflop.folder import RunFolder

# 1 of a row on the trunk, of a cooled model nothing
_HEAT = "heat"
_LABELS = ("curve", "run_id")
# heat of a cooled mark; a law takes numbers above 0 alone, and this is none beside 1
COOLED = 1e-9
# of the peak rate: a rate as near to it is the constant one, which a file holds in decimals
_SAME_RATE = 1e-6
_POINT = ("step", "D", "C", "lr", "L_train")


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
    table = pd.concat([runs.frame.assign(**{_HEAT: COOLED}), trunks], ignore_index=True)
    note = f"{len(trunks)} rows are points of the curve of {trunks['run_id'].nunique()} runs at a constant rate"
    return replace(runs.with_frame(table, note), lines=False)


def _trunk(marks: pd.DataFrame, folder: Path, first: float) -> pd.DataFrame:
    """Return the rows of one run's trunk, which share what is not measured with its last mark."""
    last = marks.sort_values("D").iloc[-1]
    points = _points(RunFolder(folder).curve)
    before = np.concatenate([[0.0], points["D"].to_numpy()[:-1]])
    middle = (points["D"] + before) / 2
    once = points["D"] <= last["D_unique"] if pd.notna(last.get("D_unique")) else True
    peak = points["lr"] >= (1 - _SAME_RATE) * points["lr"].max()
    # a schedule that never holds its rate has one point at its peak
    steady = peak & peak.shift(fill_value=False)
    points = points.assign(D=middle)[steady & once & (middle >= first)]
    own = {"D", "C", "L", _HEAT, "mark", *(c for c in last.index if str(c).startswith(("L_", "metric.", "probe.")))}
    shared = {name: last[name] for name in last.index if name not in own}
    rows = pd.DataFrame(shared, index=points.index).assign(
        D=points["D"], C=points["D"] * (last["C"] / last["D"]), L=points["L_train"], **{_HEAT: 1.0}
    )
    return rows.assign(mark=[-(k + 1) for k in range(len(rows))])


def _points(path: Path) -> pd.DataFrame:
    """Return the sound points of a curve, by step; none where there is no file."""
    try:
        check_file(path)
        table = pd.read_csv(path, usecols=list(_POINT), on_bad_lines="skip")
    except (OSError, ValueError):  # a curve that is damaged tells nothing
        return pd.DataFrame({name: np.empty(0) for name in _POINT})
    numbers = table.apply(pd.to_numeric, errors="coerce").astype(float)
    sound = np.isfinite(numbers).all(axis=1) & (numbers > 0).all(axis=1)
    points: pd.DataFrame = numbers[sound].drop_duplicates("step", keep="last").sort_values("step", ignore_index=True)
    return points


# a gap is above zero; how it goes with the data is not known
_GAP, _GAP_POWER = Kind(low=0.0, log=True, linear=True), Kind(low=-10.0, high=10.0, start=(-1.0, 1.0))


def on_trunks(law: Law) -> Law:
    """Return the law of rows that have `heat` beside the law's own columns; without that column it is the law
    itself."""
    along = law.columns.index("D") if "D" in law.columns else len(law.columns) - 1
    power = f"gap_{law.arguments[along]}"

    def function(*columns: Any, **params: Any) -> Any:
        own = {name: params[name] for name in law.params}
        cooled = law(*columns[: len(law.columns)], **own)
        if len(columns) == len(law.columns):
            return cooled
        return cooled + params["gap"] * columns[along] ** params[power] * columns[-1]

    return replace(
        law,
        function=function,
        columns=(*law.columns, _HEAT),
        arguments=(*law.arguments, _HEAT),
        params=dict(law.params) | {"gap": _GAP, power: _GAP_POWER},
        formula=f"{law.formula}; on a trunk + gap {law.columns[along]}^{power}",
        name=f"{law.name} on trunks",
        log_linear=False,
    )


@describe("runs", "law", "by", options="those of `fit`: " + ", ".join(OPTIONS))
def fit_trunks(runs: RunsLike, law: str | Law = "chinchilla", *, by: Sequence[str] = (), **options: Any) -> list[Fit]:
    """Fit `law` to each group of equal `by`, by its marks and its trunks, which `heat` distinguishes."""
    if options.get("weights", "none") != "none":
        raise UserError("--curves weighs marks and trunks by their noise; leave --weights out")
    cooled = get_law(law)
    joint = on_trunks(cooled)
    fits = []
    for label, rows in as_runs(runs).by(by).items():
        try:
            noise, words = _noise_of_kinds(rows, joint, options)
        except TooFewRowsError:  # said by the fit itself
            fits += [replace(one, by=label.by) for one in fit_groups(rows, joint, **options)]
            continue
        one = fit(rows.with_columns(**{NOISE: noise}), joint, by=label.by, **(options | {"weights": NOISE}))
        of_cooled = replace(joint, columns=cooled.columns, arguments=cooled.arguments)
        fits.append(replace(one, law=of_cooled, notes=(*one.notes, words)))
    return fits


def _noise_of_kinds(rows: Runs, law: Law, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    """Return the noise of ln L of each row (rows,), that of its kind, by the residuals of a fit that weighs all
    alike."""
    first = fit(rows, law, **(options | {"interval": "none"}))
    assert first.optimum is not None
    gaps, hot = first.optimum.residuals(), first.rows[_HEAT].to_numpy(float) > 0.5
    if hot.all() or not hot.any():
        raise UserError("--curves needs marks and trunks in each group; leave it out, or give runs of several marks")
    # each kind bears a share of the parameters by its number of rows
    free = len(law.params)
    marks, trunk = (spread_of(gaps[k], round(free * k.mean())) for k in (~hot, hot))
    words = f"marks scatter by {100 * marks:.2g}% about the law, points of the trunks by {100 * trunk:.2g}%"
    least = 1e-6  # a law that goes through all marks leaves them no noise, and no weight is infinite
    return np.where(rows[_HEAT].to_numpy(float) > 0.5, max(trunk, least), max(marks, least)), words
