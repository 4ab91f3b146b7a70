"""Cost of a training step: stock Lightning, a bare torch loop, both compiled, and isoflop.

    python benchmarks/step.py                                    families at N of about 1e5 and 1e4, on one core
    python benchmarks/step.py --families ssm,mingru --sizes 1e5 --into rows.jsonl
    python benchmarks/step.py --no-compile                       leaves out what takes minutes to compile
    python benchmarks/step.py --whole 300 --families mingru      whole runs, compiling among it, for as many steps
    python benchmarks/step.py --pair --families transformer      two processes at once beside one
    python benchmarks/step.py --device cuda                      Transformers of five sizes, bf16, and by a CUDA graph

The same model, batches and optimiser for every way, a few steps of each in turn, several times over; each way in a
process of its own, as runs are. On a CPU times are processor seconds of that process, on one thread, so that what else
runs there counts little; on a GPU they are those of the clock. Ratios are medians over the rounds, each of two turns
that followed one another closely. A model's row is added to --into when it is done, and not made again by a repeat.

The first way has the layers as torch's own operations make them, in place of those that isoflop works out by hand for
CPUs (ssm.py; layers/cells.py, scan.py, chunks.py, convolution.py, norms.py, attention.py); all others have isoflop's.

Compiling is timed apart, in processor seconds, those of the C++ compiler included: a shape's first time on a machine
that has compiled before, and again with what that left in the cache. The first time on a machine takes as much more as
the headers take that all share; it is timed once. What compiling makes of five minutes of stock Lightning is computed
from that and the ratio of the steps; --whole makes such runs.
"""

import argparse
import json
import logging
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import warnings
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from families import at, nearest, size
from ways import PLAIN, WARM, WAYS, Setting, Turn, processor_s

FAMILIES = "transformer,ssm,hybrid,s4d,mingru,gru,lstm,tanh_rnn,moe,cnn,mlp"
# width x depth of the Transformers that are timed on a GPU
SHAPES = ((64, 4), (128, 4), (256, 6), (512, 8), (1024, 12))
RUN_S = 300.0  # what a run takes through stock Lightning, for which the gain after compiling is computed


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
    """Take turns until the pipe asks to stop."""
    os.environ["XDG_CACHE_HOME"] = cache
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*|.*LeafSpec.*")
    train = WAYS[way]()
    while pipe.recv():
        began = processor_s()
        turn = train(setting)
        turn.whole_s = processor_s() - began
        pipe.send(turn)


def prepare_compiler(cache: str) -> None:
    """Build what all compiled code shares in a folder, unless it exists; print the time that it took."""
    if any(Path(cache).iterdir()):
        return
    tiny = Setting("mlp", at("mlp", 16), "cpu", WARM + 2)
    process = Process("isoflop compiled", tiny, cache)
    print(f"Building what all compiled code shares took {process.turn().compile_s:.0f} s.", flush=True)
    process.stop()


def measure(setting: Setting, rounds: int, compiles: bool, prepared: str) -> dict[str, Any]:
    """Return a model's row: step times of each way in each round [s], and the time and effect of compiling.

    prepared: a folder for what all compiled code shares.
    """
    foreign = "by graph" if setting.device == "cpu" else PLAIN
    chosen = [way for way in WAYS if (compiles or "compiled" not in way) and foreign not in way]
    with tempfile.TemporaryDirectory() as cache:
        cold = 0.0
        if compiles:
            prepare_compiler(prepared)
            shutil.copytree(prepared, cache, dirs_exist_ok=True)
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
    """Return how many times as fast as stock Lightning a way was, in each round."""
    first, *_ = row["step_s"].values()
    return [a / b for a, b in zip(first, row["step_s"][way], strict=True)]


def over_a_run(ratio: float, compile_s: float) -> float:
    """Return how many times as fast a run of RUN_S is, compilation included."""
    return RUN_S / (compile_s + RUN_S / ratio)


def line(row: dict[str, Any]) -> str:
    """Return a line of the table: steps, and a run of five minutes with what compiling takes."""
    cells = [f"`{row['family']}` {row['width']}×{row['depth']}", f"{row['N']:,}"]
    cells.append(f"{row['targets'] / statistics.median(next(iter(row['step_s'].values()))):,.0f}")
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
    """Return the heads of the columns of a row."""
    names = [
        "family, width × depth",
        "N",
        f"{next(iter(row['step_s']))} [tokens/s]",
        *(f"{way} [×]" for way in list(row["step_s"])[1:]),
    ]
    if "cold_s" in row:
        names += ["compiling, first [s]", "again [s]", "five minutes, first [×]", "again [×]", "loss off by"]
    names.append("load")
    return "| " + " | ".join(names) + " |\n|---" + "|--:" * (len(names) - 1) + "|"


def settings(given: argparse.Namespace) -> list[Setting]:
    """Return the models that are timed."""
    if given.device == "cuda" and not given.families:
        models = [("transformer", at("transformer", *shape_of("transformer", shape))) for shape in SHAPES]
    else:
        names = (given.families or FAMILIES).split(",")
        goals = map(float, given.sizes.split(","))
        models = [(name, nearest(name, goal, size)) for goal in goals for name in names]
    return [Setting(name, made, given.device, given.steps) for name, made in models]


def shape_of(name: str, shape: tuple[int, int]) -> tuple[int, int]:
    """Return width, and layers beyond those of the yaml, of a width and depth."""
    width, depth = shape
    return width, depth - at(name, width).depth


def read_rows(path: Path | None) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the rows that are there already, by model."""
    rows = [json.loads(text) for text in path.read_text().splitlines()] if path and path.exists() else []
    return {tuple(row[name] for name in ("family", "width", "depth", "device")): row for row in rows}


def whole_runs(setting: Setting, seconds: float, prepared: str) -> str:
    """Yield a line per model: the time of whole runs that take stock Lightning `seconds`."""
    prepare_compiler(prepared)
    first = Process(PLAIN, setting, prepared)
    steps = round(seconds / first.turn().step_s)
    first.stop()
    spent = {}
    for way in (PLAIN, "isoflop compiled"):
        with tempfile.TemporaryDirectory() as cache:
            shutil.copytree(prepared, cache, dirs_exist_ok=True)
            process = Process(way, replace(setting, steps=steps), cache)
            spent[way] = process.turn()
            process.stop()
    stock_s, ours_s = (turn.whole_s for turn in spent.values())
    compiling = spent["isoflop compiled"].compile_s
    cells = (
        setting.name,
        f"{steps:,}",
        f"{stock_s:.0f}",
        f"{ours_s:.0f}",
        f"{compiling:.0f}",
        f"{stock_s / ours_s:.2f}",
    )
    return f"| {' | '.join(cells)} | {os.getloadavg()[0]:.1f} |"


def pair(setting: Setting, rounds: int) -> str:
    """Yield a line per model: steps of two processes at once over those of one, in processor seconds."""
    with tempfile.TemporaryDirectory() as cache:
        both = [Process("isoflop", setting, cache) for _ in range(2)]
        for process in both:
            process.turn()
        gains = []
        for _ in range(rounds):
            alone = both[0].turn().step_s
            for process in both:
                process.pipe.send(True)
            gains.append(sum(alone / process.pipe.recv().step_s for process in both))
        for process in both:
            process.stop()
    columns = f"{statistics.median(gains):.2f} | {min(gains):.2f} to {max(gains):.2f}"
    return f"| `{setting.name}` | {columns} | {rounds} | {os.getloadavg()[0]:.1f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="Cost of a training step, by several ways.")
    parser.add_argument("--families", help=f"by default {FAMILIES}, on a GPU Transformers of five sizes")
    parser.add_argument("--sizes", default="1e5,1e4", help="N of the families")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--steps", type=int, default=20, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--into", type=Path, help="file of rows (JSON lines); models that it has are not timed")
    parser.add_argument("--no-compile", dest="compiles", action="store_false")
    parser.add_argument("--pair", action="store_true", help="time two processes at once")
    parser.add_argument("--whole", type=float, help="make runs that take stock Lightning this many seconds")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("--device cuda: torch sees no GPU here; leave it out for a CPU", file=sys.stderr)
        return 2
    if given.pair:
        print("| family | steps of two over those of one | least to most | rounds | load |")
        for setting in settings(given):
            print(pair(setting, given.rounds), flush=True)
        return 0
    with tempfile.TemporaryDirectory() as prepared:
        if given.whole:
            print("| family | steps | stock [s] | compiled [s] | of it compiling [s] | times as fast | load |")
            for setting in settings(given):
                print(whole_runs(setting, given.whole, prepared), flush=True)
        else:
            print_rows(given, prepared)
    return 0


def print_rows(given: argparse.Namespace, prepared: str) -> None:
    """Print a line for each model, timed where --into does not have it."""
    rows = read_rows(given.into)
    shown = ""
    for setting in settings(given):
        key = (setting.name, setting.family.width, setting.family.depth, setting.device)
        if key not in rows:
            rows[key] = measure(setting, given.rounds, given.compiles, prepared)
            if given.into:
                with given.into.open("a") as file:
                    file.write(json.dumps(rows[key]) + "\n")
        if head(rows[key]) != shown:
            shown = head(rows[key])
            print(shown)
        print(line(rows[key]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
