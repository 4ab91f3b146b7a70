"""Read tables of runs, ours or another tool's; every error names the file, the line and the column.

    runs = read_runs("theirs.csv", columns={"N": "params", "D": "tokens", "L": "loss"})
    runs = runs.select("family = 'mlp' and C < 1e20")

The index of the frame is the line of the file, so that a later error can still name it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from isoflop import record
from isoflop.analysis.runs.formats import has_lines, read_table
from isoflop.analysis.runs.rows import as_floats, listed_columns
from isoflop.analysis.runs.runs import Runs
from isoflop.errors import CellError, UserError
from isoflop.wording import cell, suggest

if TYPE_CHECKING:
    from isoflop.analysis.runs.names import Reading

NUMERIC = tuple(name for name, column in record.COLUMNS.items() if not column.text)
# text in one of these is an error at once, in the loss and the others where a law asks for them
_CORE = ("N", "D", "C")
# a table that has all of these under our names has nothing to be named
_OURS = {*_CORE, "L", "D_unique", "lr", "batch"}
_LABELS = ("curve", "run_id")


def read_runs(path: str | Path, *, columns: Mapping[str, str] | None = None, run: str | None = None) -> Runs:
    """Read a table of runs; UserError names the file, the line and the column.

    path      a CSV (commas, semicolons or tabs between fields), JSON lines or Parquet file, or a folder of run folders
    columns   our name -> the file's name, {"N": "params"}; without it, public tables are recognised by their columns.
              What is not named is taken by its usual name, and a note says so
    run       the column whose equal values are one run; it must be there
    """
    path = Path(path)
    read = read_table(path)
    table, notes = under_our_names(read, dict(columns or {}), path)
    if run is not None and run not in table:
        raise UserError(f"{path} has no column {run!r} to tell runs apart; it has {listed_columns(read.columns)}")
    for name in table.columns.intersection(list(NUMERIC)):
        table[name] = _numbers(table[name], path, strict=name in _CORE)
    formed = tuple(table.columns.difference(read.columns))
    return Runs(table, str(path), tuple(notes), has_lines(path) and table.index.equals(read.index), run, formed=formed)


def under_our_names(table: pd.DataFrame, columns: dict[str, str], path: Path | str) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with the columns that the user named, the others by their usual names, with notes."""
    if not columns and set(table.columns) >= _OURS and all(map(pd.api.types.is_numeric_dtype, table[[*_OURS]].dtypes)):
        return table, []
    from isoflop.analysis.runs.foreign import completed, melted, preset_of, with_status
    from isoflop.analysis.runs.names import NAMES, amounts, by_usual_names, in_its_unit

    if not columns and (known := preset_of(table)):
        table, notes = known[0], [known[1]]
    else:
        table, note = (table, "") if {"N", "L"} & set(columns) else melted(table)
        readings = {ours: _given(table, ours, text, path) for ours, text in columns.items()}
        units = [f"{ours}={r}" for ours, r in readings.items() if r != (columns[ours], 1, "") and r[0] == columns[ours]]
        table, usual = by_usual_names(_rename(table, readings), {r.column for r in readings.values()})
        table = in_its_unit(table, readings["L"].column if "L" in readings else "")
        said = f"units by the names of columns: {', '.join(units)}; --columns N=1*its_name takes N as it is"
        named = [r.column for ours, r in readings.items() if r == (columns[ours], 1, "") and ours in NAMES.amounts]
        bare = [name for name in named if name.strip().endswith((")", "]"))]
        asked = f"no unit that is known: {', '.join(bare)}, taken as it is; --columns N=1e6*its_name gives a factor"
        notes = [*([note] if note else []), *([said] if units else []), *([asked] if bare else []), *usual]
    texts = [c for c in NAMES.amounts if c in table and not pd.api.types.is_numeric_dtype(table[c])]
    table, formed = completed(table.assign(**{c: amounts(table[c]) for c in texts}))
    table, state = with_status(table)
    return table, [*notes, *formed, *([state] if state else [])]


def _given(table: pd.DataFrame, ours: str, text: str, path: Path | str) -> "Reading":
    from isoflop.analysis.runs.names import given

    reading = given(table, ours, text)
    if reading is None:
        near = suggest(text, map(str, table.columns)) or ";"
        raise UserError(f"{path} has no column {text!r} for {ours}{near} it has {listed_columns(table.columns)}")
    return reading


def _rename(table: pd.DataFrame, readings: "dict[str, Reading]") -> pd.DataFrame:
    taken = {ours: r for ours, r in readings.items() if r.factor != 1 or r.kind or ours != r.column}
    theirs = {r.column for r in taken.values()}
    # a column that already bears one of our names gives way to the column that was named
    kept = table.drop(columns=[ours for ours in taken if ours in table and ours not in theirs])
    return kept.assign(**{ours: reading.of(table) for ours, reading in taken.items()})


def _numbers(column: pd.Series, path: Path, *, strict: bool) -> pd.Series:
    """Return a column as numbers; text in it is an error that names the line, or leaves the column as it is."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.astype(float)
    numbers = as_floats(column)
    bad = column.index[numbers.isna() & column.notna()]
    if len(bad) and not strict:
        return column
    if len(bad):
        value = cell(column.loc[bad[0]])
        raise CellError(f"{path}, line {bad[0]}: column {column.name} is {value}, not a number; fix or drop the row")
    return numbers


def add_schedule(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with `curve` (1, 2, ...) and `S1`. The rate of a row is that of the steps up to the next, or
    moves evenly to that of the next if it changes from row to row; before the first lies a straight warmup from zero.

    Curves are told apart by `curve` or run_id; a table without either is one. UserError without step or lr.
    """
    from isoflop.analysis.laws.training import is_gradual

    missing = [c for c in ("step", "lr") if c not in table]
    if missing:
        raise UserError(f"a curve has the columns step and lr; this table has no {' and no '.join(missing)}")
    label = next((c for c in _LABELS if c in table), None)
    codes = np.zeros(len(table), dtype=int) if label is None else pd.factorize(table[label])[0]
    step, lr, total = table["step"].to_numpy(float), table["lr"].to_numpy(float), np.zeros(len(table))
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        rows = rows[np.argsort(step[rows], kind="stable")]
        rate = lr[rows]
        rate = np.where(is_gradual(rate), (rate[:-1] + rate[1:]) / 2, rate[:-1])
        parts = np.diff(step[rows]) * rate
        total[rows] = step[rows[0]] * lr[rows[0]] / 2 + np.concatenate([[0.0], np.cumsum(parts)])
    names = codes + 1 if label is None else table[label]
    return table.assign(run_id=names, curve=codes + 1.0, S1=total)
