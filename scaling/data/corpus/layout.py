"""From parts to shards: which documents are on which side, in which order, and how they are laid end to end (no torch).

    hashes, lengths = np.frombuffer(bytes(range(32)), "V16"), np.array([300, 20])
    part = CorpusPart(hashes, lengths, sizes=lengths - 1)
    split([part], held_share=0.05)[0]["held_out"]           # array([0]): the hash of the first is low

The order of documents is that of their hashes: one fixed permutation, whatever the order of the source.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from isoflop import files
from isoflop.errors import UserError
from isoflop.scaling.data.corpus import store
from isoflop.scaling.data.corpus.parts import BLOCK, HASH, CorpusPart, read_part, tokens_file
from isoflop.scaling.data.corpus.store import HELD_OUT, SIDES, TRAIN, Shard


def split(parts: Sequence[CorpusPart], held_share: float) -> tuple[dict[str, NDArray[np.int64]], Mapping[str, int]]:
    """Return each side's documents in order, numbered over all parts, and the number of duplicates."""
    hashes = np.concatenate([part.hashes for part in parts]) if parts else np.zeros(0, f"V{HASH}")
    words = np.frombuffer(hashes.tobytes(), ">u8").reshape(-1, 2).astype(np.uint64)
    order = np.lexsort((words[:, 1], words[:, 0]))  # stable: of equal documents the first in the source stays
    ranked = words[order]
    first = np.ones(len(order), bool)
    first[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    order, ranked = order[first], ranked[first]
    held = np.full(len(order), True) if held_share == 1 else ranked[:, 0] / 2.0**64 < held_share
    return {HELD_OUT: order[held], TRAIN: order[~held]}, {"duplicates": int((~first).sum())}


def refuse_empty(order: Mapping[str, NDArray[np.int64]], held_share: float) -> None:
    """Refuse a corpus of which a side is empty."""
    documents = sum(map(len, order.values()))
    if not documents:
        raise UserError("the corpus is empty: no document has a character in it; name another data.path=")
    missing = [side for side in SIDES if not len(order[side])]
    if missing and held_share < 1:
        side = "training" if missing[0] == TRAIN else "held-out"
        what = f"of {documents} different documents none is on the {side} side at data.held_share={held_share}"
        raise UserError(f"{what}; give more documents, another share, or cut them smaller, as in data.piece=4096")


def shards_of(parts: Sequence[CorpusPart], order: NDArray[np.int64]) -> int:
    """Return the number of shards that the documents of a side fill."""
    lengths = np.concatenate([part.lengths for part in parts])
    return -(-int(lengths[order].sum()) // store.SHARD)


def write_shard(work: Path, side: str, number: int, kind: str) -> Shard:
    """Lay the documents of one shard end to end."""
    name, width = store.shard_name(side, number), np.dtype(kind).itemsize
    total = len(list((work / "parts").glob("*.npz")))
    lengths = [read_part(work, n).lengths for n in range(total)]
    with np.load(work / "order.npz") as order:
        documents = order[side]
    part_of = np.repeat(np.arange(total), [len(part) for part in lengths])
    start_of = np.concatenate([np.cumsum(part) - part for part in lengths])
    length_of = np.concatenate(lengths)
    ends = np.cumsum(length_of[documents])
    first, last = number * store.SHARD, min((number + 1) * store.SHARD, int(ends[-1]))
    digest, largest = hashlib.sha256(), 0
    with files.replacing(work / name) as draft, draft.open("wb") as file, Opened(work) as sources:
        for at in range(int(np.searchsorted(ends, first, "right")), len(documents)):
            document, end = documents[at], int(ends[at])
            begin = end - int(length_of[document])
            if begin >= last:
                break
            low, high = max(begin, first), min(end, last)
            offset = (int(start_of[document]) + low - begin) * width
            raw = sources.read(int(part_of[document]), offset, (high - low) * width)
            digest.update(raw)
            file.write(raw)
            largest = max(largest, int(np.frombuffer(raw, kind).max()))
    return Shard(name, side, last - first, digest.hexdigest(), largest)


class Opened(contextlib.ExitStack):
    """Files of parts, read at any place; few are open at a time."""

    MOST = 256

    def __init__(self, work: Path) -> None:
        super().__init__()
        self.work, self.files = work, dict[int, IO[bytes]]()

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Read bytes of a part."""
        if number not in self.files:
            if len(self.files) >= self.MOST:
                self.close()
                self.files.clear()
            self.files[number] = self.enter_context(tokens_file(self.work, number).open("rb"))
        return os.pread(self.files[number].fileno(), size, offset)


def duplicates(parts: Sequence[CorpusPart], order: Mapping[str, NDArray[np.int64]]) -> dict[str, int]:
    """Count the whole blocks of the held-out side, and those that are in the training side too."""
    counts = np.concatenate([part.lengths for part in parts]) // BLOCK
    side = np.zeros(len(counts), np.int8)  # 0: left out as a duplicate
    side[order[TRAIN]], side[order[HELD_OUT]] = 1, 2
    starts = np.cumsum([0, *(len(part.lengths) for part in parts)])

    def blocks(which: int) -> Iterator[NDArray[np.uint64]]:
        for part, start in zip(parts, starts, strict=False):
            here = slice(start, start + len(part.lengths))
            yield part.read_blocks()[np.repeat(side[here] == which, counts[here])]

    held = np.concatenate(list(blocks(2)) or [np.zeros(0, np.uint64)])
    distinct = np.unique(held)
    seen = np.zeros(len(distinct), bool)
    for train in blocks(1):
        seen |= np.isin(distinct, train)
    return {"block": BLOCK, "held_out": len(held), "also_in_train": int(seen[np.searchsorted(distinct, held)].sum())}
