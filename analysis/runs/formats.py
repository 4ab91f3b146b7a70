"""Read the file of a table, whatever its columns: CSV, JSON lines, Parquet, packed or not, or a folder of runs.

    read_table(Path("runs.csv"))      # a DataFrame whose index is the line of the file

What would fill the memory, or never end, is refused before the first row is looked at.
"""

import codecs
import io
import json
import lzma
import re
import warnings
import zipfile
import zlib
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, cast

import pandas as pd

from isoflop import record
from isoflop.errors import UserError
from isoflop.files import leaves
from isoflop.wording import MOST_SHOWN, cut, from_spreadsheet, printable

# rows of a long CSV that are read at a time
_PIECE = 20_000

_DECIMAL_COMMA = r"\s*[-+]?\d+,\d+(?:[eE][-+]?\d+)?\s*"
# 70 000 000, 70'000'000 and 70.000.000: any space, a thin one or one that does not break
_GROUPED = r"\s*[-+]?\d{1,3}([\s'’.])\d{3}(?:\1\d{3})*(?:,\d+)?\s*"
_THOUSANDS = r"\s*[-+]?[1-9]\d{0,2},\d{3}\s*"
# bytes of a line, far above any row of numbers and names
LONGEST_LINE = 16 * 2**20
# files that are not text
_BINARY = (".parquet", ".pq")
# files that are text once they are unpacked, and the bytes that one may unpack to: deflate makes a thousandth of a bomb
# (RFC 1951)
_PACKED = (".gz", ".bz2", ".zip", ".xz", ".zst")
LARGEST_UNPACKED = 2**28
# how a field in quotes begins, and what it is up to its closing quote (RFC 4180)
_OPENING = re.compile(rb'(?:\A|[,\r\n])"')
_QUOTED = re.compile(rb'(?:[^"]++|"")*+')


def read_table(path: Path) -> pd.DataFrame:
    """Read any table as it stands in its file; UserError without a file, or if it is no sound table."""
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; give the path of a CSV file of runs")
    try:
        _check_file(path)
        table = _READERS.get(path.suffix, _csv)(path)
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


def has_lines(path: Path) -> bool:
    """Return whether the index of a table that was read is the line of its file."""
    return not path.is_dir() and path.suffix not in _BINARY


def _csv(path: Path) -> pd.DataFrame:
    # a short row is filled with NaN, a long one is an error; "inf" and "nan" are read as numbers and judged where they
    # are used
    content = unpack(path) if path.suffix in _PACKED else path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as spreadsheets save text
        content = content.decode("utf-16").encode()
    _check_quotes(content, path)
    above = _above_header(content)
    header, *more = pd.read_csv(io.BytesIO(content), index_col=False, nrows=0, skiprows=above).columns
    separator = next((sign for sign in (";", "\t") if sign in header and not more), ",")
    line = pd.read_csv(io.BytesIO(content), header=None, dtype=str, nrows=1, skiprows=above, sep=separator).iloc[0]
    if len(twice := line[line.duplicated()].dropna()):
        raise UserError(f"{path} has two columns called {printable(twice.iloc[0])!r}; rename or remove one")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            table = _parsed(content, separator, above)
        except pd.errors.ParserWarning:
            raise UserError(f"{path} has rows of more fields than its header names; mend one of them") from None
    table.index = pd.RangeIndex(2, len(table) + 2) + above
    table = table if separator == "," else _with_points(table, separator)
    blank = table.isna().all(axis=1)
    return _as_it_was(table[~blank] if blank.any() else table)


def _above_header(content: bytes) -> int:
    """Return how many lines of comments stand above the header; one right above a row of numbers is the header."""
    comments = list(takewhile(lambda line: line.startswith(b"#"), io.BytesIO(content)))
    end = sum(map(len, comments))
    return len(comments) - (end > 0 and content[end : end + 1].isdigit())


def _parsed(content: bytes, separator: str, above: int) -> pd.DataFrame:
    """Return the table of a CSV; a long one is read in pieces, since its text takes more memory than its numbers."""
    options: dict[str, Any] = {"index_col": False, "low_memory": False, "skip_blank_lines": False}
    options |= {"sep": separator, "skiprows": above}
    with pd.read_csv(io.BytesIO(content), chunksize=_PIECE, **options) as pieces:
        first: pd.DataFrame = next(pieces)
        if len(first) < _PIECE:
            return first
        parts = [first, *pieces]
    kinds = {tuple("number" if kind.kind in "if" else str(kind) for kind in part.dtypes) for part in parts}
    table: pd.DataFrame = pd.concat(parts) if len(kinds) == 1 else pd.read_csv(io.BytesIO(content), **options)
    return table


def _as_it_was(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table without the quotes that keep a spreadsheet from running its text."""
    quoted = {}
    for name in table.columns[~table.dtypes.map(pd.api.types.is_numeric_dtype)]:
        words = {word: from_spreadsheet(word) for word in table[name].unique() if isinstance(word, str)}
        if any(word != was for word, was in words.items()):
            quoted[name] = table[name].map(lambda word, words=words: words.get(word, word), na_action="ignore")
    names = [from_spreadsheet(name) for name in table.columns]
    table = table.assign(**quoted)
    return table.set_axis(names, axis=1) if len(set(names)) == len(names) else table


def _with_points(table: pd.DataFrame, separator: str) -> pd.DataFrame:
    """Convert decimal commas to points in columns of numbers. Between tabs, where 70,000 may be seventy thousand, a
    column is converted only if some value cannot be a thousands separator."""
    pointed = {}
    for name in table.columns[~table.dtypes.map(pd.api.types.is_numeric_dtype)]:
        column = table[name].astype(object)
        texts = column.astype(str)
        grouped = texts.str.fullmatch(_GROUPED)
        if not texts.str.contains(r"\.\d{3}[.,]").any():  # 70.000 may be seventy
            grouped &= ~texts.str.contains(".", regex=False)
        column = column.where(~grouped, texts.str.replace(r"[\s'’.]", "", regex=True))
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
    from isoflop.folder import RunFolder

    files = sorted(path.rglob(RunFolder.RECORDS))
    for file in files:
        _check_file(file)
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
            if not isinstance(row := json.loads(text), dict):
                raise UserError(f"{path}, line {line} is not a JSON object; one object a line is needed")
            rows.append({_flat(name): _flat(value) for name, value in leaves(row)})
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {line} is not JSON ({error.msg}); one object a line is needed") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets within brackets
            reason = cut(printable(str(error).split(";")[0]), MOST_SHOWN)
            raise UserError(f"{path}, line {line} cannot be read as JSON ({reason}); mend or drop it") from None
        lines.append(line)
    return pd.DataFrame(rows, index=lines)


def _flat(value: Any) -> Any:
    """Return a cell as what can be compared and grouped: a list or mapping as text, half a character escaped."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if hasattr(value, "tolist"):  # an array, as Parquet gives a list
        value = value.tolist()
    return json.dumps(value, default=str) if isinstance(value, list | dict) else value


def _parquet(path: Path) -> pd.DataFrame:
    try:
        import pyarrow  # type: ignore[import-untyped]
    except ImportError:
        raise UserError(f"{path} is Parquet and needs pyarrow: pip install 'isoflop[parquet]', or save a CSV") from None
    try:
        table = pd.read_parquet(path, engine="pyarrow")
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not sound Parquet: {_message(error).splitlines()[0]}; write it again") from None
    nested = [c for c in table if table[c].dtype == object]
    table = table.assign(**{str(c): table[c].map(_flat) for c in nested})
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def _json(path: Path) -> pd.DataFrame:
    raise UserError(f"{path} is one JSON document and not a table; give a CSV, or JSON lines (.jsonl), a run a line")


_READERS = {".json": _json, ".jsonl": _lines, ".ndjson": _lines, ".parquet": _parquet, ".pq": _parquet}


def _message(error: Exception) -> str:
    text = str(error).replace("Error tokenizing data. C error: ", "").strip().rstrip(".")
    return cut(printable(text.splitlines()[0] if text else type(error).__name__), 2 * MOST_SHOWN)


def _check_file(path: Path) -> None:
    """Refuse a file whose reading may never end: a pipe, a device, a text with an endless line; UserError."""
    if not path.is_file():
        raise UserError(f"{path} is a pipe or a device and no file; save the table in a file")
    if path.suffix in (*_BINARY, *_PACKED):
        return
    with path.open("rb") as file:
        _check_lines(file, path)


def _check_lines(file: BinaryIO, path: Path) -> None:
    while len(chunk := file.read(LONGEST_LINE)) == LONGEST_LINE:
        if b"\n" not in chunk:
            raise UserError(f"{path} has a line of more than {LONGEST_LINE // 2**20} MB, so it is no table; mend it")


def _check_quotes(content: bytes, path: Path) -> None:
    """Refuse a text with an endless cell in quotes, or one that is never closed; UserError."""
    at = 0
    while opening := _OPENING.search(content, at):
        start = opening.end()
        # a possessive pattern from a known place: linear in what it passes over
        at = _QUOTED.match(content, start, start + LONGEST_LINE + 1).end()  # type: ignore[union-attr]
        if at > start + LONGEST_LINE - 1:
            raise UserError(
                f"{path} has a cell of more than {LONGEST_LINE // 2**20} MB, so it is no table of runs, or an open "
                f"quote; mend it"
            )


def unpack(path: Path) -> bytes:
    """Return the text of a compressed CSV; UserError if it is damaged, or unpacks beyond bounds."""
    from pandas.io.common import get_handle  # type: ignore[import-not-found]  # no stub has it

    try:
        with get_handle(path, "rb", compression="infer", is_text=False) as handle:
            content = cast(bytes, handle.handle.read(LARGEST_UNPACKED + 1))
    except (EOFError, ImportError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        reason = cut(printable(str(error) or type(error).__name__), MOST_SHOWN)
        raise UserError(f"{path} cannot be unpacked: {reason}; unpack it yourself, or save it anew") from None
    if len(content) > LARGEST_UNPACKED:
        raise UserError(f"{path} unpacks to more than {LARGEST_UNPACKED // 2**20} MB; unpack it, if that is right")
    _check_lines(io.BytesIO(content), path)
    return content
