"""What a training step costs: stock Lightning, a bare torch loop, the same through torch.compile, and isoflop.

    python benchmarks/step.py                                    families at N of about 1e5 and 1e4, on one core
    python benchmarks/step.py --families ssm,mingru --sizes 1e5 --into rows.jsonl
    python benchmarks/step.py --no-compile                       leaves out what takes minutes to compile
    python benchmarks/step.py --device cuda                      Transformers of five sizes, bf16, and by a CUDA graph

The same model, batches and optimiser for every way, a few steps of each in turn, several times over; each way in a
process of its own, as runs are. On a CPU times are processor seconds of that process, on one thread, so that what else
runs there counts little; on a GPU they are those of the clock. Ratios are medians over the rounds, each of two turns
that followed one another closely. A model's row is added to --into when it is done, and not made again by a repeat.

Compiling is timed apart: with an empty cache, and with what that left there; in processor seconds, those of the C++
compiler included. What it makes of five minutes of stock Lightning is computed from that and the ratio of the steps.
"""

import argparse
import json
import logging
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from families import at, nearest, size
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from isoflop.scaling.data.base import Table, order
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.hardware import keep_freed_memory
from isoflop.scaling.loop.compiled import Compiler, Objective, compile_for
from isoflop.scaling.loop.evaluate import batch_loss
from isoflop.scaling.loop.module import ScalingModule
from isoflop.scaling.recipe.optimizers import AdamW
from isoflop.scaling.task import Task

FAMILIES = "transformer,ssm,hybrid,s4d,mingru,gru,lstm,tanh_rnn,moe,cnn,mlp"
# width x depth of the Transformers that are timed on a GPU
SHAPES = ((64, 4), (128, 4), (256, 6), (512, 8), (1024, 12))
WARM = 3  # steps of each turn that are not counted
RUN_S = 300.0  # what a run takes through stock Lightning, for which the gain after compiling is computed


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
    def examples(self) -> Table:
        of = torch.Generator().manual_seed(0)
        x = torch.randint(self.task.d_in, (1024, self.task.seq_len + 1), generator=of)
        return Table(x[:, :-1], x[:, 1:], x[:64, :-1], x[:64, 1:])

    def model(self) -> Model:
        torch.manual_seed(0)
        model = self.family.build(self.task)
        self.recipe.multipliers(model, self.family, self.task)
        return model

    def clock(self) -> float:
        """Seconds: of this process's processor, or of the wall where a GPU has done all that it was given."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


@dataclass
class Turn:
    """Time of a step and of compiling before the turn [s], and the loss of the last step."""

    step_s: float
    loss: float
    compile_s: float = 0.0


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
        self.stamps.append(self.setting.clock())
        self.last = loss

    def measure(self) -> None:
        self.trainer.should_stop = self.position == self.goal

    def compile_passes(self, compiler: Compiler) -> None:
        began = processor_s()
        super().compile_passes(compiler)
        self.compile_cpu_s = processor_s() - began


def processor_s() -> float:
    """Processor seconds of this process and of those that it has ended."""
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
        module = Timed(
            self.model, multipliers, setting.task, setting.examples, setting.recipe, [setting.steps], 0, **of_run
        )
        if self.objective is not None:
            module.objective = self.objective
        module.begin(setting)
        began = setting.clock()
        trainer(setting, max_epochs=-1).fit(module)
        if self.compiles:
            self.objective = module.objective
        stamps = module.stamps
        if self.by_graph:  # a captured step notes its clock but once
            stamps = [began + (setting.clock() - began) * k / setting.steps for k in range(setting.steps + 1)]
        return Turn(step_s(stamps), float(module.last), module.compile_cpu_s)


WAYS: dict[str, Callable[[], Callable[[Setting], Turn]]] = {
    "Lightning": lambda: stock,
    "loop": Loop,
    "isoflop": Isoflop,
    "loop compiled": lambda: Loop(compiles=True),
    "isoflop compiled": lambda: Isoflop(compiles=True),
    "isoflop by graph": lambda: Isoflop(by_graph=True),
}


class Process:
    """A way in a process of its own, which takes a turn when asked; cache: the folder of what is compiled there."""

    def __init__(self, way: str, setting: Setting, cache: str) -> None:
        context = multiprocessing.get_context("forkserver")  # what all import is imported once
        context.set_forkserver_preload(["isoflop.scaling.loop.module"])
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=serve, args=(end, way, setting, cache), daemon=True)
        self.process.start()
        end.close()

    def turn(self) -> Turn:
        self.pipe.send(True)
        turn: Turn = self.pipe.recv()
        return turn

    def stop(self) -> None:
        self.pipe.send(False)
        self.process.join()


def serve(pipe: Connection, way: str, setting: Setting, cache: str) -> None:
    """Take turns until told otherwise."""
    os.environ["XDG_CACHE_HOME"] = cache
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*|.*LeafSpec.*")
    train = WAYS[way]()
    while pipe.recv():
        pipe.send(train(setting))


def measure(setting: Setting, rounds: int, compiles: bool) -> dict[str, Any]:
    """The row of a model: of each way the steps' times in each round [s], and what compiling took and changed."""
    chosen = [way for way in WAYS if compiles or "compiled" not in way]
    if setting.device == "cpu":
        chosen.remove("isoflop by graph")
    with tempfile.TemporaryDirectory() as cache:
        cold = 0.0
        if compiles:
            first = Process("isoflop compiled", setting, cache)
            cold = first.turn().compile_s
            first.stop()
        processes = {way: Process(way, setting, cache) for way in chosen}
        first_turns = {way: process.turn() for way, process in processes.items()}  # warms up, and is not counted
        turns = [{way: process.turn() for way, process in processes.items()} for _ in range(rounds)]
        for process in processes.values():
            process.stop()
    row = {"family": setting.name, "width": setting.family.width, "depth": setting.family.depth}
    row |= {"N": size(setting.family), "device": setting.device, "load": os.getloadavg()[0], "rounds": rounds}
    row |= {"targets": setting.recipe.batch * setting.task.targets}
    row |= {"step_s": {way: [turn[way].step_s for turn in turns] for way in chosen}}
    if compiles:
        row |= {"cold_s": cold, "warm_s": first_turns["isoflop compiled"].compile_s}
        row |= {"loss_off": abs(turns[-1]["isoflop compiled"].loss / turns[-1]["isoflop"].loss - 1)}
    return row


def ratios(row: dict[str, Any], way: str) -> list[float]:
    """How many times as fast as stock Lightning a way was, in each round."""
    return [a / b for a, b in zip(row["step_s"]["Lightning"], row["step_s"][way], strict=True)]


def over_a_run(ratio: float, compile_s: float) -> float:
    """How many times as fast a run of RUN_S is, with the time of compiling."""
    return RUN_S / (compile_s + RUN_S / ratio)


def line(row: dict[str, Any]) -> str:
    """A line of the table: steps, and a run of five minutes with what compiling takes."""
    cells = [f"`{row['family']}` {row['width']}×{row['depth']}", f"{row['N']:,}"]
    cells.append(f"{row['targets'] / statistics.median(row['step_s']['Lightning']):,.0f}")
    for way in list(row["step_s"])[1:]:
        of = ratios(row, way)
        cells.append(f"{statistics.median(of):.2f} ({min(of):.2f} to {max(of):.2f})")
    if "cold_s" in row:
        ratio = statistics.median(ratios(row, "isoflop compiled"))
        cells += [f"{row[name]:.0f}" for name in ("cold_s", "warm_s")]
        cells += [f"{over_a_run(ratio, row[name]):.2f}" for name in ("cold_s", "warm_s")]
        cells.append(f"{row['loss_off']:.0e}")
    return "| " + " | ".join([*cells, f"{row['load']:.1f}"]) + " |"


def head(row: dict[str, Any]) -> str:
    """The heads of the columns of a row."""
    names = ["family, width × depth", "N", "Lightning [tokens/s]", *(f"{way} [×]" for way in list(row["step_s"])[1:])]
    if "cold_s" in row:
        names += ["compiling, cold [s]", "warm [s]", "five minutes, cold [×]", "warm [×]", "loss off by"]
    names.append("load")
    return "| " + " | ".join(names) + " |\n|---" + "|--:" * (len(names) - 1) + "|"


def settings(given: argparse.Namespace) -> list[Setting]:
    """The models that are timed."""
    if given.device == "cuda" and not given.families:
        models = [("transformer", at("transformer", *shape_of("transformer", shape))) for shape in SHAPES]
    else:
        names = (given.families or FAMILIES).split(",")
        goals = map(float, given.sizes.split(","))
        models = [(name, nearest(name, goal, size)) for goal in goals for name in names]
    return [Setting(name, made, given.device, given.steps) for name, made in models]


def shape_of(name: str, shape: tuple[int, int]) -> tuple[int, int]:
    """Width, and layers beyond those of the yaml, of a width and depth."""
    width, depth = shape
    return width, depth - at(name, width).depth


def read_rows(path: Path | None) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows that are there already, by model."""
    rows = [json.loads(text) for text in path.read_text().splitlines()] if path and path.exists() else []
    return {tuple(row[name] for name in ("family", "width", "depth", "device")): row for row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description="What a training step costs, by four ways.")
    parser.add_argument("--families", help=f"by default {FAMILIES}, on a GPU Transformers of five sizes")
    parser.add_argument("--sizes", default="1e5,1e4", help="N of the families")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--steps", type=int, default=20, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--into", type=Path, help="file of rows (JSON lines); models that it has are not timed")
    parser.add_argument("--no-compile", dest="compiles", action="store_false")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("--device cuda: torch sees no GPU here; leave it out for a CPU", file=sys.stderr)
        return 2
    rows = read_rows(given.into)
    shown = ""
    for setting in settings(given):
        key = (setting.name, setting.family.width, setting.family.depth, setting.device)
        if key not in rows:
            rows[key] = measure(setting, given.rounds, given.compiles)
            if given.into:
                with given.into.open("a") as file:
                    file.write(json.dumps(rows[key]) + "\n")
        if head(rows[key]) != shown:
            shown = head(rows[key])
            print(shown)
        print(line(rows[key]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
