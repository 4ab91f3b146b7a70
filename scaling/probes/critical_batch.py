"""The gradient noise scale: the batch at which noise and signal of the gradient are equal.

With g a mini-batch's mean gradient, G its expectation and Σ the covariance of one example's gradient, it is
B = tr(Σ) / |G|², both estimated without bias from batches of two sizes (McCandlish 2018, arXiv:1812.06162, eq. 2.9 and
appendix A.1). It bounds the useful batch from below; the critical batch is measured by training at several
(arXiv:2410.21676).

    CriticalBatch(small=4, batches=16).measure(subject).scalars["noise_scale"]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoflop.checks import Limits
from isoflop.scaling.evaluate import loss_count, loss_per_target
from isoflop.scaling.subject import CheckedProbe, Measurement, Subject
from isoflop.scaling.task import KINDS


@dataclass(frozen=True)
class CriticalBatch(CheckedProbe):
    """small: examples of a small batch. batches: how many of them; together they are the big one."""

    small: int = 4
    batches: int = 32

    kinds: ClassVar[tuple[str, ...]] = KINDS
    keys: ClassVar[tuple[str, ...]] = ("noise_scale", "signal", "noise")
    limits: ClassVar[Limits] = {"small": 1, "batches": 2}

    def measure(self, subject: Subject) -> Measurement:
        """Return noise_scale [examples], None if noise hides the signal; signal |G|^2 and noise tr(Σ)."""
        n = subject.examples.n
        indices = torch.randint(n, (self.batches, self.small), generator=subject.generator())
        device = next(subject.model.parameters()).device
        gradients = [_gradient(subject, batch.to(device)) for batch in indices]
        big = sum(gradients[1:], start=gradients[0]) / self.batches
        g_small = torch.stack([g.square().sum() for g in gradients]).mean().item()
        g_big, size = big.square().sum().item(), self.small * self.batches
        signal = (size * g_big - self.small * g_small) / (size - self.small)
        noise = (g_small - g_big) / (1 / self.small - 1 / size)
        return Measurement({"noise_scale": noise / signal if signal > 0 else None, "signal": signal, "noise": noise})


def _gradient(subject: Subject, indices: Tensor) -> Tensor:
    x, y = subject.examples.take(indices)
    losses = loss_per_target(subject.task, subject.forward(x), y)
    mean = losses.sum() / loss_count(subject.task, y).sum()
    parameters = [p for p in subject.model.parameters() if p.requires_grad]
    parts = torch.autograd.grad(mean, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts]).double()
