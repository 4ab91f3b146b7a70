"""What a model costs: parameters by role and FLOPs per target, counted on the model itself, not derived.

cost = count(family, task)
cost.N, cost.flops_per_target
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from scaling.families.base import Family, Model
from scaling.task import Task

ROLES = ("embed", "body", "readout")

# backward costs twice the forward: one product for the inputs' gradient, one for the weights' (Kaplan 2020, sec. 2.1)
TRAINING_OVER_FORWARD = 3


@dataclass(frozen=True)
class Cost:
    """Parameters by role and training FLOPs per target (multiply-add = 2).

    attention_per_target is the part of flops_per_target that is quadratic in seq_len.
    """

    n_embed: int
    n_body: int
    n_readout: int
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
    """Count parameters by the first word of their name; shared ones once; a role that is none is an error."""
    counts = dict.fromkeys(ROLES, 0)
    for name, parameter in model.named_parameters():
        role = name.split(".")[0]
        if role not in counts:
            raise ValueError(f"parameter {name} has no role; put it under {', '.join(ROLES)} of the Model")
        counts[role] += parameter.numel()
    return counts


def example(task: Task, batch: int, device: str) -> torch.Tensor:
    """An empty batch of inputs: (batch, seq) of tokens, (batch, channels, side, side) of images, or features."""
    if task.kind == "tokens":
        return torch.empty(batch, task.seq_len, dtype=torch.long, device=device)
    shape = {
        "images": (task.d_in, task.seq_len, task.seq_len),
        "sequences": (task.seq_len, task.d_in),
        "vectors": (task.d_in,),
    }[task.kind]
    return torch.empty(batch, *shape, device=device)


def forward_flops(family: Family, task: Task) -> int:
    """FLOPs of one example's forward pass, by torch's counter on the meta device, where fused kernels are visible."""
    with torch.device("meta"):
        model = family.build(task)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(example(task, 1, "meta"))
    return int(counter.get_total_flops())


@lru_cache(maxsize=1024)
def count(family: Family, task: Task) -> Cost:
    """Count a family at its size on a task, once per process; nothing is allocated.

    The part quadratic in seq_len comes from a second count at twice the length: f(T) = u T + v T².
    """
    with torch.device("meta"):
        roles = parameters_by_role(family.build(task))
    if family.counted_at and task.kind in ("tokens", "sequences"):
        flops = forward_flops(family, replace(task, seq_len=family.counted_at)) / family.counted_at * task.seq_len
        quadratic = 0.0
    else:
        flops = forward_flops(family, task)
        quadratic = (forward_flops(family, replace(task, seq_len=2 * task.seq_len)) - 2 * flops) / 2
        quadratic = max(quadratic, 0.0) if task.kind in ("tokens", "sequences") else 0.0
    per_target = TRAINING_OVER_FORWARD / task.targets
    return Cost(
        n_embed=roles["embed"],
        n_body=roles["body"],
        n_readout=roles["readout"],
        flops_per_target=flops * per_target,
        attention_per_target=quadratic * per_target,
    )
