"""Time and memory against seq_len: of a training step, and of a token that is decoded.

A slope is that of the logarithm on ln(seq_len), by least squares: 1 where the cost is linear in the sequence, 2 where
it is quadratic, as the products of attention are (Vaswani 2017, arXiv:1706.03762, table 1), past seq_len of some 6
widths (Kaplan 2020, arXiv:2001.08361, section 2.1). A step is the loss and its gradient for random inputs; the least
time of several counts, of the process on a CPU. A decoded token is a forward through all that precedes it. Memory is
the allocator's peak beyond the weights on a GPU; elsewhere, what the forward keeps for the gradient.

    StepTime(seq_lens=(64, 128), repeats=1).measure(subject).scalars["train_slope"]
"""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from isoflop.checks import Limits
from isoflop.errors import UserError
from isoflop.scaling.cost import example
from isoflop.scaling.evaluate import arithmetic, loss_per_target
from isoflop.scaling.families.base import Model
from isoflop.scaling.subject import CheckedProbe, Measurement, Point, Subject
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class StepTime(CheckedProbe):
    """seq_lens: lengths that are timed, [256, 1024, 4096, 16384] where the curvature is asked for. batch: examples of a
    training step. repeats: of which the least counts."""

    seq_lens: tuple[int, ...] = (64, 128, 256, 512)
    batch: int = 4
    repeats: int = 3

    kinds: ClassVar[tuple[str, ...]] = ("tokens", "sequences")
    keys: ClassVar[tuple[str, ...]] = ("train_slope", "decode_slope", "memory_slope")
    version: ClassVar[int] = 2
    limits: ClassVar[Limits] = {"seq_lens": 2, "batch": 1, "repeats": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.seq_lens)) < 2:
            raise UserError(f"probe.step_time.seq_lens={list(self.seq_lens)} gives no slope; give two or more lengths")

    def measure(self, subject: Subject) -> Measurement:
        """Return train_slope, decode_slope, memory_slope; None if the model cannot be built for other lengths."""
        rows = dict[int, tuple[float, float, float]]()
        for length in sorted(set(self.seq_lens)) if subject.rebuild else ():
            with contextlib.suppress(UserError):  # a length that the family refuses
                rows[length] = _timed_at(subject, length, self.batch, self.repeats)
        names = ("train_s", "decode_s", "memory_bytes")
        points = [Point(name, "seq_len", n, row[i]) for i, name in enumerate(names) for n, row in rows.items()]
        slopes = {key: _log_slope({n: row[i] for n, row in rows.items()}) for i, key in enumerate(self.keys)}
        return Measurement(slopes, points)


def _timed_at(subject: Subject, length: int, batch: int, repeats: int) -> tuple[float, float, float]:
    """Time a training step and a decoded token [s], and measure the step's memory [bytes], at a seq_len."""
    assert subject.rebuild is not None
    task = replace(subject.task, seq_len=length, targets=length)
    # fused recurrences on a GPU have no gradient in evaluation mode
    model = subject.rebuild(task).to(subject.device).train()
    shape, generator = example(task, batch, "meta").shape, subject.generator()
    tokens = task.kind == "tokens"
    x = torch.randint(task.d_in, shape, generator=generator) if tokens else torch.randn(shape, generator=generator)
    x = x.to(subject.device)

    def step() -> None:
        _train(model, task, x, subject)

    @torch.no_grad()
    def decode() -> None:
        with arithmetic(x.device, subject.precision):
            model(x[:1])

    seconds = _least_time(step, repeats, subject.device), _least_time(decode, repeats, subject.device)
    with _peak_memory(model, subject.device) as memory:
        step()
    return *seconds, float(memory[0])


def _train(model: Model, task: Task, x: Tensor, subject: Subject) -> None:
    """Compute the loss of random inputs, all targets alike, and its gradient."""
    shape = (len(x), task.seq_len, task.d_out) if task.loss == "mse" else (len(x), task.seq_len)
    y = torch.zeros(shape, dtype=torch.float32 if task.loss == "mse" else torch.long, device=x.device)
    with arithmetic(x.device, subject.precision):
        loss = loss_per_target(task, model(x), y).mean()
    torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)


def _least_time(
    function: Callable[[], None], repeats: int, device: torch.device, clock: Callable[[], float] | None = None
) -> float:
    """Return the least of several times of a call [s], after one that is not counted."""
    clock = clock or (time.process_time if device.type == "cpu" else time.perf_counter)
    times = []
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    for _ in range(1 + repeats):
        wait()
        began = clock()
        function()
        wait()
        times.append(clock() - began)
    return min(times[1:])


@contextlib.contextmanager
def _peak_memory(model: Model, device: torch.device) -> Iterator[list[int]]:
    """Yield a list that holds, afterwards, the most bytes that the block held beyond those before it."""
    most = [0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield most
        most[0] = torch.cuda.max_memory_allocated(device) - before
        return
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    stored: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            stored[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield most
    most[0] = sum(stored.values())


def _log_slope(values: dict[int, float]) -> float | None:
    """Fit ln(value) on ln(seq_len) by least squares; None for fewer than two lengths or a value not above 0."""
    if len(values) < 2 or min(values.values()) <= 0:
        return None
    return statistics.linear_regression([math.log(n) for n in values], [math.log(v) for v in values.values()]).slope
