"""How gradients travel: through layers, and in sequence models back through positions.

Through positions: the size of the Jacobian ∂h_T/∂e_{T-k} against k, with h_T what the body makes of the last position
and e_{T-k} what enters it k positions before. The slope of its logarithm is below 0 where gradients vanish and above
where they explode (Bengio 1994; Pascanu 2013, arXiv:1211.5063). The Frobenius norm is estimated from random directions
v, E |Jᵀ v|² = |J|² (Hutchinson 1990). Through layers: the norm of the loss's gradient in each part of the body, from
first to last (He 2016, arXiv:1512.03385, section 4.1).

    Gradients().measure(subject).scalars["slope"]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoflop.checks import Limits, positive
from isoflop.scaling.evaluate import arithmetic, loss_count, loss_per_target
from isoflop.scaling.subject import CheckedProbe, Measurement, Point, Subject
from isoflop.scaling.task import KINDS


@dataclass(frozen=True)
class Gradients(CheckedProbe):
    """examples: held-out examples that are measured. directions: random ones, of each example.

    factor: a Jacobian this many times smaller at the first position than at the last but one has vanished, one this
    many times larger has exploded.
    """

    examples: int = 32
    directions: int = 4
    factor: float = 1e3

    kinds: ClassVar[tuple[str, ...]] = KINDS
    keys: ClassVar[tuple[str, ...]] = ("first_over_last", "slope", "vanishes", "explodes")
    limits: ClassVar[Limits] = {"examples": 1, "directions": 1, "factor": positive}

    def measure(self, subject: Subject) -> Measurement:
        """Return the slope of ln |J| on k, the shares that vanish and explode, and first_over_last layer's gradient."""
        layers = _layer_norms(subject, self.examples)
        points = [Point("layer_norm", "layer", i, norm) for i, norm in enumerate(layers)]
        ratio = layers[0] / layers[-1] if len(layers) > 1 and layers[-1] > 0 else None
        scalars: dict[str, float | None] = {"first_over_last": ratio}
        layered = next(subject.model.body.children(), None) is not None
        if subject.task.kind not in ("tokens", "sequences") or subject.task.seq_len < 4 or not layered:
            return Measurement(scalars, points)
        norms = _jacobian_norms(subject, self.examples, self.directions)  # (examples, seq), by k
        mean = norms.square().mean(0).sqrt()
        points += [Point("jacobian", "k", k, float(norm)) for k, norm in enumerate(mean)]
        # at k = 0 the residual stream goes straight through, which no other k has
        k = torch.arange(1, len(mean), dtype=torch.float64)
        seen = mean[1:] > 0
        x, y = k[seen], mean[1:][seen].log()
        slope = float(((x - x.mean()) * y).sum() / (x - x.mean()).square().sum()) if len(x) >= 3 else None
        change = norms[:, -1] / norms[:, 1].clamp(min=torch.finfo(norms.dtype).tiny)
        scalars |= {"slope": slope, "vanishes": float((change < 1 / self.factor).double().mean())}
        return Measurement(scalars | {"explodes": float((change > self.factor).double().mean())}, points)


def _jacobian_norms(subject: Subject, examples: int, directions: int) -> Tensor:
    """Return the Frobenius norms of ∂h_T/∂e_{T-k}, (examples, seq) with k along the second axis, in float64."""
    generator, rows = subject.generator(), []
    for x, _ in subject.held_out(examples):
        with torch.no_grad():
            entering = subject.model.embed(x)
        entering = entering.detach().float().requires_grad_()
        with arithmetic(x.device, subject.precision):
            last = subject.model.body(entering)[:, -1].float()  # (batch, width)
        total = torch.zeros(entering.shape[:2], dtype=torch.float64)
        for _ in range(directions):
            v = torch.randn(last.shape, generator=generator).to(last.device)
            (back,) = torch.autograd.grad((last * v).sum(), entering, retain_graph=True)
            total += back.double().square().sum(-1).cpu()
        rows.append((total / directions).sqrt().flip(1))
    return torch.cat(rows)


def _layer_norms(subject: Subject, examples: int) -> list[float]:
    """Return the norm of the held-out loss's gradient in each part of the body with parameters, first to last."""
    parts = [part for child in subject.model.body.children() if (part := list(child.parameters()))]
    if not parts:  # a table or a linear readout has no layers
        return []
    parameters = [p for part in parts for p in part]
    total = [torch.zeros_like(p) for p in parameters]
    count = 0.0
    for x, y in subject.held_out(examples):
        losses = loss_per_target(subject.task, subject.forward(x), y)
        more = torch.autograd.grad(losses.sum(), parameters, allow_unused=True)
        total = [t if g is None else t + g for t, g in zip(total, more, strict=True)]
        count += float(loss_count(subject.task, y).sum())
    squares = iter([float(t.double().square().sum()) for t in total])
    return [sum(next(squares) for _ in part) ** 0.5 / count for part in parts]
