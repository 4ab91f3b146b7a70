"""From run folders to one table, runs.csv, sorted so that two can be diffed; what probes measured into probes.csv.

collect(Path("runs"), Path("runs.csv"))
"""

import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isoflop import files, record
from isoflop import wording as words
from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.sweeps.ledger import Entry, entries, no_garbage

# damaged runs that are named one by one
MOST_NAMED = 3

# of the table of profiles: a point of a run's mark
PROBES = ("run_id", "mark", *RunFolder.PROBES[1:])


@dataclass(frozen=True)
class Collected:
    states: Counter[str]
    """How many runs are in each state."""
    damaged: list[str]
    """What is damaged without a result to lose."""
    probes: Path | None
    """The table of profiles; None if no run has any."""


def rows(folder: Path) -> list[record.Row]:
    """Return all rows of a folder of runs, failures too; UserError if a record is not whole."""
    return _rows_of(list(entries(folder)))


def _rows_of(runs: list[Entry]) -> list[record.Row]:
    """Return the rows of these runs, sorted; UserError if a record cannot be read, as its rows would be missing."""
    unread = [entry.contents[1] for entry in runs if entry.contents[1]]
    if unread:
        more = f"; and {len(unread) - MOST_NAMED} more, which isoflop status shows" if len(unread) > MOST_NAMED else ""
        raise UserError("; ".join(unread[:MOST_NAMED]) + more)
    return sorted((row for entry in runs for row in entry.rows), key=sort_key)


def sort_key(row: record.Row) -> tuple[str | int | float, ...]:
    """Return the sort key of a row: what it is, then its size."""
    numbers = (*(row[dial] for dial in reversed(record.DIALS)), row["D"] or 0, row["seed"], row["mark"])
    return (row["family"], row["data"], *numbers, row["run_id"])


def collect(folder: Path, out: Path) -> Collected:
    """Write the table, and profiles into probes.csv beside it, whole or not at all; UserError where it cannot be."""
    refuse_place(out)
    with no_garbage():
        runs = list(entries(folder))
        table = _rows_of(runs)
        states = Counter(entry.state for entry in runs)
        if not table:
            raise UserError(f"{folder} holds no finished run yet ({words.states(states)}); train them first")
        points = _profiles(runs, table)
        probes = out.with_name("probes.csv" if out.name == "runs.csv" else f"{out.stem}.probes.csv")
        earlier = _is_of_profiles(probes)
        if points and os.path.lexists(probes) and not earlier:
            raise UserError(f"{probes}, where the profiles of probes go, is another file; move it, or name another -o")
        files.write_text(out, csv_text(table))
        if points:
            files.write_text(probes, words.csv_text(PROBES, (dict(zip(PROBES, p, strict=True)) for p in points)))
        elif earlier:
            probes.unlink()
    damaged = [entry.problem for entry in runs if entry.state == "broken"]
    return Collected(states, damaged, probes if points else None)


def _is_of_profiles(path: Path) -> bool:
    """Return whether there is a regular file with the header of a table of profiles."""
    if path.is_symlink() or not path.is_file():
        return False
    header = ",".join(PROBES).encode()
    with path.open("rb") as file:
        return file.read(len(header)) == header


def _profiles(runs: list[Entry], table: list[record.Row]) -> list[tuple[Any, ...]]:
    """Return the points that probes measured at marks that have a row (PROBES), in the order of the table's rows."""
    measured: dict[tuple[str, float], list[tuple[Any, ...]]] = {}
    for entry in (entry for entry in runs if entry.good):
        for D, *point in entry.files.read_probes():
            measured.setdefault((entry.run_id, D), []).append(tuple(point))
    if not measured:
        return []
    return [
        (row["run_id"], row["mark"], *point) for row in table for point in measured.get((row["run_id"], row["D"]), [])
    ]


def refuse_place(out: Path) -> None:
    """Refuse to write where no regular file is or could be: a folder, a device, a FIFO, or what a link points to."""
    try:
        mode = os.lstat(out).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise UserError(f"-o {out} is a folder; name the table, as in -o {out / 'runs.csv'}")
    if stat.S_ISLNK(mode):
        raise UserError(f"-o {out} is a link to {os.readlink(out)}; name the file itself, or a new one")
    if not stat.S_ISREG(mode):
        raise UserError(f"-o {out} is not a regular file; name a file")


def csv_text(table: list[record.Row]) -> str:
    """Return the rows as CSV, with the columns of all; read_runs gives back the same values."""
    return words.csv_text(record.order(name for layout in set(map(tuple, table)) for name in layout), table)
