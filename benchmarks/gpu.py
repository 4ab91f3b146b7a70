"""The acceptance of the GPU path: every promise of docs/gpu.md measured on one card, with a bar for each.

    python benchmarks/gpu.py                                  nine minutes at most on one H100, no network
    python benchmarks/gpu.py --only env,graph,resume          some sections
    python benchmarks/gpu.py --device cpu --quick             the script itself, where there is no card

Prints a table and saves it to OUT/gpu.json after each row. A section that raises, or finds no time left, is a row that
missed its bar. Exit code 1 where a bar is missed, 2 where there is no card.
"""

import argparse
import contextlib
import copy
import io
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))  # also where PYTHONSAFEPATH leaves it out

import torch
from families import at
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from step import FAMILIES, SHAPES, shape_of
from torch import Tensor, nn
from ways import WAYS, Setting

from isoflop import record
from isoflop.folder import RunFolder
from isoflop.scaling.assemble import assemble
from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.scaling.config.frozen import FrozenConfig, freeze
from isoflop.scaling.evaluate import batch_loss
from isoflop.scaling.families.base import Model
from isoflop.scaling.hardware import choose_kernels, gpus, peak
from isoflop.scaling.loop import saved_state
from isoflop.scaling.run import run_one
from isoflop.scaling.task import Task
from isoflop.sweeps import workers
from isoflop.sweeps.plan.plan import plan

# million tokens a second, compiled and by a graph, in a bare loop on an H100 80GB with torch 2.11: width x depth
ANCHORS = {(64, 4): 7.91, (128, 4): 6.80, (256, 6): 3.63, (512, 8): 1.46, (1024, 12): 0.39}
# a run whose kept weights and losses are compared; its evaluation is short
SMALL = ("data=text", "family.width=32", "recipe.precision=fp32", "trainer.keep=marks", "data.eval_size=4096")
QUICK = ("family.width=16", "data.seq_len=16", "recipe.batch=4", "data.eval_size=256")
RUN_ONE = "isoflop.scaling.run:run_one"
DETERMINISTIC = "trainer.deterministic=true"


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, its bar, and whether the bar was met; None where there is none."""

    section: str
    what: str
    value: str
    bar: str = ""
    ok: bool | None = None

    def line(self) -> str:
        """Return the row as a line of Markdown."""
        word = {None: "", True: "ok", False: "**missed**"}[self.ok]
        return f"| {self.section} | {self.what} | {self.value} | {self.bar} | {word} |"


@dataclass(frozen=True)
class Made:
    """A run that was made: its rows, its folder, its time [s] and what it said in this process."""

    rows: list[record.Row]
    folder: Path
    seconds: float
    log: str


class Acceptance:
    """The sections and their table; each public method is a section, in the order in which they are run."""

    def __init__(self, device: str, out: Path, seconds: float, quick: bool) -> None:
        self.device, self.out, self.quick = torch.device(device), out, quick
        self.cuda = device == "cuda"
        self.ends = time.monotonic() + seconds
        self.rows: list[Row] = []
        self.section = ""
        self.folder = Path(tempfile.mkdtemp())
        self.families = ["mlp", "moe"] if quick else FAMILIES.split(",")
        self.small = [*SMALL, *(QUICK if quick else ()), DETERMINISTIC]
        self.graph_asked = [f"trainer.graph={str(self.cuda).lower()}"]
        register_resolvers()

    def row(self, what: str, value: object, bar: str = "", ok: bool | None = None) -> None:
        """Add a row, print it and save the table."""
        self.rows.append(Row(self.section, what, str(value), bar, ok))
        print(self.rows[-1].line(), flush=True)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "gpu.json").write_text(json.dumps([asdict(row) for row in self.rows], indent=1))

    def left(self, cases: list[Any], reserve: float) -> Iterator[Any]:
        """Yield the cases while more than `reserve` seconds are left for later sections; say where they end early."""
        for case in cases:
            if self.ends - time.monotonic() < (0 if self.quick else reserve):
                self.row(f"{case} and later", "no time left", ok=False)
                return
            yield case

    def config(self, *overrides: str) -> FrozenConfig:
        """Return the config of a run on the device."""
        place = f"trainer.accelerator={'gpu' if self.cuda else 'cpu'}"
        with initialize_config_module("isoflop.conf", version_base="1.3"):
            cfg = compose("train", [place, *overrides], return_hydra_config=True)
            HydraConfig.instance().set_config(cfg)
            return resolve(cfg)

    def made(self, name: str, *overrides: str, fresh: bool = False) -> Made:
        """Make a run in this process, or in a fresh one, as a sweep makes it."""
        folder, said, began = self.folder / name, io.StringIO(), time.monotonic()
        freeze(self.config(*overrides), folder)
        with contextlib.redirect_stderr(said):
            rows = workers.call(RUN_ONE, folder) if fresh else run_one(folder)
        return Made(rows, folder, time.monotonic() - began, said.getvalue())

    def env(self) -> None:
        """The machine, and what a process sees of it."""
        self.row("torch, python", f"{torch.__version__}, {sys.version.split()[0]}")
        spoiled = workers.call("torch.cuda:_is_in_bad_fork")
        self.row("preloading leaves CUDA untouched", not spoiled, "True", not spoiled)
        if not self.cuda:
            return
        card = torch.cuda.get_device_properties(0)
        self.row("device", f"{card.name}, {card.multi_processor_count} SM, {card.total_memory / 2**30:.0f} GiB")
        known = peak(card.name, "bf16")
        self.row("peak in bf16 by its name [TFLOP/s]", known and known / 1e12, "a number", known is not None)
        block = torch.empty(2**30, dtype=torch.uint8, device=self.device)
        copied = 2 * 2**30 / self.seconds(lambda: block.clone(), 20)
        self.row("copy [TB/s]", f"{copied / 1e12:.2f}", "3.0 on an H100")
        square = torch.randn(8192, 8192, device=self.device, dtype=torch.bfloat16)
        product = 2 * 8192**3 / self.seconds(lambda: square @ square, 10)
        self.row("product of 8192³ in bf16 [TFLOP/s]", f"{product / 1e12:.0f}", "798 on an H100")
        seen = [workers.call("torch.cuda:device_count", gpu=name) for name in gpus()]
        self.row("cards that a process sees, by name", seen, "1 each", bool(seen) and set(seen) == {1})

    def seconds(self, work: Callable[[], Any], times: int) -> float:
        """Return the mean time of some work on the card [s], after a first time that is not counted."""
        work()
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(times):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / times

    def ranks(self) -> None:
        """Two ranks reach the card after their parent has asked for its memory."""
        code = (
            "import torch; from isoflop.scaling import estimate; from isoflop.scaling.config.sections import Trainer\n"
            "from isoflop.scaling.loop.ranks import train_ranks\n"
            f"def on_device(): return float(torch.zeros(1, device={str(self.device)!r}).sum())\n"
            "estimate.available(Trainer()); print(train_ranks(2, on_device))"
        )
        made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        said = (made.stdout.strip() or made.stderr.strip() or "nothing").splitlines()[-1]
        self.row("a tensor made by each of two ranks", said[:70], "0.0", said == "0.0")

    def gradients(self) -> None:
        """The gradient of a batch against float64 on the CPU, and the share of it that is lost to exact zero."""
        for family in self.left(self.families, 380):
            run = assemble(self.config(f"family={family}", "family.width=64", "data=text", "budget.D=1e5"))
            torch.manual_seed(0)
            model = run.family.build(run.task)
            nn.init.normal_(model.readout.weight, std=64**-0.5)  # at zero the body would have no gradient
            batch = run.data.load().take(torch.arange(8))
            truth = gradient(copy.deepcopy(model).double(), run.task, "fp32", batch)
            for precision, bar in (("fp32", 2e-5), ("bf16", 5e-2)):
                got = gradient(copy.deepcopy(model).to(self.device), run.task, precision, batch)
                error = float((got - truth).norm() / truth.norm())
                lost = float(((got == 0) & (truth != 0)).double().mean())
                ok = math.isfinite(error) and error <= bar and lost <= 1e-3
                self.row(f"{family} {precision}: error, lost", f"{error:.1e}, {lost:.1e}", f"{bar:g}, 1e-3", ok)

    def graph(self) -> None:
        """Steps by a graph against steps without, and the same run twice: the bits of the weights at two marks."""
        for family in self.left(self.families, 300):
            D = "1e3,2e3" if self.quick else "5e4,1e5"
            same = [*self.small, f"family={family}", f"budget.D=[{D}]", "probe=[gradients]"]
            first, again = (self.made(f"{family}-{k}", *same) for k in range(2))
            # a capture that fails leaves its process unsound
            graphed = self.made(f"{family}-graph", *same, "trainer.graph=true", fresh=True)
            if self.cuda:
                obstacle = graphed.rows[-1]["graph"]
                self.row(f"{family}: steps by a graph", obstacle, "yes", obstacle == "yes")
            for what, other in (("made again", again), ("by a graph", graphed)):
                unequal, worst = difference(first.folder, other.folder)
                self.row(f"{family}: weights {what}, unequal", f"{unequal:.0e}, {worst:.0e}", "0", unequal == 0)
            unmeasured = {key: value for key, value in first.rows[-1].items() if key.endswith(".reason") and value}
            self.row(f"{family}: probes give numbers", unmeasured or "yes", "yes", not unmeasured)

    def marks(self) -> None:
        """The last mark of a trunk is the run of its own."""
        same, (first, last) = [*self.small, *self.graph_asked], ("1e3", "2e3") if self.quick else ("1e5", "2e5")
        budgets = (f"budget.D=[{first},{last}]", f"budget.D={last}")
        several, single = (
            self.made(f"marks-{k}", *same, "family=transformer", "recipe.warmup=0", budget, fresh=True)
            for k, budget in enumerate(budgets)
        )
        off = abs(several.rows[-1]["L"] / single.rows[-1]["L"] - 1)
        self.row("L of a trunk's last mark, of its own run", f"{off:.1e}", "0", off == 0)

    def resume(self) -> None:
        """A run that is ended at a third and made to go on has the bits of a whole one."""
        graph = ["trainer.graph=true"]
        cases = [("transformer", list[str]())] + ([("transformer", graph), ("moe", graph)] if self.cuda else [])
        for family, asked in self.left(cases, 230):
            name = f"{family} {' '.join(asked)}".strip()
            D = "3e4,6e4" if self.quick else "2e6,4e6" if asked else "1e6,2e6"
            same = [*self.small, f"family={family}", f"budget.D=[{D}]", *asked]
            whole, folder = self.made(f"whole-{name}", *same, fresh=True), self.folder / f"cut-{name}"
            freeze(self.config(*same), folder)
            took = cut_at_a_third(folder)
            workers.call(RUN_ONE, folder)
            unequal, worst = difference(whole.folder, folder)
            self.row(f"{name}: weights of a resumed run, unequal", f"{unequal:.0e}, {worst:.0e}", "0", unequal == 0)
            self.row(f"{name}: from SIGTERM to its end [s]", f"{took:.1f}", "10", took <= 10)

    def throughput(self) -> None:
        """Steps of five Transformers by every way: million tokens a second."""
        ways = ["Lightning", "isoflop", *(["isoflop by graph", "isoflop compiled, by graph"] if self.cuda else [])]
        choose_kernels("bf16", deterministic=False)  # runs before this may have asked for others
        for shape in self.left(list(SHAPES[:1] if self.quick else SHAPES), 120):
            made = at("transformer", *shape_of("transformer", shape))
            setting = Setting("transformer", made, str(self.device), steps=6 if self.quick else 150)
            steps = {way: WAYS[way]()(setting).step_s for way in ways}
            rates = {way: setting.recipe.batch * setting.task.targets / s / 1e6 for way, s in steps.items()}
            name, best = "×".join(map(str, shape)), max(rates.values())
            shown = ", ".join(f"{way} {rate:.3g}" for way, rate in rates.items())
            judged = self.cuda and not self.quick
            bar = f"{0.95 * ANCHORS[shape]:.3g} by the best"
            self.row(f"{name} [Mtok/s]", shown, bar, best >= 0.95 * ANCHORS[shape] if judged else None)
            small = judged and shape[0] <= 128
            self.row(f"{name}: best over Lightning", f"{best / rates['Lightning']:.2f}", "6 at width ≤ 128",
                     best >= 6 * rates["Lightning"] if small else None)  # fmt: skip

    def memory(self) -> None:
        """A batch that is too large for a card of 6 GiB is halved until it fits, and leaves nothing behind."""
        if not self.cuda:
            return self.row("a batch too large", "needs a card")
        held = torch.empty(torch.cuda.mem_get_info()[0] - 6 * 2**30, dtype=torch.uint8, device=self.device)
        large = ["family.width=512", "family.depth=6", "data.seq_len=512", "recipe.batch=512", "budget.D=2e6"]
        run = self.made("large", "family=transformer", "data=text", *large, "recipe.precision=bf16")
        halved, status = run.log.count("out of memory"), run.rows[-1]["status"]
        self.row("status, times halved", f"{status}, {halved}", "ok, ≥ 1", status == "ok" and halved >= 1)
        del held
        torch.cuda.empty_cache()
        left = torch.cuda.memory_allocated() / 2**20
        self.row("left allocated [MiB]", f"{left:.0f}", "64", left <= 64)
        return None

    def packing(self) -> None:
        """Eight runs on one card, several at a time: million tokens a second in all."""
        alone = 0.0
        of = ["family=transformer", "family.width=128", "family.depth=4", "data=text", "recipe.batch=64"]
        of += [*QUICK, "budget.D=1e3"] if self.quick else ["budget.D=6e6"]
        for k in self.left([1] if self.quick else [1, 4, 8], 60):
            out, began = self.folder / f"pack{k}", time.monotonic()
            seeds = "seed=" + ",".join(map(str, range(max(2, k))))
            self.isoflop("train", "-m", *of, seeds, *self.place, f"hydra.launcher.n_per_gpu={k}", f"out={out}")
            took = time.monotonic() - began
            runs = [record.read(folder)[-1] for folder in out.iterdir() if RunFolder(folder).config.exists()]
            rate = sum(run["D"] for run in runs) / took / 1e6
            alone = alone or rate
            here = {run["device"] for run in runs}
            ok = rate >= 0.9 * alone and (not self.cuda or here == {self.name})
            self.row(f"n_per_gpu={k}, {len(runs)} runs [Mtok/s]", f"{rate:.3g}", ".9 of one at a time", ok)

    def plans(self) -> None:
        """The time and memory of isoflop plan over those of the run."""
        for family in self.left(["transformer"] if self.quick else ["transformer", "lstm"], 30):
            run = [f"family={family}", "family.width=128", "data=text", "recipe.batch=64", "budget.D=8e6", *self.place]
            run += [*QUICK, "budget.D=1e3"] if self.quick else []
            said = plan([*run, f"out={self.folder / 'plan'}"]).table.iloc[0]
            real = self.made(f"real-{family}", *run)
            ratio, memory = said["seconds"] / real.seconds, said["memory"] / real.rows[-1]["peak_memory"]
            judged = not self.quick  # a run of a few steps is a start alone
            ok, held = 0.75 <= ratio <= 1.33, 0.7 <= memory <= 1.5
            self.row(f"{family}: time, plan over run", f"{ratio:.2f}", ".75 to 1.33", ok if judged else None)
            self.row(f"{family}: memory, plan over run", f"{memory:.2f}", ".7 to 1.5", held if judged else None)

    @cached_property
    def name(self) -> str:
        """Name of the card."""
        return torch.cuda.get_device_name(0)

    @property
    def place(self) -> list[str]:
        """Overrides of a run that is timed."""
        if not self.cuda:
            return ["trainer.accelerator=cpu"]
        return ["trainer.accelerator=gpu", "recipe.precision=bf16", *self.graph_asked]

    def isoflop(self, *words: str) -> None:
        """Run a verb in a process of its own; RuntimeError if it fails."""
        code = "import sys; from isoflop.cli import call; sys.exit(call(sys.argv[1:]))"
        made = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=200)
        if made.returncode:
            raise RuntimeError(made.stderr)


SECTIONS = ("env", "ranks", "gradients", "graph", "marks", "resume", "throughput", "memory", "packing", "plans")


def gradient(model: Model, task: Task, precision: str, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the gradient of a batch's mean loss, (parameters,) on the CPU in float64; zero where there is none."""
    choose_kernels(precision, deterministic=False)  # as a run of this precision does
    x, y = (part.to(next(model.parameters()).device) for part in batch)
    losses, auxiliary = batch_loss(model, task, precision, x, y)
    (losses / y.numel() + auxiliary).backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return torch.cat([part.double().cpu().flatten() for part in parts])


def cut_at_a_third(folder: Path) -> float:
    """Send SIGTERM to a run in a fresh process once it has taken a third of its steps; return the time to its end [s].

    RuntimeError if the run ended before.
    """
    beat = RunFolder(folder).heartbeat
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(workers.call, RUN_ONE, folder)
        while not run.done():
            with contextlib.suppress(OSError, ValueError, KeyError):
                said = json.loads(beat.read_text())
                if said["step"] > said["steps"] / 3:
                    os.kill(said["pid"], signal.SIGTERM)
                    began = time.monotonic()
                    stopped = run.exception(60)
                    if "Stopped" in str(stopped):
                        return time.monotonic() - began
            time.sleep(0.05)
        run.result()
    raise RuntimeError("the run ended before it could be stopped")


def difference(one: Path, other: Path) -> tuple[float, float]:
    """Return the share of unequal numbers in two runs' kept weights, and the largest difference over the largest."""
    pairs = [(saved_state.read(a)["weights"], saved_state.read(b)["weights"]) for a, b in kept(one, other)]
    assert pairs, "no weights were kept"
    tensors = [(a[name].double(), b[name].double()) for a, b in pairs for name in a if a[name].is_floating_point()]
    unequal = sum(int((a != b).sum()) for a, b in tensors) / sum(a.numel() for a, _ in tensors)
    return unequal, max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) for a, b in tensors)


def kept(one: Path, other: Path) -> list[tuple[Path, Path]]:
    """Return the files of the same marks in two runs."""
    return [(path, other / path.name) for path in sorted(one.glob("weights.*"))]


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what docs/gpu.md promises, on one card.")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--out", type=Path, default=Path("gpu_acceptance"), help="folder of gpu.json")
    parser.add_argument("--seconds", type=float, default=530, help="time in all")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--quick", action="store_true", help="two families, short runs, no bar on speed")
    given = parser.parse_args()
    chosen = given.only.split(",")
    if unknown := [name for name in chosen if name not in SECTIONS]:
        parser.error(f"--only {unknown[0]}: unknown section; choose some of {', '.join(SECTIONS)}")
    if given.device == "cuda" and not torch.cuda.is_available():
        print("torch sees no GPU here; give --device cpu --quick to try the script", file=sys.stderr)
        return 2
    workers.warm()  # by this thread: the server ends with the one that starts it
    acceptance = Acceptance(given.device, given.out, given.seconds, given.quick)
    print("| section | what | value | bar | |\n|---|---|--:|--:|---|")
    for acceptance.section in (name for name in SECTIONS if name in chosen):
        began = time.monotonic()
        try:
            getattr(acceptance, acceptance.section)()
        except Exception as error:
            traceback.print_exc()
            last = (str(error).strip().splitlines() or [""])[-1]  # of a worker's, its traceback
            acceptance.row("raised", f"{type(error).__name__}: {last[:90]}", "", False)
        print(f"{acceptance.section}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    missed = [row for row in acceptance.rows if row.ok is False]
    print(f"{len(acceptance.rows)} rows, {len(missed)} bars missed, saved to {given.out / 'gpu.json'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
