"""Real images: CIFAR by torchvision, and the digits of scikit-learn.

    x, y = SklearnDigits(size=64).load().take(torch.arange(4))         # (4, 1, 8, 8), (4,)

The classes take turns in the fixed order of the training images, so that a smaller size is a prefix of a larger one.
The held-out images are the test set's, or where there is none the last in that order.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoflop import checks
from isoflop.errors import UserError
from isoflop.scaling.data.base import RULES, TRAIN, InMemory, stream
from isoflop.scaling.data.corpus.streams import library
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class _Pixels:
    """A set of images, (n, channels, side, side) bytes, and their classes, (n,)."""

    images: NDArray[np.uint8]
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """size: distinct training images, None for all. eval_size: held-out images, None for all.

    permuted: whether one fixed permutation is applied to the pixels of every image. version: of the order, the subsets
    and the permutation; a seed.
    """

    size: int | None = None
    eval_size: int | None = None
    permuted: bool = False
    version: int = 0

    limits: ClassVar[checks.Limits] = {"size": 1, "eval_size": 2, "permuted": (True, False), "version": 0}

    def __post_init__(self) -> None:
        checks.knobs("data", self)

    def read(self) -> tuple[_Pixels, _Pixels]:
        """Read the training and the test set."""
        raise NotImplementedError

    @property
    def task(self) -> Task:
        train = self.read()[0]
        _, channels, side, _ = train.images.shape
        return Task("images", d_in=channels, d_out=int(train.classes.max()) + 1, seq_len=side, targets=1)

    @property
    def unique(self) -> int:
        train, held_out = self.read()
        for name, most in (("size", len(train.classes)), ("eval_size", len(held_out.classes))):
            if (given := getattr(self, name)) is not None and given > most:
                raise UserError(f"data.{name}={given} is more than the {most} images there are; give at most that")
        return self.size or len(train.classes)

    def load(self) -> InMemory:
        train, held_out = self.read()
        chosen = _take_turns(train.classes, self.version)[: self.unique]
        there = _take_turns(held_out.classes, self.version)[: self.eval_size]
        # pixels of mean 0 and variance 1 over the whole training set, whatever the size
        mean, deviation = float(train.images.mean()), float(train.images.std()) or 1.0
        count = train.images.shape[2] * train.images.shape[3]
        places = torch.from_numpy(stream(self.version, RULES).permutation(count)) if self.permuted else slice(None)

        def taken(pixels: _Pixels, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
            images = (torch.from_numpy(pixels.images[rows]).float() - mean) / deviation
            return images.flatten(2)[:, :, places].view(images.shape), torch.from_numpy(pixels.classes[rows])

        raw = (array.tobytes() for pixels in (train, held_out) for array in (pixels.images, pixels.classes))
        facts = {"data.content": hashlib.sha256(b"".join(raw)).hexdigest()[:16]}
        return InMemory(*taken(train, chosen), *taken(held_out, there), facts)


def _take_turns(classes: NDArray[np.int64], version: int) -> NDArray[np.int64]:
    """Order images so that the classes take turns: the first of each, the second of each, and so on."""
    shuffled = stream(version, TRAIN).permutation(len(classes))
    of_class = classes[shuffled]
    by_class = np.argsort(of_class, kind="stable")
    starts = np.searchsorted(of_class[by_class], of_class[by_class])
    turn = np.empty(len(classes), np.int64)
    turn[by_class] = np.arange(len(classes)) - starts
    return shuffled[np.lexsort((of_class, turn))]


@dataclass(frozen=True)
class Cifar(Images):
    """path: the folder in which torchvision has cifar-10-batches-py or cifar-100-python. classes: 10 or 100."""

    path: str | None = None
    classes: int = 10

    limits: ClassVar[checks.Limits] = {"classes": (10, 100)}

    def read(self) -> tuple[_Pixels, _Pixels]:
        if not self.path:
            raise UserError("data=cifar needs the folder of torchvision's files: give data.path=FOLDER")
        return _read_cifar(self.path, self.classes)


@lru_cache(maxsize=2)
def _read_cifar(path: str, classes: int) -> tuple[_Pixels, _Pixels]:
    datasets = library("torchvision.datasets", f"data=cifar data.path={path} is read by torchvision", "images")
    try:
        sets = [getattr(datasets, f"CIFAR{classes}")(path, train=train, download=False) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"data.path={path} does not hold CIFAR-{classes} as torchvision keeps it ({first})") from None
    pixels = [_Pixels(one.data.transpose(0, 3, 1, 2), np.array(one.targets, np.int64)) for one in sets]
    return pixels[0], pixels[1]


@dataclass(frozen=True)
class SklearnDigits(Images):
    """1,797 handwritten digits of 8 by 8 pixels (Alpaydin and Kaynak 1998); one in six is held out."""

    def read(self) -> tuple[_Pixels, _Pixels]:
        return _read_sklearn_digits()


@lru_cache(maxsize=1)
def _read_sklearn_digits() -> tuple[_Pixels, _Pixels]:
    loaded: Any = library("sklearn.datasets", "data=sklearn_digits comes with scikit-learn", "images").load_digits()
    images, classes = loaded.images.astype(np.uint8)[:, None], loaded.target.astype(np.int64)
    order = _take_turns(classes, 0)
    parts = order[: len(order) * 5 // 6], order[len(order) * 5 // 6 :]
    train, held_out = (_Pixels(images[rows], classes[rows]) for rows in parts)
    return train, held_out
