"""Overhead of a run by launcher and by probe; time of plan, status and collect on many runs.

    python benchmarks/overhead.py launchers --runs 50     ours, Hydra's basic and joblib, a cold process each
    python benchmarks/overhead.py verbs                   plan of 1,000 runs, status and collect of 10,000
    python benchmarks/overhead.py probes --seconds 60     every probe once, beside runs of about so long

Overhead of a run: from the moment that the one before it left its record to the moment that it leaves its own, less its
own time of training and evaluation; one run at a time. That of a probe is its time in a run with one mark, over the
training and evaluation of that run; both slow down alike where others use the machine.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from isoflop import record
from isoflop.scaling.config.frozen import freeze, thaw

ISOFLOP = [sys.executable, "-m", "isoflop.cli"]
TINY = ["family=mlp", "experiment=tiny", "budget.D=5000"]
LAUNCHERS = {
    "isoflop, a fresh process each": ["hydra.launcher.n_jobs=1"],
    "Hydra's basic, all in one process": ["hydra/launcher=basic"],
    "joblib, all in one worker": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=1"],
}

# data -> a family that learns it, targets of a pilot that measures its speed, the probes that it takes
PROBED = {
    "text": (
        "transformer",
        100_000,
        "positions gradients equivariance recurrence_of_positions precision extrapolation symmetry step_time",
    ),
    "spectral": ("mlp", 100_000, "information eigenfunctions gradients precision"),
}


def isoflop(*arguments: str, env: dict[str, str] | None = None) -> float:
    """Call the command line and return the seconds that it took."""
    began = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | (env or {})
    subprocess.run([*ISOFLOP, *arguments], check=True, capture_output=True, env=environment)
    return time.monotonic() - began


def between_records(out: Path) -> list[float]:
    """Return overheads of the runs of a folder, made one after the other."""
    ended = sorted((path.stat().st_mtime, record.read(path.parent)[0]["wall_s"]) for path in out.glob("*/records.json"))
    return [later - earlier - wall for (earlier, _), (later, wall) in pairwise(ended)]


def launchers(runs: int, cold: int) -> None:
    """Print the overhead of each launcher, and of a cold process for every run."""
    print("| launcher | runs | overhead of a run, median [s] | least | most | whole sweep [s] |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, overrides in LAUNCHERS.items():
        if "joblib" in name and importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None:
            print(f"| {name} | not installed: pip install 'isoflop[joblib]' | | | | |")
            continue
        with tempfile.TemporaryDirectory() as folder:
            seeds = ",".join(map(str, range(runs)))
            whole = isoflop("train", "-m", *TINY, f"seed={seeds}", *overrides, f"out={folder}/x")
            report(name, between_records(Path(folder, "x")), whole)
    with tempfile.TemporaryDirectory() as folder:
        spent = []
        for seed in range(cold):
            seconds = isoflop("train", *TINY, f"seed={seed}", f"out={folder}/{seed}")
            spent.append(
                seconds - record.read(next(Path(folder, str(seed)).glob("*/records.json")).parent)[0]["wall_s"]
            )
        report("a cold process each", spent, sum(spent))


def report(name: str, spent: list[float], whole: float) -> None:
    least, most = min(spent), max(spent)
    print(
        f"| {name} | {len(spent)} | {statistics.median(spent):.2f} | {least:.2f} | {most:.2f} | {whole:.1f} |",
        flush=True,
    )


def verbs(repeats: int) -> None:
    """Print how long the verbs of many runs take, as whole processes."""
    print("| what | median [s] | least | most |")
    print("|---|--:|--:|--:|")
    grid = ["family=mlp,lstm,transformer,cnn,ssm", "family.width=16,32,48,64,96", "budget.D=1e5,2e5,4e5,8e5"]
    grid += [f"seed={','.join(map(str, range(10)))}"]
    with tempfile.TemporaryDirectory() as folder:
        env = {"XDG_CACHE_HOME": folder}
        first = isoflop("plan", "-m", *grid, f"out={folder}/x", env=env)
        print(f"| plan of 1,000 runs, the first time | {first:.1f} | | |", flush=True)
        again = [isoflop("plan", "-m", *grid, f"out={folder}/x", env=env) for _ in range(repeats)]
        line("plan of 1,000 runs, again", again)
        out = Path(folder, "many")
        many(out, 10_000)
        line("status of 10,000 runs", [isoflop("status", str(out)) for _ in range(repeats)])
        line("collect of 10,000 runs", [isoflop("collect", str(out), "-o", f"{folder}/r.csv") for _ in range(repeats)])


def line(what: str, seconds: list[float]) -> None:
    print(f"| {what} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f} |", flush=True)


def probes(seconds: float) -> None:
    """Print what each probe adds to a run with one mark, on text and on vectors."""
    print("| data | family | run [s] | probe | its time [s] | share |")
    print("|---|---|--:|---|--:|--:|")
    for data, (family, targets, names) in PROBED.items():
        run = ["train", f"data={data}", f"family={family}"]
        with tempfile.TemporaryDirectory() as folder:
            isoflop(*run, f"budget.D={targets}", f"out={folder}/pilot")
            again = round(targets * seconds / row_of(folder, "pilot")["wall_s"])
            isoflop(*run, f"budget.D={again}", f"probe=[{names.replace(' ', ',')}]", f"out={folder}/probed")
            row = row_of(folder, "probed")
        for name in sorted(names.split(), key=lambda name: -row[f"probe.{name}.wall_s"]):
            spent = row[f"probe.{name}.wall_s"]
            share = spent / row["wall_s"]
            print(f"| {data} | {family} | {row['wall_s']:.0f} | `{name}` | {spent:.2f} | {share:.1%} |", flush=True)


def row_of(folder: str, name: str) -> dict[str, Any]:
    """Return the record of the only run in a folder."""
    row: dict[str, Any] = record.read(next(Path(folder, name).glob("*/records.json")).parent)[0]
    return row


def many(out: Path, runs: int) -> None:
    """Write folders of `n` runs, copies of one that was made; one in twenty is only planned."""
    isoflop("train", *TINY, f"out={out}/source")
    source = next((out / "source").glob("*/records.json")).parent
    (row,), config = record.read(source), thaw(source)
    for n in range(runs):
        name = f"{n:012x}"
        freeze(replace(config, run_id=name, seed=n), out / name)
        (out / name / "lock").touch()
        if n % 20:
            record.write(out / name, [row | {"run_id": name, "seed": n, "L": row["L"] + n * 1e-6}])
    shutil.rmtree(out / "source")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["launchers", "verbs", "probes"])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--cold", type=int, default=5, help="runs in a cold process each")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60, help="about how long the runs with probes are to train")
    given = parser.parse_args()
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()}))
    match given.what:
        case "launchers":
            launchers(given.runs, given.cold)
        case "verbs":
            verbs(given.repeats)
        case _:
            probes(given.seconds)


if __name__ == "__main__":
    main()
