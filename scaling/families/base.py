"""What every architecture is to the rest of isoflop: a frozen dataclass with two dials that builds a Model for a Task.

A family is one file here and one yaml in conf/family; the yaml's name is the family's name.

    family = Transformer(width=64, depth=2, lr=0.01)
    model = family.build(Task(kind="tokens", d_in=256, d_out=256, seq_len=64, targets=64))
    logits = model(tokens)                                   # (batch, seq, d_out)
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from scaling.errors import UserError
from scaling.task import Task


class Model(nn.Module):
    """embed, body and readout in a row; these three names are the roles by which parameters are counted."""

    def __init__(self, embed: nn.Module, body: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.embed, self.body, self.readout = embed, body, readout

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.body(self.embed(x)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Family:
    """An architecture at any size.

    width, depth: the two dials, whole numbers of at least 1.
    lr: peak learning rate of AdamW tuned for this family; the recipe reads it.
    """

    width: int
    depth: int
    lr: float

    # the kinds of task that it learns
    learns: ClassVar[tuple[str, ...]] = ()
    # a shorter sequence to count FLOPs at, for a family whose FLOPs per target do not depend on seq_len
    counted_at: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        whole("family.width", self.width)
        whole("family.depth", self.depth)
        if not (isinstance(self.lr, (int, float)) and self.lr > 0):
            raise UserError(f"family.lr={self.lr!r} is not a number above 0")

    def build(self, task: Task) -> Model:
        """Build the model, initialised from torch's global generator, on torch's default device."""
        raise NotImplementedError


def whole(name: str, value: object, least: int = 1) -> None:
    """Refuse what is not a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name}={value!r} is not a whole number of at least {least}")


def residual(x: Tensor, branch: Tensor, scale: float = 1.0) -> Tensor:
    """Add a branch to the stream; the one place where a parametrization in depth scales it."""
    return x + branch * scale if scale != 1.0 else x + branch


def linear(d_in: int, d_out: int, std: float | None = None, bias: bool = False) -> nn.Linear:
    """A linear map initialised N(0, std²), by default std = d_in^-1/2 (LeCun 1998); a bias starts at zero."""
    layer = nn.Linear(d_in, d_out, bias=bias)
    nn.init.normal_(layer.weight, std=d_in**-0.5 if std is None else std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def readout(width: int, d_out: int) -> nn.Linear:
    """The last map, started at zero: the first loss is ln(d_out) for every family (muP, arXiv:2203.03466, app. D.2)."""
    return linear(width, d_out, std=0.0)


def token_embedding(vocab_size: int, width: int) -> nn.Embedding:
    """A table of unit-variance rows, the scale that the normalised stream has."""
    table = nn.Embedding(vocab_size, width)
    nn.init.normal_(table.weight, std=1.0)
    return table


class Block(nn.Module):
    """A pre-normalised residual branch: x + scale * branch(norm(x)); a parametrization in depth sets the scale."""

    scale: float = 1.0

    def __init__(self, width: int, branch: nn.Module) -> None:
        super().__init__()
        self.norm, self.branch = nn.RMSNorm(width), branch

    def forward(self, x: Tensor) -> Tensor:
        return residual(x, self.branch(self.norm(x)), self.scale)


def feed_forward(width: int, hidden: int) -> nn.Sequential:
    """Two linear maps with a GELU between."""
    return nn.Sequential(linear(width, hidden), nn.GELU(), linear(hidden, width))
