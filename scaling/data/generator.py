"""What every generator of data shares: how many examples there are, from which random numbers, and its two sets.

from isoflop.scaling.data.synthetic.markov import Markov
Markov(size=10_000, seq_len=64).unique        # 9984: whole examples of 64 targets
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoflop import checks
from isoflop.scaling.data.base import HELD_OUT, TRAIN, Examples, InMemory
from isoflop.scaling.task import Task

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Synthetic:
    """Data drawn from a seed. Fewer examples are a prefix of more."""

    size: int = 100_000
    """Distinct training targets."""
    eval_size: int = 16384
    """Held-out targets."""
    version: int = 0
    """Seed of the generator."""

    granule: ClassVar[str] = ""
    """The attribute that counts the targets of an example; where it is empty an example has one."""
    limits: ClassVar[checks.Limits] = {"version": 0}

    def __post_init__(self) -> None:
        checks.knobs("data", self)
        self.check()
        checks.whole_number("data.size", self.size, self.per_example)
        checks.whole_number("data.eval_size", self.eval_size, 2 * self.per_example)  # one has no standard error

    def check(self) -> None:
        """Raise UserError for knobs that do not fit together."""

    @property
    def per_example(self) -> int:
        """Targets of an example."""
        return int(getattr(self, self.granule)) if self.granule else 1

    @property
    def task(self) -> Task:
        raise NotImplementedError

    @property
    def unique(self) -> int:
        return self.size // self.per_example * self.per_example

    def facts(self) -> dict[str, str | int | float]:
        """Return what the record says of the data beside the knobs."""
        return {}

    def load(self) -> Examples:
        train = self.draw(TRAIN, self.size // self.per_example)
        held_out = self.draw(HELD_OUT, self.eval_size // self.per_example)
        return InMemory(*train, *held_out, self.facts(), self.finish)

    def finish(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Make a batch of drawn examples, where they are kept in a smaller form."""
        return x, y

    def draw(self, which: int, n: int) -> tuple[Tensor, Tensor]:
        """Draw the inputs and targets of the first n examples of a stream."""
        raise NotImplementedError


def followed(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return symbols and those that follow them, both (n, seq_len), from rows of seq_len + 1."""
    return torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())
