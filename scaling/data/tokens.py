"""What all datasets of tokens share: the training and held-out sides of a corpus, and the windows on them (no torch).

from isoflop.scaling.data.text import Text
Text(size=100_000).task.d_out            # 256
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from isoflop import checks
from isoflop.errors import UserError
from isoflop.scaling.config import choices
from isoflop.scaling.config.contents import fingerprint
from isoflop.scaling.data.corpus import store
from isoflop.scaling.data.corpus.documents import FileSource, Source
from isoflop.scaling.data.corpus.parts import BLOCK, first_said, overlap
from isoflop.scaling.data.corpus.prepare import Preparation, prepare, say
from isoflop.scaling.data.corpus.store import HELD_OUT, TRAIN, PreparedCorpus
from isoflop.scaling.task import Task
from isoflop.wording import percent

if TYPE_CHECKING:
    from isoflop.scaling.data.windows import Windows

# held-out targets where no number of them is given, or all that there are
EVAL_SIZE = 2**16

Sets = str | Sequence[str] | Mapping[str, str] | None


@dataclass(frozen=True)
class Tokens:
    """size: distinct training targets [tokens], None for all. seq_len: tokens per example. eval_size: held-out targets.

    held_out: further held-out sets, whose losses are L.NAME: names of data, or paths of files, folders and prepared
    corpora, or names of one's own with a path each.
    """

    size: int | None = None
    seq_len: int = 64
    eval_size: int | None = None
    held_out: Sets = None

    limits: ClassVar[checks.Limits] = {"seq_len": 1, "eval_size": 1}

    def __post_init__(self) -> None:
        checks.knobs("data", self)
        # of one example there is no standard error
        if self.eval_size is not None and self.eval_size < (two := 2 * self.seq_len):
            least = f"data.eval_size={self.eval_size} is not a whole number of at least {two}"
            raise UserError(f"{least}, two examples of data.seq_len={self.seq_len}; give more, or shorter examples")
        if self.size is not None:
            checks.whole_number("data.size", self.size, self.seq_len)

    def prepare(self, workers: int | None = None) -> PreparedCorpus:
        """Return the corpus, prepared now if it is not there."""
        raise NotImplementedError

    def prepare_held_out(self, tokenizer: str) -> PreparedCorpus:
        """Return its held-out side for another dataset, in that dataset's tokens."""
        raise NotImplementedError

    @cached_property
    def prepared(self) -> PreparedCorpus:
        prepared, length = self.prepare(), f"data.seq_len={self.seq_len}"
        train, held = (prepared.tokens(side) - 1 for side in (TRAIN, HELD_OUT))
        if train < self.seq_len:
            raise UserError(f"the corpus has {train + 1} training tokens, less than an example of {length}")
        if held < 2 * self.seq_len:
            few = f"the corpus has {held + 1} held-out tokens, less than two examples of {length}"
            raise UserError(f"{few}; give more text, shorter examples, or a larger data.held_share")
        if self.eval_size is not None and self.eval_size > held:
            there = f"the {held} held-out {prepared.unit} there are"
            raise UserError(f"data.eval_size={self.eval_size} is more than {there}")
        return prepared

    @property
    def task(self) -> Task:
        vocab_size, windows = self.prepared.vocab_size, self.windows(self.prepared)
        # of the targets that L is a mean over
        size = self.prepared.bytes_per_token(windows[:, 1:])
        return Task("tokens", vocab_size, vocab_size, self.seq_len, targets=self.seq_len, bytes_per_target=size)

    @property
    def unique(self) -> int:
        return self.used // self.seq_len * self.seq_len

    @property
    def used(self) -> int:
        """Training tokens that bear a loss: `size`, or all that have a token before them."""
        most = self.prepared.tokens(TRAIN) - 1
        if self.size is not None and self.size > most:
            there = f"the {most} training {self.prepared.unit} there are"
            raise UserError(f"data.size={self.size} is more than {there}; give at most that")
        return self.size or most

    def refuse(self, batch: int) -> None:
        """Refuse a batch of more examples than there are, and held-out sets that are not there."""
        for name, prepared in self.others.items():
            self.windows(prepared, name)
            if (share := overlap(self.prepared, prepared)) and first_said(self.prepared, prepared):
                there = f"{percent(share, None)} of its blocks of {BLOCK} tokens are in the training side too"
                say(f"data.held_out: {name}: {there}")
        if batch > (n := self.used // self.seq_len):
            there = f"recipe.batch={batch} is more than the {n} examples of data.seq_len={self.seq_len} there are"
            raise UserError(f"{there}; give a smaller batch, shorter examples or more text")

    def windows(self, prepared: PreparedCorpus, name: str = "") -> NDArray[Any]:
        """Return the same windows every time, spread evenly over a held-out side, (windows, seq_len + 1)."""
        there = (prepared.tokens(HELD_OUT) - 1) // self.seq_len
        if there < 2:
            raise UserError(f"the held-out set {name} has {prepared.tokens(HELD_OUT)} tokens, less than two examples")
        wanted = min(there, (self.eval_size or EVAL_SIZE) // self.seq_len)
        starts = np.linspace(0, there - 1, wanted).astype(np.int64) * self.seq_len
        return prepared.held_out.rows(starts, self.seq_len + 1)

    def load(self) -> "Windows":
        from isoflop.scaling.data.windows import Windows

        prepared, used = self.prepared, self.used
        held_out, facts = {"": self.windows(prepared)}, self.facts(prepared)
        for name, other in self.others.items():
            held_out[name] = self.windows(other, name)
            facts[f"data.content.{name}"] = other.content
            facts[f"data.bytes_per_target.{name}"] = other.bytes_per_token(held_out[name][:, 1:])
            if (shared := overlap(prepared, other)) is not None:
                facts[f"data.duplicate_blocks.{name}"] = shared
        return Windows(prepared.train, used // self.seq_len, self.seq_len, held_out, facts)

    def facts(self, prepared: PreparedCorpus) -> dict[str, str | int | float]:
        """Return what the record says about the corpus."""
        about = prepared.manifest
        facts: dict[str, str | int | float] = {
            "data.content": prepared.content,
            "data.train_tokens": prepared.tokens(TRAIN),
            "data.train_documents": about["documents"][TRAIN],
            "data.tokenizer_content": about["tokenizer"]["content"],
        }
        if held := about["duplicate_blocks"]["held_out"]:
            facts["data.duplicate_blocks"] = about["duplicate_blocks"]["also_in_train"] / held
        return facts

    @cached_property
    def others(self) -> dict[str, PreparedCorpus]:
        """The further held-out sets, in this one's tokens; UserError where one is not there."""
        given = [self.held_out] if isinstance(self.held_out, str) else self.held_out or {}
        datasets = choices.names("data")
        names = [place if place in datasets else Path(place).name.split(".")[0] for place in given]
        named = given if isinstance(given, Mapping) else dict(zip(names, given, strict=True))
        if len(named) < len(given):
            raise UserError(f"data.held_out={list(given)} names two sets alike; give names: data.held_out={{a:PATH}}")
        path = self.prepared.tokenizer_file
        return {name: _other_set(str(place), str(path) if path else "bytes") for name, place in named.items()}


@dataclass(frozen=True)
class FromSource(Tokens):
    """tokenizer: bytes, bpe (learned from the training side) or the path of a tokenizer.json or .tiktoken.

    vocab_size: tokens that bpe learns. held_share: of the documents, held out. licence: for the manifest.
    version: a hash of what is in the source, part of what determines a result; None to read it off.
    """

    tokenizer: str = "bytes"
    vocab_size: int = 4096
    held_share: float = 0.05
    licence: str | None = None
    version: str | None = None

    @property
    def source(self) -> Source:
        raise NotImplementedError

    def plan(self, tokenizer: str) -> Preparation:
        raise NotImplementedError

    def refuse_changed(self) -> None:
        """Refuse a source other than that for which the run was frozen."""

    def prepare(self, workers: int | None = None) -> PreparedCorpus:
        return prepare(self.source, self.plan(self.tokenizer), workers, verify=self.refuse_changed)

    def prepare_held_out(self, tokenizer: str) -> PreparedCorpus:
        return prepare(self.source, self.plan(tokenizer), verify=self.refuse_changed)


def _other_set(place: str, tokenizer: str) -> PreparedCorpus:
    """Return a held-out set: that of a dataset by name, of a prepared corpus, or all of some files."""
    if place in choices.names("data"):
        dataset = build(place)
        if not isinstance(dataset, Tokens):
            raise UserError(f"data.held_out={place} is not text; name a corpus, or a path")
        return dataset.prepare_held_out(tokenizer)
    if (Path(place) / store.MANIFEST).is_file():
        return refuse_tokenizer(store.open_prepared(Path(place)), tokenizer)
    if not Path(place).exists():
        raise UserError(f"data.held_out={place} is neither there nor one of {', '.join(choices.names('data'))}")
    return hold_out(FileSource(place), str(fingerprint(place)), tokenizer)


def hold_out(source: Source, version: str, tokenizer: str) -> PreparedCorpus:
    """Prepare all of a source as a held-out set; version: a hash of its contents."""
    return prepare(source, Preparation(version, tokenizer, held_share=1))


def refuse_tokenizer(prepared: PreparedCorpus, tokenizer: str) -> PreparedCorpus:
    """Refuse shards that another tokeniser made."""
    from isoflop.scaling.data.corpus.tokenizer import load

    given = load(None if tokenizer == "bytes" else Path(tokenizer))
    if given.content != prepared.manifest["tokenizer"]["content"]:
        theirs = prepared.manifest["tokenizer"]["name"]
        raise UserError(f"data.tokenizer={tokenizer} does not fit the shards of {prepared.folder}, made by {theirs}")
    return prepared


def build(name: str, **knobs: Any) -> Any:
    """Build a dataset by the name of its yaml, with these knobs."""
    from isoflop.scaling.config.composed import register_resolvers

    register_resolvers()
    return choices.build("data", name, choices.knobs("data", name) | knobs)
