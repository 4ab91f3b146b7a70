"""Cross-entropy of a readout whose logits are never all there: of a large vocabulary they outweigh the model.

The gradient of a chunk's logits is known as soon as they are, so that it is taken to the features and the weight at
once and the chunk is dropped (as in Liger Kernel, arXiv:2410.10989, section 3.2). The products are those of the plain
way, but for the order in which sums are taken.

    total = chunked_cross_entropy(features, readout.weight, targets, largest=LARGEST)
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy

from isoflop.scaling.families.base import Model
from isoflop.scaling.task import Task

LARGEST = 2**24  # logits at a time: 64 MiB in float32


def is_large(model: Model, task: Task, targets: Tensor) -> bool:
    """Whether a batch's logits are too many to be held, and the readout is one whose gradient is known here."""
    known = type(model.readout) is nn.Linear and model.readout.bias is None
    supported = known and not isinstance(model.readout.weight, DTensor)
    return task.kind == "tokens" and supported and targets.numel() * task.d_out > LARGEST


def chunked_cross_entropy(features: Tensor, weight: Tensor, targets: Tensor, largest: int) -> Tensor:
    """Sum over targets of -ln softmax(weight features), in at most so many logits at a time.

    features: (batch, seq, width). weight: (classes, width). targets: (batch, seq), below 0 where they bear no loss.
    """
    device = features.device.type
    narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    rows = max(1, largest // len(weight))
    total: Tensor = _Chunks.apply(features.flatten(0, 1).to(narrow), weight, targets.flatten(), rows)
    return total


class _Chunks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        narrow = weight.to(features.dtype)
        of_features, of_weight = torch.empty_like(features), torch.zeros_like(weight)
        total = torch.zeros((), device=features.device)
        for x, y, of_x in zip(features.split(rows), targets.split(rows), of_features.split(rows), strict=True):
            logits = (x @ narrow.t()).float()  # (rows, classes)
            total += cross_entropy(logits, y, reduction="sum", ignore_index=-1)
            of_logits = logits.softmax(-1)
            of_logits.scatter_add_(1, y.clamp_min(0)[:, None], -torch.ones_like(of_logits[:, :1]))
            of_logits = of_logits.mul_((y >= 0)[:, None]).to(x.dtype)
            of_x.copy_(of_logits @ narrow)
            of_weight += of_logits.t() @ x
        ctx.save_for_backward(of_features, of_weight)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_features, of_weight = ctx.saved_tensors
        return of_features * gradient.to(of_features.dtype), of_weight * gradient, None, None
