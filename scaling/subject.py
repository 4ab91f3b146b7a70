"""What a probe is to the rest of isoflop: a frozen dataclass that measures a model and changes nothing.

A probe is one file here and one yaml in conf/probe, and is asked for by `probe=[positions,gradients]`. It is measured
where a mark is, beside the loss; its scalars are columns probe.NAME.KEY of the record, its profiles rows of probes.csv.

    columns, points = measure({"positions": Positions()}, Subject(model, task, examples, "fp32", seed=0))
    columns["probe.positions.slope"]
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from isoflop import checks
from isoflop.errors import UserError
from isoflop.scaling.data.base import Data, Examples
from isoflop.scaling.evaluate import arithmetic
from isoflop.scaling.families.base import Model
from isoflop.scaling.task import Task
from isoflop.wording import listed

# examples at a time, as in evaluation
BATCH = 64


@dataclass(frozen=True)
class Subject:
    """All that a probe may see: never the optimiser or the trainer."""

    model: Model
    """The trained model, in evaluation mode."""
    task: Task
    examples: Examples
    precision: str
    """fp32 or bf16, of the products in training."""
    seed: int
    """Of the run; what is random in a probe follows it."""
    data: Data | None = None
    """What the examples were loaded from, for those of another length."""
    rebuild: Callable[[Task], Model] | None = None
    """Build the model again for another task, scaled by the recipe; UserError if it cannot learn it."""

    @property
    def device(self) -> torch.device:
        return next((t.device for t in (*self.model.parameters(), *self.model.buffers())), torch.device("cpu"))

    def at_length(self, times: int, examples: int) -> "Subject | None":
        """Return the same data in sequences this many times as long, loaded on call, with the trained model ready for
        them.

        examples: held-out ones at least. None where the data has no seq_len, or the model no weights for later
        positions.
        """
        if self.data is None or self.rebuild is None or not _has(self.data, "seq_len"):
            return None
        seq_len = times * self.task.seq_len
        knobs = {"seq_len": seq_len, "size": seq_len, "eval_size": max(2, examples) * seq_len}
        data: Data = replace(self.data, **{k: v for k, v in knobs.items() if _has(self.data, k)})  # type: ignore[type-var]
        model = self.at_task(data.task)
        if model is None:
            return None
        return replace(self, model=model, task=data.task, examples=data.load().to(self.device), data=data)

    def at_task(self, task: Task) -> Model | None:
        """Return the trained weights in a model built for another task; None if they do not fit it."""
        assert self.rebuild is not None
        try:
            model = self.rebuild(task).to(self.device)
        except UserError:
            return None
        trained = self.model.state_dict()
        if {k: t.shape for k, t in model.state_dict().items()} != {k: t.shape for k, t in trained.items()}:
            return None
        model.load_state_dict(trained)
        return model.eval()

    def held_out(self, examples: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of held-out inputs and targets, of the first examples."""
        for start, (x, y) in zip(range(0, examples, BATCH), self.examples.held_out(BATCH), strict=False):
            yield x[: examples - start], y[: examples - start]

    def generator(self) -> torch.Generator:
        """Return random numbers of the run's seed, on the CPU."""
        return torch.Generator().manual_seed(self.seed)

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's outputs, in the precision of training."""
        with arithmetic(x.device, self.precision):
            outputs: Tensor = self.model(x)
        return outputs


@dataclass(frozen=True)
class Point:
    """A point of a profile: `quantity` at `index` along `axis`, with a standard error where there is one."""

    quantity: str
    axis: str
    index: float
    value: float
    se: float | None = None


@dataclass(frozen=True)
class Measurement:
    """What a probe found: numbers by name, None where one is not defined here, and profiles."""

    scalars: Mapping[str, float | None]
    profiles: list[Point] = field(default_factory=list)


class Probe(Protocol):
    """A probe's yaml, built."""

    kinds: ClassVar[tuple[str, ...]]
    """Kinds of task on which the probe has a meaning."""
    keys: ClassVar[tuple[str, ...]]
    """Keys of its scalars, so that a claim about another is refused before runs start; ratio_* matches any ending."""
    version: ClassVar[int]
    """Increased when the same name begins to measure something else."""

    def measure(self, subject: Subject) -> Measurement: ...


class CheckedProbe:
    """A probe whose knobs are checked when it is made; its module has its name."""

    limits: ClassVar[checks.Limits] = {}
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        checks.knobs(f"probe.{type(self).__module__.rpartition('.')[2]}", self)


def refuse_probe(name: str, probe: Probe, data: str, task: Task) -> None:
    """Refuse a probe on a task for which it has no meaning."""
    if task.kind not in probe.kinds:
        raise UserError(
            f"probe={name} measures {listed(probe.kinds)}, but data={data} asks for {task.kind}; leave it out"
        )


def measure(probes: Mapping[str, Probe], subject: Subject) -> tuple[dict[str, Any], list[tuple[str, Point]]]:
    """Return the columns of every probe, an error as a null with a reason, and its profiles' points with its name."""
    columns: dict[str, Any] = {}
    points: list[tuple[str, Point]] = []
    for name, probe in probes.items():
        began = time.perf_counter()
        try:
            with _untouched(subject.model):
                measurement = probe.measure(subject)
            for key, value in measurement.scalars.items():
                columns[f"probe.{name}.{key}"] = None if value is None or not np.isfinite(value) else float(value)
            points += [(name, point) for point in measurement.profiles]
        except Exception as error:
            columns[f"probe.{name}.reason"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        columns[f"probe.{name}.version"] = probe.version
        columns[f"probe.{name}.wall_s"] = time.perf_counter() - began
    return columns, points


@contextlib.contextmanager
def _untouched(model: Model) -> Iterator[None]:
    """Restore everything afterwards: mode, parameters, buffers, gradients and the state of every random generator."""
    tensors = [*model.parameters(), *model.buffers()]
    copies = [t.detach().clone() for t in tensors]
    gradients = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    for p, _, _ in gradients:
        p.grad = None
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.RNNBase) and not module.dropout:
            module.train()  # cuDNN differentiates a recurrence in training mode alone; its values are the same
    try:
        devices = {t.device.index for t in tensors if t.device.type == "cuda" and t.device.index is not None}
        with torch.random.fork_rng(devices=sorted(devices)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        with torch.no_grad():
            for tensor, copy in zip(tensors, copies, strict=True):
                if not torch.equal(tensor, copy):
                    tensor.copy_(copy)
        for p, gradient, required in gradients:
            p.grad = gradient
            p.requires_grad_(required)
        for module, training in modes:
            module.training = training


def _has(data: Data, knob: str) -> bool:
    return is_dataclass(data) and knob in {f.name for f in fields(data)}
