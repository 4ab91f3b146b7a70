"""What a command learnt and may learn again, kept in the user's cache: sealed, so that any damage to it is noticed.

    keep(Path("speeds.json"), {"speed": 3.0})
    recall(Path("speeds.json"))         # {'speed': 3.0}; {} where it is not there, or not as it was written

The cache is a folder of small files; deleting it costs nothing but time.
"""

import contextlib
import json
import os
import re
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from isoflop import files

# how such a file begins; its digest is that of all bytes that follow
SEAL = re.compile(rb'\{"sha256": "([0-9a-f]{64})", "data": ')


def home() -> Path:
    """The folder of what is remembered (XDG Base Directory Specification, XDG_CACHE_HOME)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isoflop"


def recall(path: Path) -> dict[str, Any]:
    """What a file of the cache holds; nothing where it is not there. One that is damaged is thrown away with a line."""
    try:
        return unsealed(files.read_bytes(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        print(f"isoflop: {path}: {error.strerror or error}; what it held is made anew", file=sys.stderr)
    except ValueError as error:
        print(f"isoflop: {path} is {error}; it is thrown away, and what it held is made anew", file=sys.stderr)
        with contextlib.suppress(OSError):
            path.unlink()
    return {}


def keep(path: Path, data: dict[str, Any]) -> None:
    """Write a file of the cache; one that cannot be written is no harm."""
    with contextlib.suppress(OSError):
        files.write_text(path, sealed(data))


def sealed(data: dict[str, Any]) -> str:
    """Plain data as JSON that carries the SHA-256 of its own text."""
    body = json.dumps(data, allow_nan=False) + "}\n"
    return f'{{"sha256": "{sha256(body.encode()).hexdigest()}", "data": {body}'


def unsealed(content: bytes) -> dict[str, Any]:
    """The data of a sealed text; ValueError where it is not as it was written."""
    seal = SEAL.match(content)
    if not seal or sha256(content[seal.end() :]).hexdigest() != seal[1].decode():
        raise ValueError("not as it was written")
    data: dict[str, Any] = files.parse_sealed(content)["data"]
    return data
