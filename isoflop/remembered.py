"""Results that a command may reuse, kept in the user's cache with a digest, so that damage is noticed.

    keep(Path("speeds.json"), {"speed": 3.0})
    recall(Path("speeds.json"))         # {'speed': 3.0}; {} if the file is missing or damaged

The cache is a folder of small files; deleting it costs nothing but time.
"""

import contextlib
import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from isoflop import files


def home() -> Path:
    """Return the folder of the cache (XDG Base Directory Specification, XDG_CACHE_HOME)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isoflop"


def recall(path: Path) -> dict[str, Any]:
    """Return what a file of the cache holds, {} if there is none; delete a damaged file, with a line on stderr."""
    try:
        digest, _, body = files.read_bytes(path).partition(b",\n")
        if digest == _digest(body):
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
        files.write_text(path, f"{_digest(body.encode()).decode()},\n{body}")


def _digest(body: bytes) -> bytes:
    """Return how a file begins: the digest of the bytes that follow the first comma and newline."""
    return f'["{sha256(body).hexdigest()}"'.encode()
