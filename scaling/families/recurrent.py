"""Recurrent networks over torch's fused cells, in pre-norm residual layers; conf/family has a yaml for each cell.

Recurrent(width=64, depth=2, lr=0.02, cell="lstm").build(task)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from scaling.errors import UserError
from scaling.families.base import Block, Family, Model, readout, token_embedding
from scaling.task import Task

CELLS: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "lstm": partial(nn.LSTM, batch_first=True),
    "gru": partial(nn.GRU, batch_first=True),
    "tanh": partial(nn.RNN, batch_first=True),
}


@dataclass(frozen=True)
class Recurrent(Family):
    """cell: lstm, gru or tanh."""

    cell: str = "lstm"

    learns: ClassVar[tuple[str, ...]] = ("tokens",)
    # a recurrent step costs the same at every position
    counted_at: ClassVar[int | None] = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell not in CELLS:
            raise UserError(f"family.cell={self.cell!r} is not one of {', '.join(CELLS)}")

    def build(self, task: Task) -> Model:
        layers = [Block(self.width, Cell(self.cell, self.width)) for _ in range(self.depth)]
        body = nn.Sequential(*layers, nn.RMSNorm(self.width))
        return Model(token_embedding(task.d_in, self.width), body, readout(self.width, task.d_out))


class Cell(nn.Module):
    """One recurrent layer from (batch, seq, width) to the same, started at a zero state."""

    def __init__(self, cell: str, width: int) -> None:
        super().__init__()
        self.rnn = CELLS[cell](width, width)
        for name, parameter in self.rnn.named_parameters():
            # N(0, 1/width): torch's own U(±width^-1/2) leaves an LSTM on a plateau for its first hundred steps
            nn.init.zeros_(parameter) if "bias" in name else nn.init.normal_(parameter, std=width**-0.5)
        if cell == "lstm":  # gates in torch's order: input, forget, cell, output; forget starts open (Jozefowicz 2015)
            nn.init.ones_(self.rnn.get_parameter("bias_ih_l0")[width : 2 * width])

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]  # type: ignore[no-any-return]
