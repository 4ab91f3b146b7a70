"""The layers that most families share: linear maps, embeddings, norms, the feed-forward, and the residual block.

Block(64, feed_forward(64, 256))(stem(task, 64)[0](tokens))          # (batch, seq, 64)
"""

from typing import Any

import torch
from torch import Tensor, nn

from isoflop.errors import UserError
from isoflop.scaling.task import Task


def wide(x: Tensor) -> Tensor:
    """Return x in float32 at least: running sums and exponentials are not left to bf16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def plain_on_cpu(x: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are on a CPU in one precision, which autocast leaves alone."""
    return x.device.type == "cpu" and x.dtype == other.dtype and not torch.is_autocast_enabled("cpu")


def fused_here(x: Tensor, other: Tensor) -> bool:
    """Return whether a gradient written by hand saves passes over memory: on a CPU, unless a compiler does it."""
    return plain_on_cpu(x, other) and not torch.compiler.is_compiling()


class RmsNorm(nn.RMSNorm):
    """Root-mean-square normalisation, in float32 at least, as autocast does it for layer normalisation."""

    def forward(self, x: Tensor) -> Tensor:
        x = wide(x)
        if fused_here(x, self.weight):
            y: Tensor = _RootMeanSquare.apply(x, self.weight)
            return y
        return super().forward(x)


class _RootMeanSquare(torch.autograd.Function):
    """With x / rms(x) for y, the gradient of x is (g - y mean(g y)) / rms(x), g being that of y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        per_rms = square.add_(torch.finfo(x.dtype).eps).rsqrt_()  # torch's epsilon where none is given
        y = x * per_rms
        scaled: Tensor = y * weight
        ctx.save_for_backward(y, per_rms, weight)
        return scaled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        y, per_rms, weight = ctx.saved_tensors
        shared = (gradient * y).flatten(0, -2)
        along = (shared @ weight).view_as(per_rms)
        of_x = torch.addcmul(gradient * weight, y, along, value=-1 / y.shape[-1]).mul_(per_rms)
        return of_x, shared.sum(0)


def normalisation(kind: str, width: int) -> nn.Module:
    """Return root-mean-square or layer normalisation of the features at each position, or none."""
    return {"rms": RmsNorm, "layer": nn.LayerNorm}[kind](width) if kind != "none" else nn.Identity()


ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


def linear(d_in: int, d_out: int, std: float | None = None, bias: bool = False) -> nn.Linear:
    """Return a linear map initialised N(0, std²), by default std = d_in^-1/2 (LeCun 1998); a bias starts at 0."""
    layer = nn.Linear(d_in, d_out, bias=bias)
    nn.init.normal_(layer.weight, std=d_in**-0.5 if std is None else std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def readout(width: int, d_out: int) -> nn.Linear:
    """Return the last map, zero at first: the first loss is ln(d_out) for all (muP, arXiv:2203.03466, app. D.2)."""
    return linear(width, d_out, std=0.0)


def token_embedding(vocab_size: int, width: int) -> nn.Embedding:
    """Return a table of unit-variance rows, the scale of the normalised stream."""
    table = nn.Embedding(vocab_size, width)
    nn.init.normal_(table.weight, std=1.0)
    return table


def stem(task: Task, width: int) -> tuple[nn.Module, list[nn.Module]]:
    """Return what maps tokens or sequences to a stream of width features: the embed role, and the body's first."""
    if task.kind == "tokens":
        return token_embedding(task.d_in, width), []
    return nn.Identity(), [linear(task.d_in, width)]


def refuse_patch(task: Task, patch: int) -> None:
    """Refuse a patch that does not tile an image."""
    if task.kind == "images" and task.seq_len % patch:
        pixels = f"the {task.seq_len} pixels of an image's side"
        raise UserError(f"family.patch={patch} does not divide {pixels}; give one that does")


class Pool(nn.Module):
    """The mean over all positions: (batch, seq, width), or with channels first (batch, width, rows, columns)."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dims)


def feed_forward(width: int, hidden: int, activation: str = "gelu") -> nn.Sequential:
    """Return two linear maps with an activation between."""
    return nn.Sequential(linear(width, hidden), ACTIVATIONS[activation](), linear(hidden, width))


def residual(x: Tensor, branch: Tensor, scale: float = 1.0) -> Tensor:
    """Add a branch to the stream; only here does a parametrization in depth scale it."""
    return x + branch * scale if scale != 1.0 else x + branch


class Block(nn.Module):
    """A residual branch: x + scale * branch(norm(x)), or norm(x + scale * branch(x)) where the norm comes after."""

    def __init__(self, width: int, branch: nn.Module, norm: str = "rms", after: bool = False) -> None:
        super().__init__()
        self.norm, self.branch, self.after, self.scale = normalisation(norm, width), branch, after, 1.0

    def forward(self, x: Tensor) -> Tensor:
        if self.after:
            return self.norm(residual(x, self.branch(x), self.scale))  # type: ignore[no-any-return]
        return residual(x, self.branch(self.norm(x)), self.scale)
