"""The loss of a model, in training and held out: pure functions of the model, its task, the examples and the precision.

evaluate(model, task, examples, "fp32")["L"]

The logits of a large vocabulary outweigh the model, so they are made and dropped in chunks, the gradient of each being
known at once (as in Liger Kernel, arXiv:2410.10989, section 3.2).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy, mse_loss

from isoflop.scaling.data.base import Examples, Several
from isoflop.scaling.families.base import Model
from isoflop.scaling.task import Task

# logits at a time: 64 MiB in float32; on a GPU 1 GiB, where a compiler fuses their loss
LARGEST = {"cpu": 2**24, "cuda": 2**28}
EVAL_BATCH = 64  # examples at a time, where their logits are not too many


def loss_per_target(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of every target, (batch, targets) [task.loss_unit]; 0 where the target is masked."""
    if task.loss == "cross_entropy":
        flat = cross_entropy(outputs.flatten(0, -2).float(), targets.flatten(), reduction="none", ignore_index=-1)
        return flat.view(targets.shape[0], -1)
    return mse_loss(outputs.float(), targets, reduction="none").flatten(1)


def loss_count(task: Task, targets: Tensor) -> Tensor:
    """Return the number of losses of each example, (batch,): its unmasked targets, or for mse its outputs."""
    if task.loss == "cross_entropy":
        return (targets >= 0).view(len(targets), -1).sum(1)
    return torch.full((len(targets),), targets[0].numel(), device=targets.device)


def arithmetic(device: torch.device, precision: str) -> torch.autocast:
    """Set the precision of products; parameters stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def batch_loss(model: Model, task: Task, precision: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor | float]:
    """Return the sum of a batch's losses [task.loss_unit], and what the layers add to their mean."""
    with arithmetic(x.device, precision):
        last = model.readout
        known = type(last) is nn.Linear and last.bias is None and not isinstance(last.weight, DTensor)
        # the logits are too many to hold, and the readout's gradient is known here
        largest = LARGEST["cuda" if x.device.type == "cuda" else "cpu"]
        if task.kind == "tokens" and known and y.numel() * task.d_out > largest:
            total = _chunked_cross_entropy(model.body(model.embed(x)), last.weight, y, largest)  # type: ignore[arg-type]
        else:
            total = loss_per_target(task, model(x), y).sum()
        return total, model.auxiliary()


def held_out_batch(task: Task, device: str = "cpu") -> int:
    """Return the examples at a time whose logits can be held on a kind of device."""
    return max(1, min(EVAL_BATCH, LARGEST["cuda" if device == "cuda" else "cpu"] // (task.targets * task.d_out)))


def mean_and_error(total: Tensor, count: Tensor) -> tuple[float, float]:
    """Return the mean loss per target and its standard error over examples, from each example's sum and count."""
    mean = float(total.sum() / count.sum())
    # ratio estimator over examples, Cochran 1977, eq. 2.39
    return mean, float((total - mean * count).std() * len(total) ** 0.5 / count.sum())


def _other_sets(examples: Examples) -> list[str]:
    return examples.other_sets() if isinstance(examples, Several) else []


def bits_per_byte(results: Mapping[str, float], task: Task, examples: Examples) -> dict[str, float]:
    """Return L_bpb of every held-out set of text; nothing where a target is not a known number of bytes."""
    if not task.bytes_per_target:
        return {}
    sizes = {name: float(examples.facts[f"data.bytes_per_target.{name}"]) for name in _other_sets(examples)}
    others = {f"L_bpb.{name}": results[f"L.{name}"] / math.log(2) / size for name, size in sizes.items()}
    return {"L_bpb": results["L"] / math.log(2) / task.bytes_per_target} | others


@torch.no_grad()
def evaluate(model: Model, task: Task, examples: Examples, precision: str) -> dict[str, float]:
    """Return L and its standard error over held-out examples [unit of the task's loss], L.NAME of further sets, and
    metric.*.

    metric.*: accuracy, the share of targets that the likeliest class meets, where they are answers (Task.has_answers),
    and accuracy_se over examples; what the family's layers report, the mean over batches. The model keeps its mode.
    """
    training = model.training
    model.eval()
    results, correct, health = dict[str, float](), [], []
    size = held_out_batch(task, next((p.device.type for p in model.parameters()), "cpu"))
    for name in ("", *_other_sets(examples)):
        losses, counts = [], []
        for x, y in examples.held_out(size, name) if isinstance(examples, Several) else examples.held_out(size):
            with arithmetic(x.device, precision):
                outputs = model(x)
            losses.append(loss_per_target(task, outputs, y).double().sum(1))
            counts.append(loss_count(task, y))
            if not name:
                health.append(model.health())
            if task.has_answers:
                correct.append((outputs.argmax(-1) == y).view(len(y), -1).sum(1))
        ending, count = f".{name}" if name else "", torch.cat(counts)
        results[f"L{ending}"], results[f"L_se{ending}"] = mean_and_error(torch.cat(losses), count)
    if correct:  # never of text, which alone has other sets
        accuracy = mean_and_error(torch.cat(correct).double(), count)
        results["metric.accuracy"], results["metric.accuracy_se"] = accuracy
    model.train(training)
    means = {name: torch.stack([batch[name] for batch in health]).mean() for name in health[0]}
    return results | {f"metric.{name}": float(value) for name, value in means.items()}


def _chunked_cross_entropy(features: Tensor, weight: Tensor, targets: Tensor, largest: int) -> Tensor:
    """Sum -ln softmax(weight features) over targets, with a bounded number of logits at a time.

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
