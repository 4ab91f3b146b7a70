"""Files written whole or not at all, JSON read strictly, and what a command keeps in the user's cache for the next.

write_text(Path("runs.csv"), text)
read_json(Path("costs.json"))                   # None where it is missing or torn
finite({"value": float("nan")})                 # {'value': None}: what does not exist is null, never NaN
keep(Path("speeds.json"), {"speed": 3.0})       # with a digest, so that damage is noticed
recall(Path("speeds.json"))                     # {'speed': 3.0}; {} if the file is missing or damaged
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isoflop.errors import UserError

# what a file system says that cannot flush a folder, or a user who may not open it
NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF)
# bytes of a file of bookkeeping at most: a run's record of a thousand marks has two millions
LARGEST = 2**28


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a draft to write; on success rename it to path and flush it to disk, otherwise remove it."""
    make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")  # unlike that of any other writer
    try:
        with naming(path):
            yield draft
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(draft, path)
            _flush_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the name of a file to a system error that lacks one, such as a write that finds no room (write(2))."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def make_folder(path: Path) -> None:
    new = [one for one in (path, *path.parents) if not one.is_dir()]
    path.mkdir(parents=True, exist_ok=True)
    for one in new:
        _flush_folder(one.parent)


def _flush_folder(path: Path) -> None:
    """Flush to disk which files a folder holds (fsync(2): flushing a file does not flush its name)."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: a draft beside it, flushed to disk, renamed over it."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any, indent: int | None = None) -> None:
    """Write plain data as JSON, whole or not at all; ValueError for NaN or infinity."""
    write_text(path, json.dumps(data, indent=indent, allow_nan=False) + "\n")


def read_bytes(path: Path | str) -> bytes:
    """Return the bytes of a regular file; OSError for a FIFO or a device, which would block, and for a huge file."""
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
    """Return the plain data of a JSON file; None if it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError):
        return parse_json(read_bytes(path))
    return None


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds, {} where it holds another thing; UserError if it cannot be read."""
    try:
        document = json.loads(read_bytes(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def parse_json(text: str | bytes) -> Any:
    """Return the data of a JSON document; ValueError for what RFC 8259 leaves open: NaN, a key twice, deep nesting."""
    hooks: Any = {"parse_constant": _float, "parse_float": _float, "object_pairs_hook": _object}
    try:
        return json.loads(text, parse_int=lambda digits: int(digits) if _float(digits) else 0, **hooks)
    except RecursionError:
        raise ValueError("lists or objects lie too deep in one another") from None


def digest(data: Any) -> str:
    """Return the SHA-256 of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _float(digits: str) -> float:
    if math.isfinite(value := float(digits)):
        return value
    word = digits.strip("-").isalpha()
    raise ValueError(f"{digits} is not a number" if word else f"{digits[:80]} is beyond the largest float")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)[:80]!r} is there twice")
    return members


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a nested mapping holds by names joined with dots."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def finite(value: Any) -> Any:
    """Return the value with NaN and infinities as None, at any depth, and arrays and numpy's numbers as plain ones."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def records(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a data frame, with None for NaN."""
    rows: list[dict[str, Any]] = finite(table.to_dict("records"))
    return rows


def cache() -> Path:
    """Return the folder of the cache, which may be deleted (XDG Base Directory Specification, XDG_CACHE_HOME)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isoflop"


def recall(path: Path) -> dict[str, Any]:
    """Return what a file of the cache holds, {} if there is none; delete a damaged file, with a line on stderr."""
    try:
        seal, _, body = read_bytes(path).partition(b",\n")
        if seal == _seal(body):
            data: dict[str, Any] = json.loads(body[:-1])
            return data
        print(f"isoflop: {path} is damaged; it is deleted and will be recomputed", file=sys.stderr)
        with contextlib.suppress(OSError):
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        print(f"isoflop: {path}: {error.strerror or error}; it will be recomputed", file=sys.stderr)
    return {}


def keep(path: Path, data: dict[str, Any]) -> None:
    """Write a file of the cache, a list of digest and data; failures to write are ignored."""
    body = json.dumps(data, allow_nan=False) + "]"
    with contextlib.suppress(OSError):
        write_text(path, f"{_seal(body.encode()).decode()},\n{body}")


def _seal(body: bytes) -> bytes:
    return f'["{hashlib.sha256(body).hexdigest()}"'.encode()
