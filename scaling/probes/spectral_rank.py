"""How many directions the weights of body and readout use: their spectra, as effective ranks.

Of singular values s_i, the stable rank is Σ s_i² / max s_i² (Rudelson and Vershynin 2007, arXiv:math/0503442) and the
effective rank exp(-Σ p_i ln p_i) with p_i = s_i / Σ s (Roy and Vetterli 2007), as shares of the smaller side of the
matrix. A weight of more axes counts as its first against all others.

    SpectralRank().measure(subject).scalars["stable"]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoflop.scaling.subject import CheckedProbe, Measurement, Point, Subject
from isoflop.scaling.task import KINDS


@dataclass(frozen=True)
class SpectralRank(CheckedProbe):
    """It has no knobs."""

    kinds: ClassVar[tuple[str, ...]] = KINDS
    keys: ClassVar[tuple[str, ...]] = ("stable", "effective")

    @torch.no_grad()
    def measure(self, subject: Subject) -> Measurement:
        """Return stable and effective: the means over weights of the rank over the smaller side."""
        weights = [p for p in (*subject.model.body.parameters(), *subject.model.readout.parameters()) if p.dim() >= 2]
        ranks = [_shares(weight.flatten(1)) for weight in weights if min(weight.flatten(1).shape) > 1]
        if not ranks:
            return Measurement({"stable": None, "effective": None})
        columns = zip(self.keys, zip(*ranks, strict=True), strict=True)
        points = [Point(name, "weight", i, value) for name, column in columns for i, value in enumerate(column)]
        means = torch.tensor(ranks, dtype=torch.float64).mean(0).tolist()
        return Measurement(dict(zip(self.keys, means, strict=True)), points)


def _shares(matrix: Tensor) -> tuple[float, float]:
    s = torch.linalg.svdvals(matrix.double())
    p = s / s.sum().clamp(min=torch.finfo(s.dtype).tiny)
    effective = torch.special.entr(p).sum().exp()
    stable = s.square().sum() / s[0].square().clamp(min=torch.finfo(s.dtype).tiny)
    return float(stable) / len(s), float(effective) / len(s)
