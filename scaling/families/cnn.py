"""Convolutional nets, residual (pre-activation ResNet) or plain: 2-D on images; causal, gated and dilated on tokens.

Cnn(width=16, depth=9, lr=0.01, residual=False).build(Task("images", d_in=1, d_out=10, seq_len=16, targets=1))

On images a layer is two convolutions: 9 of them with stem and readout are the 20-layer net of He 2015.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import pad

from isoflop.checks import Limits
from isoflop.errors import UserError
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.families.layers.basic import Block, Pool, linear, normalisation, readout, refuse_patch, stem
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Cnn(Family):
    """kernel: positions, or pixels along a side, that a convolution sees. residual: ResNet or plain net. cycle: on
    tokens, layer i is dilated 2^(i mod cycle) times. patch: on images, the side that the stem takes as one."""

    kernel: int = 3
    residual: bool = True
    cycle: int = 6
    patch: int = 2

    learns: ClassVar[tuple[str, ...]] = ("tokens", "sequences", "images")
    limits: ClassVar[Limits] = {"kernel": 1, "cycle": 1, "patch": 1, "residual": (True, False)}

    def refuse(self, task: Task) -> None:
        refuse_patch(task, self.patch)
        if task.kind == "images" and self.kernel % 2 == 0:
            raise UserError(f"family.kernel={self.kernel} has no middle pixel; give an odd one")

    def build(self, task: Task) -> Model:
        if task.kind == "images":
            return self.build_for_images(task)
        embed, first = stem(task, self.width)
        layers = [self.layer(_Gated(self.width, self.kernel, 2 ** (i % self.cycle))) for i in range(self.depth)]
        body = nn.Sequential(*first, *layers, normalisation("rms", self.width))
        return Model(embed, body, readout(self.width, task.d_out))

    def layer(self, branch: nn.Module) -> nn.Module:
        """Return a gated layer, normalised first, with or without the residual path."""
        return Block(self.width, branch) if self.residual else nn.Sequential(normalisation("rms", self.width), branch)

    def build_for_images(self, task: Task) -> Model:
        """Build the pre-activation ResNet (arXiv:1603.05027, fig. 4e) at one resolution, or without shortcuts."""
        first = _convolution(task.d_in, self.width, self.patch, stride=self.patch)
        layers: list[nn.Module] = []
        for _ in range(self.depth):
            halves = [
                [_over_map(self.width), nn.ReLU(), _convolution(self.width, self.width, self.kernel)] for _ in range(2)
            ]
            branch = nn.Sequential(*halves[0], *halves[1])
            layers.append(Block(self.width, branch, norm="none") if self.residual else branch)
        body = nn.Sequential(first, *layers, _over_map(self.width), nn.ReLU(), Pool((2, 3)))
        return Model(nn.Identity(), body, readout(self.width, task.d_out))

    def kept(self, seq_len: int) -> int:
        reaches = ((self.kernel - 1) << (i % self.cycle) for i in range(self.depth))
        return self.width * sum(min(reach, seq_len) for reach in reaches)


def _convolution(d_in: int, d_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Return a square convolution that keeps the map's size or divides it by its stride; He 2015, eq. 10."""
    layer = nn.Conv2d(d_in, d_out, kernel, stride, padding=0 if stride > 1 else kernel // 2, bias=False)
    nn.init.normal_(layer.weight, std=(2 / (d_in * kernel**2)) ** 0.5)
    return layer


def _over_map(width: int) -> nn.Module:
    """Return layer normalisation over a whole map (batch, width, rows, columns): no example depends on another."""
    return nn.GroupNorm(1, width)


class _Gated(nn.Module):
    """A causal dilated convolution with a gate, and a linear map: a * sigmoid(b) (arXiv:1612.08083, eq. 1)."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.convolve = nn.Conv1d(width, 2 * width, kernel, dilation=dilation, bias=False)
        nn.init.normal_(self.convolve.weight, std=(width * kernel) ** -0.5)
        self.out = linear(width, width, std=2 * width**-0.5)  # a * sigmoid(b) has a standard deviation of about a half

    def forward(self, x: Tensor) -> Tensor:
        padded = pad(x.transpose(1, 2), (self.reach, 0))  # (batch, width, reach + seq)
        a, b = self.convolve(padded).chunk(2, dim=1)  # (batch, width, seq) each
        return self.out((a * b.sigmoid()).transpose(1, 2))  # type: ignore[no-any-return]
