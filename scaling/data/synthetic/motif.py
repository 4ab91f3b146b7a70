"""Images of one of several motifs, anywhere or always in the middle, in noise: the value of translation.

Theory. Class c is a fixed random pattern m_c of ±1 pixels at a place p, uniform over all where it fits (moved=true) or
the middle one, in Gaussian noise of deviation sigma. From the posterior p(c | x) ∝ Σ_p exp([x·m_{c,p} - |m_c|²/2] /
sigma²) follows the floor, the mean of -ln p(c | x) over 8,192 images of its own [nats] (standard error in
`data.floor_se`). A net that shares weights over places needs as many examples as there are motifs, another a factor of
the number of places more (Li, Zhang and Arora 2021, arXiv:2010.08515); with the motif at rest the two are alike.
Regime: sigma of about 1, motifs of 5 pixels or less.

    x, y = Motif(size=1000).load().take(torch.arange(16))         # (16, 1, 16, 16), (16,)
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy

from isoflop.checks import Limits, positive
from isoflop.errors import UserError
from isoflop.scaling.data.base import RULES, THEORY, Synthetic, stream
from isoflop.scaling.task import Task

SAMPLES = 8192  # images from which the floor is estimated
# side, motif, classes, sigma, moved, version
Law = tuple[int, int, int, float, bool, int]


@dataclass(frozen=True)
class Motif(Synthetic):
    """Knobs of the images; size and eval_size count images."""

    size: int = 20_000
    eval_size: int = 4096
    side: int = 16
    """Pixels along a side of the image."""
    motif: int = 5
    """Pixels along a side of a motif."""
    classes: int = 10
    """Motifs."""
    sigma: float = 1.0
    """Standard deviation of the noise, where a motif's pixels are ±1."""
    moved: bool = True
    """Whether the motif is anywhere, or always in the middle."""

    limits: ClassVar[Limits] = {"side": 1, "motif": 1, "classes": 2, "sigma": positive, "moved": (True, False)}

    def check(self) -> None:
        if self.motif > self.side:
            raise UserError(f"data.motif={self.motif} does not fit into data.side={self.side}; give a smaller one")
        if self.classes > 2 ** min(self.motif**2, 30):
            raise UserError(f"data.classes={self.classes} are more than there are motifs; give fewer")

    @property
    def law(self) -> Law:
        """The knobs that determine the distribution."""
        return self.side, self.motif, self.classes, self.sigma, self.moved, self.version

    @property
    def task(self) -> Task:
        return Task("images", d_in=1, d_out=self.classes, seq_len=self.side, targets=1, floor=_entropy(self.law)[0])

    def facts(self) -> dict[str, str | int | float]:
        return {"data.floor_se": _entropy(self.law)[1]}

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        return _draw(self.law, which, n)


@lru_cache(maxsize=8)
def _patterns(motif: int, classes: int, version: int) -> Tensor:
    """Draw the motifs, (classes, 1, motif, motif), of ±1, no two alike."""
    numbers, drawn = stream(version, RULES), dict[bytes, np.ndarray]()
    while len(drawn) < classes:
        pattern = numbers.integers(2, size=(1, motif, motif))
        drawn.setdefault(pattern.tobytes(), 2.0 * pattern - 1)
    return torch.from_numpy(np.stack(list(drawn.values()))).float()


def _draw(law: Law, which: int, n: int) -> tuple[Tensor, Tensor]:
    """Draw images, (n, 1, side, side), and their classes, (n,)."""
    side, motif, classes, sigma, moved, version = law
    numbers = torch.from_numpy(stream(version, which).standard_normal((n, side**2 + 6)))
    # the angle of two independent normal numbers is uniform
    kind, down, right = (torch.atan2(numbers[:, :3], numbers[:, 3:6]) / (2 * torch.pi) + 0.5).unbind(1)
    places = side - motif + 1
    labels = (kind * classes).long().clamp(max=classes - 1)
    rows, columns = ((u * places).long().clamp(max=places - 1) for u in (down, right))
    if not moved:
        rows, columns = torch.full_like(rows, places // 2), torch.full_like(columns, places // 2)
    images = sigma * numbers[:, 6:].float().view(n, side, side)
    span = torch.arange(motif)
    where = (torch.arange(n)[:, None, None], (rows[:, None] + span)[:, :, None], (columns[:, None] + span)[:, None, :])
    images[where] += _patterns(motif, classes, version)[labels, 0]
    return images[:, None], labels


def _log_posterior(images: Tensor, motif: int, classes: int, sigma: float, moved: bool, version: int) -> Tensor:
    """Return ln p(c | x), (n, classes), in float64."""
    motifs = _patterns(motif, classes, version).double()
    scores = (conv2d(images.double(), motifs) - motif**2 / 2) / sigma**2  # (n, classes, places, places)
    if not moved:
        middle = scores.shape[-1] // 2
        return scores[..., middle, middle].log_softmax(1)
    return scores.flatten(2).logsumexp(2).log_softmax(1)


@lru_cache(maxsize=64)
def _entropy(law: Law) -> tuple[float, float]:
    """Return the floor and its standard error [nats per target]."""
    images, labels = _draw(law, THEORY, SAMPLES)
    parts = zip(images.split(1024), labels.split(1024), strict=True)
    losses = torch.cat([cross_entropy(_log_posterior(x, *law[1:]), y, reduction="none") for x, y in parts])
    return float(losses.mean()), float(losses.std() / SAMPLES**0.5)
