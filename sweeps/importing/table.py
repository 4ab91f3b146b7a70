"""One run's log under our names: a row for each evaluation, and its curve.

L is the loss on held-out data, and each time it was logged is an evaluation; where there is only a loss of training,
the last one is the run's row. N, D and C come from what was logged or configured, by usual names; D else from steps,
batch and length; C else is 6 N D (Kaplan et al. 2020, arXiv:2001.08361, section 2.1). Amounts that were logged at other
times than the loss are interpolated along the steps.

    from isoflop.sweeps.importing.log import Log

    log = Log("a", config={"params": 1e6, "batch": 8, "seq_len": 4}, points=[{"step": 10.0, "val_loss": 3.0}])
    tabled(log, Naming()).rows[0]["D"]        # 320.0
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isoflop import record
from isoflop.analysis.laws.declare import TRAIN
from isoflop.analysis.runs.names import NAMES, Reading, given, loss_of, plain
from isoflop.analysis.runs.read import under_our_names
from isoflop.errors import UserError
from isoflop.sweeps.importing.log import STEP, Log, bears
from isoflop.wording import MOST_SHOWN, cut

if TYPE_CHECKING:
    from isoflop.analysis.holdout.forecast import Forecast


# columns of a row before those of the log itself, and of a curve
FIRST = ("run_id", "name", "status", "reason", "step", "N", "D", "C", "L")
CURVE = ("run_id", "N", "step", "D", "lr", "L", "loss_unit")
# ours that grow along a run
AMOUNTS = ("D", "C")
# what a step is multiplied by
PARTS = ("per_step", "examples", "length")
# names of a size, and of those, that a user may state
SETTABLE = ("n", *NAMES.usual["N"], *(name for part in PARTS for name in NAMES.parts[part]))
# of an amount that does not grow along the log, and so says nothing of how far a run is
OF_THE_WHOLE = "{} is that of the whole run: a share of it by the steps"
# what the table cannot do without
ASKED = {
    "N": "N is in no log: give --columns N=NAME or --set N=1e8, for laws that have it",
    "D": "D is in no log: give --columns D=NAME, or what a step takes: --set batch_size=64,seq_len=1024",
}


@dataclass(frozen=True)
class Naming:
    """What the user says of the logs."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name -> the log's, as in --columns."""
    constants: Mapping[str, float] = field(default_factory=dict)
    """What no log says, for every run: {"N": 1e8, "seq_len": 1024}."""


@dataclass(frozen=True)
class Tabled:
    """A run under our names."""

    log: Log
    """What it was read from, without its points."""
    rows: list[dict[str, Any]]
    """One for each evaluation."""
    curve: pd.DataFrame
    """Step, D, lr and the loss of training, or the held-out one where no other was logged (CURVE)."""
    loss: str
    """The column that is L."""
    along: str
    """The column that the curve's L is."""
    notes: list[str]
    """Where the others come from."""
    lost: float | None = None
    """The step from which on the curve's loss is not finite; None where it is to the end."""

    def against(
        self, forecast: "Forecast", place: Mapping[str, float], below: float | None = None
    ) -> tuple[str, dict[str, Any], bool]:
        """Return what a point of a forecast says of the curve: words, a document, and whether it is an alarm."""
        from isoflop.analysis.holdout.watching.follow import follow

        if OF_THE_WHOLE.format("D") in self.notes:
            raise UserError(f"{self.log.run_id} tells D of the whole run alone; give --set batch_size=64,seq_len=1024")
        if self.lost is not None:
            text = f"step {self.lost:.0f}: the loss is not finite from here on, and the run has diverged"
            return text, {"state": "diverged", "since": {"step": self.lost}}, True
        watched = replace(follow(forecast, self.curve, place), loss=self.along)
        return watched.text(below), watched.to_json(below), watched.state == "outside"


def tabled(log: Log, naming: Naming) -> Tabled:
    """Return one run under our names; ValueError where it logged no step or no loss."""
    points, columns = _points(log), naming.columns
    reading = _loss(points, columns)
    elsewhere = [name for name in points if {*plain(str(name)).split("_")} & {*NAMES.measured_on[0]}]
    held_out = reading.column in elsewhere
    table, called = _with_facts(points, log.config, naming)
    named, said = under_our_names(table, {**called, "L": columns.get("L", reading.column)}, log.run_id)
    named, more = _completed(named, points)
    logged = [f"{ours} is {name}, as it was logged" for ours, name in called.items() if ours not in columns]
    notes = [*logged, *said, *more] + ([] if held_out else [f"{reading.column} is logged in training: its last is L"])
    measured = named[named["L"].notna()]
    if measured.empty:
        raise ValueError(f"{reading.column} was never logged")
    measured = measured if held_out else measured.tail(1)
    along = loss_of(points.drop(columns=elsewhere)) or reading
    curve = named.assign(run_id=log.run_id, L=along.of(points), step=points["step"])
    if len(lr := [name for name in points if bears(str(name), ("lr", *NAMES.usual["lr"]))]) == 1:
        curve = curve.assign(lr=points[lr[0]].ffill())
    sound = curve.loc[np.isfinite(curve["L"]) & (curve["step"] > 0), [name for name in CURVE if name in curve]]
    logged_L = curve["L"].dropna()
    lost = curve["step"][logged_L.index[~np.isfinite(logged_L)[::-1].cummax()[::-1]]]
    log.points.clear()
    since = float(lost.iloc[0]) if len(lost) else None
    return Tabled(log, _rows(log, measured), sound, reading.column, along.column, notes, since)


def _points(log: Log) -> pd.DataFrame:
    """Return what was logged, a row for each step, in their order."""
    table = pd.DataFrame(log.points, dtype=float)
    counters = [name for name in table.columns if name != STEP and bears(name, NAMES.parts["counter"])]
    best = max(counters, key=lambda name: (np.isfinite(table[name].to_numpy(float)).sum(), -len(name)), default=None)
    if best is None and STEP not in table:
        raise ValueError("it logged no step, under any usual name (step, global_step, iteration)")
    # a count that another tool keeps beside the log's own is of the same steps, and says more than that of the calls
    step = table[best] if best else table[STEP]
    if best and STEP in table:
        step = step.fillna(pd.Series(np.interp(table[STEP], table[STEP][step.notna()], step.dropna()), table.index))
    others = [name for name in counters if name != best]
    log.left_out |= {*others}
    table = table.drop(columns=[*counters, *([STEP] if STEP in table else [])]).assign(step=step)
    points: pd.DataFrame = table[np.isfinite(table["step"])].copy()
    if points.empty:
        raise ValueError("it logged nothing")
    if not (np.diff(points["step"]) > 0).all():
        for name in points.columns.drop("step"):  # what was logged before a run was taken up again at an earlier step
            steps = points["step"][points[name].notna()]
            points.loc[steps.index[steps > steps[::-1].cummin()[::-1]], name] = np.nan
        points = points.groupby("step", as_index=False).last()
    return points[points.drop(columns="step").notna().any(axis=1)].reset_index(drop=True)


def _loss(points: pd.DataFrame, columns: Mapping[str, str]) -> Reading:
    """Return the column of the loss; ValueError where there is none, or several are as good."""
    if "L" in columns:
        if (named := given(points, "L", columns["L"])) is None:
            raise ValueError(f"it has no column {columns['L']!r}; it logged {_listed(points)}")
        return named
    if (reading := loss_of(points)) is None:
        raise ValueError(f"no one column is its loss; choose by --columns L=...: it logged {_listed(points)}")
    return reading


def _listed(points: pd.DataFrame) -> str:
    return cut(", ".join(name for name in points.columns if name != "step"), 4 * MOST_SHOWN)


def _with_facts(points: pd.DataFrame, config: Mapping[str, Any], naming: Naming) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the points with the facts of the run beside them, and what is called what.

    A fact whose name was logged too is called config.NAME; so is a plan of the steps, and one of the data where what
    was made of it can be had.
    """
    columns, constants = naming.columns, naming.constants
    called = dict(columns)
    for ours in (*AMOUNTS, "N"):
        there = {*points} | ({*config} if ours == "N" else set())  # of a size that was configured too: model.n_params
        logged = [name for name in map(str, there) if name != ours and bears(name, NAMES.usual[ours])]
        if ours not in (*called, *points, *constants) and len(logged) == 1:
            called[ours] = logged[0]
    facts = {name: value for name, value in config.items() if name not in constants}
    parts = {part for part in PARTS for name in (*facts, *constants) if bears(name, NAMES.parts[part])}
    made = "D" in called or "per_step" in parts or parts >= {"examples", "length"}
    planned = {*NAMES.parts["step"], *(("d", *NAMES.usual["D"]) if made else ())}
    aside = {n for n in facts if n in points or (n not in columns.values() and bears(n, planned))}
    renamed = {f"config.{name}" if name in aside else name: value for name, value in facts.items()}
    return pd.concat([points, pd.DataFrame({**renamed, **constants}, index=points.index)], axis=1), called


def _completed(named: pd.DataFrame, points: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with amounts between the steps at which they were logged, and C where there is none; notes."""
    notes, step = [], points["step"].to_numpy(float)
    for ours in AMOUNTS:
        if ours not in named or not pd.api.types.is_numeric_dtype(named[ours]):
            continue
        amount = named[ours].to_numpy(float)
        known = np.isfinite(amount) & (step > 0)
        if known.any() and len(step) > 1 and np.ptp(amount[known]) == 0 and known.sum() > 1:
            named[ours] = amount * step / step[-1]
            notes.append(OF_THE_WHOLE.format(ours))
        elif known.any() and not known.all():
            rate = amount[known] / step[known]
            named[ours] = np.where(known, amount, np.interp(step, step[known], rate) * step)
    if ("N" not in named or named["N"].isna().all()) and {"C", "D"} <= {*named}:
        named = named.assign(N=float((named["C"] / TRAIN / named["D"]).iloc[-1]))
        notes.append("N is C/(6 D)")
    if "N" in named:  # which may have been logged once, or follow from what was
        named = named.assign(N=named["N"].ffill().bfill())
    if "C" not in named and {"N", "D"} <= {*named}:
        named = named.assign(C=TRAIN * named["N"] * named["D"])
        notes.append("C is 6 N D: no FLOPs were logged")
    notes += [words for ours, words in ASKED.items() if ours not in named]
    # whatever else was logged holds until it is logged again
    return named.assign(**{str(c): named[c].ffill() for c in points if c in named and c not in ("L", *AMOUNTS)}), notes


def _rows(log: Log, measured: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row for each evaluation; where the loss is not finite any more the run diverged."""
    rows = []
    if "lr" in measured and len(measured) > 1:  # a knob of the run: its peak
        measured = measured.assign(lr=measured["lr"].max())
    for row in measured.to_dict("records"):
        head: dict[str, Any] = {"run_id": log.run_id, "name": log.name, "status": log.status, "reason": log.reason}
        values = {
            str(n): v for n, v in row.items() if v is not None and not (isinstance(v, float) and not np.isfinite(v))
        }
        if "L" not in values and log.status == record.RunStatus.OK:
            head |= {"status": record.RunStatus.DIVERGED, "reason": "its loss is not finite"}
        rows.append({**{f"logged.{n}" if n in head else n: v for n, v in values.items()}, **head})
        if "L" not in values:
            break
    return rows
