"""The ways of training that step.py times: stock Lightning, a bare torch loop, isoflop, as they are and compiled.

turn = WAYS["isoflop"]()(Setting("mlp", family, "cpu", steps=20))
"""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
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
from isoflop.scaling.families.layers import attention, convolution, norms, scan
from isoflop.scaling.hardware import keep_freed_memory
from isoflop.scaling.loop.compiled import Compiler, Objective, compile_for
from isoflop.scaling.loop.module import ScalingModule
from isoflop.scaling.loop.spec import RunSpec
from isoflop.scaling.recipe.optimizers import AdamW
from isoflop.scaling.task import Task

WARM = 3  # steps of each turn that are not counted
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
        self.setting, self.model = setting, setting.model()
        self.stamps: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        losses, auxiliary = batch_loss(self.model, self.setting.task, self.setting.recipe.precision, x, y)
        loss = losses / y.numel() + auxiliary
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, outputs: Any, *_: Any) -> None:
        self.stamps.append(self.setting.clock())
        if len(self.stamps) == self.setting.steps:
            self.loss = float(outputs["loss"])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3, betas=(0.9, 0.95))
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)}


def trainer(setting: Setting, **more: Any) -> pl.Trainer:
    place = {"accelerator": "cpu" if setting.device == "cpu" else "gpu", "devices": 1, "logger": False}
    quiet = {f"enable_{what}": False for what in ("checkpointing", "progress_bar", "model_summary")}
    return pl.Trainer(**place, **quiet, **more)


def step_s(stamps: list[float]) -> float:
    return (stamps[-1] - stamps[WARM]) / (len(stamps) - 1 - WARM)


def stock(setting: Setting) -> Turn:
    module, loader = Stock(setting), DataLoader(Rows(setting), setting.recipe.batch)
    trainer(setting, max_steps=setting.steps, gradient_clip_val=setting.recipe.clip).fit(module, loader)
    return Turn(step_s(module.stamps), module.loss)


def plain(setting: Setting) -> Turn:
    """Return stock Lightning, and a model of torch's own operations."""
    for module in (attention, norms, recurrent):
        module.fused_here = never  # type: ignore[attr-defined]
    for module in (convolution, scan):
        module.plain_on_cpu = never  # type: ignore[attr-defined]
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
        stamps, recipe = [], setting.recipe
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=(0.9, 0.95))
        for step in range(setting.steps):
            x, y = self.examples.take(order(0, step, recipe.batch, self.examples.n).to(setting.device))
            optimizer.zero_grad()
            losses, auxiliary = self.objective(x, y)
            loss = losses / y.numel() + auxiliary
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
            optimizer.step()
            stamps.append(setting.clock())
        return Turn(step_s(stamps), float(loss.detach()))


class Timed(ScalingModule):
    """Notes the clock at every step, and the loss of the last."""

    def begin(self, setting: Setting) -> None:
        self.setting, self.stamps, self.compile_cpu_s = setting, list[float](), 0.0

    def count(self, loss: Tensor) -> None:
        super().count(loss)
        self.last = loss
        if not self.by_graph:  # a captured step may not wait for the device
            self.stamps.append(self.setting.clock())

    def measure(self) -> None:
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
    """As a run is trained, without its evaluation; by a graph no step has a time of its own, but their mean."""

    def __init__(self, compiles: bool = False, by_graph: bool = False) -> None:
        self.compiles, self.by_graph = compiles, by_graph
        self.model: Model | None = None
        self.objective: Objective | None = None  # compiled, of this model

    def __call__(self, setting: Setting) -> Turn:
        if self.model is None:
            keep_freed_memory()
        if self.objective is None:
            self.model = setting.model()
            self.start = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.start)
        multipliers = setting.recipe.multipliers(self.model, setting.family, setting.task)
        compiler = Compiler(True, "benchmark", "benchmark") if self.compiles and self.objective is None else None
        chunk_s = 1e9 if self.by_graph else 0.1
        of_run = {"compiler": compiler, "by_graph": self.by_graph, "chunk_s": chunk_s}
        spec = RunSpec(setting.task, setting.recipe, [setting.steps], 0, **of_run)
        module = Timed(self.model, multipliers, setting.examples, spec)
        if self.objective is not None:
            module.objective = self.objective
        module.begin(setting)
        began = setting.clock()
        trainer(setting, max_epochs=-1).fit(module)
        if self.compiles:
            self.objective = module.objective
        stamps = module.stamps
        if self.by_graph:
            stamps = [began + (setting.clock() - began) * k / setting.steps for k in range(setting.steps + 1)]
        return Turn(step_s(stamps), float(module.last), module.compile_cpu_s)


WAYS: dict[str, Callable[[], Callable[[Setting], Turn]]] = {
    PLAIN: lambda: plain,
    "Lightning": lambda: stock,
    "loop": Loop,
    "isoflop": Isoflop,
    "loop compiled": lambda: Loop(compiles=True),
    "isoflop compiled": lambda: Isoflop(compiles=True),
    "isoflop by graph": lambda: Isoflop(by_graph=True),
}
