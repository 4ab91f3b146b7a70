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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# what says how a run went and not what came out
CIRCUMSTANCE = {"wall_s", "targets_per_s", "peak_memory", "mfu"}
MARKER = "ISOFLOP_TORTURE"
# time after the end of a launcher at which nothing that it started may be alive, on a free and on any machine [s]
OUTLIVES_S, LONGEST_S = 10.0, 120.0
# time without a step of any run at which a sweep hangs, on a machine so busy that an import takes minutes [s]
HANGS_S = 600.0
RUNS = 8
GRID = [
    "hydra.sweeper.grids=[{family:'mlp,lstm',family.width:'8,16',budget.D:'[4e4,1e5]',seed:'0,1'}]",
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


def environment(out: Path, number: int | str) -> dict[str, str]:
    """The environment of a launcher, by which its processes are found."""
    return os.environ | {MARKER: f"{out}#{number}", "OMP_NUM_THREADS": "1"}


def launcher(out: Path, number: int, leaping: bool = False) -> subprocess.Popen[bytes]:
    """Start the command; what it complains of is appended to `complaints` beside the sweep."""
    env = environment(out, number)
    if leaping:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(clock(out)), env.get("PYTHONPATH")]))
    with complaints(out).open("ab") as errors:
        return subprocess.Popen(command(out), env=env, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)


def complaints(out: Path) -> Path:
    """What the launchers of a sweep wrote to their standard error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    return out.parent / "complaints.txt"


def clock(out: Path) -> Path:
    """A folder whose sitecustomize makes the clock leap."""
    folder = out.parent / "clock"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(LEAPS)
    return folder


def processes(out: Path) -> dict[int, str]:
    """All processes of the sweep, launchers, servers and runs, and the number of the launcher of each."""
    marker = f"{MARKER}={out}#".encode()
    alive = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            for variable in path.read_bytes().split(b"\0"):
                if variable.startswith(marker):
                    alive[int(path.parent.name)] = variable.removeprefix(marker).decode()
    return alive


def runs_at_work(out: Path) -> list[int]:
    """The processes of the runs that have a heartbeat."""
    found = []
    for path in out.glob("*/heartbeat.json"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(json.loads(path.read_text())["pid"]))
    return found


def progress(out: Path) -> list[tuple[str, int]]:
    """How far each run is: its step while it is at work, none once it has ended."""
    steps = [(path.parent.name, -1) for path in out.glob("*/records.json")]
    for path in out.glob("*/heartbeat.json"):
        with contextlib.suppress(OSError, ValueError):
            steps.append((path.parent.name, int(json.loads(path.read_text())["step"])))
    return sorted(steps)


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


@dataclass
class Struck:
    """How many blows of each kind fell, and the processes that outlived their launcher."""

    counts: Counter[str] = field(default_factory=Counter)
    outlived: list[str] = field(default_factory=list)


class Launchers:
    """The launchers of one sweep, numbered, and what of them is alive."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.started: list[subprocess.Popen[bytes]] = []
        self.ended: dict[str, float] = {}
        self.queued: dict[int, float] = {}
        self.outlived: dict[int, str] = {}

    @property
    def at_work(self) -> list[subprocess.Popen[bytes]]:
        """Those that have not ended."""
        return [one for one in self.started if one.poll() is None]

    def start(self, leaping: bool) -> None:
        """Start another."""
        self.started.append(launcher(self.out, len(self.started), leaping))

    def look(self) -> dict[int, str]:
        """Note the processes that live too long after their launcher; those that are alive, and the launcher of each.

        The time for which one of them was ready to run and the machine was busy otherwise is not theirs.
        """
        now, alive = time.monotonic(), processes(self.out)
        for number, one in enumerate(self.started):
            if one.poll() is not None:
                self.ended.setdefault(str(number), now)
        orphans: dict[str, list[int]] = {}
        for pid, number in alive.items():
            if number in self.ended:
                self.queued.setdefault(pid, queued_s(pid))
                orphans.setdefault(number, []).append(pid)
        for number, pids in orphans.items():
            lived_s = now - self.ended[number]
            starved_s = max(queued_s(pid) - self.queued[pid] for pid in pids)
            if lived_s > LONGEST_S or lived_s - starved_s > OUTLIVES_S:
                for pid in pids:
                    after = f"{lived_s:.1f} s after launcher {number}, {starved_s:.1f} s of them starved"
                    self.outlived.setdefault(pid, f"{after}: {describe(pid)}")
        return alive

    def watch(self, seconds: float) -> None:
        """Look on for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.look()
            time.sleep(min(left, 0.3))

    def wait(self) -> None:
        """Wait for all to end, and for what they started; AssertionError where they hang."""
        since, seen = time.monotonic(), progress(self.out)
        while self.at_work:
            self.watch(1.0)
            if (now := progress(self.out)) != seen:
                since, seen = time.monotonic(), now
            assert time.monotonic() - since < HANGS_S, f"{len(self.at_work)} launchers at work, no step made: {seen}"
        while self.look().keys() - self.outlived.keys():
            time.sleep(0.1)


def queued_s(pid: int) -> float:
    """How long a process was ready to run and did not, that of its threads which waited longest [s]."""
    delays = [0.0]
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            delays.append(int(path.read_text().split()[1]) / 1e9)  # sched-stats: the second of three, in ns
    return max(delays)


def describe(pid: int) -> str:
    """What a process is, what it waits for and what it has used."""
    parts = [f"process {pid}"]
    with contextlib.suppress(OSError, ValueError, IndexError):
        folder = Path(f"/proc/{pid}")
        line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        # proc(5): fields 3 state, 4 ppid, 14 utime, 15 stime
        state, parent, *more = (folder / "stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(more[9]) + int(more[10])) / os.sysconf("SC_CLK_TCK")
        parts.append(f"of {parent}, state {state}, {cpu_s:.2f} CPU s, queued {queued_s(pid):.1f} s: {line[:300]}")
        for task in sorted((folder / "task").iterdir()):
            parts.append(f"thread in {(task / 'wchan').read_text() or '?'}")
    return ", ".join(parts)


def torture(out: Path, blows: int, chance: random.Random, longest_s: float = 8.0) -> Struck:
    """Strike a sweep so many times while it is made, fewer where it is done before."""
    struck, launchers = Struck(), Launchers(out)
    while struck.counts.total() < blows and len(list(out.glob("*/records.json"))) < RUNS:
        while len(launchers.at_work) < chance.choice((1, 1, 2)):
            launchers.start(leaping=chance.random() < 0.3)
        launchers.watch(chance.uniform(0.1, longest_s))
        how = chance.choice(BLOWS)
        strike(how, launchers.at_work, out, chance)
        struck.counts[how] += 1
    launchers.wait()
    struck.outlived += launchers.outlived.values()
    return struck


def finish(out: Path, tries: int = 10) -> None:
    """Give the same command until it is done."""
    for _ in range(tries):
        env = environment(out, "last")
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
    """Strike sweeps, and compare their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blows", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    expected, began = undisturbed(given.out), time.monotonic()
    chance, counts, outlived, same = random.Random(given.seed), Counter[str](), list[str](), list[bool]()
    while counts.total() < given.blows:
        out = given.out / f"struck_{len(same)}" / "runs"
        struck = torture(out, given.blows - counts.total(), chance)
        counts, outlived = counts + struck.counts, outlived + struck.outlived
        finish(out)
        same.append(table(out) == expected)
    kinds = ", ".join(f"{count} × {how}" for how, count in counts.items())
    print(f"{given.blows} blows ({kinds}) in {time.monotonic() - began:.0f} s")
    print(f"{sum(same)} of {len(same)} sweeps of {len(expected)} rows ended with the same table, bit for bit")
    print(f"{len(outlived)} processes outlived their launcher by {OUTLIVES_S:.0f} s")
    sys.exit(bool(outlived) or not all(same))


if __name__ == "__main__":
    main()
