"""Parts: what a unit of a source becomes, its documents as tokens and an index of them (no torch).

    hash_of(b"a document").hex()[:8]            # the same for the same text, wherever it stands
    is_held_out(hash_of(b"a document"), held_share=0.05)

The hash of a document's text decides its side and its place.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop import files
from isoflop.scaling.data.corpus import tokenizer
from isoflop.scaling.data.corpus.documents import Source
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
    """Return whether a document is held out."""
    return held_share == 1 or fraction(digest) < held_share


def tokenise(source: Source, unit: SourceUnit, number: int, work: Path, name: str | None) -> None:
    """Make the part of a unit: a file of tokens, and an index that is written last."""
    encoder = tokenizer.load(work / name if name else None)
    hashes, lengths, sizes, blocks = list[bytes](), list[int](), list[int](), list[bytes]()
    with files.replacing(tokens_file(work, number)) as draft, draft.open("wb") as file:
        for documents in batches(source.read(unit)):
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


def batches(documents: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield documents together, about TOGETHER bytes at a time."""
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
    """Return the index of a part; it is there when the part is whole."""
    return work / "parts" / f"{number:06d}.npz"


def tokens_file(work: Path, number: int) -> Path:
    """Return the tokens of a part."""
    return work / "parts" / f"{number:06d}.tokens"


def read_part(work: Path, number: int) -> CorpusPart:
    """Return the index of a part."""
    with np.load(part_file(work, number)) as index:
        return CorpusPart(index["hashes"], index["lengths"], index["sizes"], part_file(work, number))
