"""The ways of training that step.py times: stock Lightning, a bare torch loop, isoflop, as they are and compiled.

turn = WAYS["isoflop"]()(Setting("mlp", family, "cpu", steps=20))
"""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from isoflop.scaling.data.base import InMemory, order
from isoflop.scaling.evaluate import batch_loss
from isoflop.scaling.families import recurrent, ssm
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.families.layers import attention, basic, scan
from isoflop.scaling.hardware import keep_freed_memory
from isoflop.scaling.loop.compiled import Compiler, Objective, compile_for
from isoflop.scaling.loop.graph import CHUNK
from isoflop.scaling.loop.module import ScalingModule
from isoflop.scaling.loop.spec import RunSpec
from isoflop.scaling.recipe.optimizers import AdamW
from isoflop.scaling.task import Task

WARM = 3  # steps of each turn that are not counted
# steps of a turn by a graph, of which the first chunk warms up and is captured
GRAPHED = 512
PLAIN = "Lightning, torch's layers"


@dataclass(frozen=True)
class Setting:
    """What all ways have in common; steps of each turn."""

    name: str
    family: Family
    device: str
    steps: int

    @property
    def task(self) -> Task:
        vocabulary, seq_len = (8192, 256) if self.device == "cuda" else (256, 128)
        return Task("tokens", d_in=vocabulary, d_out=vocabulary, seq_len=seq_len, targets=seq_len)

    @property
    def recipe(self) -> AdamW:
        batch, precision = (32, "bf16") if self.device == "cuda" else (16, "fp32")
        return AdamW(lr=1e-3, batch=batch, precision=precision, parametrization="standard")

    @cached_property
    def examples(self) -> InMemory:
        of = torch.Generator().manual_seed(0)
        x = torch.randint(self.task.d_in, (1024, self.task.seq_len + 1), generator=of)
        return InMemory(x[:, :-1], x[:, 1:], x[:64, :-1], x[:64, 1:])

    def model(self) -> Model:
        torch.manual_seed(0)
        model = self.family.build(self.task)
        self.recipe.multipliers(model, self.family, self.task)
        return model

    def clock(self) -> float:
        """Return seconds: of this process's processor, or of the wall once a GPU has finished its work."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


@dataclass
class Turn:
    """Time of a step, of compiling before the turn, and of the whole turn [s]; the loss of the last step."""

    step_s: float
    loss: float
    compile_s: float = 0.0
    whole_s: float = 0.0


class Span:
    """The clock after `first` steps and after the last; nothing waits for the device in between."""

    def __init__(self, setting: Setting, first: int = WARM) -> None:
        self.setting, self.first = setting, first
        self.ends: list[tuple[int, float]] = []

    def note(self, taken: int) -> None:
        """Note the clock if this many steps end the span or begin it."""
        if taken >= (self.setting.steps if self.ends else self.first):
            self.ends.append((taken, self.setting.clock()))

    @property
    def step_s(self) -> float:
        """Mean time of a step [s]."""
        (first, began), (last, ended) = self.ends[:2]
        return (ended - began) / (last - first)


class Rows(Dataset[Any]):
    """The examples in the order of the run, one by one."""

    def __init__(self, setting: Setting) -> None:
        batches = [order(0, step, setting.recipe.batch, setting.examples.n) for step in range(setting.steps)]
        self.x, self.y = setting.examples.x, setting.examples.y
        self.indices = torch.cat(batches).tolist()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
        return self.x[self.indices[at]], self.y[self.indices[at]]


class Stock(pl.LightningModule):
    """A model as Lightning's documentation has it: automatic optimisation, a rate that is scheduled, a loss logged."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting, self.model, self.span = setting, setting.model(), Span(setting)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        losses, auxiliary = batch_loss(self.model, self.setting.task, self.setting.recipe.precision, x, y)
        loss = losses / y.numel() + auxiliary
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, outputs: Any, _: Any, batch: int) -> None:
        self.span.note(batch + 1)
        if batch + 1 == self.setting.steps:
            self.loss = float(outputs["loss"])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3, betas=(0.9, 0.95))
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)}


def trainer(setting: Setting, **more: Any) -> pl.Trainer:
    place = {"accelerator": "cpu" if setting.device == "cpu" else "gpu", "devices": 1, "logger": False}
    quiet = {f"enable_{what}": False for what in ("checkpointing", "progress_bar", "model_summary")}
    return pl.Trainer(**place, **quiet, **more)


def stock(setting: Setting) -> Turn:
    module, loader = Stock(setting), DataLoader(Rows(setting), setting.recipe.batch)
    trainer(setting, max_steps=setting.steps, gradient_clip_val=setting.recipe.clip).fit(module, loader)
    return Turn(module.span.step_s, module.loss)


def plain(setting: Setting) -> Turn:
    """Return stock Lightning, and a model of torch's own operations."""
    for module in (attention, basic, recurrent):
        module.fused_here = never  # type: ignore[attr-defined]
    scan.plain_on_cpu = never  # type: ignore[assignment]
    recurrent.BY_HAND.clear()
    recurrent.linear_scan = doubling
    ssm.powers = complex_powers
    return stock(setting)


def never(*_: Tensor) -> bool:
    return False


def complex_powers(turn: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return ssm.powers by exponentials of complex numbers."""
    power = torch.exp(turn * t)
    return power.real, power.imag


def doubling(keep: Tensor, new: Tensor) -> Tensor:
    """Return linear_scan, its reach doubled again and again (Hillis and Steele 1986)."""
    reach = 1
    while reach < new.shape[1]:
        new = torch.cat((new[:, :reach], new[:, reach:] + keep[:, reach:] * new[:, :-reach]), dim=1)
        keep = torch.cat((keep[:, :reach], keep[:, reach:] * keep[:, :-reach]), dim=1)
        reach *= 2
    return new


class Loop:
    """A bare loop over examples on the device; compiled, with one model that is set back before each turn."""

    def __init__(self, compiles: bool = False) -> None:
        self.compiles, self.objective = compiles, None

    def prepare(self, setting: Setting) -> None:
        self.model = setting.model().to(setting.device)
        self.start = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.examples = setting.examples.to(torch.device(setting.device))
        self.objective = self.loss_of(setting)
        if self.compiles:
            batch = [self.examples.take(torch.arange(setting.recipe.batch, device=setting.device))]
            self.objective = compile_for(self.objective, list(self.model.parameters()), batch)

    def loss_of(self, setting: Setting) -> Objective:
        return lambda x, y: batch_loss(self.model, setting.task, setting.recipe.precision, x, y)

    def __call__(self, setting: Setting) -> Turn:
        if self.objective is None:
            self.prepare(setting)
        self.model.load_state_dict(self.start)
        span, recipe = Span(setting), setting.recipe
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=(0.9, 0.95))
        for step in range(setting.steps):
            x, y = self.examples.take(order(0, step, recipe.batch, self.examples.n).to(setting.device))
            optimizer.zero_grad()
            losses, auxiliary = self.objective(x, y)
            loss = losses / y.numel() + auxiliary
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
            optimizer.step()
            span.note(step + 1)
        return Turn(span.step_s, float(loss.detach()))


class Timed(ScalingModule):
    """Notes the clock between chunks of steps, and the loss of the last."""

    def begin(self, span: Span) -> None:
        self.span, self.compile_cpu_s = span, 0.0

    def count(self, loss: Tensor) -> None:
        super().count(loss)
        self.last = loss

    def on_train_batch_end(self, *_: Any) -> None:
        self.span.note(self.position)
        self.trainer.should_stop = self.position == self.goal

    def compile_passes(self, compiler: Compiler) -> None:
        began = processor_s()
        super().compile_passes(compiler)
        self.compile_cpu_s = processor_s() - began


def processor_s() -> float:
    """Return processor seconds of this process and of those that it has ended."""
    used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Isoflop:
    """As a run is trained, without its evaluation."""

    def __init__(self, compiles: bool = False, by_graph: bool = False) -> None:
        self.compiles, self.by_graph = compiles, by_graph
        self.model: Model | None = None
        self.objective: Objective | None = None  # compiled, of this model

    def prepare(self, setting: Setting) -> None:
        keep_freed_memory()
        self.model = setting.model()
        self.start = {name: value.clone() for name, value in self.model.state_dict().items()}

    def __call__(self, setting: Setting) -> Turn:
        """Train for the setting's steps, by a graph at least GRAPHED; RuntimeError if the graph took none of them."""
        if self.model is None:
            self.prepare(setting)
        assert self.model is not None
        if self.by_graph:
            setting = replace(setting, steps=max(setting.steps, GRAPHED))
        self.model.load_state_dict(self.start)
        multipliers = setting.recipe.multipliers(self.model, setting.family, setting.task)
        compiler = Compiler(True, "benchmark", "benchmark") if self.compiles and self.objective is None else None
        spec = RunSpec(setting.task, setting.recipe, [setting.steps], 0, compiler=compiler, by_graph=self.by_graph)
        module = Timed(self.model, multipliers, setting.examples, spec)
        if self.objective is not None:
            module.objective = self.objective
        module.begin(Span(setting, CHUNK if self.by_graph else WARM))
        trainer(setting, max_epochs=-1).fit(module)
        if self.by_graph and module.graphed != "yes":
            raise RuntimeError(f"no graph took the steps: {module.graphed}")
        if self.compiles:
            self.objective = module.objective
        return Turn(module.span.step_s, float(module.last), module.compile_cpu_s)


WAYS: dict[str, Callable[[], Callable[[Setting], Turn]]] = {
    PLAIN: lambda: plain,
    "Lightning": lambda: stock,
    "loop": Loop,
    "isoflop": Isoflop,
    "loop compiled": lambda: Loop(compiles=True),
    "isoflop compiled": lambda: Isoflop(compiles=True),
    "isoflop by graph": lambda: Isoflop(by_graph=True),
    "isoflop compiled, by graph": lambda: Isoflop(compiles=True, by_graph=True),
}
