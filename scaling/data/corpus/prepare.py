"""A corpus is tokenised once: in parallel, in constant memory, and taken up where it was stopped (no torch).

    Path("corpus").mkdir()
    Path("corpus/notes.md").write_text("a line of text\n" * 20_000)
    prepared = prepare(Files("corpus"), Plan(version="0"))
    prepared.manifest["documents"]["held_out"] > 0                  # True

1. A byte-pair tokeniser, where one is to be learned, from documents of the training side alone.
2. Every unit of the source becomes a part: the tokens of its documents, and for each document a hash of its text.
3. Documents are laid end to end in the order of their hashes, which is one fixed permutation; those whose hash is low
   are the held-out side. The same text is on one side wherever it stands in the source, and once.

Parts and shards are files that are there whole or not at all, so that a process that is killed loses the units at work.
"""

import contextlib
import fcntl
import hashlib
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from isoflop import files
from isoflop.checks import number, whole_number
from isoflop.errors import UserError
from isoflop.scaling.data.corpus import store, tokenizer
from isoflop.scaling.data.corpus.documents import Files, Source, Unit
from isoflop.scaling.data.corpus.listing import ENVIRONMENT, hash_file, home
from isoflop.scaling.data.corpus.store import HELD_OUT, SIDES, TRAIN, Prepared, Shard
from isoflop.wording import count

__all__ = ["Files", "Plan", "prepare"]

# text from which byte-pair encoding is learned [bytes]: it takes seconds and a gigabyte of memory at most
LEARNED_FROM = 2**25
# documents that are tokenised together [bytes]
TOGETHER = 2**20
# tokens of a block, the unit in which copies across the split are counted
BLOCK = 256
HASH = 16  # bytes of a document's hash


@dataclass(frozen=True)
class Plan:
    """How a source becomes tokens.

    version: a hash of what is in the source. tokenizer: bytes, bpe (learned, vocab_size tokens) or the path of a file.
    held_share: of the documents, held out; 1 holds all out. licence: what the manifest says of it.
    """

    version: str
    tokenizer: str = "bytes"
    vocab_size: int = 4096
    held_share: float = 0.05
    licence: Any = None

    def __post_init__(self) -> None:
        whole_number("data.vocab_size", self.vocab_size, 257)
        number("data.held_share", self.held_share)
        if not 0 < self.held_share <= 1:
            raise UserError(f"data.held_share={self.held_share} is not a number above 0 and up to 1")

    @property
    def tokenizer_file(self) -> Path | None:
        """The file of a tokeniser that is given; None where it is bytes or to be learned."""
        return None if self.tokenizer in ("bytes", "bpe") else Path(self.tokenizer)

    def key(self, source: Source) -> str:
        """A hash of what decides the result, 16 hex digits."""
        given = self.tokenizer_file
        if given is not None and not given.is_file():
            tokenizer.load(given)  # says so
        named = f"{self.tokenizer} {self.vocab_size}" if self.tokenizer == "bpe" else self.tokenizer
        parts = [store.FORMAT, self.version, hash_file(given) if given else named, self.held_share]
        knobs = {name: value for name, value in vars(source).items() if name in ("field", "encoding", "piece")}
        return hashlib.sha256(repr([*parts, sorted(knobs.items())]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Part:
    """What a unit became: the index of its documents."""

    hashes: NDArray[np.void]
    """(documents,), HASH bytes each."""
    lengths: NDArray[np.int64]
    """Tokens of each document."""
    sizes: NDArray[np.int64]
    """Bytes of text of each document."""
    blocks: NDArray[np.uint64]
    """A hash of every whole block of a document, one document after the other."""


def folder_of(key: str) -> Path:
    """Where a prepared corpus of this key is kept."""
    return home() / key


def prepare(
    source: Source, plan: Plan, workers: int | None = None, verify: Callable[[], None] | None = None
) -> Prepared:
    """The prepared corpus of a source: what there is, or made now, which it says on stderr; UserError where it cannot.

    workers: processes; by default one a core. verify: refuses a source that is not the plan's, before it is read.
    """
    key = plan.key(source)
    folder = folder_of(key)
    if (folder / store.MANIFEST).is_file():
        return store.open_prepared(folder)
    work = folder.with_name(f".{key}.work")
    try:
        (work / "parts").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{home()} cannot be written ({error.strerror}); name a folder by {ENVIRONMENT}=") from None
    with sole(work.with_suffix(".lock")):
        if (folder / store.MANIFEST).is_file():  # another process has made it meanwhile
            return store.open_prepared(folder)
        if verify is not None:
            verify()
        (work / "parts").mkdir(parents=True, exist_ok=True)
        prepared = make(source, plan, key, work, folder, workers)
    with contextlib.suppress(OSError):
        work.with_suffix(".lock").unlink()
    return prepared


@contextlib.contextmanager
def sole(path: Path) -> Iterator[None]:
    """One process at a time prepares a corpus; the others wait for it."""
    with path.open("a") as lock:
        with contextlib.suppress(OSError):  # a file system without locks: the work is done twice, to the same end
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(source: Source, plan: Plan, key: str, work: Path, folder: Path, workers: int | None) -> Prepared:
    """Tokenise, split and write; `work` holds what is done already."""
    units = source.units()
    size = sum(unit.size for unit in units)
    say(f"preparing {f'{count(size)}B of ' if size else ''}text, once, in {folder}")
    name = learned(source, plan, units, work)
    with pool(workers, len(units)) as run:
        left = [(number, unit) for number, unit in enumerate(units) if not part_file(work, number).is_file()]
        tasks = [partial(tokenise, source, unit, number, work, name) for number, unit in left]
        run("tokenising", tasks, [unit.size or 1 for _, unit in left])
        parts = [read_part(work, number) for number in range(len(units))]
        order, removed = split(parts, plan.held_share)
        refuse_empty(order, parts, plan)
        encoder = tokenizer.load(work / name if name else None)
        kind = np.dtype(tokenizer.dtype(encoder.vocab_size)).str
        np.savez(work / "order.npz", train=order[TRAIN], held_out=order[HELD_OUT])
        shares = [(side, number) for side in SIDES for number in range(shards_of(parts, order[side]))]
        writes = [partial(write_shard, work, side, number, kind) for side, number in shares]
        shards = run("writing", writes, [1] * len(writes))
    about = description(source, plan, parts, order, removed)
    about |= {"duplicate_blocks": duplicates(parts, order)}
    if (lengths := encoder.lengths()) is not None:
        np.save(work / store.LENGTHS, lengths)
    named = {key: getattr(encoder, key) for key in ("name", "vocab_size", "content", "end")} | {"file": name}
    shutil.rmtree(work / "parts")
    (work / "order.npz").unlink()
    prepared = store.finish(work, folder, store.Draft(key, named, about), kind, shards)
    say(sentence(prepared))
    return prepared


def learned(source: Source, plan: Plan, units: Sequence[Unit], work: Path) -> str | None:
    """The file of the tokeniser in the work folder, learned or copied there; None for bytes."""
    if plan.tokenizer == "bytes":
        return None
    given = plan.tokenizer_file
    path = work / f"tokenizer{'.tiktoken' if given is None else given.suffix}"
    if not path.is_file():
        with files.replacing(path) as draft:
            if given is not None:
                tokenizer.load(given)  # says so where it is none
                draft.write_bytes(given.read_bytes())
            else:
                say(f"learning {plan.vocab_size} tokens from the training side")
                tokenizer.learn(sample(source, units, plan.held_share), plan.vocab_size, draft)
    return path.name


def sample(source: Source, units: Sequence[Unit], held_share: float) -> Iterator[bytes]:
    """Documents of the training side, chosen by their hash, about LEARNED_FROM bytes of them."""
    size, taken = sum(unit.size for unit in units), 0
    share = min(1.0, LEARNED_FROM / size) if size else 1.0
    for unit in units:
        for document in source.read(unit):
            digest = hash_of(document)
            if not is_held_out(digest, held_share) and fraction(digest[8:]) < share:
                yield document
                taken += len(document)
                if taken > 2 * LEARNED_FROM:  # of a source that is packed or does not say how large it is
                    return


def hash_of(document: bytes) -> bytes:
    """The hash by which a document is known, HASH bytes."""
    return hashlib.sha256(document).digest()[:HASH]


def fraction(digest: bytes) -> float:
    """The first eight bytes of a hash as a number from 0 to 1."""
    return int.from_bytes(digest[:8]) / 2**64


def is_held_out(digest: bytes, held_share: float) -> bool:
    """Which side a document is on."""
    return held_share == 1 or fraction(digest) < held_share


def tokenise(source: Source, unit: Unit, number: int, work: Path, name: str | None) -> None:
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
    index = Part(
        np.frombuffer(b"".join(hashes), f"V{HASH}"),
        np.array(lengths, np.int64),
        np.array(sizes, np.int64),
        np.frombuffer(b"".join(blocks), np.uint64),
    )
    with files.replacing(part_file(work, number)) as draft, draft.open("wb") as file:
        np.savez(file, hashes=index.hashes, lengths=index.lengths, sizes=index.sizes, blocks=index.blocks)


def batches(documents: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Documents together, about TOGETHER bytes at a time."""
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
    """Eight bytes of hash for every whole block of a document."""
    raw, step = tokens.tobytes(), BLOCK * tokens.itemsize
    whole = len(raw) // step * step
    return b"".join(hashlib.blake2b(raw[at : at + step], digest_size=8).digest() for at in range(0, whole, step))


def part_file(work: Path, number: int) -> Path:
    """The index of a part; it is there when the part is whole."""
    return work / "parts" / f"{number:06d}.npz"


def tokens_file(work: Path, number: int) -> Path:
    """The tokens of a part."""
    return work / "parts" / f"{number:06d}.tokens"


def read_part(work: Path, number: int) -> Part:
    """The index of a part."""
    with np.load(part_file(work, number)) as index:
        return Part(**{name: index[name] for name in index})


def split(parts: Sequence[Part], held_share: float) -> tuple[dict[str, NDArray[np.int64]], Mapping[str, int]]:
    """For each side the numbers of its documents, counted over all parts, in order; and how many were duplicates."""
    hashes = np.concatenate([part.hashes for part in parts]) if parts else np.zeros(0, f"V{HASH}")
    words = np.frombuffer(hashes.tobytes(), ">u8").reshape(-1, 2).astype(np.uint64)
    order = np.lexsort((words[:, 1], words[:, 0]))  # stable: of equal documents the first in the source stays
    ranked = words[order]
    first = np.ones(len(order), bool)
    first[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    order, ranked = order[first], ranked[first]
    held = np.full(len(order), True) if held_share == 1 else ranked[:, 0] / 2.0**64 < held_share
    return {HELD_OUT: order[held], TRAIN: order[~held]}, {"duplicates": int((~first).sum())}


def refuse_empty(order: Mapping[str, NDArray[np.int64]], parts: Sequence[Part], plan: Plan) -> None:
    """Refuse a corpus of which a side is empty."""
    documents = sum(map(len, order.values()))
    if not documents:
        raise UserError("the corpus is empty: no document has a character in it; name another data.path=")
    missing = [side for side in SIDES if not len(order[side])]
    if missing and plan.held_share < 1:
        side = "training" if missing[0] == TRAIN else "held-out"
        what = f"of {documents} different documents none is on the {side} side at data.held_share={plan.held_share}"
        raise UserError(f"{what}; give more documents, another share, or cut them smaller, as in data.piece=4096")


def shards_of(parts: Sequence[Part], order: NDArray[np.int64]) -> int:
    """How many shards the documents of a side fill."""
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
        """Bytes of a part."""
        if number not in self.files:
            if len(self.files) >= self.MOST:
                self.close()
                self.files.clear()
            self.files[number] = self.enter_context(tokens_file(self.work, number).open("rb"))
        return os.pread(self.files[number].fileno(), size, offset)


def duplicates(parts: Sequence[Part], order: Mapping[str, NDArray[np.int64]]) -> dict[str, int]:
    """Of the held-out side's whole blocks, how many stand in the training side as well."""
    counts = np.concatenate([part.lengths for part in parts]) // BLOCK
    side = np.zeros(len(counts), np.int8)  # 0: left out as a duplicate
    side[order[TRAIN]], side[order[HELD_OUT]] = 1, 2
    starts = np.cumsum([0, *(len(part.lengths) for part in parts)])

    def blocks(which: int) -> Iterator[NDArray[np.uint64]]:
        for part, start in zip(parts, starts, strict=False):
            here = slice(start, start + len(part.lengths))
            yield part.blocks[np.repeat(side[here] == which, counts[here])]

    held = np.concatenate(list(blocks(2)) or [np.zeros(0, np.uint64)])
    distinct = np.unique(held)
    seen = np.zeros(len(distinct), bool)
    for train in blocks(1):
        seen |= np.isin(distinct, train)
    return {"block": BLOCK, "held_out": len(held), "also_in_train": int(seen[np.searchsorted(distinct, held)].sum())}


def description(
    source: Source,
    plan: Plan,
    parts: Sequence[Part],
    order: Mapping[str, NDArray[np.int64]],
    removed: Mapping[str, int],
) -> dict[str, Any]:
    """What the manifest says of documents, tokens, split and licence."""
    lengths = np.concatenate([part.lengths for part in parts])
    sizes = np.concatenate([part.sizes for part in parts])
    rule = f"by document: held out where the first 8 bytes of its text's SHA-256, over 2^64, are < {plan.held_share}"
    return {
        "documents": {side: len(order[side]) for side in SIDES} | dict(removed),
        "tokens": {side: int(lengths[order[side]].sum()) for side in SIDES},
        "bytes": {side: int(sizes[order[side]].sum()) for side in SIDES},
        "split": rule if plan.held_share < 1 else "all held out",
        "order": "documents by the SHA-256 of their text, end to end",
        "source": dict(source.about),
        "licence": plan.licence,
    }


def sentence(prepared: Prepared) -> str:
    """What was prepared, in a line."""
    about = prepared.manifest
    documents, tokens, blocks = about["documents"], about["tokens"], about["duplicate_blocks"]
    held = f"{documents[HELD_OUT]} documents held out, {tokens[HELD_OUT]:.4g} tokens"
    copies = f"{documents['duplicates']} duplicate{'s' * (documents['duplicates'] != 1)} left out"
    if not documents[TRAIN]:
        return f"prepared {held}; {copies}"
    sizes = f"prepared {documents[TRAIN]} documents to train on, {tokens[TRAIN]:.4g} tokens"
    share = f"{100 * blocks['also_in_train'] / max(1, blocks['held_out']):.2g} % of held-out blocks of {BLOCK} tokens"
    return f"{sizes}; {held}; {copies}; {share} stand in the training side too"


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


Run = Callable[[str, Sequence[Callable[[], Any]], Sequence[int]], list[Any]]


@contextlib.contextmanager
def pool(workers: int | None, tasks: int) -> Iterator[Run]:
    """Run tasks in processes, a core each, with a bar in a terminal; in this one where there is one task or core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    several = min(workers or cores, tasks)
    # what is daemonic may have no children
    if several < 2 or multiprocessing.current_process().daemon:
        yield partial(_run, map_here)
        return
    # a worker has one core; tokenizers would take all of them
    with environment(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1"):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(several, context) as executor:
            try:
                yield partial(_run, partial(map_in, executor))
            except BrokenProcessPool:
                raise RuntimeError("a process that was tokenising died; the same command goes on from there") from None
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                raise


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables, for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def map_here(tasks: Sequence[Callable[[], Any]]) -> Iterator[tuple[int, Any]]:
    """The results of tasks, with their numbers, one after the other."""
    yield from ((number, task()) for number, task in enumerate(tasks))


def map_in(executor: ProcessPoolExecutor, tasks: Sequence[Callable[[], Any]]) -> Iterator[tuple[int, Any]]:
    """The results of tasks, with their numbers, as they come."""
    futures = {executor.submit(task): number for number, task in enumerate(tasks)}
    yield from ((futures[future], future.result()) for future in as_completed(futures))


def _run(map_tasks: Any, what: str, tasks: Sequence[Callable[[], Any]], sizes: Sequence[int]) -> list[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    results: list[Any] = [None] * len(tasks)
    columns = (TextColumn(what), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as bars:
        bar = bars.add_task("", total=sum(sizes))
        for number, result in map_tasks(tasks):
            results[number] = result
            bars.advance(bar, sizes[number])
    return results
