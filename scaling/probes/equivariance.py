"""Permutation of positions: the relative deviation of f(P x) from P f(x).

Attention without positions treats its inputs as a set: permuting the positions permutes the outputs (Zaheer 2017,
arXiv:1703.06114; Lee 2019, arXiv:1810.00825); a causal mask or any encoding of positions breaks it. The deviation,
over held-out examples and random permutations P, is |f(P x) - P f(x)| / |f(x) - mean over positions of f(x)|.

    Equivariance().measure(subject).scalars["deviation"]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from isoflop.checks import Limits
from isoflop.scaling.subject import CheckedProbe, Measurement, Subject


@dataclass(frozen=True)
class Equivariance(CheckedProbe):
    """permutations: random ones over which the mean is taken. examples: held-out examples that are measured."""

    permutations: int = 4
    examples: int = 64

    kinds: ClassVar[tuple[str, ...]] = ("tokens", "sequences")
    keys: ClassVar[tuple[str, ...]] = ("deviation",)
    limits: ClassVar[Limits] = {"permutations": 1, "examples": 1}

    @torch.no_grad()
    def measure(self, subject: Subject) -> Measurement:
        """Return deviation, the root mean square over examples, positions and outputs, over the outputs' spread."""
        generator = subject.generator()
        off = spread = 0.0
        for x, _ in subject.held_out(self.examples):
            outputs = subject.forward(x).double()  # (batch, seq, d_out)
            centred = outputs - outputs.mean(1, keepdim=True)
            for _ in range(self.permutations):
                order = torch.randperm(x.shape[1], generator=generator).to(x.device)
                off += (subject.forward(x[:, order]).double() - outputs[:, order]).square().sum().item()
                spread += centred.square().sum().item()
        return Measurement({"deviation": (off / spread) ** 0.5 if spread > 0 else None})
