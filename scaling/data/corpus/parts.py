"""Parts and shards: what a unit of a source becomes, and how the documents of all are split and laid end to end.

    hashes, lengths = np.frombuffer(bytes(range(32)), "V16"), np.array([300, 20])
    part = CorpusPart(hashes, lengths, sizes=lengths - 1)
    split([part], held_share=0.05)["held_out"]           # array([0]): the hash of the first is low

The hash of a document's text decides its side and its place: the order is a fixed permutation, whatever the source's.

How much of a held-out set is in a training side that was prepared separately is counted by blocks that are sampled by
their content: one starts after every eight bytes of tokens whose hash is one of SAMPLED, on average (as in
content-defined chunking; Muthitacharoen 2001, SOSP, section 3.1).

    text = np.random.default_rng(0).integers(1, 255, 200_000, dtype=np.uint8)
    share(Side([text]), Side([text[100_003:150_000]]))      # 1.0: found wherever it lies
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop import files
from isoflop.errors import UserError
from isoflop.scaling.config.contents import home
from isoflop.scaling.data.corpus import store, tokenizer
from isoflop.scaling.data.corpus.documents import Source
from isoflop.scaling.data.corpus.store import HELD_OUT, SIDES, TRAIN, PreparedCorpus, Shard, Side, windows
from isoflop.scaling.data.corpus.streams import SourceUnit

# documents that are tokenised together [bytes]
TOGETHER = 2**20
# tokens of a block, the unit in which copies across the split are counted
BLOCK = 256
HASH = 16  # bytes of a document's hash


@dataclass(frozen=True)
class CorpusPart:
    """What a unit became: the index of its documents."""

    hashes: NDArray[np.void]
    """(documents,), HASH bytes each."""
    lengths: NDArray[np.int64]
    """Tokens of each document."""
    sizes: NDArray[np.int64]
    """Bytes of text of each document."""
    file: Path | None = None
    """Where it lies, with `blocks`, the hashes of every whole block, document by document."""


def hash_of(document: bytes) -> bytes:
    """Hash a document to HASH bytes."""
    return hashlib.sha256(document).digest()[:HASH]


def fraction(digest: bytes) -> float:
    """Return the first eight bytes of a hash as a number from 0 to 1."""
    return int.from_bytes(digest[:8]) / 2**64


def is_held_out(digest: bytes, held_share: float) -> bool:
    return held_share == 1 or fraction(digest) < held_share


def tokenise(source: Source, unit: SourceUnit, number: int, work: Path, name: str | None) -> None:
    """Make the part of a unit: a file of tokens, and an index that is written last."""
    encoder = tokenizer.load(work / name if name else None)
    hashes, lengths, sizes, blocks = list[bytes](), list[int](), list[int](), list[bytes]()
    with files.replacing(part_file(work, number).with_suffix(".tokens")) as draft, draft.open("wb") as file:
        for documents in _batches(source.read(unit)):
            for document, tokens in zip(documents, encoder.encode(documents), strict=True):
                file.write(tokens.tobytes())
                hashes.append(hash_of(document))
                lengths.append(len(tokens))
                sizes.append(len(document))
                blocks.append(block_hashes(tokens))
    with files.replacing(part_file(work, number)) as draft, draft.open("wb") as file:
        np.savez(
            file,
            hashes=np.frombuffer(b"".join(hashes), f"V{HASH}"),
            lengths=np.array(lengths, np.int64),
            sizes=np.array(sizes, np.int64),
            blocks=np.frombuffer(b"".join(blocks), np.uint64),
        )


def _batches(documents: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch, size = list[bytes](), 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= TOGETHER:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def block_hashes(tokens: NDArray[Any]) -> bytes:
    """Hash every whole block of a document to eight bytes."""
    raw, step = tokens.tobytes(), BLOCK * tokens.itemsize
    end = len(raw) // step * step
    return b"".join(hashlib.blake2b(raw[at : at + step], digest_size=8).digest() for at in range(0, end, step))


def part_file(work: Path, number: int) -> Path:
    return work / "parts" / f"{number:06d}.npz"


def read_part(work: Path, number: int) -> CorpusPart:
    with np.load(part_file(work, number)) as index:
        return CorpusPart(index["hashes"], index["lengths"], index["sizes"], part_file(work, number))


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
        return np.memmap(part_file(work, part).with_suffix(".tokens"), kind, "r")

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


def first_said(train: PreparedCorpus, other: PreparedCorpus) -> bool:
    """Return whether no process on this machine has asked before, so that one of many says what the two share."""
    try:
        (home() / "overlaps" / f"{train.content}-{other.content}.said").touch(exist_ok=False)
    except OSError as error:
        return not isinstance(error, FileExistsError)
    return True


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
    for start in range(0, side.tokens, CHUNK):
        yield _hashes(side.slice(start, min(CHUNK + ANCHOR + BLOCK - 1, side.tokens - start)))


def _hashes(tokens: NDArray[Any]) -> NDArray[np.uint64]:
    before = ANCHOR // tokens.itemsize
    n = len(tokens) - before - BLOCK + 1
    if n <= 0:
        return np.zeros(0, np.uint64)
    tokens = np.ascontiguousarray(tokens)
    anchors = np.ndarray((n,), np.uint64, tokens, strides=(tokens.itemsize,))
    at = np.flatnonzero(anchors * ODD[BLOCK] < 2**64 // SAMPLED)
    return np.asarray((windows(tokens, BLOCK)[at + before] * ODD[:BLOCK]).sum(axis=1, dtype=np.uint64))
