"""How a model is trained: the optimiser and its rate as a pure function of the step.

recipe = AdamW(lr=0.01, batch=16)
recipe.rate(step=0, steps=100)
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from scaling.errors import UserError
from scaling.families.base import Family, Model, whole
from scaling.parametrization import Multipliers, parametrize, standard
from scaling.task import Task

PRECISIONS = ("fp32", "bf16")
PARAMETRIZATIONS = ("mup", "standard")


@dataclass(frozen=True)
class AdamW:
    """AdamW (arXiv:1711.05101) at a constant rate between a linear warm-up and a cooldown.

    lr: peak rate; that at base_width and base_depth where parametrization is mup, as it is where it is standard.
    batch: examples per step. warmup, cooldown: shares of the steps. clip: largest norm of the gradient.
    precision: fp32, or bf16 for the arithmetic with fp32 parameters.
    """

    lr: float
    batch: int = 16
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    warmup: float = 0.05
    cooldown: float = 0.2
    clip: float = 1.0
    precision: str = "fp32"
    parametrization: str = "mup"
    base_width: int = 32
    base_depth: int = 2

    def __post_init__(self) -> None:
        whole("recipe.batch", self.batch)
        for name in ("lr", "eps", "clip"):
            if not (isinstance(value := getattr(self, name), (int, float)) and value > 0):
                raise UserError(f"recipe.{name}={value!r} is not a number above 0")
        for name in ("beta1", "beta2", "warmup", "cooldown"):
            if not (isinstance(value := getattr(self, name), (int, float)) and 0 <= value < 1):
                raise UserError(f"recipe.{name}={value!r} is not a number from 0 up to 1")
        if self.warmup + self.cooldown > 1:
            raise UserError(
                f"recipe.warmup={self.warmup} and recipe.cooldown={self.cooldown} exceed the run; lower one"
            )
        if not (isinstance(self.weight_decay, (int, float)) and self.weight_decay >= 0):
            raise UserError(f"recipe.weight_decay={self.weight_decay!r} is not a number of at least 0")
        for name, allowed in (("precision", PRECISIONS), ("parametrization", PARAMETRIZATIONS)):
            if (value := getattr(self, name)) not in allowed:
                raise UserError(f"recipe.{name}={value!r} is not one of {', '.join(allowed)}")
        whole("recipe.base_width", self.base_width)
        whole("recipe.base_depth", self.base_depth)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step (from 0) of `steps`: warm-up, constant, then 1 - sqrt (arXiv:2405.18392)."""
        warm = self.warmup * steps
        left = steps - self.cooldown * steps
        rising = min(1.0, (step + 1) / warm) if warm >= 1 else 1.0
        falling = 1.0 - ((step + 1 - left) / (steps - left + 1)) ** 0.5 if step + 1 > left else 1.0
        return self.lr * rising * falling

    def multipliers(self, model: Model, family: Family, task: Task) -> dict[str, Multipliers]:
        """Each parameter's multipliers by the recipe's parametrization; sets the scale of residual branches."""
        if self.parametrization == "standard":
            return standard(model)
        return parametrize(model, family, task, self.base_width, self.base_depth)

    def optimizer(self, model: nn.Module, multipliers: Mapping[str, Multipliers]) -> torch.optim.Optimizer:
        """AdamW with a named group for every set of multipliers; `scale` multiplies the rate of a step."""
        groups: dict[Multipliers, list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            groups.setdefault(multipliers[name], []).append(parameter)
        return torch.optim.AdamW(
            [self.group(of, parameters) for of, parameters in groups.items()],
            betas=(self.beta1, self.beta2),
            fused=any(p.is_cuda for p in model.parameters()),
        )

    def group(self, of: Multipliers, parameters: list[nn.Parameter]) -> dict[str, object]:
        """One named group of the optimiser."""
        decay = self.weight_decay * of.weight_decay if of.role == "matrix" else 0.0
        return {
            "name": f"{of.role} lr×{of.lr:.3g} eps×{of.eps:.3g}",
            "params": parameters,
            "lr": self.lr * of.lr,
            "scale": of.lr,
            "weight_decay": decay,
            "eps": self.eps * of.eps,
        }
