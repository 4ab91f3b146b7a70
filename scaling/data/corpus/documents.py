"""Documents read from files: plain text, rows of JSON or Parquet, packed or not (no torch).

Path("corpus.jsonl").write_text('{"text": "one"}\\n{"text": "two"}\\n')
source = FileSource("corpus.jsonl", field="text")
[list(source.read(unit)) for unit in source.units()]            # [[b'one', b'two']]
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from isoflop.errors import UserError
from isoflop.scaling.config.contents import JSONL, PARQUET, PLAIN, File, list_files
from isoflop.scaling.data.corpus.streams import UNIT, SourceUnit, check_text, library, lines, opened, pieces

# documents that a held-out share can be taken from: at a share of a twentieth, two
FEWEST = 40
# a plain file above this size is a collection, which no machine should have to hold at once [bytes]
COLLECTION = 2**24
# pieces that a collection is cut into [bytes]: long enough for a context of several thousand tokens, but of a small
# corpus so short that there are PIECES, of which a twentieth is a sample of the rest
PIECE, SHORTEST, PIECES = 2**16, 2**10, 400


class Source(Protocol):
    """Where documents come from; it can be sent to another process."""

    @property
    def about(self) -> dict[str, Any]:
        """What a manifest says of it."""

    def units(self) -> list[SourceUnit]:
        """Split the work into units, in a fixed order; raise UserError if there is none."""

    def read(self, unit: SourceUnit) -> Iterator[bytes]:
        """Yield the documents of a unit, without empty ones."""


@dataclass(frozen=True)
class FileSource:
    """Files and folders.

    path: one of them. field: the text's name in rows. suffixes: further endings of plain text. encoding: of plain text,
    None to take bytes as they are. piece: bytes of the pieces of a collection; None to cut only where it must be.
    names: these files and no others.
    """

    path: str
    field: str = "text"
    suffixes: tuple[str, ...] = ()
    encoding: str | None = "utf-8"
    piece: int | None = None
    names: tuple[str, ...] = ()

    @cached_property
    def files(self) -> list[File]:
        """The files, sorted by path."""
        if self.names:
            return [File(name, ".txt", "", Path(name).stat().st_size) for name in self.names]
        return list_files(Path(self.path), self.suffixes)

    @cached_property
    def too_few(self) -> bool:
        """Whether these are too few plain files to hold some out."""
        plain_files = sum(file.kind in PLAIN for file in self.files)
        return not self.names and plain_files == len(self.files) < FEWEST

    @cached_property
    def size(self) -> int:
        """Bytes on disk of all of them."""
        return sum(file.size for file in self.files)

    def __getstate__(self) -> dict[str, Any]:  # a unit names the files of another process; all would be too many
        known = {"too_few": self.too_few, "size": self.size}
        return {name: value for name, value in vars(self).items() if name != "files"} | known

    @property
    def about(self) -> dict[str, Any]:
        cut = [file for file in self.files if self.piece_of(file)]
        pieces = f"{len(cut)} cut into pieces of {self.piece_of(cut[0])} bytes at line ends" if cut else "none cut"
        return {"files": len(self.files), "bytes": self.size, "pieces": pieces}

    def piece_of(self, file: File) -> int | None:
        """Return the bytes of a file's pieces; None if the file is one document."""
        if file.kind not in PLAIN:
            return None
        if self.piece or not (self.too_few or file.size > COLLECTION):
            return self.piece
        return min(PIECE, max(SHORTEST, self.size // PIECES))

    def units(self) -> list[SourceUnit]:
        units, together, size = list[SourceUnit](), list[File](), 0
        for file in self.files:
            if file.size <= UNIT or not self.can_be_entered(file):
                together.append(file)
                size += file.size
                if size >= UNIT:
                    units.append(SourceUnit(tuple(together), size=size))
                    together, size = [], 0
            elif file.kind == PARQUET:
                units += _row_groups(file)
            else:
                starts = range(0, file.size, UNIT)
                units += [SourceUnit((file,), at, at + UNIT, min(UNIT, file.size - at)) for at in starts]
        return [*units, *([SourceUnit(tuple(together), size=size)] if together else [])]

    def can_be_entered(self, file: File) -> bool:
        """Return whether reading can begin in the middle of a file."""
        if file.packing or file.kind == PARQUET:
            return file.kind == PARQUET
        in_utf8 = self.encoding is None or self.encoding.lower().replace("_", "-") in ("utf-8", "utf8")
        return file.kind == JSONL or (self.piece_of(file) is not None and in_utf8)

    def read(self, unit: SourceUnit) -> Iterator[bytes]:
        for file in unit.files:
            if file.kind == PARQUET:
                documents = read_parquet(file, self.field, unit)
            elif file.kind == JSONL:
                documents = _read_jsonl(file, self.field, unit)
            else:
                documents = self.read_plain(file, unit)
            yield from filter(None, documents)

    def read_plain(self, file: File, unit: SourceUnit) -> Iterator[bytes]:
        """Yield a plain file, whole or in pieces."""
        piece = self.piece_of(file)
        with opened(file, self.encoding) as stream:
            documents = iter([stream.read()]) if piece is None else pieces(stream, unit, piece)
            for document in documents:
                if self.encoding is not None:
                    check_text(document, file)
                yield document


def _row_groups(file: File) -> list[SourceUnit]:
    with _parquet(file) as table:
        groups = table.num_row_groups
    together = max(1, round(groups * UNIT / file.size))
    starts = range(0, groups, together)
    return [SourceUnit((file,), at, at + together, file.size // len(starts)) for at in starts]


def _read_jsonl(file: File, field: str, unit: SourceUnit) -> Iterator[bytes]:
    with opened(file) as stream:
        for number, line in enumerate(lines(stream, unit), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{_where(file, unit, number)} is not JSON ({error}); fix it") from None
            if not isinstance(row, dict) or not isinstance(text := row.get(field), str):
                raise UserError(f"{_where(file, unit, number)} {lacking(row, field)}; give data.field=")
            yield encoded(text, partial(_where, file, unit, number))


def encoded(text: str, place: Callable[[], str]) -> bytes:
    """Encode text as UTF-8; raise UserError, which names the place, for half a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place()} has a character that UTF-8 cannot encode ({error.reason}); fix it") from None


def _where(file: File, unit: SourceUnit, number: int) -> str:
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
    if field in row:
        return f"has {str(row[field])[:40]} in {field!r}, which is no text"
    return f"has no text in {field!r}; it has {', '.join(map(str, row)) or 'no field'}"


@contextlib.contextmanager
def _parquet(file: File) -> Iterator[Any]:
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
    with _parquet(file) as table:
        if field not in table.schema_arrow.names:
            names = ", ".join(table.schema_arrow.names)
            raise UserError(f"{file.path} has no column {field!r}; it has {names}; give data.field=")
        groups = range(table.num_row_groups)[unit.start : unit.stop]
        for batch in table.iter_batches(256, row_groups=list(groups), columns=[field]):
            for text in batch.column(0).to_pylist():
                if text is not None and not isinstance(text, str):
                    raise UserError(f"{file.path}: the column {field!r} holds no text; give data.field=")
                yield encoded(text or "", lambda: file.path)
