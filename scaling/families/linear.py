"""A linear readout of the first `width` features: the learner of the spectral theory of scaling (data/spectral.py).

Linear(width=16, depth=1, lr=0.02).build(task)
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from isoflop.scaling.families.base import Family, Model, refuse_dials
from isoflop.scaling.families.layers.basic import readout
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Linear(Family):
    """Outputs are a linear map of the first `width` features, started at zero, without a bias."""

    learns: ClassVar[tuple[str, ...]] = ("vectors",)
    reference: ClassVar[bool] = True

    def build(self, task: Task) -> Model:
        last = readout(self.width, task.d_out)
        # features of falling variance do not add up as alike ones do, for which muP divides the rate by the width; and
        # a decay would leave another solution than least squares
        last.weight.fan_in_axes = ()  # type: ignore[attr-defined]
        return Model(nn.Identity(), First(self.width), last)

    def refuse(self, task: Task) -> None:
        refuse_dials(self, task, "features")


class First(nn.Module):
    """The first features of each example."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.width]  # (batch, width)
