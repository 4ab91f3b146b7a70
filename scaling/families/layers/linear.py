"""Linear maps, each with the initialisation that its place asks for."""

from torch import nn


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
