"""The table of runs as a type: what was read, where from, and all that follows from it, each worked out once.

    runs = as_runs(pd.DataFrame({"N": [1e6, 1e6, 2e6, 2e6], "D": [2e7, 2e7, 4e7, 4e7], "L": [3.1, 3.1, 2.8, 2.7]}))
    len(runs.usable), runs.excluded           # (3, [('repeats another row exactly', 1)])
    runs.select("N < 2e6").notes              # of a part, source and notes are those of the whole
    [str(label) for label in runs.by(["N"])]  # ['1000000.0', '2000000.0']

A function that others call takes Runs or a DataFrame, and makes the Runs at its door by `as_runs`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from isoflop import record
from isoflop.analysis.laws.declare import TRAIN
from isoflop.analysis.runs.cells import SeedNoise, best_of_cells, cell_columns, searched_knobs, seed_noise
from isoflop.analysis.runs.levels import Layout, layout
from isoflop.analysis.runs.rows import (
    Label,
    RunCodes,
    Shown,
    finished,
    groups_of,
    listed_columns,
    positive,
    split_usable,
    uncounted,
)
from isoflop.analysis.runs.where import keeps
from isoflop.errors import FitError, UserError

# the columns that name the groups of a table, unless it says others; and the group of a table without families or file
_FAMILY, ALL = ("family",), "all runs"


@dataclass(frozen=True, eq=False, repr=False)
class Runs(Shown):
    """A table of runs. Nobody writes to `frame`; what differs from it is another Runs."""

    frame: pd.DataFrame  # a row for each run, or for each mark of a run
    source: str = ""  # the file or folder that the rows were read from; empty for a table made by hand
    notes: tuple[str, ...] = ()  # what was assumed of the table, in sentences
    lines: bool = False  # whether the index of the frame is the line of the file
    run: str | None = None  # the column whose equal values are one run; None for run_id, else what is recognised
    formed: tuple[str, ...] = ()  # columns that were made from those of the file
    label: Label = field(default_factory=Label)  # of the group of which these are the rows; empty for a whole table
    grouping: tuple[str, ...] = _FAMILY  # the columns whose values name the groups of the table

    @cached_property
    def usable(self) -> "Runs":
        """The rows that count: finished (a blank status is ok), with a loss, each measured point once."""
        if "L" in self and not pd.api.types.is_numeric_dtype(losses := self.counted["L"]):
            positive(losses, self.where_is, blank=True)  # which names the cell that is text
        return self._known_usable(self.complete(("L",)) if "L" in self else self.counted)

    @property
    def counted(self) -> "Runs":
        """The finished rows, each measured point once, whatever is missing in them."""
        return self._counted[0]

    @cached_property
    def excluded(self) -> list[tuple[str, int]]:
        """(reason, rows) for each kind of row that does not count, whatever its loss."""
        return self._counted[1]

    @property
    def left_out(self) -> list[str]:
        """Notes that rows are left out: unfinished, repeats of others, and those without a loss where some have one."""
        blank = int(self.counted["L"].isna().sum()) if "L" in self else 0
        counts = [*self.excluded, *([("no value of L", blank)] if 0 < blank < len(self.counted) else [])]
        return [f"{rows} of {len(self)} rows left out: {reason}" for reason, rows in counts]

    @cached_property
    def unfinished(self) -> "Runs":
        """The rows of runs that left no result."""
        return self.take(~finished(self.frame))

    @cached_property
    def recognised(self) -> RunCodes:
        """The run of each row, by a column that names it or else by what the rows look like."""
        if self.run is not None and self.run not in self:
            raise FitError(f"{self.called} has no column {self.run!r} to tell runs apart; it has {self.listed}")
        name = self.run or "run_id"
        if name not in self:
            from isoflop.analysis.runs.recognise import recognise_runs

            return recognise_runs(self.frame)
        codes, names = pd.factorize(self.frame[name])
        unnamed = codes < 0
        codes[unnamed] = len(names) + np.arange(unnamed.sum())
        return RunCodes(codes.astype(np.intp), len(names) + int(unnamed.sum()))

    @property
    def codes(self) -> NDArray[np.intp]:
        """The number of each row's run, (rows,)."""
        return self.recognised.codes

    @property
    def count(self) -> int:
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
        """These runs with a noted C = 6 N D (Kaplan et al. 2020) where they have no C and D is in targets."""
        if ("C" in self and self["C"].notna().any()) or not ("N" in self and "D" in self) or uncounted(self.notes):
            return self
        N, D = (pd.to_numeric(self[name], errors="coerce") for name in ("N", "D"))
        with np.errstate(over="ignore"):
            return self.with_columns("the table has no C: it is taken as 6 N D", C=TRAIN * N * D)

    @cached_property
    def names(self) -> pd.Series:
        """The name of each row's group, missing where it has none; a table without families is one group."""
        if self.grouping != _FAMILY:
            names = np.empty(len(self), dtype=object)
            for values, places in groups_of(self.frame, self.grouping):
                names[places] = str(Label(self.grouping, values))
            return pd.Series(names, self.frame.index)
        if "family" not in self or self["family"].isna().all():
            return pd.Series(Path(self.source).stem or ALL, self.frame.index)
        return self["family"].map(str, na_action="ignore")

    @cached_property
    def groups(self) -> dict[str, "Runs"]:
        """The rows of each group by its name, in the order of the names; rows without one are in none."""
        names = self.names.to_numpy()
        label = _FAMILY if self.grouping == _FAMILY else ("group",)
        found = sorted(set(names[~pd.isna(names)]))
        return {name: self.take(names == name, Label(label, (name,))) for name in found}

    @property
    def loss_unit(self) -> str:
        """The unit of the losses, such as nats."""
        return record.loss_unit(self.frame)

    @property
    def called(self) -> str:
        """The table in words: its file, else `the table`."""
        return self.source or "the table"

    def complete(self, columns: Sequence[str] = ()) -> "Runs":
        """Return the finished rows with a value in each of these columns, each measured point once."""
        return self.with_frame(split_usable(self.frame, columns)[0])

    def numbers(self, needed: Sequence[str], what: str = "this", *, blank: Sequence[str] = (), raw: str = "") -> "Runs":
        """Return the finished rows, each point once, with these columns as numbers above 0.

        needed   columns that must be there, with a number above 0 in every row; C is taken as 6 N D where there is none
        what     what needs them, for the error
        blank    further columns whose numbers must be above 0 where there are any; the others are NaN
        raw      a column whose numbers may have any sign

        FitError without a column or a row; CellError for a number that cannot be.
        """
        runs = self.with_compute if "C" in needed else self
        if missing := [c for c in dict.fromkeys(needed) if c not in runs]:
            names = f"column{'s' * (len(needed) > 1)} {', '.join(needed)}"
            there = [c for c in ("D", "N", "C") if c in runs and "L" in runs]
            hint = f"; a law of {there[0]} alone is fitted by --law 'power_offset({there[0]})'" if there else ""
            hint = hint if len(there) == 1 and {"N", "D"} & set(missing) else ""
            if missing == ["C"] and (unit := uncounted(self.notes)):
                raise FitError(f"{what} needs C, which does not follow: {unit}")
            raise FitError(
                f"{what} needs the {names}; {self.called} has no {' and no '.join(missing)}: "
                f"name it, as in --columns {missing[0]}={self._candidate(missing[0])} (there are {self.listed}){hint}"
            )
        rows = runs.counted
        if not len(rows):
            raise FitError(self.no_rows(runs.excluded))
        if "L" in needed and rows["L"].notna().any() and (notes := runs.left_out):
            rows = rows.with_frame(rows.frame[rows["L"].notna()], *notes)
        values = {c: positive(rows[c], self.where_is, raw=c == raw) for c in dict.fromkeys(needed)}
        values |= {c: positive(rows[c], self.where_is, blank=True) for c in blank if c in rows}
        return rows.with_columns(**values)

    def no_rows(self, excluded: Sequence[tuple[str, int]]) -> str:
        """Return the sentence about a table none of whose rows can be used."""
        left = "; ".join(f"{n}: {reason}" for reason, n in excluded)
        return f"{self.called} has no rows to fit{f' (left out {left})' if left else '; it is empty'}"

    def select(self, where: str) -> "Runs":
        """Return the rows that meet every clause of `where`: "family = 'mlp' and C < 1e20"."""
        return self.take(keeps(self.frame, where))

    def take(self, rows: ArrayLike, label: Label | None = None) -> "Runs":
        """Return some of the rows, by a mask (rows,) of bool or by positions, and the label of these."""
        places = np.asarray(rows)
        frame = self.frame[places] if places.dtype == bool else self.frame.iloc[places]
        part = replace(self, frame=frame, label=label or self.label)
        return self._known_usable(part) if vars(self).get("usable") is self else part

    def by(self, columns: Sequence[str]) -> dict[Label, "Runs"]:
        """Return the rows of each group of equal values in these columns, by the label of the group."""
        self.grouped(columns)
        if not columns:
            return {Label(): self}
        labels = [(Label(tuple(columns), values), places) for values, places in groups_of(self.frame, columns)]
        return {label: self.take(places, label) for label, places in labels}

    def grouped(self, by: Sequence[str]) -> "Runs":
        """Return the runs whose groups are named by these columns; FitError where there is no such column."""
        for name in by:
            if name not in self:
                raise FitError(f"{self.called} has no column {name!r} to group by; it has {self.listed}")
        return replace(self, grouping=tuple(by)) if by else self

    def tuned(self, knobs: Sequence[str], by: Sequence[str] = ()) -> "Runs":
        """Return the usable rows at the best knobs of each cell, with notes."""
        best, notes = best_of_cells(self.usable.frame, knobs, by)
        return self.with_frame(best, *notes)

    def with_frame(self, frame: pd.DataFrame, *notes: str) -> "Runs":
        """Return other rows with this source and these notes, and further notes."""
        return replace(self, frame=frame, notes=(*self.notes, *notes))

    def with_columns(self, *notes: str, **columns: Any) -> "Runs":
        """Return the rows with further columns, and further notes."""
        return self.with_frame(self.frame.assign(**columns), *notes)

    def where_is(self, row: Any) -> str:
        """Return words for the row of this index: 'runs.csv, line 7' where it was read from a file, else 'row 7'."""
        return f"{self.source}, line {row}" if self.source and self.lines else f"row {row}"

    @cached_property
    def _counted(self) -> tuple["Runs", list[tuple[str, int]]]:
        """The finished rows, each point once, and how many others there are for each reason."""
        rows, excluded = split_usable(self.frame, where_is=self.where_is)
        return self.with_frame(rows) if excluded else self, excluded

    def _candidate(self, name: str) -> str:
        from isoflop.analysis.runs.recognise import candidates

        return next(iter(candidates(self.frame, name)), "its_name") if name in ("N", "D") else "its_name"

    @property
    def listed(self) -> str:
        """The columns of the file in words, for an error."""
        return listed_columns([c for c in self.frame if c not in self.formed])

    @staticmethod
    def _known_usable(runs: "Runs") -> "Runs":
        """Return the runs, marked as their own usable rows."""
        vars(runs)["usable"] = runs
        return runs


# what a function that others call takes
RunsLike = Runs | pd.DataFrame


def as_runs(table: RunsLike, run: str | None = None) -> Runs:
    """Return the Runs of a table that somebody made, or the Runs themselves.

    table   Runs, or a DataFrame with a row for each run, or for each mark of a run
    run     the column whose equal values are one run, where it is not run_id
    """
    if not isinstance(table, Runs | pd.DataFrame):
        raise UserError(f"runs are a table, not {type(table).__name__}; give read_runs(path) or a DataFrame")
    runs = table if isinstance(table, Runs) else Runs(table)
    return runs if run in (None, runs.run) else replace(runs, run=run)


def select(runs: RunsLike, where: str) -> Runs:
    """Return the rows that meet every clause of `where`.

    runs    a table with a row for each run, or for each mark of a run
    where   clauses joined by `and`: column, comparison (= != < <= > >=), number or 'text'; a column whose name holds
            more than letters, digits, dots and underscores stands in backticks; never evaluated as code
    """
    return as_runs(runs).select(where)
