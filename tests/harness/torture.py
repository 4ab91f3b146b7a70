"""Everything that can happen to a sweep, many times over, and whether it ends as an undisturbed one.

    python tests/harness/torture.py --blows 50 --out /tmp/torture

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

import prefork

# what says how a run went and not what came out
CIRCUMSTANCE = {"wall_s", "step_s", "targets_per_s", "peak_memory", "mfu"}
CHECKOUT = str(Path(__file__).parents[2])
# time after the end of a launcher at which nothing that it started may be alive, on a free and on any machine [s]
OUTLIVES_S, LONGEST_S = 10.0, 120.0
# time without a step of any run at which a sweep hangs, on a machine so busy that an import takes minutes [s]
HANGS_S = 600.0
RUNS = 4
GRID = [
    "hydra.sweeper.grids=[{family:'mlp,lstm',family.width:'8,16',budget.D:'[2e3,6e3]'}]",
    "family.depth=1",
    "data.seq_len=16",
    "data.eval_size=256",
    "recipe.batch=4",
    "trainer.accelerator=cpu",
    "trainer.checkpoint_every_s=0.03",
    "sweep=torture",
]
# makes time.time() of a process leap to and fro by days
LEAPS = """
import random, time
_time, _leap = time.time, random.Random(0)
time.time = lambda: _time() + _leap.choice((-86400.0, 0.0, 86400.0, 3e7))
"""


Launcher = subprocess.Popen[bytes] | prefork.Fork


def command(out: Path) -> list[str]:
    """The arguments of the command that makes the sweep."""
    return ["train", "-m", *GRID, f"out={out}"]


def start(arguments: list[str], out: Path, leaping: bool = False, forked: bool = False) -> Launcher:
    """Start a command in a session of its own; what it complains of is appended to `complaints` beside the sweep.

    forked: as a fork of this process, which has loaded the libraries, rather than as a new interpreter.
    """
    path = [str(clock(out)) if leaping else "", CHECKOUT, os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, path))}
    with complaints(out).open("ab") as errors, open(os.devnull, "r+b") as nothing:
        if not forked:
            line = [sys.executable, "-m", "isoflop.cli", *arguments]
            return subprocess.Popen(line, env=env, stdout=nothing, stderr=errors, start_new_session=True)
        streams = (nothing.fileno(), nothing.fileno(), errors.fileno())
        return prefork.Fork(lambda: run(arguments, leaping), env, Path.cwd(), streams)


def run(arguments: list[str], leaping: bool) -> None:
    """What a fork does that is to be a launcher."""
    if leaping:
        exec(LEAPS, {})
    sys.path.insert(1, CHECKOUT)
    prefork.isoflop(arguments)


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


def sessions() -> dict[int, int]:
    """Every process that has not ended, and the session that it belongs to."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found[int(name)] = os.getsid(int(name))
    return found


def has_ended(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"  # proc(5): its state
    except OSError:
        return True


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


def strike(how: str, launchers: "Launchers", chance: random.Random) -> bool:
    """One blow; whether there was anything that it could fall on."""
    alive, at_work = launchers.alive(), launchers.at_work
    runs = [pid for pid in runs_at_work(launchers.out) if pid in alive]
    with contextlib.suppress(ProcessLookupError):
        if how in ("kill a run", "end a run") and runs:
            os.kill(chance.choice(runs), signal.SIGKILL if how == "kill a run" else signal.SIGTERM)
        elif how == "kill a launcher" and at_work:
            chance.choice(at_work).kill()
        elif how == "end a launcher" and at_work:
            chance.choice(at_work).send_signal(chance.choice((signal.SIGTERM, signal.SIGINT)))
        elif how == "kill everything" and alive:
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        else:
            return False
        return True
    return False


# blows to a run, which one has to be at work for, and others
AT_RUNS = ("kill a run", "end a run")
BLOWS = (*AT_RUNS, "kill a launcher", "end a launcher", "kill everything")


@dataclass
class Struck:
    """How many blows of each kind fell, and the processes that outlived their launcher."""

    counts: Counter[str] = field(default_factory=Counter)
    outlived: list[str] = field(default_factory=list)


class Launchers:
    """The launchers of one sweep, numbered, and what of them is alive; by session, which all that they start inherits.

    forked: the share of launchers that are forks of this process.
    """

    def __init__(self, out: Path, chance: random.Random, forked: float) -> None:
        self.out, self.chance, self.forked = out, chance, forked
        self.started: list[Launcher] = []
        self.ended: dict[int, float] = {}
        self.queued: dict[int, float] = {}
        self.outlived: dict[int, str] = {}

    @property
    def at_work(self) -> list[Launcher]:
        """Those that have not ended."""
        return [one for one in self.started if one.poll() is None]

    def start(self) -> None:
        """Start another; of three in ten the clock leaps."""
        leaping, forked = self.chance.random() < 0.3, self.chance.random() < self.forked
        self.started.append(start(command(self.out), self.out, leaping, forked))

    def alive(self) -> dict[int, int]:
        """All processes of the sweep, launchers, servers and runs, and the number of the launcher of each."""
        ours = {one.pid: number for number, one in enumerate(self.started)}
        return {pid: ours[of] for pid, of in sessions().items() if of in ours and not has_ended(pid)}

    def look(self) -> dict[int, int]:
        """Note the processes that live too long after their launcher; those that are alive, and the launcher of each.

        The time for which one of them was ready to run and the machine was busy otherwise is not theirs.
        """
        now, alive = time.monotonic(), self.alive()
        for number, one in enumerate(self.started):
            if one.poll() is not None:
                self.ended.setdefault(number, now)
        orphans: dict[int, list[int]] = {}
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

    def watch_until_a_run(self) -> None:
        """Look on until a run is at work, or there is no launcher that could start one."""
        while self.at_work and not runs_at_work(self.out):
            self.watch(0.1)

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


def torture(out: Path, blows: int, chance: random.Random, longest_s: float = 8.0, forked: float = 0.0) -> Struck:
    """Strike a sweep so many times while it is made, fewer where it is done before."""
    struck, launchers = Struck(), Launchers(out, chance, forked)
    while struck.counts.total() < blows and len(list(out.glob("*/records.json"))) < RUNS:
        while len(launchers.at_work) < chance.choice((1, 1, 2)):
            launchers.start()
        how = chance.choice(BLOWS)
        if how in AT_RUNS:
            launchers.watch_until_a_run()
        launchers.watch(chance.uniform(0.0 if how in AT_RUNS else 0.1, longest_s))
        struck.counts[how] += strike(how, launchers, chance)
    launchers.wait()
    struck.outlived += launchers.outlived.values()
    return struck


def finish(out: Path, tries: int = 10, forked: bool = False) -> None:
    """Give the same command until it is done."""
    for _ in range(tries):
        if start(command(out), out, forked=forked).wait() == 0:
            return
    raise AssertionError(f"not done after {tries} tries: {complaints(out).read_text()[-3000:]}")


def table(out: Path, forked: bool = False) -> list[dict[str, Any]]:
    """runs.csv as it comes, without what is not a result."""
    to = out.parent / "runs.csv"
    code = start(["collect", str(out), "-o", str(to)], out, forked=forked).wait()
    assert code == 0, complaints(out).read_text()[-3000:]
    with to.open() as file:
        return [{k: v for k, v in row.items() if k not in CIRCUMSTANCE} for row in csv.DictReader(file)]


def undisturbed(folder: Path, forked: bool = False) -> list[dict[str, Any]]:
    """The table of the sweep where nothing happens to it."""
    out = folder / "undisturbed" / "runs"
    finish(out, 1, forked)
    return table(out, forked)


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
