"""How much a layer says about its input and its target: I(X; Z) and I(Z; Y) in bits, by binning and kernel density.

A layer Z is a function of X, so both estimates follow from how coarse Z is made (Saxe 2018; Goldfeld 2019,
arXiv:1810.05728). Binning: activations are rounded to bins of equal width between the layer's least and largest, and
I(X; Z) = H(Z), I(Z; Y) = H(Z) - H(Z | Y) of the patterns that occur (Shwartz-Ziv and Tishby 2017, arXiv:1703.00810).
Kernel density: with Gaussian noise of variance s² in every unit,

    I(X; Z) <= -1/n sum_i log2 1/n sum_j exp(-|z_i - z_j|² / 2 s²)

and I(Z; Y) is that less its mean over the examples of each target (Kolchinsky and Tracey 2017, arXiv:1706.02419, eq.
10).

    Information(examples=256).measure(subject).scalars["bins_xz"]
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoflop.checks import Limits, positive
from isoflop.scaling.subject import CheckedProbe, Measurement, Point, Subject


@dataclass(frozen=True)
class Information(CheckedProbe):
    """bins: of an activation, and of a target that is a number. variance: s², in squares of the activations' unit.
    examples: held-out examples that are measured."""

    bins: int = 30
    # as Saxe 2018 has it, appendix B
    variance: float = 0.1
    examples: int = 1024

    kinds: ClassVar[tuple[str, ...]] = ("vectors", "images")
    keys: ClassVar[tuple[str, ...]] = ("bins_xz", "bins_zy", "kde_xz", "kde_zy")
    limits: ClassVar[Limits] = {"bins": 2, "variance": positive, "examples": 2}

    @torch.no_grad()
    def measure(self, subject: Subject) -> Measurement:
        """Return bins_xz, bins_zy, kde_xz, kde_zy of the body's last part [bits]; all parts' as profiles."""
        layers, y = _activations(subject, self.examples)
        target = _codes(y if subject.task.loss == "cross_entropy" else _binned(y, self.bins))
        estimates = []
        for z in layers:
            pattern = _codes(_binned(z, self.bins))
            xz, zy = _entropy(pattern), _entropy(pattern) + _entropy(target) - _entropy(_codes(pattern, target))
            estimates.append({"bins_xz": xz, "bins_zy": zy} | _density(z, target, self.variance))
        points = [Point(name, "layer", i, value) for i, row in enumerate(estimates) for name, value in row.items()]
        return Measurement(estimates[-2], points)


def _activations(subject: Subject, examples: int) -> tuple[list[Tensor], Tensor]:
    """Return the activations of each part of the body and of the readout, (examples, units), and the targets."""
    parts = [*(list(subject.model.body.children()) or [subject.model.body]), subject.model.readout]
    calls: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append(output.flatten(1).double())

    hooks = [part.register_forward_hook(keep) for part in parts]
    rows, targets = [], []
    try:
        for x, y in subject.held_out(examples):
            subject.forward(x)
            rows.append(calls.copy())
            targets.append(y)
            calls.clear()
    finally:
        for hook in hooks:
            hook.remove()
    return [torch.cat(layer) for layer in zip(*rows, strict=True)], torch.cat(targets)


def _binned(values: Tensor, bins: int) -> Tensor:
    low, high = values.min(), values.max()
    width = (high - low) / bins
    return ((values - low) / width).long().clamp(0, bins - 1) if width > 0 else torch.zeros_like(values).long()


def _codes(*tables: Tensor) -> Tensor:
    rows = torch.cat([table.reshape(len(table), -1) for table in tables], dim=1)
    code: Tensor = torch.unique(rows, dim=0, return_inverse=True)[1]
    return code


def _entropy(code: Tensor) -> float:
    shares = torch.bincount(code).double() / len(code)
    return float(torch.special.entr(shares).sum()) / math.log(2)


def _density(z: Tensor, target: Tensor, variance: float) -> dict[str, float]:
    """Return kde_xz and kde_zy [bits] of activations (examples, units) and the codes of their targets."""
    log_kernel = -torch.cdist(z, z).square() / (2 * variance)  # (examples, examples)
    alike = target[:, None] == target
    everywhere = log_kernel.logsumexp(1) - math.log(len(z))
    within = log_kernel.masked_fill(~alike, -math.inf).logsumexp(1) - alike.sum(1).log()
    xz, given_y = (-float(part.mean()) / math.log(2) for part in (everywhere, within))
    return {"kde_xz": xz, "kde_zy": xz - given_y}
