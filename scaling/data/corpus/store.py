"""Tokens on disk: shards that are mapped into memory, a manifest, and the hashes by which both are checked (no torch).

    write_arrays(Path("prepared"), {"key": "key"}, np.zeros(5000, np.uint8), np.ones(500, np.uint8))
    open_prepared(Path("prepared")).train.rows(np.array([0, 1]), 4)         # (2, 4) tokens: 0 ... 3 and 1 ... 4

A prepared folder holds `train-00000.tokens` ..., `held_out-00000.tokens` ..., `manifest.json` and the tokeniser. Shards
are plain little-endian numbers: token i of a side is in shard i // SHARD.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop import files
from isoflop.errors import UserError
from isoflop.scaling.config.contents import hash_file

FORMAT = 1
MANIFEST, STAMP, LENGTHS = "manifest.json", "verified.json", "lengths.npy"
TRAIN, HELD_OUT = SIDES = ("train", "held_out")
# tokens of a shard: half a gigabyte at most, a unit of work and of checking
SHARD = 2**27


@dataclass(frozen=True)
class Shard:
    name: str
    side: str
    tokens: int
    sha256: str
    largest: int
    """The largest token in it."""


class Side:
    """The tokens of one side, shards mapped into memory."""

    def __init__(self, shards: list[NDArray[Any]]) -> None:
        self.shards, self.tokens = shards, sum(map(len, shards))
        self.size = len(shards[0]) if shards else 0

    def rows(self, starts: NDArray[np.int64], length: int) -> NDArray[Any]:
        """Return the tokens from each start on, (starts, length)."""
        if len(self.shards) == 1:
            return windows(self.shards[0], length)[starts]
        which = starts // self.size
        rows = np.empty((len(starts), length), self.shards[0].dtype)
        across = starts % self.size + length > self.size
        for number in np.unique(which[~across]):
            here = (which == number) & ~across
            rows[here] = windows(self.shards[number], length)[starts[here] - number * self.size]
        for row in np.flatnonzero(across):
            rows[row] = self.slice(int(starts[row]), length)
        return rows

    def slice(self, start: int, length: int) -> NDArray[Any]:
        """Return the tokens from one start on, across as many shards as it takes."""
        parts, at = [], start
        while at < start + length:
            number, within = divmod(at, self.size)
            parts.append(self.shards[number][within : within + start + length - at])
            at += len(parts[-1])
        return np.concatenate(parts) if parts else self.shards[0][:0]


def windows(tokens: NDArray[Any], length: int) -> NDArray[Any]:
    """Return all windows of a length, without a copy."""
    shape, step = (len(tokens) - length + 1, length), tokens.strides[0]
    return np.lib.stride_tricks.as_strided(tokens, shape, (step, step), writeable=False)


@dataclass(frozen=True)
class PreparedCorpus:
    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def content(self) -> str:
        """The hash of the tokens and the tokeniser."""
        return str(self.manifest["content"])

    @property
    def vocab_size(self) -> int:
        return int(self.manifest["tokenizer"]["vocab_size"])

    @property
    def shards(self) -> list[Shard]:
        return [Shard(**shard) for shard in self.manifest["shards"]]

    @property
    def tokenizer_file(self) -> Path | None:
        """The file of its tokeniser; None for bytes."""
        name = self.manifest["tokenizer"].get("file")
        return self.folder / name if name else None

    @property
    def unit(self) -> str:
        """What a message counts: bytes or tokens."""
        return "bytes" if self.tokenizer_file is None else "tokens"

    def tokens(self, side: str) -> int:
        return sum(shard.tokens for shard in self.shards if shard.side == side)

    @cached_property
    def train(self) -> Side:
        return self._side(TRAIN)

    @cached_property
    def held_out(self) -> Side:
        return self._side(HELD_OUT)

    @cached_property
    def lengths(self) -> NDArray[np.uint16] | None:
        """Bytes of text of each token; None where they are not fixed."""
        path = self.folder / LENGTHS
        return np.load(path) if path.is_file() else None

    def bytes_per_token(self, tokens: NDArray[Any]) -> float:
        """Return the mean bytes of text of these held-out tokens, or of all if lengths are not fixed."""
        if self.lengths is not None:
            return float(self.lengths[tokens].mean(dtype=np.float64))
        return float(self.manifest["bytes"][HELD_OUT] / self.tokens(HELD_OUT))

    def _side(self, side: str) -> Side:
        kind = np.dtype(self.manifest["dtype"])
        names = [shard.name for shard in self.shards if shard.side == side]
        return Side([np.memmap(self.folder / name, kind, "r").view(np.ndarray) for name in names])

    def verify(self) -> None:
        """Read every shard and compare its hash; raise UserError if one has changed."""
        for shard in self.shards:
            if hash_file(self.folder / shard.name) != shard.sha256:
                raise _altered(self.folder / shard.name, "is not what was written")
        if self.tokenizer_file and hash_file(self.tokenizer_file)[:16] != self.manifest["tokenizer"]["content"]:
            raise UserError(f"{self.tokenizer_file} does not fit the shards beside it, which another tokeniser made")


def _altered(path: Path, what: str) -> UserError:
    return UserError(f"{path} {what}; delete its folder, and the same command prepares it again")


def open_prepared(folder: Path) -> PreparedCorpus:
    """Open a prepared corpus; raise UserError if it is incomplete, altered, or made by another tokeniser."""
    manifest = files.read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{folder} is not a prepared corpus: it has no whole {MANIFEST}; see isoflop prepare --help")
    prepared = PreparedCorpus(folder, manifest)
    width = np.dtype(manifest["dtype"]).itemsize
    for shard in prepared.shards:
        path = folder / shard.name
        size = path.stat().st_size if path.is_file() else -1
        if size != shard.tokens * width:
            what = "is missing" if size < 0 else f"has {size} bytes, but {shard.tokens * width} were written"
            raise _altered(path, what)
        if shard.largest >= prepared.vocab_size:
            what = f"holds token {shard.largest}, but its tokeniser has {prepared.vocab_size}"
            raise UserError(f"{path} {what}; the tokeniser does not fit the shards")
    if prepared.tokenizer_file and not prepared.tokenizer_file.is_file():
        raise _altered(prepared.tokenizer_file, "is missing")
    if files.read_json(folder / STAMP) != (stamp := _stamp(prepared)):
        prepared.verify()
        with contextlib.suppress(OSError):  # a folder that cannot be written goes without
            files.write_json(folder / STAMP, stamp)
    return prepared


def _stamp(prepared: PreparedCorpus) -> list[Any]:
    """Return the content, and the name, size and time of every file whose hash is compared."""
    paths = [prepared.folder / shard.name for shard in prepared.shards]
    paths += [prepared.tokenizer_file] if prepared.tokenizer_file else []
    stats = [(path.name, path.stat()) for path in paths]
    return [prepared.content, *([name, stat.st_size, stat.st_mtime_ns] for name, stat in stats)]


def finish(work: Path, folder: Path, draft: Mapping[str, Any], kind: str, shards: list[Shard]) -> PreparedCorpus:
    """Write the manifest of a folder of shards, with what a draft says, and its `content`, and put it in place."""
    parts = [*(shard.sha256 for shard in shards), str(draft["tokenizer"]["content"])]
    content = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    shape = {"dtype": np.dtype(kind).newbyteorder("<").str, "shards": [vars(shard) for shard in shards]}
    manifest = {"format": FORMAT, "content": content, **draft, **shape}
    files.write_text(work / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    with contextlib.suppress(OSError):
        files.write_json(work / STAMP, _stamp(PreparedCorpus(work, manifest)))
    try:
        os.replace(work, folder)
    except OSError:  # another process was first
        if not (folder / MANIFEST).is_file():
            raise
    return PreparedCorpus(folder, manifest)


def write_arrays(
    folder: Path, draft: Mapping[str, Any], train: NDArray[np.uint8], held_out: NDArray[np.uint8]
) -> PreparedCorpus:
    """Keep bytes that are in memory as a prepared corpus."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    shards = []
    for side, tokens in zip(SIDES, (train, held_out), strict=True):
        for number, start in enumerate(range(0, len(tokens), SHARD)):
            part = tokens[start : start + SHARD]
            name = shard_name(side, number)
            (work / name).write_bytes(part.tobytes())
            shards.append(Shard(name, side, len(part), hash_file(work / name), int(part.max())))
    tokenizer = {"name": "bytes", "vocab_size": 256, "content": "bytes"}
    return finish(work, folder, {**draft, "tokenizer": tokenizer}, train.dtype.str, shards)


def shard_name(side: str, number: int) -> str:
    return f"{side}-{number:05d}.tokens"
