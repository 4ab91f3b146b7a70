"""A whole optimiser step as one CUDA graph: captured inside the fit, replayed for every step after
(trainer.graph=true).

What changes from step to step is on the device: the examples' indices and the rates of a chunk of steps are two tables,
and a counter says which row is next. Between two chunks come marks, evaluation, probes, checkpoints and the curve.

    steps = StepGraph(module)           # in the first training step: Lightning empties cuBLAS's workspaces before
    steps.take(20)
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from isoflop.scaling.data.base import order
from isoflop.scaling.recipe.optimizers import Joint

CHUNK = 64  # steps whose indices and rates are sent to the device at once
# steps made without the graph, which allocate what it then finds, as torch's notes on CUDA graphs ask for
WARM_UP = 3


class NotCapturedError(Exception):
    """A step has an operation that waits for the device. The run begins again in a fresh process, without a graph: this
    one may stay in capture mode (pytorch issues 180395 and 190308)."""


class StepGraph:
    """Takes the steps of a ScalingModule by a graph; its parameters and its optimiser's state stay the same tensors."""

    def __init__(self, module: Any) -> None:
        self.module, self.optimizer = module, module.bare_optimizer()
        groups, device = self.optimizer.param_groups, module.device
        self.indices = torch.zeros(CHUNK, module.recipe.batch, dtype=torch.long, device=device)
        self.rates = torch.zeros(CHUNK, len(groups), device=device)
        self.row = torch.zeros(1, dtype=torch.long, device=device)
        self.scales = [group["scale"] for group in groups]
        self.rate = torch.zeros(len(groups), device=device)
        for group, rate in zip(groups, self.rate, strict=True):
            group |= {"lr": rate, "capturable": True}  # a view: what is written into self.rate is the group's
        self.replay: Callable[[], None] | None = None
        self.taken = 0
        # of warm-up, capture and replay: a capture may not wait for a stream on which autograd's nodes were made before
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def take(self, steps: int) -> None:
        """Take this many steps from the module's position; nothing else may happen at any of them."""
        with self.on_stream():
            while steps:
                chunk = min(steps, CHUNK)
                self.send(chunk)
                for _ in range(chunk):
                    self.take_one()
                    self.module.position, self.module.made = self.module.position + 1, self.module.made + 1
                steps -= chunk

    @contextlib.contextmanager
    def on_stream(self) -> Iterator[None]:
        """Work on the graph's own stream, after what was queued before and before what is queued next."""
        if self.stream is None:
            yield
            return
        outer = torch.cuda.current_stream(self.module.device)
        self.stream.wait_stream(outer)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            outer.wait_stream(self.stream)

    def send(self, steps: int) -> None:
        """Send the examples' indices and the rates of the next steps to the device."""
        module, recipe, first = self.module, self.module.recipe, self.module.position
        indices = [order(module.seed, first + k, recipe.batch, module.examples.n) for k in range(steps)]
        rates = [recipe.rate(first + k, module.goal, module.first) for k in range(steps)]
        scaled = [[rate * scale for scale in self.scales] for rate in rates]  # in float64, as of a step on its own
        self.indices[:steps].copy_(torch.stack(indices), non_blocking=True)
        self.rates[:steps].copy_(torch.tensor(scaled), non_blocking=True)
        self.row.zero_()

    def take_one(self) -> None:
        if self.replay is None and self.taken >= WARM_UP:
            self.optimizer.zero_grad()  # the graph has gradients of its own
            try:
                self.replay = self.capture()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise NotCapturedError(str(error).splitlines()[0]) from error
        self.module.reseed(self.module.position)  # a replay reads seed and offset of the device's generator anew
        if self.replay is not None:
            self.replay()
            return
        self.optimizer.zero_grad()
        self.step()
        self.taken += 1

    def step(self) -> None:
        module = self.module
        self.rate.copy_(self.rates.index_select(0, self.row)[0])
        x, y = module.examples.take(self.indices.index_select(0, self.row)[0])
        loss = module.backward_pass(x, y)
        nn.utils.clip_grad_norm_(module.model.parameters(), module.recipe.clip)
        self.optimizer.step()
        module.count(loss)
        self.row += 1

    def capture(self) -> Callable[[], None]:
        """Capture the step as a graph; raise RuntimeError if an operation waits for the device."""
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self.step()
        return graph.replay


def held_rate(rate: float, device: torch.device) -> float:
    """Return a rate as a step takes it: a float32 on a GPU, with a graph and without, so that both give equal bits."""
    return float(torch.tensor(rate)) if device.type == "cuda" else rate


def obstacle_to_graph(module: Any) -> str | None:
    """Return why a graph cannot take the steps of a module; None if it can."""
    if module.device.type != "cuda":
        return "it needs a CUDA device"
    if module.trainer.world_size > 1:
        return "each of several devices has a share of the batch"
    if getattr(module.examples, "stream", module) is None:  # windows.py
        return "the examples do not fit on the device"
    if isinstance(module.bare_optimizer(), Joint):
        return "the rate of Muon is not a tensor of the device"
    return None
