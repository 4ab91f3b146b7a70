"""From run folders to one table: runs.csv, sorted and in the order of the schema, so that two of them can be diffed.

collect(Path("runs"), Path("runs.csv"))
"""

import csv
import io
from collections import Counter
from pathlib import Path

from isoflop import files, record
from isoflop import wording as words
from isoflop.errors import UserError
from isoflop.sweeps.ledger import Entry, entries


def rows(folder: Path) -> list[record.Row]:
    """All rows of a folder of runs, failures too; UserError where a record is not whole."""
    return rows_of(list(entries(folder)))


def rows_of(runs: list[Entry]) -> list[record.Row]:
    """The rows of these runs, sorted; UserError where a record is not whole."""
    for entry in runs:
        if entry.state == "broken":
            record.read(entry.folder)  # says what is wrong with it
    return sorted((row for entry in runs for row in entry.rows), key=sort_key)


def sort_key(row: record.Row) -> tuple[str | int | float, ...]:
    """Where a row stands in the table: by what it is, then by size."""
    numbers = (*(row[dial] for dial in reversed(record.DIALS)), row["D"] or 0, row["seed"], row["mark"])
    return (row["family"], row["data"], *numbers, row["run_id"])


def collect(folder: Path, out: Path) -> dict[str, int]:
    """Write the table, whole or not at all; returns how many runs are in each state."""
    if out.is_dir():
        raise UserError(f"-o {out} is a folder; name the table, as in -o {out / 'runs.csv'}")
    runs = list(entries(folder))
    states = Counter(entry.state for entry in runs)
    table = rows_of(runs)
    if not table:
        raise UserError(f"{folder} holds no finished run yet ({words.states(states)}); train them first")
    text = io.StringIO()
    writer = csv.DictWriter(text, record.order(key for row in table for key in row), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    files.write_text(out, text.getvalue())
    return states
