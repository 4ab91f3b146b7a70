"""Files that are written whole or not at all, JSON that is read or is not there, and values as JSON can hold them
(standard library only).

write_text(Path("runs.csv"), text)
read_json(Path("costs.json"))           # None where it is missing or torn
finite({"value": float("nan")})         # {'value': None}: what does not exist is null, never NaN
"""

import json
import math
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a draft to write; if all goes well it is flushed to disk and takes the place of path, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")  # unlike that of any other writer
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: a draft beside it, flushed to disk, renamed over it."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any, indent: int | None = None) -> None:
    """Write plain data as JSON, whole or not at all; ValueError where it holds a NaN or an infinity."""
    write_text(path, json.dumps(data, indent=indent, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The plain data of a JSON file; None where there is no such file or it is not whole."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


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
