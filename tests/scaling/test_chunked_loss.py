"""The loss of a large vocabulary in chunks: the plain one's number and gradient, and no tensor of all logits."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from families import TOKENS, batch, family
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from isoflop.scaling.evaluate import batch_loss, held_out_batch
from isoflop.scaling.families.base import Model

TASK = replace(TOKENS, d_in=500, d_out=500)
EXAMPLES = 4


class Largest(TorchDispatchMode):
    """The size of the largest tensor that an operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, tuple | list) else (result,):
            if isinstance(part, Tensor):
                self.numbers = max(self.numbers, part.numel())
        return result


def loss_and_gradient(model: Model, x: Tensor, y: Tensor, precision: str = "fp32") -> tuple[list[Tensor], int]:
    with Largest() as largest:
        loss, _ = batch_loss(model, TASK, precision, x, y)
        gradient = torch.autograd.grad(loss / y.numel(), list(model.parameters()))
    return [loss.detach(), *gradient], largest.numbers


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_a_loss_in_chunks_is_the_plain_one_and_no_tensor_holds_all_logits(
    monkeypatch: pytest.MonkeyPatch, precision: str, tolerance: float
) -> None:
    torch.manual_seed(0)
    model = family("transformer", width=16, depth=1).build(TASK)
    torch.nn.init.normal_(model.readout.weight, std=0.3)  # it starts at zero
    x = batch(TASK, EXAMPLES)
    y = x.roll(1, 1).masked_fill(torch.rand(x.shape) < 0.1, -1)  # some bear no loss
    plain, most = loss_and_gradient(model, x, y, precision)
    assert most == EXAMPLES * TASK.targets * TASK.d_out

    monkeypatch.setattr("isoflop.scaling.evaluate.LARGEST", {"cpu": 9000})
    chunked, least = loss_and_gradient(model, x, y, precision)
    assert least <= 9000
    for a, b in zip(chunked, plain, strict=True):
        assert (a - b).norm() <= tolerance * b.norm()


def test_examples_of_a_large_vocabulary_are_evaluated_a_few_at_a_time() -> None:
    assert held_out_batch(TASK) == 64
    assert held_out_batch(replace(TASK, seq_len=256, targets=256, d_out=8192)) == 8
    assert held_out_batch(replace(TASK, seq_len=256, targets=256, d_out=8192), "cuda") == 64
    assert held_out_batch(replace(TASK, seq_len=4096, targets=4096, d_out=2**17)) == 1
