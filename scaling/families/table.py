"""A row of logits for each of the first `width` tokens: it remembers what it has seen and knows nothing of the rest.

The learner of the theory of Zipfian facts (data/zipf.py): a token that was never seen, or has no row, costs ln(d_out).

Table(width=1024, depth=1, lr=1.0).build(task)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoflop.scaling.families.base import Family, Model, refuse_dials
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Table(Family):
    """Outputs are the present token's own row, started at zero; tokens from `width` on have none, and outputs zero.

    A rate of about one lets AdamW learn a row from a single sight of its token. The rows are the readout.
    """

    learns: ClassVar[tuple[str, ...]] = ("tokens",)
    reference: ClassVar[bool] = True

    def build(self, task: Task) -> Model:
        return Model(nn.Identity(), nn.Identity(), Rows(self.width, task.d_out))

    def refuse(self, task: Task) -> None:
        refuse_dials(self, task, "tokens")

    def unseen_flops(self, task: Task) -> float:
        """Count only the row itself in the product of a one-hot vector with the rows: one multiply-add an output."""
        return 2.0 * task.d_out * task.seq_len


class Rows(nn.Embedding):
    """Logits by token, (batch, seq) to (batch, seq, d_out); zero for a token without a row."""

    def __init__(self, rows: int, d_out: int) -> None:
        super().__init__(rows, d_out)
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        rows = super().forward(x.clamp(max=self.num_embeddings - 1))
        return torch.where((x < self.num_embeddings)[..., None], rows, 0.0)
