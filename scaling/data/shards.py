"""A corpus that was prepared elsewhere: a folder of shards with its manifest, which needs no source (no torch).

isoflop prepare data=files data.path=corpus
isoflop train data=shards data.path=prepared
"""

from dataclasses import dataclass
from pathlib import Path

from isoflop.errors import UserError
from isoflop.scaling.data.corpus.store import Prepared, open_prepared
from isoflop.scaling.data.tokens import Tokens, refuse_tokenizer


@dataclass(frozen=True)
class Shards(Tokens):
    """path: the folder. tokenizer: bytes or a file, refused where the shards were not made by it; None for theirs.

    version: the hash of the tokens, part of what determines a result; None to read it off the manifest.
    """

    path: str | None = None
    tokenizer: str | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path:
            raise UserError("data=shards needs a folder that isoflop prepare made: give data.path=prepared, say")

    def prepare(self, workers: int | None = None) -> Prepared:
        prepared = open_prepared(Path(str(self.path)))
        if self.version not in (None, prepared.content):
            raise UserError(f"data.path={self.path} holds {prepared.content}, but the run is of {self.version}")
        return refuse_tokenizer(prepared, self.tokenizer) if self.tokenizer else prepared

    def prepare_held_out(self, tokenizer: str) -> Prepared:
        return refuse_tokenizer(self.prepare(), tokenizer)
