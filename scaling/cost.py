"""What a model costs: parameters by role and FLOPs per target, counted on the model itself, not derived.

cost = count(family, task)
cost.N, cost.flops_per_target
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.task import Task

ROLES = ("embed", "body", "readout")

# lengths at which the part quadratic in seq_len is separated from the linear one, both whole numbers of an SSM's chunks
LONG, LONGER = 1024, 2048

# backward costs twice the forward: one product for the inputs' gradient, one for the weights' (Kaplan 2020, sec. 2.1)
TRAINING_OVER_FORWARD = 3


@dataclass(frozen=True)
class Cost:
    """Parameters by role and training FLOPs per target (multiply-add = 2); n_active: parameters that one target uses;
    attention_per_target: the part of flops_per_target that is quadratic in seq_len."""

    n_embed: int
    n_body: int
    n_readout: int
    n_active: int
    flops_per_target: float
    attention_per_target: float

    @property
    def N(self) -> int:
        """Parameters that multiply: body + readout."""
        return self.n_body + self.n_readout

    @property
    def n_total(self) -> int:
        return self.N + self.n_embed


def parameters_by_role(model: Model) -> dict[str, int]:
    """Count parameters, shared ones once, by the role they state or the first word of their name."""
    counts = dict.fromkeys(ROLES, 0)
    for name, parameter in model.named_parameters():
        role = getattr(parameter, "role", name.split(".")[0])
        if role not in counts:
            raise ValueError(f"parameter {name} has no role; put it under {', '.join(ROLES)} of the Model")
        counts[role] += parameter.numel()
    return counts


def example(task: Task, batch: int, device: str) -> torch.Tensor:
    """Return an empty batch of inputs: (batch, seq) of tokens, (batch, channels, side, side) of images, or features."""
    if task.kind == "tokens":
        return torch.empty(batch, task.seq_len, dtype=torch.long, device=device)
    shape = {
        "images": (task.d_in, task.seq_len, task.seq_len),
        "sequences": (task.seq_len, task.d_in),
        "vectors": (task.d_in,),
    }[task.kind]
    return torch.empty(batch, *shape, device=device)


def counted_flops(family: Family, task: Task) -> int:
    """Count the forward FLOPs of one more example with torch's counter on the meta device, not what a batch shares."""
    with torch.device("meta"):
        model = family.build(task)
    totals = []
    for batch in (1, 2):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(example(task, batch, "meta"))
        totals.append(counter.get_total_flops())
    return int(totals[1] - totals[0])


def forward_flops(family: Family, task: Task) -> float:
    """Return the FLOPs of an example's forward pass: those that torch's counter sees and those that it does not."""
    return counted_flops(family, task) + family.unseen_flops(task)


def _quadratic_flops(family: Family, task: Task) -> float:
    """Return an example's forward FLOPs that grow as seq_len², from f(T) = u T + v T² at two lengths."""
    if family.counted_at or task.kind not in ("tokens", "sequences"):
        return 0.0
    at_long, at_longer = (counted_flops(family, replace(task, seq_len=length)) for length in (LONG, LONGER))
    return (at_longer / LONGER - at_long / LONG) / (LONGER - LONG) * task.seq_len**2


@lru_cache(maxsize=1024)
def count(family: Family, task: Task) -> Cost:
    """Count a family at its size on a task, once per process; nothing is allocated."""
    with torch.device("meta"):
        model = family.build(task)
    roles = parameters_by_role(model)
    if family.counted_at and task.kind in ("tokens", "sequences"):
        flops = forward_flops(family, replace(task, seq_len=family.counted_at)) / family.counted_at * task.seq_len
    else:
        flops = forward_flops(family, task)
    per_target = TRAINING_OVER_FORWARD / task.targets
    return Cost(
        n_embed=roles["embed"],
        n_body=roles["body"],
        n_readout=roles["readout"],
        n_active=round(sum(p.numel() * getattr(p, "active", 1.0) for p in model.parameters())),
        flops_per_target=flops * per_target,
        attention_per_target=_quadratic_flops(family, task) * per_target,
    )
