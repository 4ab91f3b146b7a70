"""A corpus is tokenised once: in parallel, in constant memory, and taken up where it was stopped (no torch).

    Path("notes").mkdir()
    Path("notes/a.md").write_text("\\n".join(map(str, range(100_000))))
    prepared = prepare(FileSource("notes"), Preparation(version="0"))
    prepared.manifest["documents"]["held_out"] > 0                  # True

A unit of the source becomes a part: the tokens of its documents, and a hash of the text of each. Documents are laid end
to end in the order of their hashes; those whose hash is low are the held-out side, and no text occurs twice.
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop import files
from isoflop.checks import number, whole_number
from isoflop.errors import UserError
from isoflop.scaling.config.contents import ENVIRONMENT, hash_file, home
from isoflop.scaling.data.corpus import store, tokenizer
from isoflop.scaling.data.corpus.documents import FileSource, Source
from isoflop.scaling.data.corpus.parts import (
    BLOCK,
    CorpusPart,
    duplicates,
    fraction,
    hash_of,
    is_held_out,
    part_file,
    read_part,
    refuse_empty,
    split,
    tokenise,
    write_shard,
)
from isoflop.scaling.data.corpus.store import HELD_OUT, SIDES, TRAIN, PreparedCorpus
from isoflop.scaling.data.corpus.streams import SourceUnit
from isoflop.scaling.hardware import cores
from isoflop.wording import count, percent

__all__ = ["FileSource", "Preparation", "prepare"]

# text from which byte-pair encoding is learned [bytes]: some seconds, and a sample of words that any corpus repeats
LEARNED_FROM = 2**24

Run = Callable[[str, Sequence[Callable[[], Any]], Sequence[int]], list[Any]]


@contextlib.contextmanager
def _pool(workers: int | None, tasks: int) -> Iterator[Run]:
    """Run tasks in processes, one a core, with a bar in a terminal; in this process for one task or core."""
    several = min(workers or cores(), tasks)
    # what is daemonic may have no children
    if several < 2 or multiprocessing.current_process().daemon:
        yield partial(_run, None)
        return
    with ProcessPoolExecutor(several, multiprocessing.get_context("spawn"), _take_one_core) as executor:
        try:
            yield partial(_run, executor)
        except BrokenProcessPool:
            raise RuntimeError("a process that was tokenising died; the same command goes on from there") from None
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _take_one_core() -> None:
    """Keep the libraries that this worker imports later from taking all cores."""
    os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1")


def _run(
    executor: ProcessPoolExecutor | None, what: str, tasks: Sequence[Callable[[], Any]], sizes: Sequence[int]
) -> list[Any]:
    """Return the results of tasks, made here or by an executor; sizes: what each adds to the bar."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    results: list[Any] = [None] * len(tasks)
    columns = (TextColumn(what), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as bars:
        bar = bars.add_task("", total=sum(sizes))
        futures = {executor.submit(task): number for number, task in enumerate(tasks)} if executor else {}
        made = ((futures[done], done.result()) for done in as_completed(futures))
        for number, result in made if executor else ((number, task()) for number, task in enumerate(tasks)):
            results[number] = result
            bars.advance(bar, sizes[number])
    return results


@dataclass(frozen=True)
class Preparation:
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
        """Hash what decides the result to 16 hex digits."""
        given = self.tokenizer_file
        if given is not None and not given.is_file():
            tokenizer.load(given)  # says so
        named = f"{self.tokenizer} {self.vocab_size}" if self.tokenizer == "bpe" else self.tokenizer
        parts = [store.FORMAT, self.version, hash_file(given) if given else named, self.held_share]
        knobs = {name: value for name, value in vars(source).items() if name in ("field", "encoding", "piece")}
        return hashlib.sha256(repr([*parts, sorted(knobs.items())]).encode()).hexdigest()[:16]


def prepare(
    source: Source, plan: Preparation, workers: int | None = None, verify: Callable[[], None] | None = None
) -> PreparedCorpus:
    """Return the prepared corpus of a source, made now if it is not there; raise UserError if it cannot be made.

    workers: processes; by default one a core. verify: refuses a source that is not the plan's, before it is read.
    """
    key = plan.key(source)
    folder = home() / key
    if (folder / store.MANIFEST).is_file():
        return store.open_prepared(folder)
    work = folder.with_name(f".{key}.work")
    try:
        (work / "parts").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{home()} cannot be written ({error.strerror}); name a folder by {ENVIRONMENT}=") from None
    with work.with_suffix(".lock").open("a") as lock:  # one process at a time prepares a corpus; the others wait
        with contextlib.suppress(OSError):  # a file system without locks: the work is done twice, to the same end
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / store.MANIFEST).is_file():  # another process has made it meanwhile
            return store.open_prepared(folder)
        if verify is not None:
            verify()
        (work / "parts").mkdir(parents=True, exist_ok=True)
        prepared = _make(source, plan, key, work, folder, workers)
    with contextlib.suppress(OSError):
        work.with_suffix(".lock").unlink()
    return prepared


def _make(source: Source, plan: Preparation, key: str, work: Path, folder: Path, workers: int | None) -> PreparedCorpus:
    """Tokenise, split and write; `work` holds what is done already."""
    units = source.units()
    size = sum(unit.size for unit in units)
    say(f"preparing {f'{count(size)}B of ' if size else ''}text, once, in {folder}")
    name = _learned(source, plan, units, work)
    with _pool(workers, len(units)) as run:
        left = [(number, unit) for number, unit in enumerate(units) if not part_file(work, number).is_file()]
        tasks = [partial(tokenise, source, unit, number, work, name) for number, unit in left]
        run("tokenising", tasks, [unit.size or 1 for _, unit in left])
        parts = [read_part(work, number) for number in range(len(units))]
        order = split(parts, plan.held_share)
        refuse_empty(order, plan.held_share)
        about = _description(source, plan, parts, order) | {"duplicate_blocks": duplicates(parts, order)}
        encoder = tokenizer.load(work / name if name else None)
        kind = np.dtype(tokenizer.dtype(encoder.vocab_size)).str
        np.savez(work / "order.npz", train=order[TRAIN], held_out=order[HELD_OUT])
        shares = [(side, number) for side in SIDES for number in range(-(-about["tokens"][side] // store.SHARD))]
        writes = [partial(write_shard, work, side, number, kind) for side, number in shares]
        shards = run("writing", writes, [1] * len(writes))
    if (lengths := encoder.lengths()) is not None:
        np.save(work / store.LENGTHS, lengths)
    named = {key: getattr(encoder, key) for key in ("name", "vocab_size", "content", "end")} | {"file": name}
    done = work / ".parts"  # at once: an index whose tokens are gone already would pass for a part
    shutil.rmtree(done, ignore_errors=True)
    (work / "parts").rename(done)
    shutil.rmtree(done)
    for leftover in (work / "order.npz", *work.glob(".*")):  # drafts of processes that were killed
        leftover.unlink()
    prepared = store.finish(work, folder, {"key": key, **about, "tokenizer": named}, kind, shards)
    say(_sentence(prepared))
    return prepared


def _learned(source: Source, plan: Preparation, units: Sequence[SourceUnit], work: Path) -> str | None:
    """Return the tokeniser's file in the work folder, learned or copied there; None for bytes."""
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
                tokenizer.learn(_sample(source, units, plan.held_share), plan.vocab_size, draft)
    return path.name


def _sample(source: Source, units: Sequence[SourceUnit], held_share: float) -> Iterator[bytes]:
    """Yield documents of the training side, chosen by their hash, about LEARNED_FROM bytes of them."""
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


def _description(
    source: Source, plan: Preparation, parts: Sequence[CorpusPart], order: Mapping[str, NDArray[np.int64]]
) -> dict[str, Any]:
    lengths = np.concatenate([part.lengths for part in parts])
    sizes = np.concatenate([part.sizes for part in parts])
    kept = {side: len(order[side]) for side in SIDES}
    rule = f"by document: held out where the first 8 bytes of its text's SHA-256, over 2^64, are < {plan.held_share}"
    return {
        "documents": {**kept, "duplicates": len(lengths) - sum(kept.values())},
        "tokens": {side: int(lengths[order[side]].sum()) for side in SIDES},
        "bytes": {side: int(sizes[order[side]].sum()) for side in SIDES},
        "split": rule if plan.held_share < 1 else "all held out",
        "order": "documents by the SHA-256 of their text, end to end",
        "source": dict(source.about),
        "licence": plan.licence,
    }


def _sentence(prepared: PreparedCorpus) -> str:
    about = prepared.manifest
    documents, tokens, blocks = about["documents"], about["tokens"], about["duplicate_blocks"]
    held = f"{documents[HELD_OUT]} documents held out, {tokens[HELD_OUT]:.4g} tokens"
    copies = f"{documents['duplicates']} duplicate{'s' * (documents['duplicates'] != 1)} left out"
    if not documents[TRAIN]:
        return f"prepared {held}; {copies}"
    sizes = f"prepared {documents[TRAIN]} documents to train on, {tokens[TRAIN]:.4g} tokens"
    share = (
        f"{percent(blocks['also_in_train'] / max(1, blocks['held_out']), None)} of held-out blocks of {BLOCK} tokens"
    )
    return f"{sizes}; {held}; {copies}; {share} are in the training side too"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
