"""The record: one tidy row per (run, mark), the table at which training and analysis meet (no torch, no pandas).

A run writes its rows to its folder, all at once or not at all, with a digest (SHA-256) of their bytes; knobs are
columns named as the override that sets them (`family.n_heads`). What rows may hold (checks.py) is checked when
they are written and read. `isoflop.sweeps.collect` joins the folders into runs.csv.

    write(folder, [row(run_id="a1b2", status="ok", N=1e5, D=1e6, L=1.9)])
    read(folder)[0]["L"]
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from isoflop import files
from isoflop.checks import CellKind, Checker, Range, disagreement
from isoflop.errors import UserError
from isoflop.folder import RunFolder

Row = dict[str, Any]


class RunStatus(StrEnum):
    """How a run ended, as its rows say."""

    OK = "ok"
    """Trained and measured."""
    DIVERGED = "diverged"
    """The loss stopped being a number; it would again, so the run is not repeated."""
    FAILED = "failed"
    """An error or a lost process; the reason says which. The same command tries again."""
    TIMEOUT = "timeout"
    """It exceeded its time limit; the same command tries again."""

    @property
    def has_result(self) -> bool:
        return self in (RunStatus.OK, RunStatus.DIVERGED)


STATUSES = tuple(RunStatus)
# the family's dials, and what identifies a run of a sweep to a reader
DIALS = ("width", "depth")
WHO = ("family", *DIALS, "seed")
# in a W&B run's config: it carries the figures of `isoflop dashboard` and was not trained
REPORT_MARK = "isoflop_report"
# what every row has, whatever became of the run and whichever version wrote it
IDENTITY = {*WHO, "run_id", "mark", "status", "reason", "data", "D", "L", "git", "dirty"}

# the unit of a loss where a record does not name another, and the sign that a column is in the unit of its row's loss
NATS = "nats per target"
LOSS = "loss_unit"


class Column(NamedTuple):
    meaning: str
    unit: str = ""  # LOSS: that of the task's loss, which the column loss_unit names
    note: str = ""  # what else there is to know, after a colon or semicolon
    range: Range = Range(CellKind.NUMBER, least=0)

    @property
    def text(self) -> bool:
        """Whether it holds words and not numbers."""
        return self.range.kind in (CellKind.TEXT, CellKind.FLAG)

    def __str__(self) -> str:
        return f"{self.meaning}{f' [{self.unit}]' if self.unit else ''}{self.note}"


# what a cell may be, where it is not null
RANGES = {
    "text": Range(CellKind.TEXT),
    "flag": Range(CellKind.FLAG),
    "count": Range(CellKind.COUNT, least=0),
    "size": Range(CellKind.COUNT, least=1),
    "number": Range(CellKind.NUMBER, least=0),
    "above 0": Range(CellKind.NUMBER, above=0),
}


def _columns() -> dict[str, Column]:
    with (Path(__file__).parent / "columns.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["column"]: Column(row["meaning"], row["unit"], row["note"], RANGES[row["holds"]])
            for row in csv.DictReader(file)
        }


COLUMNS = _columns()
CHECKER = Checker({name: column.range for name, column in COLUMNS.items()})
# what a run is called, and its folder
RUN_ID = re.compile("[0-9a-f]{12}")
# how a record begins; its digest is that of all bytes that follow
HEAD = re.compile(rb'\[\n \{\n  "' + RunFolder.DIGEST.encode() + rb'": "([0-9a-f]{64})",\n  ')


def column(name: str) -> Column | None:
    """Return what a column holds, L.NAME as L; None if the record has no such column."""
    head, _, held_out = name.partition(".")
    return COLUMNS.get(head if held_out and head in ("L", "L_se", "L_bpb") else name)


def unit(name: str, loss_unit: str = NATS) -> str:
    """Return the unit of a column, for losses `loss_unit`; empty if it has none or is not a column of the record."""
    declared = described.unit if (described := column(name)) else ""
    return loss_unit if declared == LOSS else declared


def loss_unit(rows: Any) -> str:
    """Return the unit of the losses of a table of records; of several they are joined, a blank is nats."""
    if LOSS not in rows:
        return NATS
    named = {str(u) for u in rows[LOSS].dropna()} | ({NATS} if rows[LOSS].isna().any() else set())
    return " or ".join(sorted(named)) or NATS


def title(name: str, loss_unit: str = NATS) -> str:
    """Return the title of an axis: 'held-out loss, L [nats per target]'; of a foreign column, its name."""
    if (described := column(name)) is None:
        return name
    in_unit = unit(name, loss_unit)
    return f"{described.meaning}, {name}{f' [{in_unit}]' if in_unit else ''}"


def row(**values: Any) -> Row:
    """Return a full row: every column of the schema in order, None if not given; then dotted knobs, sorted."""
    unknown = sorted(k for k in values if k not in COLUMNS and "." not in k)
    if unknown:
        raise KeyError(f"not columns of a record: {', '.join(unknown)}")
    return {name: values.get(name) for name in COLUMNS} | {k: values[k] for k in sorted(values) if "." in k}


def order(names: Iterable[str]) -> list[str]:
    """Return column names in the order of the schema, others after them, sorted."""
    names = set(names)
    return [c for c in COLUMNS if c in names] + sorted(names - COLUMNS.keys())


def write(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of one run, atomically, which makes it finished; ValueError if they are not rows of a record."""
    files.write_text(RunFolder(folder).records, text(rows))


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of one run as a record holds them; ValueError if they are not rows of a record."""
    bare = json.dumps(list(rows), indent=1, allow_nan=False) + "\n"
    if problem := _problem(json.loads(bare)):
        raise ValueError(f"not the rows of a record: {problem}")
    body = bare[bare.index('"') :]
    return f'[\n {{\n  "{RunFolder.DIGEST}": "{hashlib.sha256(body.encode()).hexdigest()}",\n  ' + body


def parse(content: str) -> list[Row]:
    """Return the rows of one run from the text of a record that is elsewhere; ValueError if it is not whole."""
    rows, sealed = _rows(content.encode())
    if problem := _problem(rows, sealed=sealed):
        raise ValueError(problem)
    return rows


def has_result(row: Mapping[str, Any]) -> bool:
    """Return whether a row's run ended with a result: ok, or diverged, as it would again."""
    return RunStatus(row["status"]).has_result


def finished(folder: Path) -> bool:
    """Return whether the folder holds a whole record that need not be made again."""
    try:
        return has_result(read(folder)[0])
    except (OSError, UserError):  # a FIFO in its place, no right to read: the run is not done
        return False


def read(folder: Path) -> list[Row]:
    """Read the rows of one run; FileNotFoundError if there are none, UserError where the file is damaged."""
    path = f"{folder}/{RunFolder.RECORDS}"
    try:
        rows, sealed = _rows(files.read_bytes(path))
        problem = _problem(rows, folder, sealed)
    except ValueError as error:
        problem = str(error)
    if problem:
        again = "delete it, or rerun the command that made it, to make it again"
        raise UserError(f"{path} is not a whole record ({problem}); {again}")
    return rows


def _rows(content: bytes) -> tuple[list[Row], bool]:
    """Return the rows in a record's file, and whether a digest vouches for them; ValueError if it is wrong."""
    if head := HEAD.match(content):
        if hashlib.sha256(content[head.end() :]).hexdigest() != head[1].decode():
            raise ValueError("its digest is another")
        rows: list[Row] = json.loads(content)  # nothing but `write` wrote these bytes
        del rows[0][RunFolder.DIGEST]
        return rows, True
    rows = files.parse_json(content)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is not a list of rows")
    return rows, False


def _problem(rows: list[Row], folder: Path | None = None, sealed: bool = False) -> str | None:
    """Return what is wrong with a run's rows or folder, None if nothing; sealed: `write` has checked ranges."""
    for row in rows:
        if row.get("status") not in STATUSES:
            return f"a row has no status ({', '.join(STATUSES)})"
        if not row.keys() >= IDENTITY:
            return f"a row has no {min(IDENTITY - row.keys())}"
        if problem := CHECKER.type_problem(row) or (None if sealed else CHECKER.value_problem(row)):
            return problem
        if row["status"] == RunStatus.OK and row["L"] is None:
            return "a row is ok and has no L"
    if folder and RUN_ID.fullmatch(folder.name) and rows[0]["run_id"] != folder.name:
        return f"it is of another run, {str(rows[0]['run_id'])[:80]}"
    return None if sealed else disagreement(rows)
