"""How much of a held-out set is in a training side that was prepared separately (no torch).

    text = np.random.default_rng(0).integers(1, 255, 200_000, dtype=np.uint8)
    train, held_out = Side([text]), Side([text[100_003:150_000]])
    share(train, held_out)                  # 1.0: found wherever it lies

Blocks are sampled by their content: one starts after every eight bytes of tokens whose hash is one of SAMPLED, on
average (as in content-defined chunking; Muthitacharoen 2001, SOSP, section 3.1).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop import files
from isoflop.scaling.config.contents import home
from isoflop.scaling.data.corpus.parts import BLOCK
from isoflop.scaling.data.corpus.store import PreparedCorpus, Side, windows

# one position in this many begins a block
SAMPLED = 256
# bytes before a block that decide whether it is one
ANCHOR = 8
# tokens that are hashed at a time
CHUNK = 2**20
# random odd numbers: multiplication modulo 2^64 is a hash whose high bits are the good ones (Dietzfelbinger 1997,
# J. Algorithms 25, section 2)
ODD = np.random.default_rng(0).integers(2**63, size=BLOCK + 1, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def overlap(train: PreparedCorpus, other: PreparedCorpus) -> float | None:
    """Return the share of one corpus's held-out blocks that are in another's training side; None without any."""
    path = home() / "overlaps" / f"{train.content}-{other.content}.json"
    remembered = files.read_json(path)
    if isinstance(remembered, dict) and "share" in remembered:
        known: float | None = remembered["share"]
        return known
    result = share(train.train, other.held_out)
    with contextlib.suppress(OSError):  # a cache that cannot be written is done without
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, {"share": result})
    return result


def share(train: Side, held_out: Side) -> float | None:
    """Return the share of sampled held-out blocks that are in a training side; None if it is too short."""
    held = np.concatenate([np.zeros(0, np.uint64), *_sampled(held_out)])
    if not len(held):
        return None
    distinct, times = np.unique(held, return_counts=True)
    seen = np.zeros(len(distinct), bool)
    for blocks in _sampled(train):
        seen |= np.isin(distinct, blocks)
    return float(times[seen].sum() / len(held))


def _sampled(side: Side) -> Iterator[NDArray[np.uint64]]:
    """Yield the hash of every sampled block, some at a time."""
    for start in range(0, side.tokens, CHUNK):
        yield _hashes(side.slice(start, min(CHUNK + ANCHOR + BLOCK - 1, side.tokens - start)))


def _hashes(tokens: NDArray[Any]) -> NDArray[np.uint64]:
    """Hash the sampled blocks of some tokens."""
    before = ANCHOR // tokens.itemsize
    n = len(tokens) - before - BLOCK + 1
    if n <= 0:
        return np.zeros(0, np.uint64)
    tokens = np.ascontiguousarray(tokens)
    anchors = np.ndarray((n,), np.uint64, tokens, strides=(tokens.itemsize,))
    at = np.flatnonzero(anchors * ODD[BLOCK] < 2**64 // SAMPLED)
    return np.asarray((windows(tokens, BLOCK)[at + before] * ODD[:BLOCK]).sum(axis=1, dtype=np.uint64))
