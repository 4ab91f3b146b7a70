"""A causal convolution of each feature for itself, over a few positions; for CPUs by one pass for each of them.

y_t = bias + sum_k weight_k x_{t - reach + k}, with x zero before the start

    y = causal(torch.ones(2, 9, 4), torch.ones(4, 1, 3), torch.zeros(4))        # (2, 9, 4)
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from isoflop.scaling.families.layers.norms import plain_on_cpu


def causal(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve x (batch, seq, features) causally; weight (features, 1, kernel) as in nn.Conv1d, bias (features,)."""
    if plain_on_cpu(x, weight):
        return _convolved(x, weight[:, 0].t().contiguous(), bias)  # type: ignore[no-any-return]
    # as a 2-D convolution of one row, whose kernels for features-last memory take half the time of the 1-D one
    row = pad(x, (0, 0, weight.shape[2] - 1, 0)).transpose(1, 2)[:, :, None]  # (batch, features, 1, reach + seq)
    return conv2d(row, weight[:, :, None], bias, groups=row.shape[1])[:, :, 0].transpose(1, 2)


@torch.library.custom_op("isoflop::causal_convolution", mutates_args=())
def _convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve with weight (kernel, features), whose last row is that of the position itself."""
    y = torch.addcmul(bias, x, weight[-1])
    for back in range(1, min(len(weight), x.shape[1])):
        y[:, back:].addcmul_(x[:, :-back], weight[-1 - back])
    return y


@torch.library.custom_op("isoflop::causal_convolution_back", mutates_args=())
def _convolved_back(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and of the weight."""
    of_x, of_weight = gradient * weight[-1], torch.zeros_like(weight)
    of_weight[-1] = (gradient * x).flatten(0, 1).sum(0)
    for back in range(1, min(len(weight), x.shape[1])):
        of_x[:, :-back].addcmul_(gradient[:, back:], weight[-1 - back])
        of_weight[-1 - back] = (gradient[:, back:] * x[:, :-back]).flatten(0, 1).sum(0)
    return of_x, of_weight


@_convolved.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.empty_like(x)


@_convolved_back.register_fake
def _(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(gradient), torch.empty_like(weight)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return *_convolved_back(gradient, *ctx.saved_tensors), gradient.sum((0, 1))


_convolved.register_autograd(_gradient, setup_context=_save)
