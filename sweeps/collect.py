"""From run folders to one table: runs.csv, sorted and in the order of the schema, so that two of them can be diffed.

collect(Path("runs"), Path("runs.csv"))
"""

import csv
import io
from pathlib import Path

from scaling import record
from scaling.errors import UserError
from sweeps.ledger import entries


def rows(folder: Path) -> list[record.Row]:
    """All rows of a folder of runs, failures too; UserError where a record is not whole."""
    found: list[record.Row] = []
    for entry in entries(folder):
        if entry.state == "broken":
            record.read(entry.folder)  # says what is wrong with it
        found += entry.rows
    return sorted(found, key=place)


def place(row: record.Row) -> tuple[str | int | float, ...]:
    """Where a row stands in the table: by what it is, then by size."""
    numbers = (row["depth"], row["width"], row["D"] or 0, row["seed"], row["mark"])
    return (row["family"], row["data"], *numbers, row["run_id"])


def collect(folder: Path, out: Path) -> dict[str, int]:
    """Write the table, whole or not at all; returns how many runs are in each state."""
    states: dict[str, int] = {}
    for entry in entries(folder):
        states[entry.state] = states.get(entry.state, 0) + 1
    table = rows(folder)
    if not table:
        raise UserError(f"{folder} holds no finished run yet ({len(list(entries(folder)))} planned); train them first")
    text = io.StringIO()
    writer = csv.DictWriter(text, record.order(key for row in table for key in row), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    record.write_text(out, text.getvalue())
    return states
