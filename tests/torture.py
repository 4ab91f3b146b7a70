"""Everything that can happen to a sweep, many times over, and whether it ends as an undisturbed one.

    python tests/torture.py --blows 50 --out /tmp/torture

At random moments: a run, its launcher or everything is killed; a run or a launcher is asked to end; two launchers work
on one sweep; the clock jumps by days. Then the same command is given until it is done, and the table must be that of
the undisturbed sweep, bit for bit, wall times aside.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

# what says how a run went and not what came out
CIRCUMSTANCE = {"wall_s", "targets_per_s", "peak_memory", "mfu"}
MARKER = "ISOFLOP_TORTURE"
RUNS = 8
GRID = [
    "hydra.sweeper.grids=[{family:'mlp,lstm',family.width:'8,16',budget.D:'[2e4,5e4]',seed:'0,1'}]",
    "family.depth=1",
    "data.seq_len=16",
    "data.eval_size=256",
    "recipe.batch=4",
    "trainer.accelerator=cpu",
    "trainer.checkpoint_every_s=0.1",
    "sweep=torture",
]
# makes time.time() of a process leap to and fro by days
LEAPS = """
import random, time
_time, _leap = time.time, random.Random(0)
time.time = lambda: _time() + _leap.choice((-86400.0, 0.0, 86400.0, 3e7))
"""


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "isoflop.cli", "train", "-m", *GRID, f"out={out}"]


def launcher(out: Path, leaping: bool = False) -> subprocess.Popen[bytes]:
    """Start the command; its processes are found by the marker."""
    env = os.environ | {MARKER: str(out), "OMP_NUM_THREADS": "1"}
    if leaping:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(clock(out)), env.get("PYTHONPATH")]))
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command(out), env=env, stdout=quiet, stderr=quiet, start_new_session=True)


def clock(out: Path) -> Path:
    """A folder whose sitecustomize makes the clock leap."""
    folder = out.parent / "clock"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(LEAPS)
    return folder


def processes(out: Path) -> list[int]:
    """All processes of the sweep: launchers, servers, runs."""
    marker, found = f"{MARKER}={out}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if marker in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def runs_at_work(out: Path) -> list[int]:
    """The processes of the runs that have a heartbeat."""
    found = []
    for path in out.glob("*/heartbeat.json"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(json.loads(path.read_text())["pid"]))
    return found


def strike(how: str, at_work: list[subprocess.Popen[bytes]], out: Path, chance: random.Random) -> None:
    """One blow."""
    alive = processes(out)
    runs = [pid for pid in runs_at_work(out) if pid in alive]
    with contextlib.suppress(ProcessLookupError):
        if how in ("kill a run", "end a run") and runs:
            os.kill(chance.choice(runs), signal.SIGKILL if how == "kill a run" else signal.SIGTERM)
        elif how == "kill a launcher" and at_work:
            chance.choice(at_work).kill()
        elif how == "end a launcher" and at_work:
            chance.choice(at_work).send_signal(chance.choice((signal.SIGTERM, signal.SIGINT)))
        elif how == "kill everything":
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


BLOWS = ("kill a run", "end a run", "kill a launcher", "end a launcher", "kill everything")


def torture(out: Path, blows: int, chance: random.Random, longest_s: float = 5.0) -> Counter[str]:
    """Strike a sweep so many times while it is made, fewer where it is done before; how many blows of each kind."""
    counts = Counter[str]()
    at_work: list[subprocess.Popen[bytes]] = []
    while counts.total() < blows and len(list(out.glob("*/records.json"))) < RUNS:
        at_work = [one for one in at_work if one.poll() is None]
        while len(at_work) < chance.choice((1, 1, 2)):
            at_work.append(launcher(out, leaping=chance.random() < 0.3))
        time.sleep(chance.uniform(0.1, longest_s))
        how = chance.choice(BLOWS)
        strike(how, [one for one in at_work if one.poll() is None], out, chance)
        counts[how] += 1
    for one in at_work:
        one.wait(timeout=300)
    return counts


def finish(out: Path, tries: int = 10) -> None:
    """Give the same command until it is done."""
    for _ in range(tries):
        env = os.environ | {MARKER: str(out), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command(out), env=env, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
    raise AssertionError(f"not done after {tries} tries: {done.stderr}")


def table(out: Path) -> list[dict[str, Any]]:
    """runs.csv as it comes, without what is not a result."""
    collect = [sys.executable, "-m", "isoflop.cli", "collect", str(out), "-o", str(out.parent / "runs.csv")]
    subprocess.run(collect, check=True, capture_output=True)
    with (out.parent / "runs.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in CIRCUMSTANCE} for row in csv.DictReader(file)]


def undisturbed(folder: Path) -> list[dict[str, Any]]:
    """The table of the sweep where nothing happens to it."""
    out = folder / "undisturbed" / "runs"
    finish(out, tries=1)
    return table(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blows", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    whole, began = undisturbed(given.out), time.monotonic()
    chance, counts, same = random.Random(given.seed), Counter[str](), list[bool]()
    while counts.total() < given.blows:
        out = given.out / f"struck_{len(same)}" / "runs"
        counts += torture(out, given.blows - counts.total(), chance)
        finish(out)
        same.append(table(out) == whole)
    told = ", ".join(f"{count} × {how}" for how, count in counts.items())
    print(f"{given.blows} blows ({told}) in {time.monotonic() - began:.0f} s")
    print(f"{sum(same)} of {len(same)} sweeps of {len(whole)} rows ended with the same table, bit for bit")
    sys.exit(not all(same))


if __name__ == "__main__":
    main()
