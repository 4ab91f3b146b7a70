"""What a training step costs: stock Lightning, a bare torch loop, the same through torch.compile, and isoflop.

    python benchmarks/step.py                                    families at N of about 1e5 and 1e4, on one core
    python benchmarks/step.py --families ssm,mingru --sizes 1e5
    python benchmarks/step.py --no-compile                       leaves out what takes minutes to compile
    python benchmarks/step.py --device cuda                      Transformers of five sizes, bf16, and by a CUDA graph

One run: the same model, batches and optimiser for every way, a few steps of each in turn, several times over. On a CPU
times are processor seconds of this process, on one thread, so that what else runs there counts little; on a GPU they
are those of the clock. Ratios are medians over the rounds, each of two ways that ran one after the other. The last
column is how far isoflop's loss of the last step lies, compiled, from that which is not, in ratio.
"""

import argparse
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from families import at, nearest, size
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from isoflop.scaling.data.base import Table, order
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.loop.compiled import Compiler
from isoflop.scaling.loop.evaluate import batch_loss
from isoflop.scaling.loop.module import ScalingModule
from isoflop.scaling.recipe.optimizers import AdamW
from isoflop.scaling.task import Task

FAMILIES = "transformer,ssm,hybrid,s4d,mingru,gru,lstm,moe,cnn,mlp"
# width x depth of the Transformers that are timed on a GPU
SHAPES = ((64, 4), (128, 4), (256, 6), (512, 8), (1024, 12))
WARM = 3  # steps of each turn that are not counted


@dataclass
class Setting:
    """What all ways have in common."""

    family: Family
    task: Task
    recipe: AdamW
    device: torch.device
    examples: Table
    steps: int

    def model(self) -> Model:
        torch.manual_seed(0)
        model = self.family.build(self.task)
        self.recipe.multipliers(model, self.family, self.task)
        return model

    def clock(self) -> float:
        """Seconds: of this process's processor, or of the wall where a GPU has done all that it was given."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


@dataclass
class Turn:
    """The clock at every step of one turn, and the last loss."""

    stamps: list[float] = field(default_factory=list)
    loss: float = float("nan")

    @property
    def step_s(self) -> float:
        return (self.stamps[-1] - self.stamps[WARM]) / (len(self.stamps) - 1 - WARM)


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

    def __init__(self, setting: Setting, turn: Turn) -> None:
        super().__init__()
        self.setting, self.turn, self.model = setting, turn, setting.model()

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        losses, auxiliary = batch_loss(self.model, self.setting.task, self.setting.recipe.precision, x, y)
        loss = losses / y.numel() + auxiliary
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, outputs: Any, *_: Any) -> None:
        self.turn.stamps.append(self.setting.clock())
        if len(self.turn.stamps) == self.setting.steps:
            self.turn.loss = float(outputs["loss"])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3, betas=(0.9, 0.95))
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)}


def trainer(setting: Setting, **more: Any) -> pl.Trainer:
    place = {"accelerator": "cpu" if setting.device.type == "cpu" else "gpu", "devices": 1, "logger": False}
    quiet = {f"enable_{what}": False for what in ("checkpointing", "progress_bar", "model_summary")}
    return pl.Trainer(**place, **quiet, **more)


def stock(setting: Setting) -> Turn:
    turn = Turn()
    loader = DataLoader(Rows(setting), setting.recipe.batch)
    clip = setting.recipe.clip
    trainer(setting, max_steps=setting.steps, gradient_clip_val=clip).fit(Stock(setting, turn), loader)
    return turn


def loop(setting: Setting, compiled: Callable[..., Any] | None = None, model: Model | None = None) -> Turn:
    """A bare loop over examples on the device."""
    turn, recipe = Turn(), setting.recipe
    model = model or setting.model().to(setting.device)
    loss_of = compiled or (lambda x, y: batch_loss(model, setting.task, recipe.precision, x, y))
    examples = setting.examples.to(setting.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
    for step in range(setting.steps):
        x, y = examples.take(order(0, step, recipe.batch, examples.n).to(setting.device))
        optimizer.zero_grad()
        losses, auxiliary = loss_of(x, y)
        loss = losses / y.numel() + auxiliary
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        turn.stamps.append(setting.clock())
    turn.loss = float(loss.detach())
    return turn


class CompiledLoop:
    """The bare loop through torch.compile; one model, set back before each turn, for one compilation."""

    def __init__(self, setting: Setting) -> None:
        self.model = setting.model().to(setting.device)
        self.start = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.compiled = torch.compile(self.loss_of, dynamic=False)
        self.setting = setting

    def loss_of(self, x: Tensor, y: Tensor) -> Any:
        return batch_loss(self.model, self.setting.task, self.setting.recipe.precision, x, y)

    def __call__(self, setting: Setting) -> Turn:
        self.model.load_state_dict(self.start)
        return loop(setting, self.compiled, self.model)


class Timed(ScalingModule):
    """Notes the clock at every step, and the loss of the last."""

    def note(self, setting: Setting) -> Turn:
        self.setting, self.turn = setting, Turn()
        return self.turn

    def count(self, loss: Tensor) -> None:
        super().count(loss)
        self.turn.stamps.append(self.setting.clock())
        self.last = loss

    def measure(self) -> None:
        if self.position == self.goal:
            self.turn.loss = float(self.last)
            self.trainer.should_stop = True


def isoflop(setting: Setting, compiler: Compiler | None = None, by_graph: bool = False) -> Turn:
    """As a run is trained, without its evaluation; by a graph no step has a time of its own, but its replays' mean."""
    model = setting.model()
    multipliers = setting.recipe.multipliers(model, setting.family, setting.task)
    of_run = {"compiler": compiler, "by_graph": by_graph, "chunk_s": 1e9 if by_graph else 0.1}
    module = Timed(model, multipliers, setting.task, setting.examples, setting.recipe, [setting.steps], 0, **of_run)
    turn = module.note(setting)
    began = setting.clock()
    trainer(setting, max_epochs=-1).fit(module)
    if by_graph:  # a captured step notes its clock but once
        turn.stamps = [began + (setting.clock() - began) * k / setting.steps for k in range(setting.steps + 1)]
    return turn


def ways(setting: Setting, compiles: bool) -> dict[str, Callable[[Setting], Turn]]:
    chosen: dict[str, Callable[[Setting], Turn]] = {"Lightning": stock, "loop": loop, "isoflop": isoflop}
    if compiles:
        chosen["loop compiled"] = CompiledLoop(setting)
        chosen["isoflop compiled"] = lambda of: isoflop(of, Compiler(True, str(of.family), f"{of.family} {of.task}"))
    if setting.device.type == "cuda":
        chosen["isoflop by graph"] = lambda of: isoflop(of, by_graph=True)
    return chosen


def row(name: str, setting: Setting, rounds: int, compiles: bool) -> str:
    """A line of the table: tokens a second of each way, and how many times as fast as Lightning's it is."""
    chosen = ways(setting, compiles)
    turns: dict[str, list[Turn]] = {way: [] for way in chosen}
    for _ in range(rounds):
        for way, train in chosen.items():
            turns[way].append(train(setting))
    targets = setting.recipe.batch * setting.task.targets
    cells = [f"`{name}` {setting.family.width}x{setting.family.depth}", f"{size(setting.family):,}"]
    for way, made in turns.items():
        speed = targets / statistics.median(turn.step_s for turn in made)
        ratio = statistics.median(a.step_s / b.step_s for a, b in zip(turns["Lightning"], made, strict=True))
        cells.append(f"{speed:,.0f}" + (f" ({ratio:.2f}×)" if way != "Lightning" else ""))
    if compiles:
        plain, fast = turns["isoflop"][-1].loss, turns["isoflop compiled"][-1].loss
        cells.append(f"{abs(fast / plain - 1):.0e}")
    return "| " + " | ".join(cells) + " |"


def settings(given: argparse.Namespace) -> list[tuple[str, Setting]]:
    """The models that are timed."""
    device, gpu = torch.device(given.device), given.device == "cuda"
    seq_len, batch, vocabulary = (256, 32, 8192) if gpu else (128, 16, 256)
    task = Task("tokens", d_in=vocabulary, d_out=vocabulary, seq_len=seq_len, targets=seq_len)
    recipe = AdamW(lr=1e-3, batch=batch, precision="bf16" if gpu else "fp32", parametrization="standard")
    x = torch.randint(vocabulary, (1024, seq_len + 1), generator=torch.Generator().manual_seed(0))
    examples = Table(x[:, :-1], x[:, 1:], x[:64, :-1], x[:64, 1:])
    if gpu and not given.families:
        models = [("transformer", at("transformer", *shape_of("transformer", shape))) for shape in SHAPES]
    else:
        names = (given.families or FAMILIES).split(",")
        goals = map(float, given.sizes.split(","))
        models = [(name, nearest(name, goal, size)) for goal in goals for name in names]
    return [(name, Setting(made, task, recipe, device, examples, given.steps)) for name, made in models]


def shape_of(name: str, shape: tuple[int, int]) -> tuple[int, int]:
    """Width, and layers beyond those of the yaml, of a width and depth."""
    width, depth = shape
    return width, depth - at(name, width).depth


def main() -> int:
    parser = argparse.ArgumentParser(description="What a training step costs, by four ways.")
    parser.add_argument("--families", help=f"by default {FAMILIES}, on a GPU Transformers of five sizes")
    parser.add_argument("--sizes", default="1e5,1e4", help="N of the families")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--steps", type=int, default=20, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", dest="compiles", action="store_false")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("--device cuda: torch sees no GPU here; leave it out for a CPU", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*|.*LeafSpec.*")
    head = ["family", "N", *ways_named(given)]
    print("| " + " | ".join(head) + " |\n|---" + "|--:" * (len(head) - 1) + "|")
    for name, setting in settings(given):
        print(row(name, setting, given.rounds, given.compiles), flush=True)
        torch._dynamo.reset()
    return 0


def ways_named(given: argparse.Namespace) -> list[str]:
    """The heads of the columns of ways [tokens/s]."""
    compiled = ["loop compiled", "isoflop compiled"] * given.compiles
    graph = ["isoflop by graph"] * (given.device == "cuda")
    return ["Lightning [tokens/s]", "loop", "isoflop", *compiled, *graph, *["compiled loss off by"] * given.compiles]


if __name__ == "__main__":
    sys.exit(main())
