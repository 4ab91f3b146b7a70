"""The state of a run on disk: written whole or not at all, and read only where every byte is the one that was written.

torch.load does not look at the checksums of its archive, so a flipped bit would be trained on. A digest of all bytes
stands at the end of the file. Files are opened here, by their path alone: no part of it is taken for a URL.

    write(Path("state.ckpt"), {"position": 3})
    read(Path("state.ckpt"))["position"]
"""

import hashlib
import io
from pathlib import Path
from typing import IO, Any, cast

import torch

from isoflop import files

# what stands between the archive and its digest
MARK = b"\nsha256 "
TAIL = len(MARK) + hashlib.sha256().digest_size
BLOCK = 2**20  # bytes read at a time


class DamagedError(Exception):
    """The file is not the one that was written."""


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a state of plain data and tensors, flushed to disk; raise OSError, leaving nothing, if it does not fit."""
    with files.replacing(path) as draft, draft.open("wb") as file:
        digested = _Digested(file)
        try:
            torch.save(state, cast(IO[bytes], digested))
        except Exception as error:  # torch's own, where its writer could not write: the reason is the file's
            raise (digested.error or error) from None
        file.write(MARK + digested.digest.digest())


def read(path: Path) -> dict[str, Any]:
    """Read a state, its tensors on the CPU; raise DamagedError if a byte differs, OSError if there is no file."""
    with path.open("rb") as file:
        size = _size_of_archive(file)
        try:
            state: dict[str, Any] = torch.load(
                cast(IO[bytes], _Head(file, size)), map_location="cpu", weights_only=True
            )
        except Exception as error:  # whole, but nothing that this version can read
            if isinstance(error, MemoryError) or "memory" in str(error):
                raise
            raise DamagedError(f"holds no state ({type(error).__name__})") from error
    return state


def _size_of_archive(file: IO[bytes]) -> int:
    """Return the number of bytes before the digest, which has to match them."""
    size = file.seek(0, io.SEEK_END) - TAIL
    file.seek(0)
    digest, left = hashlib.sha256(), max(0, size)
    while left and (block := file.read(min(left, BLOCK))):
        digest.update(block)
        left -= len(block)
    if size <= 0 or file.read() != MARK + digest.digest():
        raise DamagedError("is damaged: its digest is another")
    return size


class _Digested:
    """A file to write to, with the digest of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self.digest.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


class _Head(io.RawIOBase):
    """The first bytes of a file, as a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self.file, self.size, self.at = file, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self.size - self.at))
        self.file.seek(self.at)
        count = self.file.readinto(view[:wanted])  # type: ignore[attr-defined]
        self.at += count
        return int(count)
