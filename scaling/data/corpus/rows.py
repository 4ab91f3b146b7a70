"""Documents that are rows: of JSON lines and of Parquet files (no torch).

Path("rows.jsonl").write_text('{"body": "one"}\\n')
list(read_jsonl(File("rows.jsonl", ".jsonl", "", 16), "body", SourceUnit(())))           # [b'one']
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from isoflop.errors import UserError
from isoflop.scaling.config.contents import File
from isoflop.scaling.data.corpus.streams import UNIT, SourceUnit, library, lines, opened

__all__ = ["Path", "read_jsonl"]


def row_groups(file: File) -> list[SourceUnit]:
    """Group a Parquet file's row groups into units."""
    with parquet(file) as table:
        groups = table.num_row_groups
    together = max(1, round(groups * UNIT / file.size))
    starts = range(0, groups, together)
    return [SourceUnit((file,), at, at + together, file.size // len(starts)) for at in starts]


def read_jsonl(file: File, field: str, unit: SourceUnit) -> Iterator[bytes]:
    """Yield the texts of a file's rows."""
    with opened(file) as stream:
        for number, line in enumerate(lines(stream, unit), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{where(file, unit, number)} is not JSON ({error}); fix it") from None
            if not isinstance(row, dict) or not isinstance(text := row.get(field), str):
                raise UserError(f"{where(file, unit, number)} {lacking(row, field)}; give data.field=")
            yield encoded(text, partial(where, file, unit, number))


def encoded(text: str, place: Callable[[], str]) -> bytes:
    """Encode text as UTF-8; raise UserError, which names the place, for half a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place()} has a character that UTF-8 cannot encode ({error.reason}); fix it") from None


def where(file: File, unit: SourceUnit, number: int) -> str:
    """Return the file and line of a row, counted from the top of the file; number: its place in the unit."""
    if unit.start:
        with open(file.path, "rb") as stream:
            chunks = [2**20] * (unit.start >> 20) + [unit.start % 2**20]
            number += sum(stream.read(size).count(b"\n") for size in chunks)
            stream.seek(unit.start - 1)
            number += stream.read(1) != b"\n"  # the line in which the unit begins is the one before its first
    return f"{file.path}, line {number},"


def lacking(row: Any, field: str) -> str:
    """Describe what is wrong with a row in which a text was expected."""
    if not isinstance(row, dict):
        return "is not an object with fields"
    return f"has no text in {field!r}; it has {', '.join(map(str, row)) or 'no field'}"


@contextlib.contextmanager
def parquet(file: File) -> Iterator[Any]:
    """Open a Parquet file; raise UserError if it is not one."""
    pq = library("pyarrow.parquet", f"{file.path} is a Parquet file")
    try:
        with pq.ParquetFile(file.path) as table:
            yield table
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{file.path} is not a Parquet file ({str(error).splitlines()[0]}); fix it") from None


def read_parquet(file: File, field: str, unit: SourceUnit) -> Iterator[bytes]:
    """Yield the texts of the rows of a file, or of some of its row groups."""
    with parquet(file) as table:
        if field not in table.schema_arrow.names:
            names = ", ".join(table.schema_arrow.names)
            raise UserError(f"{file.path} has no column {field!r}; it has {names}; give data.field=")
        groups = range(table.num_row_groups)[unit.start : unit.stop]
        for batch in table.iter_batches(256, row_groups=list(groups), columns=[field]):
            for text in batch.column(0).to_pylist():
                if text is not None and not isinstance(text, str):
                    raise UserError(f"{file.path}: the column {field!r} holds no text; give data.field=")
                yield encoded(text or "", lambda: file.path)
