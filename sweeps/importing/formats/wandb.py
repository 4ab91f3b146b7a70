"""Weights & Biases: a project by its public API, or a folder of offline runs by `wandb leet inspect`; whole histories.

Runs that `logger=wandb` mirrored sent their record, which gives the rows that `isoflop collect` makes. W&B's own names,
which begin with an underscore, are no columns.
"""

import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from isoflop import record
from isoflop.errors import UserError
from isoflop.scaling.config.frozen import FrozenConfig, failure
from isoflop.sweeps.importing.log import STEP, Found, Log, numbers, plain

TITLE, RANK = "Weights & Biases", 1
# what W&B calls the end of a run -> what a record does; any other is a failure under its own name
STATES = {"finished": "ok", "crashed": "failed", "failed": "failed", "killed": "failed"}
# runs that have not ended yet
OPEN = ("running", "pending", "preempting")
# seconds to read one offline run
PATIENCE = 120
# its program is Go's, and soon over: garbage waits until there is much of it (https://go.dev/doc/gc-guide)
GO = {"GOGC": "off", "GOMEMLIMIT": "256MiB"}


def find(source: str) -> Iterator[Found]:
    """Find the runs of ENTITY/PROJECT, the one of ENTITY/PROJECT/ID, or those of the *.wandb files in a folder."""
    path = Path(source)
    if path.exists():
        yield from _offline(path)
    elif source.count("/") in (1, 2) and not source.startswith(("/", ".")):
        yield from _online(source)


def _online(source: str) -> Iterator[Found]:
    import wandb

    try:
        api = wandb.Api(timeout=60)
        for run in api.runs(source) if source.count("/") == 1 else [api.run(source)]:
            # a run of a listing may be bare: it is read later, so that a failure is of one run
            yield Found(f"{run.id} ({run.name})", partial(_fetched, run))
    except Exception as error:  # wandb has a tree of its own and requests another
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{source} cannot be read from W&B: {first}; see `wandb login`, and name it ENTITY/PROJECT"
        ) from None


def _fetched(run: Any) -> Log | None:
    """Read a run from the server, with its whole history: `history()` would sample it."""
    config, summary = dict(run.config), {"url": getattr(run, "url", None)} | dict(run.summary)
    return _log(run.id, run.name, run.state, config, summary, lambda: run.scan_history())


def _offline(path: Path) -> Iterator[Found]:
    """Find the runs of a folder; attempts at one run, which carry its id, are read as one."""
    attempts: dict[str, list[Path]] = defaultdict(list)
    files = [path] if path.suffix == ".wandb" else path.rglob("*.wandb")
    # by the time in the name of the folder: a later attempt comes later
    for file in sorted(files, key=lambda file: file.parent.name.removeprefix("offline-")):
        attempts[file.stem.removeprefix("run-")].append(file.resolve())
    for name, several in attempts.items():
        yield Found(str(several[0]), partial(_joined, name, several))


def _inspected(file: Path) -> subprocess.CompletedProcess[str]:
    """Run `wandb leet inspect --json` without Python's part of it, which takes a second to start."""
    from wandb.util import get_core_path

    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file"]
    printed: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace", "timeout": PATIENCE}
    return subprocess.run([*command, str(file), str(file.parent)], check=False, env={**os.environ, **GO}, **printed)


def _joined(run_id: str, attempts: list[Path]) -> Log | None:
    """Return the log of one run from what is printed of each of its attempts."""
    config, summary, points, damage = dict[str, Any](), dict[str, Any](), list[Any](), ""
    name, state = "", "running"
    for done in map(_inspected, attempts):
        for line in filter(None, done.stdout.splitlines()):
            entry = json.loads(line)
            content = entry[entry["type"]]
            match entry["type"]:
                case "run":
                    name, run_id = content.get("display_name", name), content.get("run_id", run_id)
                    config |= content.get("config", {}).get("update", {})
                case "config":
                    config |= content.get("update", {})
                case "summary":
                    summary |= content.get("update", {})
                case "history":
                    points.append(content.get("item", {}))
                case "exit":
                    state = "failed" if content.get("exit_code") else "finished"
        if done.returncode:
            damage = (done.stderr.strip().splitlines() or [""])[-1]
    if not (config or summary):
        raise ValueError(damage or "it holds neither config nor summary")
    log = _log(run_id, name, state, config, summary, lambda: points)
    return log and replace(log, damage=damage)


def _log(
    run_id: str,
    name: str,
    state: str,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    history: Callable[[], Any],
) -> Log | None:
    """Return what a run says; of ours the record, or its failure where it ended without one."""
    if config.get(record.REPORT_MARK):  # carries the figures of a dashboard
        return None
    status = STATES.get(state, "failed")
    reason = "" if status == "ok" else f"W&B says {state or 'nothing of how it ended'}"
    log = Log(run_id, name, status, reason)
    if isinstance(text := summary.get("record"), str):
        log.records = record.parse(text)
    elif not isinstance(config.get("frozen"), Mapping):
        log.config = plain(config, log.left_out)
        _add(log, history(), summary)
    elif state in OPEN:
        log.at_work = True
    else:
        frozen = FrozenConfig.from_json({**config["frozen"], "run_id": run_id})
        log.records = [failure(frozen, record.RunStatus.FAILED, reason)]
    return log


def _add(log: Log, history: Any, summary: Mapping[str, Any]) -> None:
    """Add the points of a history, and what only the summary holds: facts of the run, and its last values."""
    for item in history:
        point = numbers(item, log.left_out)
        log.points.append({STEP: float(item.get(STEP) or 0)} | point)
    logged = {name for point in log.points for name in point}
    facts = {name: value for name, value in plain(summary, log.left_out).items() if name not in logged}
    words: set[str] = set()
    values = numbers(facts, words)
    log.config = {f"config.{name}" if name in facts else name: value for name, value in log.config.items()}
    log.config |= {name: facts[name] for name in words}
    if log.points:
        log.config |= values
    elif values:
        log.points.append({STEP: float(summary.get(STEP) or 0)} | values)
