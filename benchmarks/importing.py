"""Time and memory of `isoflop import`, by format and number of runs.

    python benchmarks/importing.py --runs 100,1000

One run of each format is written by its own library (that of the Trainer by the class that it saves, that of isoflop by
training), and its files are copied under other names. Each import is a process of its own: its CPU seconds, with those
of programs that it starts, and the most memory that it held.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path

CONFIG = {"params": 1e6, "batch_size": 8, "seq_len": 128, "lr": 1e-3}
IMPORT = "import sys; from isoflop.sweeps.importing.verbs import main; sys.exit(main(sys.argv[1:]))"
Writer = Callable[[Path, int], None]


def point(step: int) -> dict[str, float]:
    """Return what is logged at a step: the loss of training and the rate, and at every tenth the held-out loss."""
    L = 1.7 + 40 * step**-0.3
    return {"train_loss": L, "lr": 1e-3} | ({} if step % 10 else {"val_loss": L})


def tensorboard(folder: Path, points: int) -> None:
    """Write an event file."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        writer.add_hparams(CONFIG, {})
        for step in range(1, points + 1):
            for name, value in point(step).items():
                writer.add_scalar(name, value, step)


def lightning(folder: Path, points: int) -> None:
    """Write metrics.csv and hparams.yaml."""
    from pytorch_lightning.loggers import CSVLogger

    logger = CSVLogger(folder.parent, name=folder.name, version="")
    logger.log_hyperparams(CONFIG)
    for step in range(points):
        logger.log_metrics(point(step + 1), step)
    logger.save()


def trainer_state(folder: Path, points: int) -> None:
    """Write trainer_state.json."""
    from transformers import TrainerState

    names = {"train_loss": "loss", "val_loss": "eval_loss", "lr": "learning_rate"}
    logged = [{"step": s, **{names[k]: v for k, v in point(s).items()}} for s in range(1, points + 1)]
    folder.mkdir()
    state = TrainerState(global_step=points, max_steps=points, train_batch_size=8, log_history=logged)
    state.num_input_tokens_seen = points * 1024
    state.save_to_json(str(folder / "trainer_state.json"))
    (folder / "config.json").write_text(json.dumps(CONFIG))


def json_lines(folder: Path, points: int) -> None:
    """Write a file of JSON lines."""
    lines = [{"config": CONFIG}, *({"step": step, **point(step)} for step in range(1, points + 1))]
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def wandb(folder: Path, points: int) -> None:
    """Write an offline run."""
    import wandb as library

    folder.mkdir()
    with library.init(mode="offline", project="p", dir=folder, config=CONFIG, settings={"silent": True}) as run:
        for step in range(1, points + 1):
            run.log(point(step), step=step)
    (written,) = folder.rglob("*.wandb")
    written.rename(folder / "run-first.wandb")
    shutil.rmtree(folder / "wandb")


def own_runs(folder: Path, points: int) -> None:
    """Train a small run of ours, whose curve has as many points as it has."""
    overrides = ["family=mlp", "data=markov", "family.width=8", "budget.D=1e5", f"out={folder}"]
    subprocess.run([sys.executable, "-m", "isoflop", "train", *overrides], check=True, capture_output=True)


FORMATS: tuple[Writer, ...] = (tensorboard, lightning, trainer_state, json_lines, wandb, own_runs)


def copied(first: Path, runs: int) -> None:
    """Copy a run beside itself; a file of W&B, which is a run, under another name."""
    for number in range(1, runs):
        folder = first.with_name(f"r{number}")
        shutil.copytree(first, folder)
        for file in folder.glob("run-first.wandb"):
            file.rename(folder / f"run-{number}.wandb")


def measured(logs: Path, name: str) -> tuple[int, float, float, float]:
    """Import a folder, and return the rows written, CPU seconds, seconds of the clock and the peak memory [MB]."""
    tables = logs.with_name("runs.csv"), logs.with_name("curves.csv")
    command = [sys.executable, "-c", IMPORT, "import", str(logs), "-o", str(tables[0]), "--curves", str(tables[1])]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--format", name, "--overwrite"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(said)
    with tables[0].open(newline="") as file:
        rows = sum(1 for _ in csv.DictReader(file))
    return rows, used.ru_utime + used.ru_stime, time.perf_counter() - began, used.ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="100,1000", help="numbers of runs")
    parser.add_argument("--points", type=int, default=200, help="points of a run")
    parser.add_argument("--formats", default=",".join(write.__name__ for write in FORMATS))
    options = parser.parse_args()
    print("| format | runs | rows | CPU | clock | peak memory |\n|---|---|---|---|---|---|")
    for write in FORMATS:
        if write.__name__ not in options.formats.split(","):
            continue
        for runs in map(int, options.runs.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                first = Path(folder) / "logs" / "r0"
                first.parent.mkdir()
                # in a process of its own: the size of the one that starts another counts as the other's
                writing = Process(target=write, args=(first, options.points))
                writing.start()
                writing.join()
                copied(first, runs)
                rows, cpu, clock, memory = measured(first.parent, write.__name__)
                print(
                    f"| {write.__name__} | {runs} | {rows} | {cpu:.1f} s | {clock:.1f} s | {memory:.0f} MB |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
