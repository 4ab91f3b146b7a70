"""Documents read from files: plain text, rows of JSON or Parquet, packed or not (no torch).

    Path("corpus.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    source = FileSource("corpus.jsonl", field="text")
    [list(source.read(unit)) for unit in source.units()]            # [[b'one', b'two']]

A row is a document, and so is a plain file, or a piece of it where there are too few or one is a collection.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from isoflop.scaling.config.contents import JSONL, PARQUET, PLAIN, File, list_files
from isoflop.scaling.data.corpus.rows import read_jsonl, read_parquet, row_groups
from isoflop.scaling.data.corpus.streams import UNIT, SourceUnit, check_text, opened, pieces

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
        """What a manifest says of it."""
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
        """Split the work into units, in a fixed order; raise UserError if there is none."""
        units, together, size = list[SourceUnit](), list[File](), 0
        for file in self.files:
            if file.size <= UNIT or not self.can_be_entered(file):
                together.append(file)
                size += file.size
                if size >= UNIT:
                    units.append(grouped(together))
                    together, size = [], 0
            elif file.kind == PARQUET:
                units += row_groups(file)
            else:
                starts = range(0, file.size, UNIT)
                units += [SourceUnit((file,), at, at + UNIT, min(UNIT, file.size - at)) for at in starts]
        return [*units, *([grouped(together)] if together else [])]

    def can_be_entered(self, file: File) -> bool:
        """Return whether reading can begin in the middle of a file."""
        if file.packing or file.kind == PARQUET:
            return file.kind == PARQUET
        in_utf8 = self.encoding is None or self.encoding.lower().replace("_", "-") in ("utf-8", "utf8")
        return file.kind == JSONL or (self.piece_of(file) is not None and in_utf8)

    def read(self, unit: SourceUnit) -> Iterator[bytes]:
        """Yield the documents of a unit, without empty ones."""
        for file in unit.files:
            if file.kind == PARQUET:
                documents = read_parquet(file, self.field, unit)
            elif file.kind == JSONL:
                documents = read_jsonl(file, self.field, unit)
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


def grouped(files: list[File]) -> SourceUnit:
    """Return a unit of files that are read one after the other."""
    return SourceUnit(tuple(files), size=sum(file.size for file in files))
