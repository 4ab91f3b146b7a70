"""Documentation in English: 219 kB of Markdown on scaling laws, a held-out set of prose that is the same everywhere.

    isoflop train data.held_out=[docs]              # L.docs beside L

They are the pages of isoflop's own docs/ as they stood when the study `scaling` was begun, cut into pieces at line
ends, a row of docs.jsonl.gz each: fixed, so that a loss on them stays comparable while the pages go on.
"""

from dataclasses import dataclass
from pathlib import Path

from isoflop.scaling.data.corpus import documents
from isoflop.scaling.data.corpus.prepare import Plan, prepare
from isoflop.scaling.data.corpus.store import Prepared
from isoflop.scaling.data.tokens import Tokens, hold_out

PLACE = Path(__file__).with_name("docs.jsonl.gz")


@dataclass(frozen=True)
class Docs(Tokens):
    """size: distinct training targets [bytes], None for all. seq_len: bytes per example. eval_size: held-out targets.

    version: which edition of the text, part of what determines a result.
    """

    version: int = 1

    @property
    def source(self) -> documents.Files:
        """Where its documents come from."""
        return documents.Files(str(PLACE))

    def prepare(self, workers: int | None = None) -> Prepared:
        return prepare(self.source, Plan(str(self.version), "bytes"), workers)

    def prepare_held_out(self, tokenizer: str) -> Prepared:
        """All of it, since who measures on it has trained on something else."""
        return hold_out(self.source, str(self.version), tokenizer)
