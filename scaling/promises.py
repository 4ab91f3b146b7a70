"""What a family owes its task before it is trained: shapes, a cost, finite gradients, and no sight of the future.

A family that sees the token that it is to predict reaches a loss below the text's entropy and wins every verdict. So
each family is tried once per process, at a small size and before its first run, on the CPU and within a second; one
that is meant to look ahead says `looks_ahead` (families/base.py).

    hold_to_its_promises("mlp", family, task)    # silent, or one sentence
"""

import math
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from isoflop.errors import UserError
from isoflop.scaling.cost import count, example
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.task import Task

# the size at which a family is tried, the first that its knobs allow; else its own
WIDTHS, DEPTH, POSITIONS, CLASSES = (64, 96, 128), 2, 128, 256
# an output that moves by more than this share of those that may: an FFT in single precision leaks 1e-6 of them
LEAK = 1e-4
# added to every parameter, so that what starts at zero hides nothing
NOISE = 0.02


def hold_to_its_promises(name: str, family: Family, task: Task) -> None:
    """Try a family on a small task of the same kind; raise UserError naming what it does not keep."""
    _tried(name, *_smaller(family, task))


def _smaller(family: Family, task: Task) -> tuple[Family, Task]:
    """Return the family and its task at a size that is tried in a second; themselves if none is allowed."""
    positions = min(task.seq_len, POSITIONS) if task.kind in ("tokens", "sequences") else task.seq_len
    less = replace(task, seq_len=positions, targets=min(task.targets, positions))
    if task.kind == "tokens":
        less = replace(less, d_in=min(task.d_in, CLASSES), d_out=min(task.d_out, CLASSES))
    for width in (*(w for w in WIDTHS if w < family.width), family.width):
        try:
            candidate = replace(family, width=width, depth=min(family.depth, DEPTH))
            candidate.refuse(less)
            with torch.device("meta"):
                candidate.build(less)
        except Exception:
            continue
        return candidate, less
    return family, task


@lru_cache(maxsize=256)
def _tried(name: str, family: Family, task: Task) -> None:
    cost = count(family, task)
    if not (cost.N > 0 and 0 < cost.flops_per_target < math.inf):
        raise UserError(
            f"family={name} counts N={cost.N} and {cost.flops_per_target:g} FLOPs per target; both must be above 0: "
            "put its layers under embed, body and readout, and count what torch does not see in unseen_flops"
        )
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        model, x = family.build(task), _inputs(task, 2)
        places = (task.seq_len,) if task.kind in ("tokens", "sequences") else ()
        if (shape := (2, *places, task.d_out)) != (out := tuple(model(x).shape)):
            axes = "(batch, seq_len, d_out)" if places else "(batch, d_out)"
            raise UserError(f"family={name} makes outputs of shape {out} for {shape}, {axes}; see Model")
        _refuse_gradients(name, model, x)
        # each output predicts what comes next, so that a later input gives the answer away
        in_order = task.kind == "tokens" or (task.kind == "sequences" and 1 < task.seq_len == task.targets)
        if in_order and not family.looks_ahead:
            _refuse_foresight(name, model, task)


def _inputs(task: Task, batch: int) -> Tensor:
    x = example(task, batch, "cpu")
    return torch.randint(task.d_in, x.shape) if task.kind == "tokens" else torch.randn(x.shape)


def _refuse_gradients(name: str, model: Model, x: Tensor) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=NOISE)
    (model(x).square().mean() + model.auxiliary()).backward()
    wrong = [n for n, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    if wrong:
        raise UserError(
            f"family={name}: the gradient of {wrong[0]} is not finite at the start; look at what it goes by"
        )


def _refuse_foresight(name: str, model: Model, task: Task) -> None:
    """Change the inputs from some position on; no output before it may move."""
    model.eval()
    T = task.seq_len
    with torch.no_grad():
        x, other = _inputs(task, 1), _inputs(task, 1)
        before = model(x)
        for t in sorted({1, 2, 3, T // 4, T // 2, 64, 3 * T // 4, T - 1} & set(range(1, T))):
            moved = (model(torch.cat([x[:, :t], other[:, t:]], dim=1)) - before).abs().amax(-1)[0]
            if (early := moved[:t].max()) > LEAK * moved[t:].max() and early > 0:
                raise UserError(
                    f"family={name} looks ahead: its output at position {int(moved[:t].argmax())} changes with the "
                    f"input at {t} or later, which it is to predict; make it causal, or let its class say "
                    "looks_ahead = True if that is meant"
                )
