"""Files as streams of UTF-8: unpacked, recoded, by lines and by pieces, from the middle of a file too (no torch).

Path("a.txt").write_text("one\\ntwo\\nthree\\n")
with opened(File("a.txt", ".txt", "", 14)) as stream:
    list(lines(stream, SourceUnit((), start=2, stop=6)))           # [b'two\\n'], begun in 2 <= position < 6
"""

import contextlib
import gzip
import importlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from isoflop.errors import UserError
from isoflop.scaling.config.contents import File

__all__ = ["File", "Path", "SourceUnit"]

# what one process reads at a time: a unit of work that is done again after a kill [bytes]
UNIT = 2**24


@dataclass(frozen=True)
class SourceUnit:
    """What a process reads at a time: files, or of one what begins in start <= position < stop [bytes, row groups]."""

    files: tuple[Any, ...]
    start: int = 0
    stop: int | None = None
    size: int = 0
    """Bytes on disk, for progress; 0 where it is not known."""


@contextlib.contextmanager
def opened(file: File, encoding: str | None = "utf-8") -> Iterator[IO[bytes]]:
    """Open a file, unpacked and as UTF-8; raise UserError if its packing or encoding is wrong."""
    try:
        with contextlib.ExitStack() as stack:
            stream: Any = stack.enter_context(open(file.path, "rb"))
            if file.packing == ".gz":
                stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
            elif file.packing == ".zst":
                zstandard = library("zstandard", f"{file.path} is packed by zstd")
                stream = io.BufferedReader(stack.enter_context(zstandard.ZstdDecompressor().stream_reader(stream)))
            if encoding is not None and encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
                stream = io.BufferedReader(_Recoded(io.TextIOWrapper(stream, encoding, newline="")))
            yield stream
    except (UnicodeDecodeError, LookupError) as error:
        raise UserError(f"{file.path} cannot be read as data.encoding={encoding} ({error}); give another") from None
    except Exception as error:
        if not isinstance(error, zlib.error | EOFError | OSError) and type(error).__name__ != "ZstdError":
            raise
        raise UserError(f"{file.path} cannot be read ({error}); fix it or leave it out") from None


class _Recoded(io.RawIOBase):
    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text, self.left = text, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.left = self.left or self.text.read(len(buffer)).encode()
        n = min(len(buffer), len(self.left))
        buffer[:n], self.left = self.left[:n], self.left[n:]
        return n


def lines(stream: IO[bytes], unit: SourceUnit, longest: int = -1) -> Iterator[bytes]:
    """Yield the lines that begin in a unit's range; a line longer than `longest` comes in parts."""
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


def pieces(stream: IO[bytes], unit: SourceUnit, size: int) -> Iterator[bytes]:
    """Yield pieces of about `size` bytes that end with a line or, in a longer line, with a character."""
    piece = b""
    for part in lines(stream, unit, size):
        piece += part
        if len(piece) >= size:
            # a line of no end is cut; up to three bytes of a character of UTF-8 may be left behind
            end = len(piece) if piece.endswith(b"\n") else _character_end(piece)
            yield piece[:end]
            piece = piece[end:]
    if piece:
        yield piece


def _character_end(text: bytes) -> int:
    """Return where the last whole character of UTF-8 ends."""
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


def library(name: str, why: str, extra: str = "data") -> Any:
    """Import a library that only some corpora need; raise UserError, saying what to do, if it is missing or broken."""
    package = name.split(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise UserError(f"{why}, which needs {package}: pip install 'isoflop[{extra}]'") from None
        broken: Exception = error
    except Exception as error:  # torchvision built for another torch: RuntimeError, AttributeError, OSError, by version
        broken = error
    reason = (str(broken).strip().splitlines() or [type(broken).__name__])[0]
    fits = " of a version that fits torch" if package.startswith("torch") else ""
    raise UserError(f"{why}, but {package} is installed and cannot be imported ({reason}); install one{fits}") from None
