"""A residual multilayer perceptron; on tokens it sees a window of the previous ones and nothing else.

Mlp(width=64, depth=2, lr=0.01, window=16).build(task)
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import pad

from scaling.families.base import Block, Family, Model, feed_forward, linear, readout, token_embedding, whole
from scaling.task import Task


@dataclass(frozen=True)
class Mlp(Family):
    """window: tokens seen, the present one included. embed: features per token. expansion: hidden over width."""

    window: int = 16
    embed: int = 16
    expansion: int = 4

    learns: ClassVar[tuple[str, ...]] = ("vectors", "images", "tokens")

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("window", "embed", "expansion"):
            whole(f"family.{knob}", getattr(self, knob))

    def build(self, task: Task) -> Model:
        if task.kind == "tokens":
            embed: nn.Module = token_embedding(task.d_in, self.embed)
            see: nn.Module = Window(self.window)
            features = self.window * self.embed
        else:
            embed = nn.Identity()
            see = nn.Flatten()
            features = task.d_in * (task.seq_len**2 if task.kind == "images" else 1)
        blocks = [Block(self.width, feed_forward(self.width, self.expansion * self.width)) for _ in range(self.depth)]
        body = nn.Sequential(see, linear(features, self.width), *blocks, nn.RMSNorm(self.width))
        return Model(embed, body, readout(self.width, task.d_out))


class Window(nn.Module):
    """Each position sees itself and the positions just before it, side by side; before the first stand zeros."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        padded = pad(x, (0, 0, self.size - 1, 0))  # (batch, size - 1 + seq, embed)
        return padded.unfold(1, self.size, 1).flatten(2)  # (batch, seq, embed * size)
