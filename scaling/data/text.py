"""Bytes of Python's own standard library: real text that is on every machine, as a next-byte task.

    examples = Text(size=100_000, seq_len=64).load()
    x, y = examples.held_out(16)[0]                          # (16, 64) bytes and the bytes that follow

About one file in twenty is held out, by a hash of its path; a smaller `size` is a prefix of a larger one.
"""

import atexit
import hashlib
import os
import shutil
import sysconfig
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.errors import UserError
from isoflop.scaling.config.contents import home
from isoflop.scaling.data.corpus import documents, store
from isoflop.scaling.data.corpus.parts import BLOCK as COMPARED
from isoflop.scaling.data.corpus.parts import block_hashes
from isoflop.scaling.data.corpus.prepare import Preparation, prepare
from isoflop.scaling.data.corpus.store import HELD_OUT as HELD_OUT_SIDE
from isoflop.scaling.data.corpus.store import TRAIN, PreparedCorpus
from isoflop.scaling.data.tokens import EVAL_SIZE, Tokens, hold_out
from isoflop.scaling.task import Task

DOCS = Path(__file__).with_name("docs.jsonl.gz")
BLOCK = 1024  # bytes that stay together in the shuffle
SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled"}
HELD_OUT = 20  # one file in this many is held out
TRAINED = "encodings/"  # tables that repeat one another: none of them is held out


@dataclass(frozen=True)
class Text(Tokens):
    """size: distinct training targets [bytes], None for all. seq_len: bytes per example. eval_size: held-out targets.
    version: which corpus, the interpreter's version; part of what determines a result."""

    eval_size: int | None = EVAL_SIZE
    version: str = ""

    @property
    def task(self) -> Task:
        return Task("tokens", d_in=256, d_out=256, seq_len=self.seq_len, targets=self.seq_len, bytes_per_target=1.0)

    def prepare(self, workers: int | None = None) -> PreparedCorpus:
        return prepared_library()

    def prepare_held_out(self, tokenizer: str) -> PreparedCorpus:
        if tokenizer == "bytes":
            return self.prepare()
        root, names = sources()
        held = tuple(str(root / name) for name in names if is_held_out(name))
        source = documents.FileSource(str(root), encoding=None, names=held)
        return hold_out(source, self.prepare().content, tokenizer)

    def facts(self, prepared: PreparedCorpus) -> dict[str, str | int | float]:
        return {"data.content": prepared.content, "data.train_bytes": prepared.tokens(TRAIN)}


@dataclass(frozen=True)
class Docs(Tokens):
    """Documentation in English: 219 kB of Markdown on scaling laws, isoflop's docs/ as they were when the study
    `scaling` began, cut at line ends into the rows of docs.jsonl.gz. `data.held_out=[docs]` gives L.docs beside L."""

    version: int = 1
    """The edition of the text; part of what determines a result."""

    @property
    def source(self) -> documents.FileSource:
        return documents.FileSource(str(DOCS))

    def prepare(self, workers: int | None = None) -> PreparedCorpus:
        return prepare(self.source, Preparation(str(self.version), "bytes"), workers)

    def prepare_held_out(self, tokenizer: str) -> PreparedCorpus:
        """Hold out all of it: whoever measures on it has trained on something else."""
        return hold_out(self.source, str(self.version), tokenizer)


def sources() -> tuple[Path, list[str]]:
    """Return the folder of the standard library and its source files, without tests, in a fixed order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    names_of_sources = []
    for folder, names, inside in os.walk(root):
        names[:] = sorted(set(names) - SKIPPED)
        names_of_sources += [Path(folder, f).relative_to(root).as_posix() for f in inside if f.endswith(".py")]
    if not names_of_sources:
        missing = f"no standard library sources (*.py) in {root}"
        raise UserError(f"{missing}; install Python with its sources, or choose data=")
    return root, sorted(names_of_sources)


@lru_cache(maxsize=1)
def prepared_library() -> PreparedCorpus:
    """Return the corpus, read once per machine and then kept; its key changes when any file does."""
    root, files = sources()
    stats = [(name, is_held_out(name), (root / name).stat()) for name in files]
    listing = repr([BLOCK, *((name, out, stat.st_size, stat.st_mtime_ns) for name, out, stat in stats)])
    key = hashlib.sha256(listing.encode()).hexdigest()[:16]
    folder = home() / f"text-{key}"
    try:
        return store.open_prepared(folder)
    except UserError:  # not there, or torn
        shutil.rmtree(folder, ignore_errors=True)
    train, held_out = read(root, files)
    content = hashlib.sha256(train.tobytes() + held_out.tobytes()).hexdigest()[:16]
    draft = {"key": key, "content": content, **_about(train, held_out, files)}
    try:
        return store.write_arrays(folder, draft, train, held_out)
    except OSError:  # a cache that cannot be written is done without
        temporary = tempfile.mkdtemp(prefix="isoflop-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return store.write_arrays(Path(temporary) / folder.name, draft, train, held_out)


def is_held_out(name: str) -> bool:
    """Return whether a file is held out, by a hash of its path."""
    return not name.startswith(TRAINED) and int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % HELD_OUT == 0


def read(root: Path, files: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the training side, shuffled by blocks, and the held-out side."""
    whole_files, held_out = (
        np.frombuffer(b"".join((root / name).read_bytes() for name in files if is_held_out(name) == held), np.uint8)
        for held in (False, True)
    )
    blocks = len(whole_files) // BLOCK
    shuffle = np.random.Generator(np.random.PCG64(0)).permutation(blocks)
    return whole_files[: blocks * BLOCK].reshape(blocks, BLOCK)[shuffle].ravel(), held_out


def _about(train: NDArray[np.uint8], held_out: NDArray[np.uint8], files: list[str]) -> dict[str, Any]:
    held = sum(map(is_held_out, files))
    sizes = {TRAIN: len(train), HELD_OUT_SIDE: len(held_out)}
    seen, there = (np.frombuffer(block_hashes(side), np.uint64) for side in (train, held_out))
    also = int(np.isin(there, seen).sum())
    return {
        "documents": {TRAIN: len(files) - held, HELD_OUT_SIDE: held, "duplicates": 0},
        "tokens": sizes,
        "bytes": sizes,
        "split": f"by file: one in {HELD_OUT} held out, by the SHA-256 of its path; none of {TRAINED}",
        "order": f"files end to end, blocks of {BLOCK} bytes in a fixed permutation",
        "source": {"files": len(files), "bytes": sum(sizes.values())},
        "licence": "PSF-2.0",
        "duplicate_blocks": {"block": COMPARED, "held_out": len(there), "also_in_train": also},
    }
