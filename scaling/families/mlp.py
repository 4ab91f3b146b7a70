"""A multilayer perceptron, residual or plain; on tokens and sequences it sees a window of the past and nothing else.

Mlp(width=64, depth=2, lr=0.01, window=16).build(task)
Mlp(width=64, depth=20, lr=0.01, residual=False, norm=False, activation="relu").build(task)      # the textbook's
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import pad

from isoflop.checks import Limits
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.families.layers.basic import (
    ACTIVATIONS,
    Block,
    feed_forward,
    linear,
    normalisation,
    readout,
    token_embedding,
)
from isoflop.scaling.task import Task

# keeps the mean square of a stream that no residual path carries at one: E f(g z)² = 1 for z ~ N(0, 1), after He 2015,
# eq. 10; tanh, which is bounded by one, has the gain of torch.nn.init
GAIN = {"relu": 2**0.5, "gelu": 1.4680, "silu": 1.5588, "tanh": 5 / 3}


@dataclass(frozen=True)
class Mlp(Family):
    """A layer is two linear maps with an activation between; without the residual path, one after as well.

    window: positions seen, the present one included. embed: features per token. expansion: hidden over width.
    residual: x + f(norm(x)) or f(norm(x)). norm: whether it normalises. activation: gelu, relu, silu or tanh.
    """

    window: int = 16
    embed: int = 16
    expansion: int = 4
    residual: bool = True
    norm: bool = True
    activation: str = "gelu"

    learns: ClassVar[tuple[str, ...]] = ("vectors", "images", "tokens", "sequences")
    limits: ClassVar[Limits] = {
        **dict.fromkeys(("window", "embed", "expansion"), 1),
        **dict.fromkeys(("residual", "norm"), (True, False)),
        "activation": tuple(ACTIVATIONS),
    }

    def build(self, task: Task) -> Model:
        tokens = task.kind == "tokens"
        embed = token_embedding(task.d_in, self.embed) if tokens else nn.Identity()
        if tokens or task.kind == "sequences":
            see: nn.Module = _Window(self.window)
            features = self.window * (self.embed if tokens else task.d_in)
        else:
            see, features = nn.Flatten(), task.d_in * (task.seq_len**2 if task.kind == "images" else 1)
        layers = [self.layer() for _ in range(self.depth)]
        body = nn.Sequential(see, linear(features, self.width), *layers, normalisation(self.kind, self.width))
        return Model(embed, body, readout(self.width, task.d_out))

    @property
    def kind(self) -> str:
        return "rms" if self.norm else "none"

    def layer(self) -> nn.Module:
        """Return a residual layer, or a plain one with weights scaled so that a deep stack keeps its variance."""
        branch = feed_forward(self.width, self.expansion * self.width, self.activation)
        if self.residual:
            return Block(self.width, branch, self.kind)
        for part in branch:
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=GAIN[self.activation] * part.in_features**-0.5)
        return nn.Sequential(normalisation(self.kind, self.width), branch, ACTIVATIONS[self.activation]())

    def kept(self, seq_len: int) -> int:
        return min(self.window, seq_len) * self.embed


class _Window(nn.Module):
    """Each position sees itself and the positions just before it, side by side; before the first stand zeros."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        padded = pad(x, (0, 0, self.size - 1, 0))  # (batch, size - 1 + seq, embed)
        return padded.unfold(1, self.size, 1).flatten(2)  # (batch, seq, embed * size)
