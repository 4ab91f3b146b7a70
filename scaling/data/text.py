"""Bytes of Python's own standard library: real text that is on every machine, as a next-byte task.

Every file is whole on one side: about one in twenty is held out, chosen by a hash of its path. The training files are
laid end to end, cut into blocks and shuffled once for all, so that a smaller `size` is a prefix of a larger one.

    examples = Text(size=100_000, seq_len=64).load()
    x, y = examples.take(torch.arange(16))                   # (16, 64) bytes and the bytes that follow
"""

import contextlib
import hashlib
import os
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoflop import files
from isoflop.checks import whole_number
from isoflop.errors import UserError
from isoflop.scaling.task import Task

BLOCK = 1024  # bytes that stay together in the shuffle
SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled"}
HELD_OUT = 20  # one file in so many
TRAINED = "encodings/"  # tables that repeat one another: none of them is held out


@dataclass(frozen=True)
class Corpus:
    """The two sides of the corpus as bytes, and the hash of both."""

    train: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    content: str


@dataclass(frozen=True)
class Text:
    """size: distinct training targets [bytes], None for all. seq_len: bytes per example. eval_size: held-out targets.

    version: which corpus, the interpreter's version; part of what determines a result.
    """

    size: int | None = None
    seq_len: int = 64
    eval_size: int = 65536
    version: str = ""

    def __post_init__(self) -> None:
        whole_number("data.seq_len", self.seq_len)
        whole_number("data.eval_size", self.eval_size)
        if self.eval_size < (two := 2 * self.seq_len):  # of one example there is no standard error
            least = f"data.eval_size={self.eval_size} is not a whole number of at least {two}"
            raise UserError(f"{least}, two examples of data.seq_len={self.seq_len}; give more, or shorter examples")
        if self.size is not None:
            whole_number("data.size", self.size, self.seq_len)

    @property
    def task(self) -> Task:
        return Task("tokens", d_in=256, d_out=256, seq_len=self.seq_len, targets=self.seq_len, bytes_per_target=1.0)

    @property
    def unique(self) -> int:
        return self.bytes_used // self.seq_len * self.seq_len

    @property
    def bytes_used(self) -> int:
        """Training bytes that bear a loss: `size`, or all that have a byte before them."""
        corpus = standard_library()
        most, held = len(corpus.train) - 1, len(corpus.held_out) - 1
        if self.eval_size > held:
            raise UserError(f"data.eval_size={self.eval_size} is more than the {held} held-out bytes there are")
        if self.size is not None and self.size > most:
            raise UserError(
                f"data.size={self.size} is more than the {most} training bytes there are; give at most that"
            )
        return self.size or most

    def load(self) -> "Windows":
        corpus = standard_library()
        facts: dict[str, str | int | float] = {"data.content": corpus.content, "data.train_bytes": len(corpus.train)}
        stream = torch.from_numpy(corpus.train[: self.bytes_used + 1])
        return Windows(stream, corpus.held_out, self.seq_len, self.eval_size, facts)


class Windows:
    """Windows of seq_len bytes, side by side, on a stream of bytes."""

    def __init__(
        self,
        stream: Tensor,
        held_out: NDArray[np.uint8],
        seq_len: int,
        eval_size: int,
        facts: dict[str, str | int | float],
    ) -> None:
        self.stream, self.seq_len, self.facts = stream, seq_len, facts
        self.n = (len(stream) - 1) // seq_len
        self.offsets = torch.arange(seq_len + 1, device=stream.device)
        self._held_out, self._eval_size = held_out, eval_size

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Windows by index: (batch, seq) bytes and the bytes that follow each."""
        rows = self.stream[indices[:, None] * self.seq_len + self.offsets].long()
        return rows[:, :-1], rows[:, 1:]

    def held_out(self, batch: int) -> list[tuple[Tensor, Tensor]]:
        """The same windows every time, spread evenly over the held-out files."""
        there, wanted = (len(self._held_out) - 1) // self.seq_len, self._eval_size // self.seq_len
        starts = np.linspace(0, there - 1, wanted).astype(np.int64) * self.seq_len
        rows = torch.from_numpy(self._held_out[starts[:, None] + np.arange(self.seq_len + 1)]).long()
        rows = rows.to(self.stream.device)
        return [(part[:, :-1], part[:, 1:]) for part in rows.split(batch)]

    def to(self, device: torch.device) -> "Windows":
        return Windows(self.stream.to(device), self._held_out, self.seq_len, self._eval_size, self.facts)


def sources() -> tuple[Path, list[str]]:
    """The folder of the standard library and its source files, without tests, in a fixed order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for folder, names, inside in os.walk(root):
        names[:] = sorted(set(names) - SKIPPED)
        found += [Path(folder, f).relative_to(root).as_posix() for f in inside if f.endswith(".py")]
    if not found:
        raise UserError(
            f"no standard library sources (*.py) in {root}; install Python with its sources, or choose data="
        )
    return root, sorted(found)


@lru_cache(maxsize=1)
def standard_library() -> Corpus:
    """The corpus, read once per machine and kept in the user's cache, under a key that changes when any file does."""
    root, files = sources()
    stats = [(name, is_held_out(name), (root / name).stat()) for name in files]
    listing = repr([BLOCK, *((name, out, stat.st_size, stat.st_mtime_ns) for name, out, stat in stats)])
    key = hashlib.sha256(listing.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isoflop" / f"text-{key}.npz"
    try:
        with cache.open("rb") as file, np.load(file) as kept:
            return Corpus(kept["train"], kept["held_out"], str(kept["content"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        corpus = read(root, files)
        keep(cache, corpus)
        return corpus


def is_held_out(name: str) -> bool:
    """Which side a file is on, by a hash of its path."""
    return not name.startswith(TRAINED) and int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % HELD_OUT == 0


def read(root: Path, files: list[str]) -> Corpus:
    """Read the files, split by a hash of the path, and shuffle the training side by blocks."""
    sides: dict[bool, list[bytes]] = {True: [], False: []}
    for name in files:
        sides[is_held_out(name)].append((root / name).read_bytes())
    whole_files = np.frombuffer(b"".join(sides[False]), dtype=np.uint8)
    held_out = np.frombuffer(b"".join(sides[True]), dtype=np.uint8)
    blocks = len(whole_files) // BLOCK
    shuffle = np.random.Generator(np.random.PCG64(0)).permutation(blocks)
    train = whole_files[: blocks * BLOCK].reshape(blocks, BLOCK)[shuffle].ravel()
    content = hashlib.sha256(train.tobytes() + held_out.tobytes()).hexdigest()[:16]
    return Corpus(train, held_out, content)


def keep(cache: Path, corpus: Corpus) -> None:
    """Store the corpus whole or not at all; a cache that cannot be written is done without."""
    with contextlib.suppress(OSError), files.replacing(cache) as draft, draft.open("wb") as file:
        np.savez(file, train=corpus.train, held_out=corpus.held_out, content=corpus.content)
