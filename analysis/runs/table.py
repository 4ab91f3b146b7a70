"""The label of a group of runs, which run each row is of, and what a table of runs shows of itself.

str(Label(("family", "data"), ("mlp", "text")))     # 'mlp, text'
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.errors import UserError
from isoflop.wording import MOST_SHOWN, cut, printable

# rows that a notebook shows
SHOWN = 10


@dataclass(frozen=True)
class Label:
    """The label of a group of runs."""

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


@dataclass(frozen=True)
class RunCodes:
    """The runs that rows belong to.

    codes    number of each row's run, (rows,)
    count    how many runs there are
    note     what was recognised, and by what; empty where every row is a run
    """

    codes: NDArray[np.intp]
    count: int
    note: str = ""


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
        return "\n".join([self._heading, *(f"  note  {note}" for note in self.notes), repr(self.frame.head(SHOWN))])

    def _repr_html_(self) -> str:
        from html import escape

        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f"<p>{escape(self._heading)}</p>{f'<ul>{notes}</ul>' if notes else ''}{self.frame.head(SHOWN).to_html()}"


def listed_columns(names: Any, most: int = 30) -> str:
    """Return the names of columns for an error, the first `most` of them."""
    names = [cut(printable(str(n)), MOST_SHOWN) for n in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
