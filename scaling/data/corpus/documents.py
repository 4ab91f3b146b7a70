"""Documents read from files: plain text, rows of JSON or Parquet, packed or not (no torch).

    Path("corpus.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    source = Files("corpus.jsonl", field="text")
    [list(source.read(unit)) for unit in source.units()]            # [[b'one', b'two']]

A plain file is a document. Where there are too few of them to hold some out, or one is a collection rather than a
document, it is cut at line ends into pieces, which then are the documents. A row is a document.
"""

import contextlib
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, Protocol

from isoflop.errors import UserError
from isoflop.scaling.data.corpus.listing import JSONL, PARQUET, PLAIN, File, list_files

# documents that a held-out share can be taken from: at a share of a twentieth, two
FEWEST = 40
# a plain file above this size is a collection, which no machine should have to hold at once [bytes]
COLLECTION = 2**24
# pieces that a collection is cut into [bytes]: long enough for a context of several thousand tokens, but of a small
# corpus so short that there are PIECES, of which a twentieth is a sample of the rest
PIECE, SHORTEST, PIECES = 2**16, 2**10, 400
# what one process reads at a time: a unit of work that is done again after a kill [bytes]
UNIT = 2**24


@dataclass(frozen=True)
class Unit:
    """What one process reads at a time: files, or of one file what begins in start <= position < stop.

    A position is a byte, in Parquet a row group.
    """

    files: tuple[Any, ...]
    start: int = 0
    stop: int | None = None
    size: int = 0
    """Bytes on disk, for progress; 0 where it is not known."""


class Source(Protocol):
    """Where documents come from; it can be sent to another process."""

    @property
    def about(self) -> dict[str, Any]:
        """What a manifest says of it."""
        ...

    def units(self) -> list[Unit]:
        """All of it, in a fixed order; UserError where there is nothing."""
        ...

    def read(self, unit: Unit) -> Iterator[bytes]:
        """The documents of a unit as UTF-8; UserError says where one cannot be read."""
        ...


@dataclass(frozen=True)
class Files:
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
        plain = sum(file.kind in PLAIN for file in self.files)
        return not self.names and plain == len(self.files) < FEWEST

    @property
    def about(self) -> dict[str, Any]:
        """What a manifest says of it."""
        cut = [file for file in self.files if self.piece_of(file)]
        pieces = f"{len(cut)} cut into pieces of {self.piece_of(cut[0])} bytes at line ends" if cut else "none cut"
        return {"files": len(self.files), "bytes": sum(file.size for file in self.files), "pieces": pieces}

    def piece_of(self, file: File) -> int | None:
        """The bytes of a file's pieces; None where it is a document."""
        if file.kind not in PLAIN:
            return None
        if self.piece or not (self.too_few or file.size > COLLECTION):
            return self.piece
        return min(PIECE, max(SHORTEST, sum(member.size for member in self.files) // PIECES))

    def units(self) -> list[Unit]:
        """Small files together, a large one in parts where it can be entered in the middle."""
        units, together = list[Unit](), list[File]()
        for file in self.files:
            if file.size <= UNIT or not self.can_be_entered(file):
                together.append(file)
                if sum(member.size for member in together) >= UNIT:
                    units.append(grouped(together))
                    together = []
            elif file.kind == PARQUET:
                units += row_groups(file)
            else:
                starts = range(0, file.size, UNIT)
                units += [Unit((file,), at, at + UNIT, min(UNIT, file.size - at)) for at in starts]
        return [*units, *([grouped(together)] if together else [])]

    def can_be_entered(self, file: File) -> bool:
        """Whether a process can begin to read in the middle of a file."""
        if file.packing or file.kind == PARQUET:
            return file.kind == PARQUET
        in_utf8 = self.encoding is None or self.encoding.lower().replace("_", "-") in ("utf-8", "utf8")
        return file.kind == JSONL or (self.piece_of(file) is not None and in_utf8)

    def read(self, unit: Unit) -> Iterator[bytes]:
        """The documents of a unit; those with nothing in them are left out."""
        for file in unit.files:
            if file.kind == PARQUET:
                documents = read_parquet(file, self.field, unit)
            elif file.kind == JSONL:
                documents = read_jsonl(file, self.field, unit)
            else:
                documents = self.read_plain(file, unit)
            yield from filter(None, documents)

    def read_plain(self, file: File, unit: Unit) -> Iterator[bytes]:
        """A plain file, whole or in pieces."""
        piece = self.piece_of(file)
        with opened(file, self.encoding) as stream:
            documents = iter([stream.read()]) if piece is None else pieces(stream, unit, piece)
            for document in documents:
                if self.encoding is not None:
                    check_text(document, file)
                yield document


def grouped(files: list[File]) -> Unit:
    """Files that are read one after the other."""
    return Unit(tuple(files), size=sum(file.size for file in files))


def row_groups(file: File) -> list[Unit]:
    """The row groups of a Parquet file, so many together that they make a unit."""
    with parquet(file) as table:
        groups = table.num_row_groups
    together = max(1, round(groups * UNIT / file.size))
    starts = range(0, groups, together)
    return [Unit((file,), at, at + together, file.size // len(starts)) for at in starts]


@contextlib.contextmanager
def opened(file: File, encoding: str | None = "utf-8") -> Iterator[IO[bytes]]:
    """A file unpacked, as UTF-8; UserError where it is not packed as its name says, or not in this encoding."""
    try:
        with contextlib.ExitStack() as stack:
            stream: Any = stack.enter_context(open(file.path, "rb"))
            if file.packing == ".gz":
                stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
            elif file.packing == ".zst":
                zstandard = library("zstandard", f"{file.path} is packed by zstd")
                stream = io.BufferedReader(stack.enter_context(zstandard.ZstdDecompressor().stream_reader(stream)))
            if encoding is not None and encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
                stream = io.BufferedReader(Recoded(io.TextIOWrapper(stream, encoding, newline="")))
            yield stream
    except (UnicodeDecodeError, LookupError) as error:
        raise UserError(f"{file.path} cannot be read as data.encoding={encoding} ({error}); give another") from None
    except (zlib.error, EOFError, OSError) as error:
        raise UserError(f"{file.path} cannot be read ({error}); mend it or leave it out") from None
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        raise UserError(f"{file.path} cannot be read ({error}); mend it or leave it out") from None


class Recoded(io.RawIOBase):
    """Text of another encoding, as UTF-8."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text, self.left = text, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.left = self.left or self.text.read(len(buffer)).encode()
        n = min(len(buffer), len(self.left))
        buffer[:n], self.left = self.left[:n], self.left[n:]
        return n


def lines(stream: IO[bytes], unit: Unit, longest: int = -1) -> Iterator[bytes]:
    """The lines that begin in a unit's range; one that is longer than `longest` comes in parts."""
    position = 0
    if unit.start:  # the line in which it begins belongs to the range before
        stream.seek(position := unit.start - 1)
        while part := stream.readline(UNIT):
            position += len(part)
            if part.endswith(b"\n"):
                break
    within = unit.stop is None or position < unit.stop  # whether the line in work began in the range
    while part := stream.readline(longest) if within else b"":
        yield part
        position += len(part)
        within = not part.endswith(b"\n") or unit.stop is None or position < unit.stop


def pieces(stream: IO[bytes], unit: Unit, size: int) -> Iterator[bytes]:
    """Pieces of about `size` bytes that end with a line, or where a line is longer with a character."""
    piece = b""
    for part in lines(stream, unit, size):
        piece += part
        if len(piece) >= size:
            # a line of no end is cut; up to three bytes of a character of UTF-8 may be left behind
            end = len(piece) if piece.endswith(b"\n") else character_end(piece)
            yield piece[:end]
            piece = piece[end:]
    if piece:
        yield piece


def character_end(text: bytes) -> int:
    """Where the last whole character of UTF-8 ends."""
    for back in range(1, min(4, len(text)) + 1):
        first = text[-back]
        if first & 0xC0 != 0x80:  # no continuation byte (RFC 3629, section 3)
            width = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            return len(text) if width <= back else len(text) - back
    return len(text)


def check_text(document: bytes, file: File) -> None:
    """Refuse a document that is not UTF-8."""
    try:
        document.decode()
    except UnicodeDecodeError as error:
        where = f"{file.path} is not UTF-8: {error.reason}, 0x{document[error.start]:02x}"
        shown = document[max(0, error.start - 20) : error.start].decode(errors="replace").splitlines()
        after = f" after {shown[-1]!r}" if shown else f" at byte {error.start}"
        raise UserError(f"{where}{after}; give data.encoding=latin-1, say, or null for bytes as they are") from None


def read_jsonl(file: File, field: str, unit: Unit) -> Iterator[bytes]:
    """The texts of the rows of a file."""
    with opened(file) as stream:
        for number, line in enumerate(lines(stream, unit), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{where(file, unit, number)} is not JSON ({error}); mend it") from None
            if not isinstance(row, dict) or not isinstance(text := row.get(field), str):
                raise UserError(f"{where(file, unit, number)} {lacking(row, field)}; give data.field=")
            yield encoded(text, partial(where, file, unit, number))


def encoded(text: str, place: Callable[[], str]) -> bytes:
    """Text as UTF-8; UserError, which says at which place, where it has half a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place()} has a character that UTF-8 cannot say ({error.reason}); mend it") from None


def where(file: File, unit: Unit, number: int) -> str:
    """A row's file and line, counted from the top of the file."""
    if unit.start:
        with open(file.path, "rb") as stream:
            before = sum(stream.read(2**20).count(b"\n") for _ in range(unit.start >> 20))
            number += before + (unit.start - 1 > 0 and b"\n" not in read_at(file, unit.start - 1, 1))
    return f"{file.path}, line {number},"


def read_at(file: File, at: int, size: int) -> bytes:
    """A few bytes of a file."""
    with open(file.path, "rb") as stream:
        stream.seek(at)
        return stream.read(size)


def lacking(row: Any, field: str) -> str:
    """What is wrong with a row in which a text was looked for."""
    if not isinstance(row, dict):
        return "is no object with fields"
    return f"has no text in {field!r}; it has {', '.join(map(str, row)) or 'no field'}"


@contextlib.contextmanager
def parquet(file: File) -> Iterator[Any]:
    """A Parquet file; UserError where it is none."""
    pq = library("pyarrow.parquet", f"{file.path} is a Parquet file")
    try:
        with pq.ParquetFile(file.path) as table:
            yield table
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{file.path} is not a Parquet file ({str(error).splitlines()[0]}); mend it") from None


def read_parquet(file: File, field: str, unit: Unit) -> Iterator[bytes]:
    """The texts of the rows of a file, or of some of its row groups."""
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


def library(name: str, why: str, extra: str = "data") -> Any:
    """Import a library that only some corpora need; UserError, with what to install, where it is not there."""
    import importlib

    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # torchvision, built for another torch, is a RuntimeError
        package = name.split(".")[0]
        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({str(error).splitlines()[0]})"
        raise UserError(f"{why}, which needs {package}{reason}: pip install 'isoflop[{extra}]'") from None
