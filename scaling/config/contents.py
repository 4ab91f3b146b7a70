"""The files of a corpus, and a fingerprint of what is in them (no torch).

    Path("corpus").mkdir()
    Path("corpus/a.md").write_text("# Notes")
    list_files(Path("corpus"))[0].kind          # '.txt', plain text

The fingerprint is of the contents, not of names, and is remembered while no file changes its size or its time.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from isoflop import files
from isoflop.errors import UserError

# where prepared corpora are kept; by default in the user's cache
ENVIRONMENT = "ISOFLOP_DATA"
PLAIN = (".txt", ".md")
JSONL, PARQUET = ".jsonl", ".parquet"
# what `datasets` reads beside
DATA = (".arrow", ".json", ".csv")
# what a folder says of the licences of its files
LICENCES = "LICENCES.json"
PACKED = (".gz", ".zst")


@dataclass(frozen=True, slots=True)  # a corpus may have a million
class File:
    path: str
    """As it is opened."""
    kind: str
    """The ending that says how it is read: one of plain text is `.txt` or of the corpus's own, compression aside."""
    packing: str
    """`.gz`, `.zst` or nothing."""
    size: int
    """[bytes]"""
    changed_ns: int = field(default=0, compare=False)
    """When it was changed last, by the file system [ns]."""


def home() -> Path:
    """Return the folder in which prepared corpora are kept."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    return files.cache() / "data"


def list_files(path: Path, suffixes: Sequence[str] = ()) -> list[File]:
    """List a corpus's files by path, plain ones also of these suffixes (`.c`), none hidden; UserError without any."""
    if path.is_file():
        stat = path.stat()
        one = _file(str(path), suffixes) or File(str(path), ".txt", "", 0)
        return [replace(one, size=stat.st_size, changed_ns=stat.st_mtime_ns)]
    if not path.is_dir():
        raise UserError(f"data.path={path} is not there; name a file or a folder")
    listed = []
    for entry in _walk(str(path)):
        file = _file(entry.path, suffixes)
        if file is not None and entry.is_file() and (stat := entry.stat()).st_size:
            listed.append(File(file.path, file.kind, file.packing, stat.st_size, stat.st_mtime_ns))
    if not listed:
        endings = ", ".join([*PLAIN, *suffixes, JSONL, PARQUET])
        what = f"data.path={path} holds no file with something in it that ends in {endings} (or these with .gz, .zst)"
        raise UserError(f"{what}; name other endings of plain text, as in data.suffixes=[.c,.h]")
    return sorted(listed, key=lambda file: file.path)


def fingerprint(path: Path | str | None, suffixes: Sequence[str] = (), *beside: str) -> str | None:
    """Hash the contents of a corpus, and texts or files beside it, to 16 hex digits; return None without a path."""
    if path is None:
        return None
    named = [hash_file(name) if os.path.isfile(name) else name for name in beside]
    parts = [_contents(Path(path), suffixes), *named]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def folder_fingerprint(name: str | None) -> str | None:
    """Hash a folder of data files of any kind; return None if the name is not that of a folder."""
    return fingerprint(name, DATA) if name and os.path.isdir(name) else None


def _content_of(path: Path | str | None) -> str | None:
    """Return the hash of a prepared folder's tokens, from its manifest; None if there is none."""
    manifest = None if path is None else files.read_json(Path(path) / "manifest.json")
    return str(manifest.get("content")) if isinstance(manifest, dict) else None


def hash_file(path: Path | str) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _contents(path: Path, suffixes: Sequence[str]) -> str:
    listed = list_files(path, suffixes)
    listing = hashlib.sha256(os.path.abspath(path).encode())
    for file in listed:
        listing.update(repr((file.path, file.size, file.changed_ns)).encode())
    remembered = home() / "fingerprints" / f"{listing.hexdigest()[:16]}.json"
    if isinstance(digest := files.read_json(remembered), str):
        return digest
    digests = sorted(f"{file.kind}{file.packing} {hash_file(file.path)}" for file in listed)
    digest = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    files.write_json(remembered, digest)
    return digest


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    left = [folder]
    while left:
        with os.scandir(left.pop()) as inside:
            for entry in inside:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                else:
                    yield entry


def _file(path: str, suffixes: Sequence[str]) -> File | None:
    """Return a file by its name, its size not looked up; None if its ending is unknown."""
    bare, ending = os.path.splitext(path)
    packing = ending.lower() if ending.lower() in PACKED else ""
    kind = (os.path.splitext(bare)[1] if packing else ending).lower()
    if kind in PLAIN or kind in suffixes:
        return File(path, ".txt", packing, 0)
    return File(path, kind, packing, 0) if kind in (JSONL, PARQUET) else None


# what conf/data may ask of a corpus, by the names of functions
WORDS: dict[str, Callable[..., str | None]] = {
    "fingerprint": fingerprint,
    "folder_fingerprint": folder_fingerprint,
    "content": _content_of,
}
