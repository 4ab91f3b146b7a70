"""muP in width and CompleteP in depth for any family, found by looking at how its parameters' shapes grow.

A family is built twice on the meta device, at its width and at twice that; an axis that doubles is a growing one. From
which axes grow, and which of them are summed over (the fan-in), follow the multipliers of learning rate, weight decay
and epsilon by which the rate tuned at a base width serves any other. Standard parametrization is the same path with
every multiplier one.

    parametrize(model, family, task, base_width=32, base_depth=2)["body.0.branch.qkv.weight"].lr

Sources: muP, arXiv:2203.03466, table 8; CompleteP, arXiv:2505.01618, table 1 with alpha = 1.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.families.layers.basic import Block
from isoflop.scaling.task import Task

# module -> the axes of its weight that a product sums over; an embedding's rows are looked up, not summed
FAN_IN: dict[type[nn.Module], tuple[int, ...]] = {
    nn.Linear: (1,),
    nn.Conv1d: (1,),
    nn.Conv2d: (1,),
    nn.RNNBase: (1,),
    nn.Embedding: (),
}


@dataclass(frozen=True)
class Multipliers:
    """By what the base rate, weight decay and epsilon are multiplied for one parameter; role names its group."""

    role: str
    lr: float = 1.0
    weight_decay: float = 1.0
    eps: float = 1.0


class UnclassifiedError(ValueError):
    """A parameter whose shape does not say how it scales."""


def standard(model: Model) -> dict[str, Multipliers]:
    """Return multipliers that are all one: weight matrices decay, embeddings and vectors do not."""
    return {
        name: Multipliers("matrix" if _fan_in(name, parameter, _owner(model, name)) else "vector")
        for name, parameter in model.named_parameters()
    }


def parametrize(model: Model, family: Family, task: Task, base_width: int, base_depth: int) -> dict[str, Multipliers]:
    """Scale the model's residual branches by base_depth / depth and return each parameter's multipliers by name."""
    with torch.device("meta"):
        once, twice = family.build(task), replace(family, width=2 * family.width).build(task)
    wider = dict(twice.named_parameters())
    m, deeper = family.width / base_width, family.depth / base_depth
    branches = {name: module for name, module in model.named_modules() if isinstance(module, Block)}
    for block in branches.values():
        block.scale = 1 / deeper
    found = {}
    for name, parameter in once.named_parameters():
        grows, owner = _grown(name, parameter, wider[name]), _owner(model, name)
        scaled = any(name.startswith(f"{branch}.") for branch in branches)
        found[name] = _multipliers(_fan_in(name, parameter, owner), grows, m, deeper if scaled else 1.0)
    return found


def _grown(name: str, parameter: nn.Parameter, wider: nn.Parameter) -> tuple[bool, ...]:
    """Return which axes double with the width; raise an error for an axis that grows otherwise."""
    ratios = [b / a for a, b in zip(parameter.shape, wider.shape, strict=True)]
    if any(ratio not in (1.0, 2.0) for ratio in ratios):
        raise UnclassifiedError(
            f"{name} grows from {tuple(parameter.shape)} to {tuple(wider.shape)} as the width doubles; "
            "an axis may stay or double"
        )
    return tuple(ratio == 2.0 for ratio in ratios)


def _multipliers(axes: tuple[int, ...], grows: tuple[bool, ...], m: float, deeper: float) -> Multipliers:
    """Return the multipliers of a parameter at m times the base width, in a net `deeper` times as deep."""
    eps = 1 / (m * deeper) if any(grows) else 1 / deeper
    if not axes:
        return Multipliers("vector", eps=eps)
    if any(grows[axis] for axis in axes):
        return Multipliers("matrix", lr=1 / m, weight_decay=m, eps=eps)
    return Multipliers("matrix", eps=eps)


def _fan_in(name: str, parameter: nn.Parameter, owner: nn.Module) -> tuple[int, ...]:
    """Return the axes summed over, none for vectors and tables; a parameter may state its own `fan_in_axes`."""
    axes = getattr(parameter, "fan_in_axes", None)
    if axes is not None:
        return tuple(axes)
    if parameter.dim() < 2:
        return ()
    for kind, axes in FAN_IN.items():
        if isinstance(owner, kind):
            return axes
    raise UnclassifiedError(
        f"the shape {tuple(parameter.shape)} of {name} in {type(owner).__name__} does not say what it sums over; "
        "set parameter.fan_in_axes where the family makes it, () for a table or vector"
    )


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])
