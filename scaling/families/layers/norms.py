"""Normalisations of the features at each position, in float32 at least."""

from typing import Any

import torch
from torch import Tensor, nn


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
