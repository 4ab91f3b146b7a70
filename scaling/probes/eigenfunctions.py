"""The order in which the parts of a target are learned: those on large eigenvalues of the kernel first?

Gradient descent at rate η leaves |f_k - c_k| / |c_k| = (1 - η λ_k)^t of the target's coefficient c_k after t steps from
zero, exactly for a linear model (Saxe 2014, arXiv:1312.6120; Bordelon 2020, arXiv:2002.02561). The kernel is x · x'
over held-out examples; `rank_correlation` is Spearman's, of the eigenvalue and -left, over the k whose coefficient
stands out of the noise that no linear function of the inputs accounts for.

    Eigenfunctions().measure(subject).scalars["rank_correlation"]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoflop.checks import Limits, positive
from isoflop.scaling.subject import CheckedProbe, Measurement, Point, Subject


@dataclass(frozen=True)
class Eigenfunctions(CheckedProbe):
    """examples: held-out examples that are measured. clear: standard errors by which a coefficient has to stand out."""

    examples: int = 4096
    clear: float = 4.0

    kinds: ClassVar[tuple[str, ...]] = ("vectors",)
    keys: ClassVar[tuple[str, ...]] = ("rank_correlation", "count")
    limits: ClassVar[Limits] = {"examples": 2, "clear": positive}

    @torch.no_grad()
    def measure(self, subject: Subject) -> Measurement:
        """Return rank_correlation and the eigenfunctions it covers; None for fewer than three, or without an order."""
        parts = [(x.double(), subject.forward(x).double(), y.double()) for x, y in subject.held_out(self.examples)]
        x, outputs, y = (torch.cat(part) for part in zip(*parts, strict=True))
        if subject.task.loss != "mse" or len(x) <= x.shape[1]:
            return Measurement({"rank_correlation": None, "count": None})
        values, functions = _eigenfunctions(x)
        target, fitted = functions.T @ y / len(x), functions.T @ outputs / len(x)  # (functions, d_out)
        noise = (y - functions @ target).square().sum() / (len(x) - len(values)) / len(x)
        clear = target.norm(dim=1) > self.clear * noise.sqrt()
        left = (fitted - target).norm(dim=1)[clear] / target.norm(dim=1)[clear]
        places = clear.nonzero().flatten().tolist()
        points = [Point("eigenvalue", "k", k + 1, float(values[k])) for k in places]
        points += [Point("left", "k", k + 1, float(value)) for k, value in zip(places, left, strict=True)]
        return Measurement({"rank_correlation": _spearman(values[clear], -left), "count": len(left)}, points)


def _eigenfunctions(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the linear kernel's eigenvalues, descending, and its functions at x, (examples, k), of mean square 1."""
    left, scales, _ = torch.linalg.svd(x, full_matrices=False)
    # what is below is rounding (as numpy's matrix_rank has it)
    there = scales > scales[0] * max(x.shape) * torch.finfo(x.dtype).eps
    return scales[there].square() / len(x), left[:, there] * len(x) ** 0.5


def _spearman(a: Tensor, b: Tensor) -> float | None:
    """Return the correlation of ranks, ties shared; None for fewer than three values, or if all are equal."""
    if len(a) < 3:
        return None
    ranks = torch.stack((_rank(a), _rank(b)))
    spread = ranks.std(1)
    return None if (spread == 0).any() else float(torch.corrcoef(ranks)[0, 1])


def _rank(values: Tensor) -> Tensor:
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    ranks: Tensor = (counts.cumsum(0) - (counts - 1) / 2)[inverse].double()
    return ranks
