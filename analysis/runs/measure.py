"""Whether a file can be read at all: a regular file, no line and no cell beyond all measure, unpacked in bounds.

What this refuses would fill the memory, or never end, before the first row is looked at.

    check_file(Path("runs.csv"))
"""

import io
import lzma
import mmap
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from isoflop.errors import UserError
from isoflop.wording import MOST_SHOWN, cut, printable

# bytes of a line, far above any row of numbers and names
LONGEST_LINE = 16 * 2**20
# files that are read by what they are, a line a row, or not as text at all
_LINES, _BINARY = (".jsonl", ".ndjson"), (".parquet", ".pq")
# files that are text once they are unpacked, and the bytes that one may unpack to: deflate makes a thousandth of a bomb
# (RFC 1951)
PACKED = (".gz", ".bz2", ".zip", ".xz", ".zst")
LARGEST_UNPACKED = 2**28
# how a field in quotes begins, and what it is up to its closing quote (RFC 4180)
_OPENING = re.compile(rb'(?:\A|[,\r\n])"')
_QUOTED = re.compile(rb'(?:[^"]++|"")*+')


def check_file(path: Path) -> None:
    """UserError where reading a file may never end: a pipe, a device, a text with a line beyond all measure."""
    if not path.is_file():
        raise UserError(f"{path} is a pipe or a device and no file; save the table in a file")
    if path.suffix in (*_BINARY, *PACKED):
        return
    with path.open("rb") as file:
        check_lines(file, path)
        if path.suffix not in _LINES and os.fstat(file.fileno()).st_size > LONGEST_LINE:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                check_quotes(content, path)


def check_lines(file: BinaryIO, path: Path) -> None:
    """UserError where a line of text is beyond all measure."""
    while len(chunk := file.read(LONGEST_LINE)) == LONGEST_LINE:
        if b"\n" not in chunk:
            raise UserError(
                f"{path} has a line of more than {LONGEST_LINE // 2**20} MB, so it is no table of runs; mend it"
            )


def check_quotes(content: mmap.mmap | bytes, path: Path) -> None:
    """UserError where a cell in quotes is beyond all measure, whatever lines it has, or is never closed."""
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
    """The text of a compressed CSV, which is unpacked as far as one may be; UserError where it is more, or damaged."""
    from pandas.io.common import get_handle  # type: ignore[import-not-found]  # no stub has it

    try:
        with get_handle(path, "rb", compression="infer", is_text=False) as handle:
            content = cast(bytes, handle.handle.read(LARGEST_UNPACKED + 1))
    except (EOFError, ImportError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        reason = cut(printable(str(error) or type(error).__name__), MOST_SHOWN)
        raise UserError(f"{path} cannot be unpacked: {reason}; unpack it yourself, or save it anew") from None
    if len(content) > LARGEST_UNPACKED:
        raise UserError(
            f"{path} unpacks to more than {LARGEST_UNPACKED // 2**20} MB; unpack it, if that is what it should hold"
        )
    check_lines(io.BytesIO(content), path)
    check_quotes(content, path)
    return content
