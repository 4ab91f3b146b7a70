"""Logs in JSON lines: a line for each time that was logged; what stands in lines without a step is the run's config.

A file is a run; with a column `run_id`, `run` or `run_name` it holds several, the lines of each together.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from isoflop.analysis.runs.names import NAMES
from isoflop.sweeps.importing.log import Found, Log, bears, numbers, plain

TITLE, RANK, ENDINGS = "JSON lines", 5, (".jsonl", ".ndjson")
RUN = ("run_id", "run", "run_name")


def find(source: str) -> Iterator[Found]:
    """Find the runs of a folder, or of one file."""
    path = Path(source)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.suffix in ENDINGS and file.is_file():
            name = str(file.relative_to(path).with_suffix("")) if path.is_dir() else file.stem
            yield from _runs(name, file)


def _runs(name: str, file: Path) -> Iterator[Found]:
    """Split a file into its runs, one after the other."""
    seen, damage = set[str](), list[str]()
    for run, lines in groupby(_lines(file, damage), lambda line: _run_of(line, name)):
        wrong = f"the lines of {run} are not together in {file.name}; sort it by run" if run in seen else ""
        seen.add(run)
        yield Found(f"{file}: {run}", partial(_read, run, list(lines), "; ".join(damage), wrong))
    if not seen:
        nothing = "it holds no JSON object" + (f" ({damage[0]})" if damage else "")
        yield Found(str(file), partial(_read, name, [], "", nothing))


def _lines(file: Path, damage: list[str]) -> Iterator[Mapping[str, Any]]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, text in enumerate(lines, 1):
            try:
                line = json.loads(text) if text.strip() else {}
            except (ValueError, RecursionError):
                line = None
            if not isinstance(line, dict):
                damage[:] = damage or [f"line {number} of {file.name} is no JSON object, and may not be the only one"]
            elif line:
                yield line


def _run_of(line: Mapping[str, Any], name: str) -> str:
    return next((str(line[key]) for key in RUN if isinstance(line.get(key), str | int)), name)


def _read(run: str, lines: list[Mapping[str, Any]], damage: str, wrong: str) -> Log:
    if wrong:
        raise ValueError(wrong)
    log = Log(run, run, damage=damage)
    for line in lines:
        line = {key: value for key, value in line.items() if key not in RUN}
        values = plain(line, left_out := set[str]())
        if any(bears(name, NAMES.parts["counter"]) for name in values):
            log.left_out |= left_out
            log.points.append(numbers({k: v for k, v in values.items() if not isinstance(v, str)}, log.left_out))
            log.config |= {name: value for name, value in values.items() if isinstance(value, str)}
        else:
            inner = line.get("config")
            log.config |= plain(inner if isinstance(inner, dict) else line, log.left_out)
    return log
