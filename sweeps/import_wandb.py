"""Runs that Weights & Biases has, as a table to fit: from a project online, or from the folder of offline runs.

    isoflop import-wandb ENTITY/PROJECT -o runs.csv
    isoflop import-wandb ./wandb -o runs.csv

Runs that `logger=wandb` mirrored give the table that `isoflop collect` gives: each sent its record. Any other run is a
row of its config and summary (the last values logged), nested names joined by dots, and its state as W&B has it.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from isoflop import files, record
from isoflop.errors import UserError
from isoflop.scaling.config.columns import failure
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.sweeps import collect
from isoflop.wording import csv_text

# what W&B calls the end of a run -> what a record does; any other is a failure under its own name
STATES = {"finished": "ok", "crashed": "failed", "failed": "failed", "killed": "failed"}
# runs that have not ended yet
OPEN = ("running", "pending", "preempting")
# seconds to read one offline run
PATIENCE = 120
# runs at work that are named one by one
MOST_NAMED = 5


@dataclass
class Imported:
    """What was read of the runs."""

    records: dict[str, list[record.Row]] = field(default_factory=dict)
    """The records of runs of ours, by run_id."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """A row for each other run."""
    unread: dict[str, str] = field(default_factory=dict)
    """Runs that could not be read, with the reason."""
    unfinished: list[str] = field(default_factory=list)
    """Runs of ours that are at work, which have no row before they end."""
    left_out: set[str] = field(default_factory=set)
    """Columns that hold no number or word."""

    def __str__(self) -> str:
        lost = [f"could not read {name}: {reason}" for name, reason in self.unread.items()]
        names = ", ".join(sorted(self.left_out))
        columns = f"left out {len(self.left_out)} columns that hold no number or word: {names}"
        ends = [row["status"] for row in self.rows] + [rows[-1]["status"] for rows in self.records.values()]
        lost_runs = sum(status != "ok" for status in ends)
        state = f" ({lost_runs} not finished, which fits leave out)" if lost_runs else ""
        work = f"left out {len(self.unfinished)} that are at work: {', '.join(self.unfinished[:MOST_NAMED])}"
        more = [*lost, *([columns] if self.left_out else []), *([work] if self.unfinished else [])]
        return "\n".join([f"{len(ends)} runs{state}", *more])


def import_wandb(source: str, api: Any = None) -> Imported:
    """Read a project (ENTITY/PROJECT, by the public API) or a folder of offline runs; UserError if there is none."""
    imported = Imported()
    folder = Path(source)
    runs = _offline(folder, imported) if folder.is_dir() else _online(source, api)
    for run_id, name, state, read in _safely(runs, source):
        try:
            _take(imported, run_id, name, state, *read())
        except Exception as error:  # of one run: network, permissions, a summary that is not a mapping
            imported.unread[f"{run_id} ({name})"] = f"{type(error).__name__}: {error}"
    if not (imported.rows or imported.records):
        why = "; ".join(f"{name}: {reason}" for name, reason in imported.unread.items())
        lost = f"{source} has no run that can be read{': ' + why if why else ''}"
        raise UserError(f"{lost}; name ENTITY/PROJECT or a folder")
    return imported


def _take(
    imported: Imported, run_id: str, name: str, state: str, config: Mapping[str, Any], summary: Mapping[str, Any]
) -> None:
    """Add one run: the record that a run of ours sent, or its failure where it ended without one; else a row."""
    if config.get(record.REPORT_MARK):  # carries the figures of a dashboard
        return
    if isinstance(text := summary.get("record"), str):
        imported.records[run_id] = record.parse(text)
    elif not isinstance(config.get("frozen"), Mapping):
        imported.rows.append(_row(run_id, name, state, config, summary, imported.left_out))
    elif state in OPEN:
        imported.unfinished.append(run_id)
    elif run_id not in imported.records:  # of an earlier attempt
        frozen = FrozenConfig.from_json({**config["frozen"], "run_id": run_id})
        imported.records[run_id] = [failure(frozen, record.RunStatus.FAILED, _reason(state))]


def _safely(runs: Iterable[Any], source: str) -> Iterator[Any]:
    """Return the runs, and one sentence where the listing itself ends in an error."""
    try:
        yield from runs
    except UserError:
        raise
    except Exception as error:  # wandb has a tree of its own and requests another
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{source} cannot be read from W&B: {first}; see `wandb login`, and name it ENTITY/PROJECT"
        ) from None


def _online(source: str, api: Any) -> Iterator[Any]:
    if source.count("/") != 1 or source.startswith(("/", ".")):
        raise UserError(f"{source!r} is neither a folder nor ENTITY/PROJECT; write isoflop import-wandb me/project")
    if api is None:
        import wandb

        api = wandb.Api(timeout=60)
    for run in api.runs(source):
        # a run of a listing may be bare: it is read later, so that a failure is of one run
        yield run.id, run.name, run.state, partial(_contents, run)


def _contents(run: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the config and the last values of a run, read from the server."""
    return dict(run.config), {"url": getattr(run, "url", None)} | dict(run.summary)


def _offline(folder: Path, imported: Imported) -> Iterator[Any]:
    """Return the runs of a folder, by `wandb leet inspect`."""
    # by the time in the name of the folder: a later attempt at a run comes later
    logs = sorted(folder.rglob("*.wandb"), key=lambda log: log.parent.name.removeprefix("offline-"))
    if not logs:
        raise UserError(
            f"{folder} holds no *.wandb file of a run; give the folder that `wandb` wrote, or ENTITY/PROJECT"
        )
    for log in logs:
        command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--summary", "--json", str(log)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
            inspected = json.loads(done.stdout) if done.returncode == 0 else None
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            imported.unread[str(log)] = f"{type(error).__name__}: {error}"
            continue
        inspected = inspected if isinstance(inspected, dict) else {}
        config, summary = inspected.get("config") or {}, inspected.get("summary") or {}
        if not (config or summary):
            lines = done.stderr.strip().splitlines() or ["it holds neither config nor summary"]
            imported.unread[str(log)] = lines[-1]
            continue
        name, state = inspected.get("name", ""), inspected.get("state", "")
        yield inspected["run_id"], name, state, lambda found=(config, summary): found


def _row(
    run_id: str, name: str, state: str, config: Mapping[str, Any], summary: Mapping[str, Any], left_out: set[str]
) -> dict[str, Any]:
    """Return the row of one run; a name that config and summary share is the config's under `config.`."""
    status = STATES.get(state, "failed")
    row: dict[str, Any] = {"run_id": run_id, "name": name, "status": status}
    row["reason"] = "" if status == "ok" else _reason(state)
    results = dict(_flat(summary, left_out))
    for key, value in _flat(config, left_out):
        row[f"config.{key}" if key in results or key in row else key] = value
    return row | {f"summary.{k}" if k in ("run_id", "name", "status", "reason") else k: v for k, v in results.items()}


def _reason(state: str) -> str:
    """Return why a run has no result, as far as W&B knows."""
    return f"W&B says {state or 'nothing of how it ended'}"


def _flat(tree: Mapping[str, Any], left_out: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield names joined by dots and their plain values; skip W&B's own names, which begin with an underscore."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if name.startswith("_"):
            continue
        if isinstance(value, Mapping) and value and "_type" not in value:
            yield from _flat(value, left_out, f"{name}.")
        elif isinstance(value, str | int | float | bool):
            yield name, value
        elif value is not None:
            left_out.add(name)


def write(imported: Imported, out: Path, overwrite: bool = False) -> None:
    """Write the table, whole or not at all; UserError if it cannot be written there, or another file is there."""
    collect.refuse_place(out)
    if out.exists() and not overwrite:
        raise UserError(f"-o {out} is there already; name another file, or give --overwrite to replace it")
    ours = sorted((row for rows in imported.records.values() for row in rows), key=collect.sort_key)
    if not imported.rows:
        files.write_text(out, collect.csv_text(ours))
        return
    first = ["run_id", "name", "status", "reason"]
    rows = [*ours, *sorted(imported.rows, key=lambda row: str(row["run_id"]))]
    names = [*first, *sorted({key for row in rows for key in row} - set(first))]
    files.write_text(out, csv_text(names, rows))
