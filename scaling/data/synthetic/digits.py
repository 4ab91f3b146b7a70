"""Images of digits: a small typeface, turned, sheared, stretched and moved at random, blurred by sampling, with noise.

x, y = Digits(size=1000).load().take(torch.arange(16))               # (16, 1, 16, 16), (16,)
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from isoflop.checks import Limits, not_negative
from isoflop.scaling.data.base import Synthetic, stream
from isoflop.scaling.task import Task

# 5 columns by 7 rows each, as on a character display of that size (Hitachi HD44780, 1987, font A00)
FONT = """
.###. ..#.. .###. ##### ...#. ##### ..##. ##### .###. .###.
#...# .##.. #...# ...#. ..##. #.... .#... ....# #...# #...#
#..## ..#.. ....# ..#.. .#.#. ####. #.... ...#. #...# #...#
#.#.# ..#.. ...#. ...#. #..#. ....# ####. ..#.. .###. .####
##..# ..#.. ..#.. ....# ##### ....# #...# .#... #...# ....#
#...# ..#.. .#... #...# ...#. #...# #...# .#... #...# ...#.
.###. .###. ##### .###. ...#. .###. .###. .#... .###. .##..
"""
TURN, SHEAR, STRETCH, MOVE = 0.35, 0.3, 0.25, 0.25  # largest: radians, slope, share of the size, share of half a side


@dataclass(frozen=True)
class Digits(Synthetic):
    """size and eval_size count images. side: pixels of one. noise: standard deviation, where ink is 1."""

    size: int = 20_000
    eval_size: int = 4096
    side: int = 16
    noise: float = 0.3

    limits: ClassVar[Limits] = {"side": 8, "noise": not_negative}

    @property
    def task(self) -> Task:
        return Task("images", d_in=1, d_out=10, seq_len=self.side, targets=1)

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw images, (n, 1, side, side), and their classes, (n,)."""
        numbers = stream(self.version, which).random((n, 7 + self.side**2), dtype=np.float32)
        classes = torch.from_numpy((numbers[:, 0] * 10).astype(np.int64))
        maps = affine_grid(_placed(torch.from_numpy(numbers[:, 1:7]) * 2 - 1), [n, 1, self.side, self.side], False)
        images = grid_sample(_glyphs()[classes], maps, align_corners=False)
        # uniform noise of variance one: U(-1, 1) * sqrt(3)
        grain = torch.from_numpy(numbers[:, 7:] * 2 - 1).view(images.shape) * 3**0.5
        return images + self.noise * grain, classes


def _glyphs() -> Tensor:
    """Return the ten digits, (10, 1, 7, 5), ink 1 and paper 0."""
    rows = [line.split() for line in FONT.split("\n") if line]
    ink = [[[float(pixel == "#") for pixel in row[digit]] for row in rows] for digit in range(10)]
    return torch.tensor(ink)[:, None]


def _placed(numbers: Tensor) -> Tensor:
    """Return affine maps from picture to typeface, (n, 2, 3), from six numbers each in -1 ... 1."""
    turn, shear, wide, high, right, down = numbers.unbind(1)
    cos, sin = (TURN * turn).cos(), (TURN * turn).sin()
    # a digit fills about half the width and three quarters of the height
    across, along = 2.0 * (1 + STRETCH * wide), 1.4 * (1 + STRETCH * high)
    matrix = torch.stack((cos * across, (SHEAR * shear - sin) * across, sin * along, cos * along), dim=1).view(-1, 2, 2)
    offset = torch.stack((MOVE * right * across, MOVE * down * along), dim=1)[..., None]
    return torch.cat((matrix, offset), dim=2)
