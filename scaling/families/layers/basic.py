"""The layers that most families share: linear maps, embeddings, the feed-forward, and the residual block.

Block(64, feed_forward(64, 256))(stem(task, 64)[0](tokens))          # (batch, seq, 64)
"""

from torch import Tensor, nn

from isoflop.errors import UserError
from isoflop.scaling.families.layers.norms import normalisation
from isoflop.scaling.task import Task

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
    """A residual branch: x + scale * branch(norm(x)), or norm(x + scale * branch(x)) where the norm comes after.

    scale is one, unless a parametrization in depth sets it.
    """

    def __init__(self, width: int, branch: nn.Module, norm: str = "rms", after: bool = False) -> None:
        super().__init__()
        self.norm, self.branch, self.after, self.scale = normalisation(norm, width), branch, after, 1.0

    def forward(self, x: Tensor) -> Tensor:
        if self.after:
            return self.norm(residual(x, self.branch(x), self.scale))  # type: ignore[no-any-return]
        return residual(x, self.branch(self.norm(x)), self.scale)
