"""What leads the inputs of a task into a stream of features: a table of tokens, a linear map, patches of an image."""

from torch import Tensor, nn

from isoflop.errors import UserError
from isoflop.scaling.families.layers.linear import linear
from isoflop.scaling.task import Task


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


def refuse_patch(task: Task, patch: int) -> None:
    """Refuse a patch that does not tile an image."""
    if task.kind == "images" and task.seq_len % patch:
        raise UserError(
            f"family.patch={patch} does not divide the {task.seq_len} pixels of an image's side; give one that does"
        )


class Pool(nn.Module):
    """The mean over all positions: (batch, seq, width), or with channels first (batch, width, rows, columns)."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dims)
