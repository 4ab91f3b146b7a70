"""Read tables of runs, ours or another tool's, and select from them; every complaint names the file, the row and the
column.

    runs = read_runs("theirs.csv", columns={"N": "params", "D": "tokens", "L": "loss"})
    runs = runs.select("family = 'mlp' and C < 1e20")

The index of the table is the line of the file, so that a later complaint can still name it.
"""

import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from isoflop import record
from isoflop.analysis.runs.measure import PACKED, check_file, unpack
from isoflop.analysis.runs.names import by_usual_names, completed, in_its_unit
from isoflop.analysis.runs.presets import preset_of
from isoflop.analysis.runs.rows import as_floats
from isoflop.analysis.runs.runs import Runs
from isoflop.analysis.runs.where import listed_columns
from isoflop.analysis.runs.wide import melted
from isoflop.errors import CellError, UserError
from isoflop.folder import RunFolder
from isoflop.wording import MOST_SHOWN, cell, cut, from_spreadsheet, printable

NUMERIC = tuple(name for name, column in record.COLUMNS.items() if not column.text)
# numbers that every law stands on: text in one of them is an error at once, in the others where a law asks for them
_CORE = ("N", "D", "C", "L")
# rows of a long CSV that are read at a time
PIECE = 20_000

_DECIMAL_COMMA = r"\s*[-+]?\d+,\d+(?:[eE][-+]?\d+)?\s*"
_THOUSANDS = r"\s*[-+]?[1-9]\d{0,2},\d{3}\s*"


def read_runs(path: str | Path, *, columns: Mapping[str, str] | None = None, run: str | None = None) -> Runs:
    """Read a table of runs; UserError names the file, the line and the column.

    path      a CSV (commas, semicolons or tabs between fields), JSON lines or Parquet file, or a folder of run folders
    columns   our name -> the file's name, {"N": "params"}; without it, public tables are recognised by their columns.
              What is not named is taken by its usual name, and a note says so
    run       the column whose equal values are one run; it must be there
    """
    path = Path(path)
    table, notes = _under_our_names(read_table(path), dict(columns or {}), path)
    if run is not None and run not in table:
        raise UserError(f"{path} has no column {run!r} to tell runs apart; it has {listed_columns(table.columns)}")
    for name in table.columns.intersection(list(NUMERIC)):
        table[name] = _numbers(table[name], path, strict=name in _CORE)
    return Runs(table, str(path), tuple(notes), table.index.name == "line", run)


def _under_our_names(table: pd.DataFrame, columns: dict[str, str], path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The table with the columns that the user named, and the others by what they are usually called, with notes."""
    if not columns and (known := preset_of(table)):
        table, notes = known[0], [known[1]]
    else:
        table, note = (table, "") if columns else melted(table)
        table, notes = by_usual_names(_rename(table, columns, path), set(columns.values()))
        table = in_its_unit(table, columns.get("L", ""))
        notes = [note, *notes] if note else notes
    table, formed = completed(table)
    return table, [*notes, *formed]


def read_table(path: Path) -> pd.DataFrame:
    """Any table as it stands in its file, whatever its columns; UserError where that is no sound table, or no file.

    Every table that is read, be it beside another, is read here: a pipe or a cell of a gigabyte is refused.
    """
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; give the path of a CSV file of runs")
    try:
        check_file(path)
        table = _csv(path, unpack(path)) if path.suffix in PACKED else _READERS.get(path.suffix, _csv)(path)
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty; it needs a header line and a row for each run") from None
    except pd.errors.ParserError as error:
        raise UserError(f"{path} is not a sound CSV: {_message(error)}; mend that line") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or _message(error)}") from None
    if table.empty:
        raise UserError(f"{path} has a header and no rows; it needs a row for each run")
    return table


def _csv(path: Path, content: bytes | None = None) -> pd.DataFrame:
    # a short row is filled with NaN, a long one is an error; "inf" and "nan" are read as numbers and judged where they
    # are used
    def source() -> Path | io.BytesIO:
        return path if content is None else io.BytesIO(content)

    separator = _separator(source())
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            table = _parsed(source, separator)
        except pd.errors.ParserWarning:
            raise UserError(
                f"{path} has rows of more fields than its header names; mend the header or the rows"
            ) from None
    table.index = pd.RangeIndex(2, len(table) + 2, name="line")
    table = table if separator == "," else _with_points(table, separator)
    blank = table.isna().all(axis=1)
    return _as_it_was(table[~blank] if blank.any() else table)


def _parsed(source: Callable[[], Path | io.BytesIO], separator: str) -> pd.DataFrame:
    """The table of a CSV; a long one is read in pieces, since its text takes more memory than its numbers, unless a
    column is of one kind in one piece and of another in the next."""
    options: dict[str, Any] = {"index_col": False, "low_memory": False, "skip_blank_lines": False, "sep": separator}
    with pd.read_csv(source(), chunksize=PIECE, **options) as pieces:
        first: pd.DataFrame = next(pieces)
        if len(first) < PIECE:
            return first
        parts = [first, *pieces]
    kinds = {tuple("number" if kind.kind in "if" else str(kind) for kind in part.dtypes) for part in parts}
    table: pd.DataFrame = pd.concat(parts, ignore_index=True) if len(kinds) == 1 else pd.read_csv(source(), **options)
    return table


def _as_it_was(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the quotes that keep a spreadsheet from running its text."""
    quoted = {}
    for name in table.columns[~table.dtypes.map(pd.api.types.is_numeric_dtype)]:
        words = {word: from_spreadsheet(word) for word in table[name].unique() if isinstance(word, str)}
        if any(word != was for word, was in words.items()):
            quoted[name] = table[name].map(lambda word, words=words: words.get(word, word), na_action="ignore")
    names = [from_spreadsheet(name) for name in table.columns]
    table = table.assign(**quoted)
    return table.set_axis(names, axis=1) if len(set(names)) == len(names) else table


def _separator(source: Path | io.BytesIO) -> str:
    """What stands between fields: commas, unless the header has none and semicolons or tabs instead."""
    header, *more = pd.read_csv(source, index_col=False, nrows=0).columns
    return next((sign for sign in (";", "\t") if sign in header and not more), ",")


def _with_points(table: pd.DataFrame, separator: str) -> pd.DataFrame:
    """A table whose fields no comma parts, with points for the decimal commas of its columns of numbers; between tabs,
    where 70,000 may be seventy thousand, only of columns in which some comma can part no thousands."""
    pointed = {}
    for name in table.columns[~table.dtypes.map(pd.api.types.is_numeric_dtype)]:
        column = table[name].astype(object)
        texts = column.astype(str)
        commas = texts.str.fullmatch(_DECIMAL_COMMA)
        cells = column.where(~commas, texts.str.replace(",", "."))
        numbers = pd.to_numeric(cells, errors="coerce")
        others = numbers.isna() & column.notna()
        sure = separator == ";" or not texts[commas].str.fullmatch(_THOUSANDS).all()
        # a cell without a digit makes it a column of words; any other is a number that cannot be read
        if sure and texts[others].str.contains(r"\d").all():
            pointed[name] = cells if others.any() else numbers
    return table.assign(**pointed)


def _folder(path: Path) -> pd.DataFrame:
    """The records of every run folder below `path`."""
    files = sorted(path.rglob(RunFolder.RECORDS))
    for file in files:
        check_file(file)
    records = [row for file in files for row in record.read(file.parent)]
    if not records:
        raise UserError(f"{path} holds no {RunFolder.RECORDS} of a run; give a folder of runs, or a CSV file")
    return pd.DataFrame(records)


def _lines(path: Path) -> pd.DataFrame:
    rows, lines = [], []
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not text.strip():
            continue
        try:
            rows.append(json.loads(text))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {line} is not JSON ({error.msg}); one object a line is needed") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets within brackets
            reason = cut(printable(str(error).split(";")[0]), MOST_SHOWN)
            raise UserError(f"{path}, line {line} cannot be read as JSON ({reason}); mend or drop it") from None
        if not isinstance(rows[-1], dict):
            raise UserError(f"{path}, line {line} is not a JSON object; one object a line is needed")
        lines.append(line)
    flat = [{_flat(name): _flat(value) for name, value in row.items()} for row in rows]
    return pd.DataFrame(flat, index=pd.Index(lines, name="line"))


def _flat(value: Any) -> Any:
    """A cell of a table: what is a list or a mapping is its text, so that rows can be compared and grouped; half a
    character, which JSON can write and UTF-8 cannot, is written out."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if hasattr(value, "tolist"):  # an array, as Parquet gives a list
        value = value.tolist()
    return json.dumps(value, default=str) if isinstance(value, list | dict) else value


def _parquet(path: Path) -> pd.DataFrame:
    try:
        import pyarrow  # type: ignore[import-untyped]
    except ImportError:
        raise UserError(
            f"{path} is Parquet, which needs pyarrow: pip install 'isoflop[parquet]', or save it as CSV"
        ) from None
    try:
        table = pd.read_parquet(path, engine="pyarrow")
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not sound Parquet: {_message(error).splitlines()[0]}; write it again") from None
    nested = [c for c in table if table[c].dtype == object]
    table = table.assign(**{str(c): table[c].map(_flat) for c in nested})
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


_READERS = {".jsonl": _lines, ".ndjson": _lines, ".parquet": _parquet, ".pq": _parquet}


def _rename(table: pd.DataFrame, columns: dict[str, str], path: Path) -> pd.DataFrame:
    for ours, theirs in columns.items():
        if theirs not in table:
            raise UserError(f"{path} has no column {theirs!r} for {ours}; it has {listed_columns(table.columns)}")
    taken = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
    # a column that already bears one of our names gives way to the column that was named
    table = table.drop(columns=[ours for ours in taken if ours in table and ours not in taken.values()])
    return table.assign(**{ours: table[theirs] for ours, theirs in taken.items()})


def _numbers(column: pd.Series, path: Path, *, strict: bool) -> pd.Series:
    """A column as numbers; text in it is an error that names the line, or leaves the column as it is."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.astype(float)
    numbers = as_floats(column)
    bad = column.index[numbers.isna() & column.notna()]
    if len(bad) and not strict:
        return column
    if len(bad):
        value = cell(column.loc[bad[0]])
        raise CellError(f"{path}, line {bad[0]}: column {column.name} is {value}, not a number; mend or drop the row")
    return numbers


def _message(error: Exception) -> str:
    text = str(error).replace("Error tokenizing data. C error: ", "").strip().rstrip(".")
    return cut(printable(text.splitlines()[0] if text else type(error).__name__), 2 * MOST_SHOWN)
