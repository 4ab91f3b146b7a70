"""What every architecture is to the rest of isoflop: a frozen dataclass with two dials that builds a Model for a Task.

A family is one file here and one yaml in conf/family; the yaml's name is the family's name.

    family = Transformer(width=64, depth=2, lr=0.01)
    model = family.build(Task(kind="tokens", d_in=256, d_out=256, seq_len=64, targets=64))
    logits = model(tokens)                                   # (batch, seq, d_out)

What a shape cannot say, a parameter says itself, where the family makes it:

    parameter.fan_in_axes = ()     the axes that a product sums over; () for a table or vector (parametrization.py)
    parameter.role = "embed"       its role, where it lies under another name than its role (cost.py)
    parameter.active = 2 / 8       the share of it that one target uses, where that is not all of it (cost.py)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoflop import checks
from isoflop.scaling.task import Task


class Reporting(nn.Module):
    """A layer that has something to say of its last forward: `auxiliary`, a term of the training loss, and `health`."""

    auxiliary: Tensor | None
    health: dict[str, Tensor]


class Model(nn.Module):
    """embed, body and readout, roles of parameters: makes (batch, seq, d_out), of images and vectors (batch, d_out)."""

    def __init__(self, embed: nn.Module, body: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.embed, self.body, self.readout = embed, body, readout
        self._reporting = tuple(m for m in body.modules() if isinstance(m, Reporting))

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.body(self.embed(x)))  # type: ignore[no-any-return]

    def auxiliary(self) -> Tensor | float:
        """Take what the layers add to the training loss, from the last forward, away from them and return its sum."""
        # a layer that kept it would keep that forward's graph, whose nodes name a stream that breaks a CUDA graph
        total: Tensor | float = 0.0
        for layer in self._reporting:
            assert layer.auxiliary is not None
            total, layer.auxiliary = total + layer.auxiliary, None
        return total

    def health(self) -> dict[str, Tensor]:
        """Return what the layers report on the last forward, averaged over layers, by name."""
        names = self._reporting[0].health if self._reporting else ()
        return {name: torch.stack([layer.health[name] for layer in self._reporting]).mean() for name in names}


@dataclass(frozen=True)
class Family:
    """An architecture at any size: its two dials, and the peak learning rate of AdamW tuned for it."""

    width: int
    depth: int
    lr: float

    # the kinds of task that it learns
    learns: ClassVar[tuple[str, ...]] = ()
    # whether it is the learner of a theory and no architecture: no layers, no width that muP scales, one kind of task
    reference: ClassVar[bool] = False
    # a shorter sequence to count FLOPs at, for a family whose FLOPs per target do not depend on seq_len
    counted_at: ClassVar[int | None] = None
    limits: ClassVar[checks.Limits] = {"width": 1, "depth": 1, "lr": checks.positive}

    def __post_init__(self) -> None:
        checks.knobs("family", self)

    @property
    def looks_ahead(self) -> bool:
        """Whether an output is meant to depend on later inputs (else promises.py refuses it)."""
        return False

    def build(self, task: Task) -> Model:
        """Build the model, initialised from torch's global generator, on torch's default device."""
        raise NotImplementedError

    def refuse(self, task: Task) -> None:
        """Raise UserError if this family, with its knobs, cannot do a task of a kind that it learns."""

    def unseen_flops(self, task: Task) -> float:
        """Return the forward FLOPs of one example that torch's counter does not see, such as those of FFTs."""
        return 0.0

    def kept(self, seq_len: int) -> int:
        """Return the numbers kept per sequence after seq_len positions, for the next: KV cache, state, window."""
        return 0
