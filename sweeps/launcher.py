"""The local launcher: a fresh preloaded process for every run, a GPU each or a core each, shown in a live table.

A run that crashes, hangs or is killed is a row with a reason and disturbs no other. If this process dies, so do its
runs.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scaling import config, record
from scaling.errors import UserError
from sweeps.ledger import Entry, held
from sweeps.processes import BUSY, Lifeline, Run, ending

console = Console(stderr=True)
POLL_S = 0.25


def gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def launch(
    cfg: DictConfig, overrides: Sequence[Sequence[str]], n_jobs: int | None, timeout_s: float | None
) -> Sequence[JobReturn]:
    """Make every run; returns Hydra's results in the order given."""
    if n_jobs is not None and (not isinstance(n_jobs, int) or n_jobs < 1):
        raise UserError(
            f"hydra.launcher.n_jobs={n_jobs!r} is not a whole number of at least 1; null is one per core or GPU"
        )
    if timeout_s is not None and (not isinstance(timeout_s, (int, float)) or timeout_s <= 0):
        raise UserError(f"hydra.launcher.timeout_s={timeout_s!r} is not a number of seconds above 0; null is no limit")
    names = [o.split("=", 1)[1] for point in overrides for o in point if o.startswith("hydra.sweep.subdir=")]
    if len(names) != len(overrides):
        raise UserError("hydra/launcher=isoflop takes runs that hydra/sweeper=isoflop froze; leave both as they are")
    entries = [Entry(Path(cfg.hydra.sweep.dir) / name) for name in names]
    cards: list[str | None] = [*gpus()] if cfg.trainer.accelerator != "cpu" else []
    cards = cards or [None] * cores()
    slots = [cards[i % len(cards)] for i in range(n_jobs)] if n_jobs else cards
    Sweep(entries, slots, timeout_s).run()
    return [
        JobReturn(status=JobStatus.COMPLETED if e.finished else JobStatus.FAILED)
        for e in map(Entry, (e.folder for e in entries))
    ]


class Sweep:
    """Runs waiting, running and ended; the largest start first, so that none is left alone at the end."""

    def __init__(self, entries: list[Entry], slots: list[str | None], timeout_s: float | None) -> None:
        self.waiting = sorted(entries, key=lambda e: e.plain["plan"]["C"])
        self.free, self.timeout_s = list(slots), timeout_s
        self.running: dict[int, tuple[Run, Entry, float]] = {}
        self.ended: list[Entry] = []
        self.elsewhere: list[Entry] = []  # at work in another process
        self.total = sum(e.plain["plan"]["C"] for e in entries)
        self.count, self.began = len(entries), time.monotonic()

    def run(self) -> None:
        """Keep every slot busy until all have ended; whatever stops this stops the runs."""
        lifeline = Lifeline()
        with shown(self) as refresh:
            try:
                while self.waiting or self.running or self.elsewhere:
                    self.look_elsewhere()
                    while self.waiting and self.free:
                        self.start(lifeline)
                    if self.running:
                        wait([run.process.sentinel for run, _, _ in self.running.values()], timeout=POLL_S)
                    else:
                        time.sleep(POLL_S)
                    self.reap()
                    refresh()
            finally:
                for run, _, _ in self.running.values():
                    run.kill()
                    run.process.join()

    def start(self, lifeline: Lifeline) -> None:
        """Start the largest waiting run in a free slot."""
        entry = self.waiting.pop()
        run = lifeline.start(entry.folder, self.free.pop())
        self.running[run.process.sentinel] = (run, entry, time.monotonic())

    def reap(self) -> None:
        """Take in the runs that ended, and end those that take too long."""
        for sentinel, (run, entry, since) in list(self.running.items()):
            late = self.timeout_s is not None and time.monotonic() - since > self.timeout_s
            if run.process.is_alive() and not late:
                continue
            if late:
                run.kill()
            run.process.join()
            del self.running[sentinel]
            self.free.append(run.gpu)
            if run.process.exitcode == BUSY:
                self.elsewhere.append(entry)
                continue
            account(entry, run.process.exitcode, f"not done after timeout_s={self.timeout_s:g}" if late else None)
            self.ended.append(Entry(entry.folder))

    def look_elsewhere(self) -> None:
        """Take in what another process has finished, and take up what it left."""
        for entry in [e for e in self.elsewhere if not held(e.folder)]:
            self.elsewhere.remove(entry)
            now = Entry(entry.folder)
            (self.ended if now.finished else self.waiting).append(now)

    def time_left_s(self) -> float | None:
        """By the FLOPs done so far; None before the first."""
        done = sum(e.plain["plan"]["C"] for e in self.ended)
        for _, entry, _ in self.running.values():
            beat = entry.heartbeat()
            done += entry.plain["plan"]["C"] * beat["step"] / beat["steps"] if beat else 0.0
        return (self.total - done) * (time.monotonic() - self.began) / done if done else None


def account(entry: Entry, code: int | None, late: str | None) -> None:
    """Leave a row for a run whose process could not."""
    if not (entry.folder / record.FILE).exists():
        status = "timeout" if late else "failed"
        reason = late or f"the process ended without a record: {ending(code)}; see {entry.folder}/log.txt"
        with contextlib.suppress(OSError, ValueError):
            record.write(entry.folder, [config.failure(entry.plain, status, reason)])


@contextlib.contextmanager
def shown(sweep: Sweep) -> Iterator[Callable[[], None]]:
    """Show the sweep live in a terminal; elsewhere say nothing."""
    if not console.is_terminal:
        yield lambda: None
        return
    with Live(table(sweep), console=console, refresh_per_second=4, transient=True) as live:
        yield lambda: live.update(table(sweep))


def table(sweep: Sweep) -> Group:
    """Done, running, failed, time left; then a line for every running run."""
    failed = sum(not e.finished for e in sweep.ended)
    left = sweep.time_left_s()
    head = Table.grid(padding=(0, 2))
    head.add_row(
        ProgressBar(total=sweep.count, completed=len(sweep.ended), width=24),
        Text(f"{len(sweep.ended) - failed} of {sweep.count} done", "green"),
        f"{len(sweep.running)} running",
        f"{len(sweep.waiting)} waiting",
        Text(f"{failed} failed", "bold red" if failed else "dim"),
        f"{clock(left)} left" if left is not None else "",
    )
    rows = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    for name in ("family", "width", "depth", "seed", "N", "D", "C", "step"):
        rows.add_column(name, justify="left" if name == "family" else "right", no_wrap=True)
    for _, entry, _ in sorted(sweep.running.values(), key=lambda r: r[1].run_id):
        plain, plan, beat = entry.plain, entry.plain["plan"], entry.heartbeat()
        dials = (plain["names"]["family"], plain["family"]["width"], plain["family"]["depth"], plain["seed"])
        step = f"{beat['step']}/{beat['steps']}" if beat else f"–/{plan['steps']}"
        rows.add_row(*map(str, dials), *(short(plan[key]) for key in ("N", "D", "C")), step)
    return Group(head, rows)


def short(number: float) -> str:
    """A size in two digits, as the command line takes it: 2.5e4."""
    return f"{number:.2g}".replace("e+0", "e").replace("e+", "e")


def clock(seconds: float) -> str:
    """A length of time as people read it."""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )
