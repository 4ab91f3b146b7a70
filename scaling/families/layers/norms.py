"""Normalisations of the features at each position, in float32 at least."""

import torch
from torch import Tensor, nn


def wide(x: Tensor) -> Tensor:
    """The same in float32 at least: running sums and exponentials are not left to bf16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def plain_on_cpu(x: Tensor, other: Tensor) -> bool:
    """Whether two tensors lie on a CPU in one precision, in which autocast leaves them."""
    return x.device.type == "cpu" and x.dtype == other.dtype and not torch.is_autocast_enabled("cpu")


class RmsNorm(nn.RMSNorm):
    """Root-mean-square normalisation, in float32 at least, as autocast does it for layer normalisation."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(wide(x))


def normalisation(kind: str, width: int) -> nn.Module:
    """Root-mean-square or layer normalisation of the features at each position, or none."""
    return {"rms": RmsNorm, "layer": nn.LayerNorm}[kind](width) if kind != "none" else nn.Identity()
