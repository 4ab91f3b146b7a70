"""The table of runs as a type: what was read, where from, and all that follows from it, each worked out once.

    runs = as_runs(pd.DataFrame({"N": [1e6, 1e6, 2e6, 2e6], "D": [2e7, 2e7, 4e7, 4e7], "L": [3.1, 3.1, 2.8, 2.7]}))
    len(runs.usable), runs.excluded           # (3, [('repeats another row exactly', 1)])
    runs.select("N < 2e6").notes              # of a part, source and notes are those of the whole
    [str(label) for label in runs.by(["N"])]  # ['1000000.0', '2000000.0']

A function that others call takes Runs or a DataFrame, and makes the Runs at its door by `as_runs`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop import record
from isoflop.analysis.runs.layout import Layout, layout
from isoflop.analysis.runs.recognise import RunCodes
from isoflop.analysis.runs.replicates import SeedNoise, cell_columns, seed_noise
from isoflop.analysis.runs.rows import groups, recognised, split_usable, with_compute
from isoflop.analysis.runs.tune import best_of_cells, searched_knobs
from isoflop.analysis.runs.where import filtered
from isoflop.errors import UserError

# rows that a notebook shows
SHOWN = 10


@dataclass(frozen=True)
class Label:
    """The label of a group of runs: the columns that name it, and their values."""

    columns: tuple[str, ...] = ()
    """The columns by which rows are grouped."""
    values: tuple[Any, ...] = ()
    """The value of each column; NaN or None where the rows have none."""

    @property
    def by(self) -> dict[str, Any]:
        """Return the values by column, as a Fit has them: {'family': 'mlp'}."""
        return dict(zip(self.columns, self.values, strict=True))

    def __str__(self) -> str:
        return ", ".join("" if pd.isna(value) else str(value) for value in self.values)


@dataclass(frozen=True, eq=False, repr=False)
class Runs:
    """A table of runs. Nobody writes to `frame`; what differs from it is another Runs."""

    frame: pd.DataFrame
    """A row for each run, or for each mark of a run."""
    source: str = ""
    """The file or folder that the rows were read from; empty for a table made by hand."""
    notes: tuple[str, ...] = ()
    """What was assumed of the table, in sentences."""
    lines: bool = False
    """Whether the index of the frame is the line of the file."""
    run: str | None = None
    """The column whose equal values are one run; None for run_id, and without that for what is recognised."""
    label: Label = field(default_factory=Label)
    """The label of the group of which these are the rows; empty for a whole table."""

    def __post_init__(self) -> None:
        if self.source:
            self.frame.attrs["source"] = self.source
        if self.notes:
            self.frame.attrs["notes"] = list(self.notes)

    @cached_property
    def usable(self) -> "Runs":
        """The rows that count: finished (a blank status is ok), with a loss, each measured point once."""
        return self.complete(("L",))

    def complete(self, columns: Sequence[str] = ()) -> "Runs":
        """Return the finished rows with a value in each of these columns, each measured point once."""
        return self.with_frame(split_usable(self.frame, columns)[0])

    @cached_property
    def excluded(self) -> list[tuple[str, int]]:
        """(reason, rows) for each kind of row that is not usable."""
        return split_usable(self.frame, ("L",))[1]

    @cached_property
    def recognised(self) -> RunCodes:
        """The run of each row, how many runs there are, and a note where no column named them."""
        return recognised(self.frame, self.run)

    @property
    def codes(self) -> NDArray[np.intp]:
        """The number of each row's run, (rows,)."""
        return self.recognised.codes

    @property
    def count(self) -> int:
        """How many runs there are."""
        return self.recognised.count

    @cached_property
    def cell_columns(self) -> list[str]:
        """The columns that are equal in replicates of one another."""
        return cell_columns(self.frame)

    @cached_property
    def layout(self) -> Layout:
        """Where the rows stand, each of which must have its numbers: isoFLOP budgets, a grid, a ladder, an axis."""
        return layout(self.frame, self.codes)

    @cached_property
    def searched(self) -> dict[str, int]:
        """The knobs of which several values were tried at one N and D, and the most values that one cell has."""
        return searched_knobs(self.frame)

    @cached_property
    def seed_noise(self) -> SeedNoise:
        """The scatter of ln L over seeds, pooled over the cells of usable rows."""
        return seed_noise(self.frame)

    @cached_property
    def with_compute(self) -> "Runs":
        """These runs with C = 6 N D, and a note that says so, where they have N and D and no C."""
        return as_runs(with_compute(self.frame), like=self)

    @property
    def loss_unit(self) -> str:
        """The unit of the losses, such as nats."""
        return record.loss_unit(self.frame)

    def select(self, where: str) -> "Runs":
        """Return the rows that meet every clause of `where`: "family = 'mlp' and C < 1e20"."""
        return self.with_frame(filtered(self.frame, where))

    def by(self, columns: Sequence[str]) -> dict[Label, "Runs"]:
        """Return the rows of each group of equal values in these columns, by the label of the group."""
        parts = {}
        for values, rows in groups(self.frame, columns):
            label = Label(tuple(values), tuple(values.values()))
            parts[label] = replace(self.with_frame(rows), label=label)
        return parts

    def tuned(self, knobs: Sequence[str], by: Sequence[str] = ()) -> "Runs":
        """Return the usable rows at the best knobs of each cell, with notes."""
        return as_runs(best_of_cells(self.frame, knobs, by), like=self)

    def with_frame(self, frame: pd.DataFrame, *notes: str) -> "Runs":
        """Return other rows with this source and these notes, and further notes."""
        return replace(self, frame=frame, notes=(*self.notes, *notes))

    def with_columns(self, *notes: str, **columns: Any) -> "Runs":
        """Return the rows with further columns, and further notes."""
        return self.with_frame(self.frame.assign(**columns), *notes)

    def where_is(self, row: Any) -> str:
        """Return words for the row of this index: 'runs.csv, line 7' where it was read from a file, else 'row 7'."""
        return f"{self.source}, line {row}" if self.source and self.lines else f"row {row}"

    def __len__(self) -> int:
        return len(self.frame)

    def __contains__(self, column: str) -> bool:
        return column in self.frame

    def __getitem__(self, column: str) -> pd.Series:
        if not isinstance(column, str):
            raise UserError("Runs are indexed by the name of a column; choose rows by select(where) or in runs.frame")
        values: pd.Series = self.frame[column]
        return values

    def __iter__(self) -> Iterator[str]:
        raise TypeError("Runs are not iterable: use runs.frame for the rows, or runs.by(columns) for groups")

    def __getattr__(self, name: str) -> Any:
        hint = f"; the table is runs.frame, as in runs.frame.{name}" if hasattr(pd.DataFrame, name) else ""
        raise AttributeError(f"Runs have no attribute {name!r}{hint}")

    def __repr__(self) -> str:
        heading = f"{self.source or 'a table'}: {len(self)} rows, {len(self.frame.columns)} columns"
        return "\n".join([heading, *(f"  note  {note}" for note in self.notes), repr(self.frame.head(SHOWN))])

    def _repr_html_(self) -> str:
        from html import escape

        heading = f"{self.source or 'a table'}: {len(self)} rows, {len(self.frame.columns)} columns"
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f"<p>{escape(heading)}</p>{f'<ul>{notes}</ul>' if notes else ''}{self.frame.head(SHOWN).to_html()}"


# what a function that others call takes
RunsLike = Runs | pd.DataFrame


def as_runs(table: RunsLike, run: str | None = None, *, like: Runs | None = None) -> Runs:
    """Return the Runs of a table that somebody made, or the Runs themselves.

    table   Runs, or a DataFrame with a row for each run, or for each mark of a run
    run     the column whose equal values are one run, where it is not run_id
    like    Runs whose other fields are taken over
    """
    if isinstance(table, Runs):
        return table if run in (None, table.run) else replace(table, run=run)
    if not isinstance(table, pd.DataFrame):
        raise UserError(f"runs are a table, not {type(table).__name__}; give read_runs(path) or a DataFrame")
    source, notes = table.attrs.get("source", ""), table.attrs.get("notes", ())
    base = like or Runs(table, run=run)
    return replace(
        base, frame=table, source=str(source), notes=tuple(map(str, notes)), lines=table.index.name == "line"
    )


def select(runs: RunsLike, where: str) -> Runs:
    """Return the rows that meet every clause of `where`.

    runs    a table with a row for each run, or for each mark of a run
    where   clauses joined by `and`: column, comparison (= != < <= > >=), number or 'text'; a column whose name holds
            more than letters, digits, dots and underscores stands in backticks; never evaluated as code
    """
    return as_runs(runs).select(where)
