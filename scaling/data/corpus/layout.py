"""From parts to shards: which documents are on which side, in which order, and how they are laid end to end (no torch).

    hashes, lengths = np.frombuffer(bytes(range(32)), "V16"), np.array([300, 20])
    part = CorpusPart(hashes, lengths, sizes=lengths - 1)
    split([part], held_share=0.05)["held_out"]           # array([0]): the hash of the first is low

The order of documents is that of their hashes: one fixed permutation, whatever the order of the source.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop import files
from isoflop.errors import UserError
from isoflop.scaling.data.corpus import store
from isoflop.scaling.data.corpus.parts import BLOCK, CorpusPart, read_part, tokens_file
from isoflop.scaling.data.corpus.store import HELD_OUT, SIDES, TRAIN, Shard


def split(parts: Sequence[CorpusPart], held_share: float) -> dict[str, NDArray[np.int64]]:
    """Return each side's documents in order, numbered over all parts, without duplicates."""
    words = np.frombuffer(b"".join(part.hashes.tobytes() for part in parts), ">u8").reshape(-1, 2).astype(np.uint64)
    order = np.lexsort((words[:, 1], words[:, 0]))  # stable: of equal documents the first in the source stays
    ranked = words[order]
    first = np.ones(len(order), bool)
    first[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    order, ranked = order[first], ranked[first]
    held = np.full(len(order), True) if held_share == 1 else ranked[:, 0] / 2.0**64 < held_share
    return {HELD_OUT: order[held], TRAIN: order[~held]}


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


def write_shard(work: Path, side: str, number: int, kind: str) -> Shard:
    """Lay the documents of one shard end to end."""
    name = store.shard_name(side, number)
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

    @lru_cache(maxsize=256)  # few are mapped at a time
    def tokens_of(part: int) -> NDArray[Any]:
        return np.memmap(tokens_file(work, part), kind, "r")

    with files.replacing(work / name) as draft, draft.open("wb") as file:
        for at in range(int(np.searchsorted(ends, first, "right")), len(documents)):
            document, end = documents[at], int(ends[at])
            begin = end - int(length_of[document])
            if begin >= last:
                break
            low, high = (int(start_of[document]) + place - begin for place in (max(begin, first), min(end, last)))
            tokens = tokens_of(int(part_of[document]))[low:high]
            digest.update(tokens.data)
            file.write(tokens.data)
            largest = max(largest, int(tokens.max(initial=0)))
    return Shard(name, side, last - first, digest.hexdigest(), largest)


def duplicates(parts: Sequence[CorpusPart], order: Mapping[str, NDArray[np.int64]]) -> dict[str, int]:
    """Count the whole blocks of the held-out side, and those that are in the training side too."""
    counts = np.concatenate([part.lengths for part in parts]) // BLOCK
    side = np.zeros(len(counts), np.int8)  # 0: left out as a duplicate
    side[order[TRAIN]], side[order[HELD_OUT]] = 1, 2
    starts = np.cumsum([0, *(len(part.lengths) for part in parts)])

    def blocks(which: int) -> Iterator[NDArray[np.uint64]]:
        for part, start, stop in zip(parts, starts, starts[1:], strict=False):
            assert part.file is not None
            with np.load(part.file) as index:  # a part at a time; all parts' would be too many to hold
                yield index["blocks"][np.repeat(side[start:stop] == which, counts[start:stop])]

    held = np.concatenate(list(blocks(2)) or [np.zeros(0, np.uint64)])
    distinct = np.unique(held)
    seen = np.zeros(len(distinct), bool)
    for train in blocks(1):
        seen |= np.isin(distinct, train)
    return {"block": BLOCK, "held_out": len(held), "also_in_train": int(seen[np.searchsorted(distinct, held)].sum())}
