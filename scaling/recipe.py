"""How a model is trained: the optimiser and its rate as a pure function of the step.

recipe = AdamW(lr=0.01, batch=16)
recipe.rate(step=0, steps=100)
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from scaling.errors import UserError
from scaling.families.base import whole

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class AdamW:
    """AdamW (arXiv:1711.05101) at a constant rate between a linear warm-up and a cooldown.

    lr: peak rate. batch: examples per step. warmup, cooldown: shares of the steps. clip: largest norm of the gradient.
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
        if self.precision not in PRECISIONS:
            raise UserError(f"recipe.precision={self.precision!r} is not one of {', '.join(PRECISIONS)}")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step (from 0) of `steps`: warm-up, constant, then 1 - sqrt (arXiv:2405.18392)."""
        warm = self.warmup * steps
        left = steps - self.cooldown * steps
        rising = min(1.0, (step + 1) / warm) if warm >= 1 else 1.0
        falling = 1.0 - ((step + 1 - left) / (steps - left + 1)) ** 0.5 if step + 1 > left else 1.0
        return self.lr * rising * falling

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """AdamW over two named groups: what multiplies decays, vectors and embedding tables do not."""
        decayed: list[nn.Parameter] = []
        kept: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            (decayed if parameter.dim() >= 2 and not name.startswith("embed.") else kept).append(parameter)
        groups = [group("decayed", decayed, self.weight_decay), group("kept", kept, 0.0)]
        return torch.optim.AdamW(
            [g for g in groups if g["params"]],
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            fused=any(p.is_cuda for p in model.parameters()),
        )


def group(name: str, parameters: Iterable[nn.Parameter], weight_decay: float) -> dict[str, object]:
    """One named group of an optimiser."""
    return {"name": name, "params": list(parameters), "weight_decay": weight_decay}
