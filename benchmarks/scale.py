"""CPU seconds that the verbs of many runs take: status, status --all and collect of 10,000 runs, plan of 5,000.

    python benchmarks/scale.py --runs 10000 --points 5000 --repeats 3

The folder is made of a few runs that were really trained, each copied under other seeds with its three rows; one run in
twenty is left planned and one in fifty failed. CPU seconds are those of the whole process and of all that it starts.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

from isoflop import record
from isoflop.folder import RunFolder
from isoflop.scaling.config.frozen import failure, freeze, thaw

ISOFLOP = [sys.executable, "-m", "isoflop.cli"]
SOURCE = ["family=mlp,lstm", "family.width=8,16", "experiment=tiny", "budget.D=[1e3,2e3,4e3]"]
# each family counts as a shape of its own for every width
FAMILIES, SIZES = "family=mlp,lstm,transformer,cnn,ssm", "family.width=16,32,48,64,96"


def cpu_seconds(*arguments: object, cache: Path) -> float:
    """Call the command line and return the CPU seconds of it and its children."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # else our modules are compiled in every call
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*ISOFLOP, *map(str, arguments)], check=True, capture_output=True, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def many(out: Path, runs: int, cache: Path) -> None:
    """Write many run folders, copies of a few that were made; not flushed to disk one by one."""
    with tempfile.TemporaryDirectory() as folder:
        cpu_seconds("train", "-m", *SOURCE, f"out={folder}/x", cache=cache)
        sources = [(thaw(path.parent), record.read(path.parent)) for path in Path(folder, "x").glob("*/records.json")]
    with mock.patch("os.fsync"):
        for n in range(runs):
            (config, rows), name = sources[n % len(sources)], f"{n:012x}"
            config = replace(config, run_id=name, seed=n)
            freeze(config, out / name)
            RunFolder(out / name).lock.touch()
            if n % 50 == 1:
                record.write(out / name, [failure(config, "failed", "the process ended without a record")])
            elif n % 20:
                record.write(out / name, [row | {"run_id": name, "seed": n} for row in rows])


def line(what: str, seconds: list[float], limit: float) -> None:
    """Print a row of the table."""
    print(f"| {what} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {limit:g} |", flush=True)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=5_000, help="runs of the plan; 0 plans nothing")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the runs are, or are to be made; temporary by default")
    given = parser.parse_args()
    print("| what | CPU seconds, median | least | at most |")
    print("|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        cache, out = Path(folder, "cache"), given.folder or Path(folder, "runs")
        if given.runs:
            if not out.exists():
                many(out, given.runs, cache)
            first = [cpu_seconds("status", out, cache=Path(folder, f"new{n}")) for n in range(given.repeats)]
            line(f"status of {given.runs} runs, the first time", first, 1.0)
            for verb, limit in (
                (("status",), 1.0),
                (("status", "--all"), 2.0),
                (("collect", "-o", f"{folder}/r.csv"), 1.5),
            ):
                seconds = [cpu_seconds(verb[0], out, *verb[1:], cache=cache) for _ in range(given.repeats + 1)][1:]
                line(f"{' '.join(verb[:2]).removesuffix(' -o')} of {given.runs} runs", seconds, limit)
        if given.points:
            seeds = ",".join(map(str, range(given.points // 100)))
            grid = [FAMILIES, SIZES, "budget.D=1e5,2e5,4e5,8e5", f"seed={seeds}", f"out={folder}/planned"]
            line(f"plan of {given.points} runs", [cpu_seconds("plan", "-m", *grid, cache=cache)], 30.0)
            again = [cpu_seconds("plan", "-m", *grid, cache=cache) for _ in range(given.repeats)]
            line(f"plan of {given.points} runs, again", again, 5.0)


if __name__ == "__main__":
    main()
