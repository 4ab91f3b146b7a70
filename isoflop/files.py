"""Write files whole or not at all, read JSON strictly, and turn values into what JSON can hold (standard library only).

write_text(Path("runs.csv"), text)
read_json(Path("costs.json"))           # None where it is missing or torn
finite({"value": float("nan")})         # {'value': None}: what does not exist is null, never NaN
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

# what a file system says that cannot flush a folder, or a user who may not open it
NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF)


# bytes of a file of bookkeeping at most: a run's record of a thousand marks has two millions
LARGEST = 2**28


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a draft to write; if all goes well it takes the place of path, on disk too, else it is removed."""
    make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")  # unlike that of any other writer
    try:
        with naming(path):
            yield draft
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(draft, path)
            flush_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file or folder in what the system says where that names none: of a write that finds no room (write(2))."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def make_folder(path: Path) -> None:
    """Make a folder and those above it, on disk too."""
    new = [one for one in (path, *path.parents) if not one.is_dir()]
    path.mkdir(parents=True, exist_ok=True)
    for one in new:
        flush_folder(one.parent)


def flush_folder(path: Path) -> None:
    """Flush to disk which files a folder holds (fsync(2): flushing a file does not flush its name)."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
        return
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: a draft beside it, flushed to disk, renamed over it."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any, indent: int | None = None) -> None:
    """Write plain data as JSON, whole or not at all; ValueError where it holds a NaN or an infinity."""
    write_text(path, json.dumps(data, indent=indent, allow_nan=False) + "\n")


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a regular file; OSError for a FIFO or a device, which would block or never end, and a huge one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if facts.st_size > LARGEST:
            raise OSError(errno.EFBIG, f"{facts.st_size} bytes, where at most {LARGEST} can be", str(path))
        # one that grows meanwhile is read on; what /proc shows has no size
        parts = [os.read(descriptor, facts.st_size + 1)]
        while parts[-1]:
            parts.append(os.read(descriptor, 2**20))
        return b"".join(parts)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """The plain data of a JSON file; None where there is no such file or it is not whole."""
    with contextlib.suppress(OSError, ValueError):
        return parse_json(read_bytes(path))
    return None


def parse_json(text: str | bytes) -> Any:
    """Plain data of a JSON document; ValueError for what RFC 8259 has not: NaN, a key twice, numbers beyond floats.

    So it is where lists lie too deep in one another.
    """
    try:
        return json.loads(
            text, parse_constant=_no_number, parse_float=_float, parse_int=_int, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError("lists or objects lie too deep in one another") from None


def digest(data: Any) -> str:
    """SHA-256 of plain data: of its values, the order of keys and the way of writing aside."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _float(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits[:80]} is beyond the largest float")
    return value


def _int(digits: str) -> int:
    _float(digits)
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)[:80]!r} is there twice")
    return members


def finite(value: Any) -> Any:
    """The value with null for every float that is no number, at any depth; arrays and numpy's numbers as plain ones."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def records(table: Any) -> list[dict[str, Any]]:
    """The rows of a data frame, null where there is no number."""
    rows: list[dict[str, Any]] = finite(table.to_dict("records"))
    return rows
