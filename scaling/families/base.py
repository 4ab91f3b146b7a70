"""What every architecture is to the rest of isoflop: a frozen dataclass with two dials that builds a Model for a Task.

A family is one file here and one yaml in conf/family; the yaml's name is the family's name.

    family = Transformer(width=64, depth=2, lr=0.01)
    model = family.build(Task(kind="tokens", d_in=256, d_out=256, seq_len=64, targets=64))
    logits = model(tokens)                                   # (batch, seq, d_out)

What a shape cannot say, a parameter says itself, where the family makes it:

    parameter.fan_in_axes = ()     the axes that a product sums over; () for a table or vector (parametrization.py)
    parameter.role = "embed"       its role, where it lies under another name than its role (cost.py)
    parameter.active = 2 / 8       the share of it that one target uses, where that is not all of it (cost.py)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoflop.errors import UserError
from isoflop.scaling.task import Task


class Reporting(nn.Module):
    """A layer that has something to say of its last forward: `auxiliary`, a term of the training loss, and `health`."""

    auxiliary: Tensor
    health: dict[str, Tensor]


class Model(nn.Module):
    """embed, body and readout in a row; these three names are the roles by which parameters are counted.

    Of tokens and sequences it makes (batch, seq, d_out), of images and vectors (batch, d_out).
    """

    def __init__(self, embed: nn.Module, body: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.embed, self.body, self.readout = embed, body, readout
        self._reporting = tuple(m for m in body.modules() if isinstance(m, Reporting))

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.body(self.embed(x)))  # type: ignore[no-any-return]

    def auxiliary(self) -> Tensor | float:
        """What the layers ask to have added to the training loss, from the last forward."""
        return sum((layer.auxiliary for layer in self._reporting), start=0.0)

    def health(self) -> dict[str, Tensor]:
        """What the layers have to say of the last forward, the mean over layers, by name."""
        if not self._reporting:
            return {}
        return {
            name: torch.stack([layer.health[name] for layer in self._reporting]).mean()
            for name in self._reporting[0].health
        }


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
    # whether it is the learner of a theory and no architecture: no layers, no width that muP scales, one kind of task
    reference: ClassVar[bool] = False
    # a shorter sequence to count FLOPs at, for a family whose FLOPs per target do not depend on seq_len
    counted_at: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        whole("family.width", self.width)
        whole("family.depth", self.depth)
        positive("family.lr", self.lr)

    def build(self, task: Task) -> Model:
        """Build the model, initialised from torch's global generator, on torch's default device."""
        raise NotImplementedError

    def refuse(self, task: Task) -> None:
        """Raise UserError where this family, as its knobs are set, cannot do a task of a kind that it learns."""

    def unseen_flops(self, task: Task) -> float:
        """Forward FLOPs of one example that torch's counter does not see, such as those of FFTs."""
        return 0.0

    def kept(self, seq_len: int) -> int:
        """Numbers kept per sequence, seq_len positions in, to produce the next position: KV cache, state, window."""
        return 0


def positive(name: str, value: object, instead: str = "") -> None:
    """Refuse what is not a finite number above 0; instead: what to give, as the end of the sentence."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(f"{name}={value!r} is not a number above 0{instead}")


def not_negative(name: str, value: object) -> None:
    """Refuse what is not a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UserError(f"{name}={value!r} is not a number of at least 0")


def whole(name: str, value: object, least: int = 1) -> None:
    """Refuse what is not a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name}={value!r} is not a whole number of at least {least}")


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse what is not among the allowed; 0 and 1 are no false and true."""
    if not any(value == good and isinstance(value, bool) == isinstance(good, bool) for good in allowed):
        raise UserError(f"{name}={value!r} is not one of {', '.join(map(str, allowed))}")


def multiple(name: str, value: int, of: str, unit: int) -> None:
    """Refuse a size that does not divide into whole units."""
    if value % unit:
        raise UserError(f"{name}={value} is not a multiple of {of}={unit}; give {unit}, {2 * unit}, {3 * unit} ...")


def refuse_depth(family: str, depth: int) -> None:
    """Refuse layers of a family that has none."""
    if depth != 1:
        raise UserError(f"family.depth={depth}: {family} has no layers to stack; leave family.depth=1")


def wide(x: Tensor) -> Tensor:
    """The same in float32 at least: running sums and exponentials are not left to bf16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


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


def stem(task: Task, width: int) -> tuple[nn.Module, list[nn.Module]]:
    """What leads tokens or sequences into a stream of width features: the embed role, and the first of the body."""
    if task.kind == "tokens":
        return token_embedding(task.d_in, width), []
    return nn.Identity(), [linear(task.d_in, width)]


class RmsNorm(nn.RMSNorm):
    """Root-mean-square normalisation, in float32 at least, as autocast does it for layer normalisation."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(wide(x))


def normalisation(kind: str, width: int) -> nn.Module:
    """Root-mean-square or layer normalisation of the features at each position, or none."""
    return {"rms": RmsNorm, "layer": nn.LayerNorm}[kind](width) if kind != "none" else nn.Identity()


class Block(nn.Module):
    """A residual branch: x + scale * branch(norm(x)), or norm(x + scale * branch(x)) where the norm comes after.

    scale is one, unless a parametrization in depth sets it.
    """

    def __init__(self, width: int, branch: nn.Module, norm: str = "rms", after: bool = False) -> None:
        super().__init__()
        self.norm, self.branch, self.after = normalisation(norm, width), branch, after
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        if self.after:
            return self.norm(residual(x, self.branch(x), self.scale))  # type: ignore[no-any-return]
        return residual(x, self.branch(self.norm(x)), self.scale)


ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


def feed_forward(width: int, hidden: int, activation: str = "gelu") -> nn.Sequential:
    """Two linear maps with an activation between."""
    return nn.Sequential(linear(width, hidden), ACTIVATIONS[activation](), linear(hidden, width))
