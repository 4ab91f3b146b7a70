"""Your own corpus: text files and folders of them, rows of JSON or Parquet, packed or not (no torch).

    isoflop prepare data=files data.path=corpus
    isoflop train data=files data.path=corpus.jsonl.gz data.field=body data.tokenizer=bpe data.vocab_size=4096
    isoflop train data=shards data.path=prepared

About one document in twenty is held out, by a hash of its text; the order of the others is a fixed permutation.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from isoflop import files
from isoflop.checks import Limits
from isoflop.errors import UserError
from isoflop.scaling.config.contents import LICENCES, fingerprint
from isoflop.scaling.data.corpus import documents
from isoflop.scaling.data.corpus.prepare import Preparation
from isoflop.scaling.data.corpus.store import PreparedCorpus, open_prepared
from isoflop.scaling.data.tokens import FromSource, Tokens, refuse_tokenizer


@dataclass(frozen=True)
class Files(FromSource):
    """path: a file or folder. field: the text's name in rows of JSON and Parquet. suffixes: further endings of plain
    text. encoding: of plain text, None for bytes. piece: bytes into which plain files are cut, None to cut only where
    it must be."""

    path: str | None = None
    field: str = "text"
    suffixes: tuple[str, ...] | list[str] = ()
    encoding: str | None = "utf-8"
    piece: int | None = None

    limits: ClassVar[Limits] = {"piece": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path:
            raise UserError("data=files needs a file or a folder: give data.path=corpus, say")

    @property
    def source(self) -> documents.FileSource:
        return documents.FileSource(str(self.path), self.field, tuple(self.suffixes), self.encoding, self.piece)

    def plan(self, tokenizer: str) -> Preparation:
        version = self.version or str(fingerprint(self.path, self.suffixes, self.tokenizer))
        licence = self.licence or files.read_json(Path(str(self.path)) / LICENCES)
        return Preparation(version, tokenizer, self.vocab_size, self.held_share, licence)

    def refuse_changed(self) -> None:
        if self.version and self.version != (now := fingerprint(self.path, self.suffixes, self.tokenizer)):
            changed = f"data.path={self.path} has changed (data.version={self.version}, but it is {now})"
            raise UserError(f"{changed}; rerun the command that froze the run")


@dataclass(frozen=True)
class Shards(Tokens):
    """A folder of shards that was prepared elsewhere, with its manifest; the source is not needed."""

    path: str | None = None
    """The folder."""
    tokenizer: str | None = None
    """`bytes` or a file, refused where another tokeniser made the shards; None to accept theirs."""
    version: str | None = None
    """The hash of the tokens, part of what determines a result; None to read it from the manifest."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path:
            raise UserError("data=shards needs a folder that isoflop prepare made: give data.path=prepared, say")

    def prepare(self, workers: int | None = None) -> PreparedCorpus:
        prepared = open_prepared(Path(str(self.path)))
        if self.version not in (None, prepared.content):
            raise UserError(f"data.path={self.path} holds {prepared.content}, but the run is of {self.version}")
        return refuse_tokenizer(prepared, self.tokenizer) if self.tokenizer else prepared

    def prepare_held_out(self, tokenizer: str) -> PreparedCorpus:
        return refuse_tokenizer(self.prepare(), tokenizer)
