"""The LightningModule: loss, optimiser, evaluation; it knows no architecture.

Everything that changes from step to step is a function of the step or a buffer, so that a checkpoint resumes to the
same bits. Several marks share one trunk, set aside where the cooldown of one begins and taken up again after it.

    module = ScalingModule(model, multipliers, examples, RunSpec(task, recipe, marks=[100], seed=0))
    Trainer(max_epochs=1).fit(module)
    module.results[100]["L"]
"""

import math
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from functools import partial
from itertools import repeat
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

from isoflop.scaling.data.base import Examples, order
from isoflop.scaling.evaluate import batch_loss, bits_per_byte, evaluate, loss_count
from isoflop.scaling.families.base import Model
from isoflop.scaling.families.layers.basic import Block
from isoflop.scaling.loop import saved_state
from isoflop.scaling.loop.compiled import Compiler, Objective
from isoflop.scaling.loop.graph import CHUNK, StepGraph, held_rate, obstacle_to_graph
from isoflop.scaling.loop.spec import RunSpec
from isoflop.scaling.recipe.optimizers import Multipliers
from isoflop.scaling.subject import Subject
from isoflop.scaling.subject import measure as measure_probes

# what a checkpoint keeps of a module beside its tensors, the trunk and the goal
SAVED = ("position", "made", "left_at", "results", "profiles", "probe_s", "is_compiled", "compile_s")


class DivergedError(Exception):
    """The training loss stopped being a number."""


class ScalingModule(pl.LightningModule):
    """Trains a model for a number of steps on examples taken in an order that is a function of the seed."""

    since: Tensor
    """Sum and count of the training loss since it was last read."""
    tail: Tensor
    """Sum and count of the training loss over the last twentieth of the steps to the mark in work."""

    def __init__(self, model: Model, multipliers: Mapping[str, Multipliers], examples: Examples, spec: RunSpec) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.multipliers, self.examples, self.spec = model, multipliers, examples, spec
        self.task, self.recipe, self.marks, self.seed = spec.task, spec.recipe, list(spec.marks), spec.seed
        self.first, self.keep_trunk = spec.first_mark, spec.keep_trunk
        # finished steps; with those of cooldowns that were left again; those at which the trunk was set aside
        self.position = self.made = self.left_at = 0
        self.trunk: saved_state.State | None = None  # what was set aside, at the position left_at
        # for every measured mark the columns L, L_se, L_train, L_bpb, metric.* and probe.*
        self.results: dict[int, dict[str, Any]] = {}
        # by mark, the points of the probes' profiles with the probe's name; and the time that probes took [s]
        self.profiles: dict[int, list[tuple[Any, ...]]] = {}
        self.probe_s = 0.0
        self.borders = set[int]()  # steps at which a callback looks, and before which no chunk of steps goes on
        self.by_graph = spec.by_graph
        self.graph: StepGraph | None = None
        self.graphed: str | None = None  # "yes", or why no graph took the steps; None where none was asked for
        # whether the passes are compiled, None before that is known; and the time it took [s]
        self.is_compiled: bool | None = None
        self.compile_s = 0.0
        self.objective: Objective = partial(batch_loss, model, spec.task, spec.recipe.precision)
        self.last_loss: float | None = None  # mean training loss when it was last read
        self.step_s: float | None = None  # median time of a step, after the fit
        self.register_buffer("since", torch.zeros(2))
        self.register_buffer("tail", torch.zeros(2))

    @property
    def goal(self) -> int:
        """Steps of the mark in work, the last where all are measured."""
        return next((steps for steps in self.marks if steps not in self.results), self.marks[-1])

    @property
    def branches(self) -> bool:
        """Whether the present position belongs to a cooldown that is left again for the trunk."""
        return self.trunk is not None and self.goal != self.marks[-1]

    def cooldown_start(self, goal: int) -> int:
        """Return the position at which the cooldown of a mark leaves the trunk."""
        return math.floor(self.recipe.steps_before_cooldown(goal))

    @property
    def tail_start(self) -> int:
        """The position after which the training loss to the mark in work is averaged: its last twentieth."""
        return math.floor(0.95 * self.goal)

    def bare_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser itself, without Lightning's wrapper."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert not isinstance(optimizer, list)
        return optimizer

    def configure_model(self) -> None:
        """Shard the parameters over the ranks if the strategy asks for it, each residual branch a unit."""
        if not isinstance(self.trainer.strategy, ModelParallelStrategy):
            return
        assert self.device_mesh is not None
        mesh = self.device_mesh["data_parallel"]
        for module in [m for m in self.model.modules() if isinstance(m, Block)]:
            fully_shard(module, mesh=mesh)
        fully_shard(self.model, mesh=mesh)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.recipe.optimizer(self.model, self.multipliers)

    def train_dataloader(self) -> Iterable[int]:
        return repeat(0)  # nothing but ticks: the module knows which step it is at

    def on_fit_start(self) -> None:
        self.examples = self.examples.to(self.device)
        if self.spec.compiler is not None and self.position < self.marks[-1]:
            self.compile_passes(self.spec.compiler)

    def compile_passes(self, compiler: Compiler) -> None:
        """Compile the passes of a batch, if one device makes them."""
        if self.trainer.world_size > 1:
            asked = f"trainer.compile={str(compiler.asked).lower()}"
            print(f"{asked}: only the passes of one device are compiled", file=sys.stderr)
            return
        x, y = self.examples.take(order(self.seed, 0, self.recipe.batch, self.examples.n).to(self.device))
        parts = list(zip(x.split(self.spec.examples_at_a_time), y.split(self.spec.examples_at_a_time), strict=True))
        sizes = {len(part): (part, targets) for part, targets in reversed(parts)}
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        passes = (self.marks[-1] - self.position) * len(parts)
        compiled = compiler.compile(self.objective, parameters, list(sizes.values())[::-1], passes, self.is_compiled)
        self.is_compiled = compiled is not None
        self.objective = compiled or self.objective
        self.compile_s += compiler.compile_s or 0.0

    def training_step(self, _: int, __: int) -> None:
        """Take as many steps as fit in chunk_s, until something else happens; of several ranks one."""
        until, border = time.monotonic() + self.spec.chunk_s, self.next_border()
        # where a mark's cooldown begins, the trunk is kept to continue from it afterwards
        if self.keep_trunk and self.trunk is None and self.position == self.cooldown_start(self.goal):
            self.trunk, self.left_at = saved_state.set_aside(self, self.bare_optimizer()), self.position
        if self.position == self.tail_start:
            self.tail.zero_()
        if self.by_graph and self.take_by_graph(border):
            return
        self.take_step()
        while self.position < border and self.trainer.world_size == 1 and time.monotonic() < until:
            self.take_step()

    def next_border(self) -> int:
        """Return the next step at which a mark, a cooldown, the last mean or a callback's look begins."""
        own = (self.goal, self.tail_start, self.cooldown_start(self.goal))
        return min(step for step in self.borders.union(own) if step > self.position)

    def take_by_graph(self, border: int) -> bool:
        """Take the steps up to a border by a graph; return False, or raise NotCapturedError, if none can be."""
        obstacle = obstacle_to_graph(self)
        if obstacle is None:
            self.graph = self.graph or StepGraph(self)
            self.graph.take(min(border - self.position, CHUNK))
            self.graphed = "yes"
            return True
        print(f"trainer.graph=true: {obstacle}; each step is taken on its own", file=sys.stderr)
        self.by_graph, self.graph, self.graphed = False, None, obstacle
        return False

    def take_step(self) -> None:
        step, goal, recipe = self.position, self.goal, self.recipe
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        for group in optimizer.param_groups:
            group["lr"] = held_rate(recipe.rate(step, goal, self.first) * group["scale"], self.device)
        self.reseed(step)
        x, y = self.examples.take(order(self.seed, step, recipe.batch, self.examples.n).to(self.device))
        optimizer.zero_grad()
        loss = self.backward_pass(x, y)
        nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        optimizer.step()
        self.count(loss)
        self.position, self.made = step + 1, self.made + 1

    def reseed(self, step: int) -> None:
        """Seed whatever is random in a model by the step; torch.manual_seed would seed devices not in use, slowly."""
        seed = self.seed * 1_000_003 + step
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def backward_pass(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the gradient of the batch's mean loss, a micro-batch at a time; return this rank's share of that loss."""
        ranks, count = self.trainer.world_size, loss_count(self.task, y).sum()
        mine = (part.tensor_split(ranks)[self.global_rank].split(self.spec.examples_at_a_time) for part in (x, y))
        parts = list(zip(*mine, strict=True))
        total = torch.zeros((), device=self.device)
        for part_x, part_y in parts:
            losses, auxiliary = self.objective(part_x, part_y)
            loss = losses / count
            # the ranks' gradients are averaged, so each is made that of the mean loss times the ranks
            self.add_gradient((loss + auxiliary * (len(part_x) / len(x))) * ranks, last=part_x is parts[-1][0])
            total += loss.detach()
        return total

    def add_gradient(self, loss: Tensor, last: bool) -> None:
        """Add the gradient of a loss; at the last one of a step DDP averages over the ranks."""
        if last or not isinstance(self.trainer.strategy, DDPStrategy):
            self.manual_backward(loss)
            return
        parameters = [p for p in self.parameters() if p.requires_grad]
        for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            p.grad = gradient if p.grad is None else p.grad + gradient

    def on_train_batch_end(self, *_: Any) -> None:
        """Measure the mark in work if it is reached, and return to the trunk; DivergedError if not finite."""
        if self.position != self.goal or self.goal in self.results:
            return
        total, steps = self.summed(self.tail)
        results = evaluate(self.model, self.task, self.examples, self.recipe.precision) | {"L_train": total / steps}
        if wrong := [name for name, value in results.items() if not math.isfinite(value)]:
            raise DivergedError(f"{wrong[0]} was {results[wrong[0]]} after the last of {self.goal} steps")
        results |= bits_per_byte(results, self.task, self.examples)
        if self.spec.keep is not None:
            self.spec.keep(self.goal, self.model)
        self.results[self.goal] = results | self.measure_probes()
        if self.trunk is not None:
            saved_state.take_up(self.trunk, self, self.bare_optimizer())
            if not self.trunk[1]:  # the optimiser's tensors will be others
                self.graph = None
            self.trunk, self.position = None, self.left_at
        if all(steps in self.results for steps in self.marks):
            self.trainer.should_stop = True

    def measure_probes(self) -> dict[str, Any]:
        """Return the columns of the probes at this mark; keep their profiles beside the results."""
        spec, precision = self.spec, self.recipe.precision
        subject = Subject(self.model, self.task, self.examples, precision, self.seed, spec.data, spec.rebuild)
        columns, points = measure_probes(spec.probes, subject)
        if spec.probes:
            self.profiles[self.goal] = [(name, *astuple(point)) for name, point in points]
        self.probe_s += sum(columns[f"probe.{name}.wall_s"] for name in spec.probes)
        return columns

    def count(self, loss: Tensor) -> None:
        """Add a step's loss to the running sums, without waiting for the device."""
        counted = torch.stack((loss, torch.ones_like(loss)))
        self.since += counted
        self.tail += counted

    def summed(self, losses: Tensor) -> tuple[float, float]:
        """Return a running sum of the loss over all ranks, and the steps in it."""
        total, steps = self.trainer.strategy.reduce(losses.clone(), reduce_op="sum").tolist()
        return total, steps / self.trainer.world_size

    def read_loss(self) -> float:
        """Return the mean training loss since the last read [task.loss_unit]; raise DivergedError if not finite."""
        total, count = self.summed(self.since)
        self.since.zero_()
        if not math.isfinite(total):
            raise DivergedError(f"the training loss was {total} by step {self.position} of {self.goal}")
        self.last_loss = float(total / count)
        return self.last_loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint |= {name: getattr(self, name) for name in SAVED} | {"goal": self.goal}
        checkpoint["trunk"] = (
            None if self.trunk is None else tuple([*map(saved_state.full, part)] for part in self.trunk)
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.trunk = checkpoint["trunk"]
        for name in SAVED:
            if name in checkpoint:  # earlier versions kept fewer
                setattr(self, name, checkpoint[name])

    def reaches(self, checkpoint: Mapping[str, Any]) -> bool:
        """Return whether a checkpoint lies on the way to the first mark that it has not measured."""
        goals = [steps for steps in self.marks if steps not in checkpoint["results"]]
        if goals and checkpoint["goal"] == goals[0] and checkpoint["position"] < goals[0]:
            return True
        return bool(goals) and checkpoint["trunk"] is None and checkpoint["position"] <= self.cooldown_start(goals[0])
