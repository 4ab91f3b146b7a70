"""The residual branch, the one place where a parametrization in depth scales it."""

from torch import Tensor, nn

from isoflop.scaling.families.layers.norms import normalisation


def residual(x: Tensor, branch: Tensor, scale: float = 1.0) -> Tensor:
    """Add a branch to the stream; the one place where a parametrization in depth scales it."""
    return x + branch * scale if scale != 1.0 else x + branch


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
