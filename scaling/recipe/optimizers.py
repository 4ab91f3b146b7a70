"""How a model is trained: the optimiser, its rate as a pure function of the step, and what it is for each parameter.

    recipe = AdamW(lr=0.01, batch=16)
    recipe.rate(step=0, steps=100)
    parametrize(model, family, task, base_width=32, base_depth=2)["body.0.branch.qkv.weight"].lr

muP in width and CompleteP in depth for any family: it is built at its width and at twice that, on the meta device. From
which axes grow, and which of them are summed over, follow the multipliers by which the rate tuned at a base width
serves any other; of standard parametrization all are one. Sources: muP, arXiv:2203.03466, table 8; CompleteP,
arXiv:2505.01618, table 1 with alpha = 1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from isoflop.errors import UserError
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.families.layers.basic import Block
from isoflop.scaling.recipe import rules
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


@dataclass(frozen=True)
class AdamW:
    """AdamW (arXiv:1711.05101) at a constant rate between a linear warm-up and a cooldown.

    lr: peak rate; that at base_width and base_depth where parametrization is mup, as it is where it is standard.
    batch: examples per step. clip: largest norm of the gradient.
    warmup: share of the first mark's steps. warmup_steps: steps of the warm-up in its place, whatever marks there are.
    cooldown: share of a mark's steps.
    schedule: cooldown, or cosine from the warm-up down to zero at the end (arXiv:1608.03983).
    horizon_power, horizon_steps: after horizon_steps the rate falls as (horizon_steps / step)^horizon_power, so that a
    trunk passes through the rate of every horizon; each cooldown starts from the rate reached. 0 keeps it constant;
    0.5 is the reciprocal square root of Zhai et al. 2022 (arXiv:2106.04560).
    precision: fp32, or bf16 for the arithmetic with fp32 parameters.
    """

    lr: float
    batch: int = 16
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    warmup: float = 0.05
    warmup_steps: int | None = None
    cooldown: float = 0.2
    schedule: str = "cooldown"
    horizon_power: float = 0.0
    horizon_steps: int = 512
    clip: float = 1.0
    precision: str = "fp32"
    parametrization: str = "mup"
    base_width: int = 32
    base_depth: int = 2

    def __post_init__(self) -> None:
        rules.refuse(vars(self))

    def rate(self, step: int, steps: int, first: int | None = None) -> float:
        """Return the learning rate of a step (from 0) of `steps`: warm-up, trunk, then 1 - sqrt (arXiv:2405.18392).

        first: steps of the run's first mark, of which the warm-up is a share; all steps where there is one mark.
        """
        warm = self.warmup * (first or steps) if self.warmup_steps is None else float(self.warmup_steps)
        rising = min(1.0, (step + 1) / warm) if warm >= 1 else 1.0
        if self.schedule == "cosine":
            falling = (1 + math.cos(math.pi * max(0.0, (step + 1 - warm) / (steps - warm + 1)))) / 2
        else:
            start = self.steps_before_cooldown(steps)
            falling = 1.0 - ((step + 1 - start) / (steps - start + 1)) ** 0.5 if step + 1 > start else 1.0
            falling *= self._trunk(min(step + 1, start))
        return self.lr * rising * falling

    def _trunk(self, step: float) -> float:
        """Return the trunk's rate after `step` steps as a share of the peak."""
        return float((self.horizon_steps / max(step, self.horizon_steps)) ** self.horizon_power)

    def steps_before_cooldown(self, steps: int) -> float:
        """Return the steps before the cooldown; whole ones are shared with every longer run."""
        return steps - self.cooldown * steps

    def multipliers(self, model: Model, family: Family, task: Task) -> dict[str, Multipliers]:
        """Return each parameter's multipliers and set the scale of residual branches, by the parametrization."""
        if self.parametrization == "standard":
            return standard(model)
        return parametrize(model, family, task, self.base_width, self.base_depth)

    def optimizer(self, model: nn.Module, multipliers: Mapping[str, Multipliers]) -> torch.optim.Optimizer:
        """Return AdamW with a named group for every set of multipliers; `scale` multiplies the rate of a step."""
        groups: dict[Multipliers, list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            groups.setdefault(multipliers[name], []).append(parameter)
        return torch.optim.AdamW(
            [self.group(of, parameters) for of, parameters in groups.items()],
            betas=(float(self.beta1), float(self.beta2)),  # torch takes no mixture of 0 and 0.95
            fused=True,  # one call for all parameters of a group
        )

    def group(self, of: Multipliers, parameters: list[nn.Parameter]) -> dict[str, object]:
        decay = self.weight_decay * of.weight_decay if of.role == "matrix" else 0.0
        return {
            "name": f"{of.role} lr×{of.lr:.3g} eps×{of.eps:.3g}",
            "params": parameters,
            "lr": self.lr * of.lr,
            "scale": of.lr,
            "weight_decay": decay,
            "eps": self.eps * of.eps,
        }


@dataclass(frozen=True)
class Muon(AdamW):
    """Muon (Jordan et al. 2024) for the body's matrices, AdamW at lr for all else.

    muon_lr: peak rate of the matrices, without a multiplier: an orthogonalised update scaled by sqrt(rows / columns)
    fits any width (arXiv:2310.17813, condition 1). momentum: of Muon, with Nesterov's.
    """

    muon_lr: float = 0.05
    momentum: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        if not hasattr(torch.optim, "Muon"):
            raise UserError(
                f"recipe=muon needs torch 2.9 or newer, this is {torch.__version__}; upgrade, or choose recipe=adamw"
            )

    def optimizer(self, model: nn.Module, multipliers: Mapping[str, Multipliers]) -> torch.optim.Optimizer:
        """Return Muon over the body's matrices beside AdamW over the rest, stepped as one."""
        matrices = {n for n, p in model.named_parameters() if n.startswith("body.") and p.dim() == 2}
        matrices = {name for name in matrices if multipliers[name].role == "matrix"}
        group = {
            "name": "muon",
            "params": [p for n, p in model.named_parameters() if n in matrices],
            "lr": self.muon_lr,
            "scale": self.muon_lr / self.lr,
            "weight_decay": self.weight_decay,
        }
        rest = nn.ParameterDict({n.replace(".", "/"): p for n, p in model.named_parameters() if n not in matrices})
        others = super().optimizer(rest, {n.replace(".", "/"): m for n, m in multipliers.items()})
        return Joint(torch.optim.Muon([group], momentum=self.momentum, adjust_lr_fn="original"), others)


class Joint(torch.optim.Optimizer):
    """Several optimisers stepped, saved and restored as one; its groups are theirs."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure else None
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
