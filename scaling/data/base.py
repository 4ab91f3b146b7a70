"""What a dataset is to the rest of isoflop: a frozen dataclass that states its Task and loads its Examples.

Which examples a step sees is a function of (seed, step): a run resumes anywhere, and all families see the same order.

    from isoflop.scaling.data.text import Text
    examples = Text(size=100_000, seq_len=64).load()
    x, y = examples.take(order(seed=0, step=7, batch=16, n=examples.n))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoflop import checks
from isoflop.scaling.task import Task

# streams of random numbers: training examples, held-out ones, the rules of a generator, samples that estimate a floor
TRAIN, HELD_OUT, RULES, THEORY = 0, 1, 2, 3


class Examples(Protocol):
    """Training examples and a fixed held-out set, in memory or mapped from disk."""

    n: int  # training examples
    facts: dict[str, str | int | float]  # what to record of the data, as knobs: a content hash, sizes

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return training examples by index: inputs and targets; a target below 0 bears no loss."""

    def held_out(self, batch: int) -> list[tuple[Tensor, Tensor]]:
        """Return the fixed held-out set in batches of at most `batch` examples."""

    def to(self, device: torch.device) -> "Examples":
        """Return the same examples on a device."""


@runtime_checkable
class Several(Protocol):
    """Examples with further held-out sets by name, the losses L.NAME."""

    def other_sets(self) -> list[str]:
        """Return their names."""

    def held_out(self, batch: int, name: str = "") -> list[tuple[Tensor, Tensor]]:
        """Return a fixed held-out set in batches of at most `batch` examples; that of L has no name."""


@runtime_checkable
class Bounded(Protocol):
    """Data that refuse a batch of more examples than there are."""

    def refuse(self, batch: int) -> None:
        """Raise UserError if the data cannot give a batch of this size, or lack anything else that a run needs."""


class Data(Protocol):
    """A dataset's yaml, built."""

    @property
    def task(self) -> Task: ...

    def load(self) -> Examples: ...

    @property
    def unique(self) -> int:
        """Distinct training targets."""


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(n, generator=generator)


def order(seed: int, step: int, batch: int, n: int) -> Tensor:
    """Return the indices of the examples that a step sees, (batch,): epochs of all n, each in its own order."""
    first, last = step * batch, (step + 1) * batch
    epochs = range(first // n, (last - 1) // n + 1)
    return torch.cat([_permutation(seed, e, n)[max(0, first - e * n) : last - e * n] for e in epochs])


def stream(seed: int, which: int) -> np.random.Generator:
    """Return the random numbers that data are drawn from, apart from the run's own; fewer are a prefix of more."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, which))))


class InMemory:
    """Training examples and held-out ones, whole in memory; finish: makes a batch of what is kept."""

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        held_x: Tensor,
        held_y: Tensor,
        facts: Mapping[str, str | int | float] | None = None,
        finish: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda x, y: (x, y),
    ) -> None:
        self.n, self.facts, self.finish = len(x), dict(facts or {}), finish
        self.x, self.y, self.held_x, self.held_y = x, y, held_x, held_y

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.finish(self.x[indices], self.y[indices])

    def held_out(self, batch: int) -> list[tuple[Tensor, Tensor]]:
        return list(map(self.finish, self.held_x.split(batch), self.held_y.split(batch)))

    def to(self, device: torch.device) -> "InMemory":
        x, y, held_x, held_y = (t.to(device) for t in (self.x, self.y, self.held_x, self.held_y))
        return InMemory(x, y, held_x, held_y, self.facts, self.finish)


Array = NDArray[np.float64]


@dataclass(frozen=True)
class Synthetic:
    """Data drawn from a seed. Fewer examples are a prefix of more.

    size: distinct training targets. eval_size: held-out targets. version: seed of the generator.
    """

    size: int = 100_000
    eval_size: int = 16384
    version: int = 0

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


@dataclass(frozen=True)
class SyntheticSequences(Synthetic):
    """Sequences drawn from a seed, with a target at every position; seq_len: positions of an example."""

    size: int = 1_000_000
    eval_size: int = 65536
    seq_len: int = 64

    granule: ClassVar[str] = "seq_len"
    limits: ClassVar[checks.Limits] = {"seq_len": 1}


def followed(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return symbols and those that follow them, both (n, seq_len), from rows of seq_len + 1."""
    return torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())
