"""The rows below the type Runs: which of them count, as numbers and by groups, and how a table of them shows itself.

A row that failed is left out with its reason, and each measured point counts once. A number that cannot be (a loss of
zero, a missing size) in any other row is an error that names the row, for a fit must not choose its data in silence.

    split_usable(pd.DataFrame({"status": ["ok", "failed"], "L": [3.0, 2.0]}))[1]     # [('status is failed', 1)]
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.laws.dual_numbers import Array
from isoflop.errors import CellError, UserError
from isoflop.wording import MOST_SHOWN, cell, cut, printable

# rows that a notebook shows
_SHOWN = 10

# columns that say when and where a row was made and nothing of what
_CIRCUMSTANCE = re.compile(
    r"_?(time|timestamp|date|datetime|wall_?(s|time|clock)?|(created|started|finished|ended|logged|updated)(_?at|_time)?"
    r"|runtime|elapsed|duration|seconds?_per_step|host|hostname|node|device|gpu|pid|user|git|commit|dirty)(_s|_sec|_utc)?",
    re.IGNORECASE,
)

# columns that number a run and say nothing of it
_NUMBER = re.compile(
    r"((wandb|run|exp|experiment|trial|job)[_. -]?)?(id|uid|uuid|hash|index)|unnamed: \d+", re.IGNORECASE
)
# why a row is left out that was exported twice
COPIED = "repeats another row under another"


@dataclass(frozen=True)
class Label:
    """The label of a group of runs."""

    columns: tuple[str, ...] = ()  # by which rows are grouped
    values: tuple[Any, ...] = ()  # of each column; NaN or None where the rows have none

    @property
    def by(self) -> dict[str, Any]:
        """Return the values by column, as a Fit has them: {'family': 'mlp'}."""
        return dict(zip(self.columns, self.values, strict=True))

    def __str__(self) -> str:
        return ", ".join("" if pd.isna(value) else str(value) for value in self.values)


@dataclass(frozen=True)
class RunCodes:
    """The runs that rows belong to."""

    codes: NDArray[np.intp]  # number of each row's run, (rows,)
    count: int
    note: str = ""  # what was recognised, and by what; empty where every row is a run


class Shown:
    """A table that shows itself, and says what to write instead of what a frame would do."""

    frame: pd.DataFrame
    source: str
    notes: tuple[str, ...]

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

    @property
    def _heading(self) -> str:
        return f"{self.source or 'a table'}: {len(self)} rows, {len(self.frame.columns)} columns"

    def __repr__(self) -> str:
        return "\n".join([self._heading, *(f"  note  {note}" for note in self.notes), repr(self.frame.head(_SHOWN))])

    def _repr_html_(self) -> str:
        from html import escape

        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        notes = f"<ul>{notes}</ul>" if notes else ""
        return f"<p>{escape(self._heading)}</p>{notes}{self.frame.head(_SHOWN).to_html()}"


def uncounted(notes: Sequence[str]) -> str:
    """Return the note that D is counted in steps or examples, from which no compute follows; empty where it is not."""
    return next((note for note in notes if ", counted in " in note), "")


def listed_columns(names: Any, most: int = 30) -> str:
    """Return the names of columns for an error, the first `most` of them."""
    names = [cut(printable(str(n)), MOST_SHOWN) for n in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def as_floats(column: pd.Series) -> pd.Series:
    """Return a column as doubles: NaN for what is no number, an infinity for what is too large for a double."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.astype(float)
    return column.map(_as_float, na_action="ignore").astype(float)


def _as_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("inf")
    except ValueError:
        return float("nan")


def positive(column: pd.Series, where_is: Callable[[Any], str], *, blank: bool = False, raw: bool = False) -> Array:
    """Return a column as numbers above 0, with `raw` of any sign and with `blank` NaN; CellError names the first other
    by `where_is`, words for the row of an index."""
    numbers, name = as_floats(column).to_numpy(), str(column.name)
    sound = np.isfinite(numbers) & (raw | (numbers > 0))
    bad = np.flatnonzero(~(sound | (column.isna().to_numpy() if blank else False)))
    if len(bad):
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        place, value = where_is(column.index[bad[0]]), column.iloc[bad[0]]
        shown = "empty" if pd.api.types.is_scalar(value) and pd.isna(value) else cell(value)
        shown += ", not a number" if isinstance(value, str) and np.isnan(numbers[bad[0]]) else ""
        need = "a law needs a number above 0; fix it or leave the row out with --where"
        need += ", or fit a law that has an E by --loss raw_huber" if name == "L" and numbers[bad[0]] <= 0 else ""
        if name not in ("N", "D", "C", "L") and numbers[bad[0]] < 0:  # a score, say, that has another bound than 0
            need = (
                "a law is of logarithms, so of numbers above 0; put its distance from a bound into a column, such as "
                "best - score, and give that as the target"
            )
        raise CellError(f"{place}: column {cut(printable(name), MOST_SHOWN)} is {shown}{more}, and {need}")
    return numbers


def finished(runs: pd.DataFrame) -> NDArray[np.bool_]:
    """Return whether each row is of a run that left a result, (rows,): its status is ok, or blank."""
    if "status" not in runs:
        return np.ones(len(runs), dtype=bool)
    ok = (runs["status"] == "ok").to_numpy(dtype=bool, na_value=False).copy()
    if not ok.all():
        others = runs["status"][~ok]
        words = others.where(others.notna(), "ok").astype(str).str.strip()
        ok[~ok] = words.isin(["", "ok"]).to_numpy()
    return ok


def usable(runs: pd.DataFrame, columns: Sequence[str] = ("L",)) -> pd.DataFrame:
    """Return the rows that count: finished, with a value in each of `columns`, each measured point once."""
    return split_usable(runs, columns)[0]


def split_usable(
    runs: pd.DataFrame, columns: Sequence[str] = (), where_is: Callable[[Any], str] = "row {}".format
) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    """Return the usable rows, and how many others there are for each reason; `where_is` gives words for a row.

    A point is known by (run_id, mark, N, D), whatever else a copy of its row says; where rows have no run_id, or
    neither mark nor D to tell the points of a run apart, only an exact copy is a repeat. So is, in a foreign table, a
    row of a known seed that is equal but for the number of its run. KeyError without a column.
    """
    excluded = []
    if "status" in runs:
        ok = finished(runs)
        if not ok.all():
            statuses = runs["status"][~ok].astype(str).value_counts().sort_index()
            excluded += [(f"status is {status}", int(count)) for status, count in statuses.items()]
            runs = runs[ok]
    missing_value = np.zeros(len(runs), dtype=bool)
    for name in columns:
        missing_value |= runs[name].isna().to_numpy()
    has_run_id = np.zeros(len(runs), dtype=bool)
    if "run_id" in runs and {"mark", "D"} & set(runs.columns):
        has_run_id = runs["run_id"].notna().to_numpy()
    key = [c for c in ("run_id", "mark", "N", "D") if c in runs]
    repeats_point = ~missing_value & has_run_id
    if repeats_point.any():
        repeats_point[repeats_point] = _repeats(runs[key] if repeats_point.all() else runs.loc[repeats_point, key])
    repeats_row = ~missing_value & ~has_run_id
    # when and where a row was made does not make it another run
    if repeats_row.any():
        repeats_row[repeats_row] = _repeats(runs.loc[repeats_row, [c for c in runs if not is_circumstance(c)]])
    copied, why_copied = _copied(runs, ~(missing_value | repeats_point | repeats_row), where_is)
    reasons = (
        (missing_value, f"no value of {' or '.join(columns)}"),
        (repeats_point, "repeats a point of the same run"),
        (repeats_row, "repeats another row exactly"),
        (copied, why_copied),
    )
    excluded += [(reason, int(rows.sum())) for rows, reason in reasons if rows.any()]
    left_out = missing_value | repeats_point | repeats_row | copied
    return runs[~left_out] if left_out.any() else runs.copy(deep=False), excluded


def _copied(
    runs: pd.DataFrame, among: NDArray[np.bool_], where_is: Callable[[Any], str]
) -> tuple[NDArray[np.bool_], str]:
    """Return whether each row copies one above it under another number of its run, (rows,), and words for that."""
    numbers = [c for c in runs if _NUMBER.fullmatch(str(c))]
    if not numbers or not {"N", "D", "L", "seed"} <= set(runs.columns) or "rung" in runs:
        return np.zeros(len(runs), dtype=bool), ""
    copied = among & runs[["L", "seed"]].notna().all(axis=1).to_numpy()  # runs of unknown seeds may tie
    copied[copied] = _repeats(runs.loc[copied, [c for c in runs if c not in numbers and not is_circumstance(c)]])
    first = where_is(runs.index[int(copied.argmax())]) if copied.any() else ""
    return copied, f"{COPIED} {' and '.join(map(str, numbers))} (the first: {first})"


def is_circumstance(column: object) -> bool:
    """Return whether a column says when and where a row was made, and nothing of what."""
    return bool(_CIRCUMSTANCE.fullmatch(str(column)))


def _repeats(rows: pd.DataFrame) -> NDArray[np.bool_]:
    try:
        return rows.duplicated().to_numpy()
    except TypeError:  # a column of lists or dicts cannot be compared
        return np.zeros(len(rows), dtype=bool)


def groups_of(runs: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], NDArray[np.intp]]]:
    """Return the values and the row positions of each group; lists and values of several kinds group by their text."""
    keys = runs[list(by)].copy()
    for name in by:
        if keys[name].dtype == object and not keys[name].dropna().map(lambda value: isinstance(value, str)).all():
            keys[name] = keys[name].map(str, na_action="ignore")
    numbers = keys.groupby(list(by), sort=True, dropna=False).ngroup().to_numpy()
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    values = keys.iloc[order[starts]].itertuples(index=False, name=None)
    for key, places in zip(values, np.split(order, starts[1:]) if len(starts) else [], strict=True):
        # JSON holds no infinity: it is its text
        yield tuple(str(x) if isinstance(x, float) and np.isinf(x) else x for x in key), places


def joined(rows: pd.DataFrame, columns: Sequence[str], between: str = " ") -> pd.Series:
    """Return each row's values of some columns as one text, `none` where there is no value."""
    cells = rows[list(columns)].astype(object)
    cells = cells.where(cells.notna(), "none")
    return pd.Series([between.join(map(str, row)) for row in cells.itertuples(index=False)], rows.index, dtype=object)
