"""Recurrent networks in pre-norm residual layers: torch's fused cells and minGRU; conf/family has a yaml for each cell.

Recurrent(width=64, depth=2, lr=0.02, cell="lstm").build(task)
Recurrent(width=64, depth=2, lr=0.02, cell="tanh", init="orthogonal").build(task)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoflop.checks import Limits, one_of
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.families.layers.basic import Block, fused_here, linear, normalisation, readout, stem, wide
from isoflop.scaling.families.layers.cells import gated_scan, gru, linear_scan, tanh
from isoflop.scaling.task import Task

FUSED: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "lstm": partial(nn.LSTM, batch_first=True),
    "gru": partial(nn.GRU, batch_first=True),
    "tanh": partial(nn.RNN, batch_first=True),
}
# what torch takes longer for on a CPU than layers/cells.py; and what torch calls their parameters, in its order
BY_HAND: dict[str, Callable[..., Tensor]] = {"GRU": gru, "RNN_TANH": tanh}
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
CELLS = (*FUSED, "mingru")


@dataclass(frozen=True)
class Recurrent(Family):
    """cell: lstm, gru, tanh or mingru. init: normal, or orthogonal for the maps from state to state."""

    cell: str = "lstm"
    init: str = "normal"

    learns: ClassVar[tuple[str, ...]] = ("tokens", "sequences")
    # a recurrent step costs the same at every position
    counted_at: ClassVar[int | None] = 8
    limits: ClassVar[Limits] = {"cell": CELLS}

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("family.init", self.init, ("normal",) if self.cell == "mingru" else ("normal", "orthogonal"))

    def build(self, task: Task) -> Model:
        embed, first = stem(task, self.width)
        minimal = self.cell == "mingru"
        cells = (MinGru(self.width) if minimal else Cell(self.cell, self.width, self.init) for _ in range(self.depth))
        layers = [Block(self.width, cell) for cell in cells]
        body = nn.Sequential(*first, *layers, normalisation("rms", self.width))
        return Model(embed, body, readout(self.width, task.d_out))

    def kept(self, seq_len: int) -> int:
        return self.depth * self.width * (2 if self.cell == "lstm" else 1)


class Cell(nn.Module):
    """One recurrent layer from (batch, seq, width) to the same, started at a zero state."""

    def __init__(self, cell: str, width: int, init: str) -> None:
        super().__init__()
        self.rnn = FUSED[cell](width, width)
        for name, parameter in self.rnn.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
            elif init == "orthogonal" and name.startswith("weight_hh"):
                for gate in parameter.chunk(len(parameter) // width):
                    nn.init.orthogonal_(gate)  # Saxe, arXiv:1312.6120
            else:
                # N(0, 1/width): torch's own U(±width^-1/2) leaves an LSTM on a plateau for its first hundred steps
                nn.init.normal_(parameter, std=width**-0.5)
        if cell == "lstm":  # gates in torch's order: input, forget, cell, output; forget starts open (Jozefowicz 2015)
            nn.init.ones_(self.rnn.get_parameter("bias_ih_l0")[width : 2 * width])

    def forward(self, x: Tensor) -> Tensor:
        # autocast would cast cuDNN's cells to fp16, whatever its dtype (ATen/cudnn/AutocastRNN.cpp), and torch's LSTM
        # has no bf16 on a CPU without AVX-512
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):  # costs are counted on meta
            if x.device.type == "cpu" and self.rnn.mode in BY_HAND:
                return BY_HAND[self.rnn.mode](wide(x), *(self.rnn.get_parameter(f"{name}_l0") for name in PARAMETERS))
            return self.rnn(wide(x))[0]  # type: ignore[no-any-return]


class MinGru(nn.Module):
    """A GRU whose gates do not see the state, so that time runs in parallel (minGRU, arXiv:2410.01201, app. B.2.1).

    h_t = (1 - z_t) h_{t-1} + z_t g(c_t), g(c) = c + 1/2 above 0 and sigmoid(c) below; a map out gives states signs.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate_candidate, self.out = linear(width, 2 * width), linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        both = wide(self.gate_candidate(x))
        return self.out(gated_scan(both) if fused_here(both, both) else _gated(both))  # type: ignore[no-any-return]


def _gated(both: Tensor) -> Tensor:
    """Return states (batch, seq, width) from gates and candidates side by side, (batch, seq, 2 width)."""
    gate, candidate = both.chunk(2, dim=-1)
    open_ = gate.sigmoid()
    new = torch.where(candidate >= 0, candidate + 0.5, candidate.sigmoid())
    return linear_scan(1 - open_, open_ * new)
