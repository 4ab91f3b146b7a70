"""The feed-forward: two linear maps with an activation between."""

from torch import nn

from isoflop.scaling.families.layers.linear import linear

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


def feed_forward(width: int, hidden: int, activation: str = "gelu") -> nn.Sequential:
    """Two linear maps with an activation between."""
    return nn.Sequential(linear(width, hidden), ACTIVATIONS[activation](), linear(hidden, width))
