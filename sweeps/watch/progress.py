"""How far a sweep is: a live table in a terminal, elsewhere a line every so often, as a log keeps it.

from types import SimpleNamespace

sweep = SimpleNamespace(count=3, waiting=[], running={}, ended=[], time_left_s=lambda: None)
line(sweep)        # '0 of 3 done, 0 running'
"""

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from isoflop import record
from isoflop.files import read_bytes
from isoflop.scaling.config.frozen import columns
from isoflop.wording import WIDE, clock, one_line, short

if TYPE_CHECKING:
    from isoflop.sweeps.ledger import Entry

stderr = Console(stderr=True)
LINE_S = 30.0  # least time between two lines of progress without a terminal
TABLE_S = 1.0  # between two tables, each of which reads the curves of the runs at work
LAST = 3  # finished runs that are shown
# columns of a curve.csv, of which the last is the loss (scaling/loop/progress.py)
CURVE = 5
SIZED = (*record.WHO[1:], "N", "D", "C")  # the columns of numbers that say which run it is


class _WatchedRun(Protocol):
    entry: "Entry"


class _WatchedSweep(Protocol):
    count: int
    waiting: "list[Entry]"
    ended: "list[Entry]"

    @property
    def running(self) -> Mapping[int, _WatchedRun]: ...

    def time_left_s(self) -> float | None: ...


@contextlib.contextmanager
def shown(sweep: _WatchedSweep) -> Iterator[Callable[[], None]]:
    """Show the sweep live in a terminal; elsewhere a line every so often."""
    if not stderr.is_terminal:
        lines = Lines(sweep, time.monotonic)
        yield lines.refresh
        lines.last()
        return
    view = LiveTable(sweep, time.monotonic)
    with Live(view.table(), console=stderr, refresh_per_second=4, transient=True) as live:
        yield lambda: live.update(view.table())


class Lines:
    """Progress where nobody watches: a changed line after LINE_S seconds and then every tenth of the time so far."""

    def __init__(self, sweep: _WatchedSweep, now: Callable[[], float]) -> None:
        self.sweep, self.now, self.began = sweep, now, now()
        self.due, self.shown = self.began + LINE_S, ""

    def refresh(self) -> None:
        """Write a line where one is due and has something new."""
        if self.now() >= self.due:
            self._print()

    def last(self) -> None:
        """Print the last line of a sweep that had others."""
        if self.shown:
            self._print()

    def _print(self) -> None:
        if (text := line(self.sweep)) != self.shown:
            self.shown, self.due = text, self.now() + max(LINE_S, (self.now() - self.began) / 10)
            stderr.print(text, highlight=False, markup=False, soft_wrap=True)


def line(sweep: _WatchedSweep) -> str:
    """Return what is done, running, waiting and failed, the time left and the lowest loss in one line."""
    failed = sum(not e.finished for e in sweep.ended)
    left = sweep.time_left_s()
    parts = [f"{len(sweep.ended) - failed} of {sweep.count} done", f"{len(sweep.running)} running"]
    parts += [f"{len(sweep.waiting)} waiting"] if sweep.waiting else []
    parts += [f"{failed} failed"] if failed else []
    parts += [f"about {clock(left)} left"] if left and (sweep.running or sweep.waiting) else []
    losses = [row["L"] for e in sweep.ended if e.good for row in e.rows if row.get("L") is not None]
    return ", ".join([*parts, *([f"lowest loss {min(losses):.4g}"] if losses else [])])


class LiveTable:
    """The live table of a sweep, rebuilt at most once a second."""

    def __init__(self, sweep: _WatchedSweep, now: Callable[[], float]) -> None:
        self.sweep, self.now, self.speeds = sweep, now, _Speeds()
        self.made, self.last = -TABLE_S, Group()

    def table(self) -> Group:
        """Return the table: counts and time left, a line for every run at work, and the runs that ended last."""
        if self.now() - self.made >= TABLE_S:
            self.made = self.now()
            parts: list[RenderableType] = [self._head(), self._working()]
            if self.sweep.ended:
                parts += [Text("\nended last", "dim"), self._finished()]
            self.last = Group(*parts)
        return self.last

    def _head(self) -> Table:
        failed = sum(not e.finished for e in self.sweep.ended)
        left = self.sweep.time_left_s()
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=self.sweep.count, completed=len(self.sweep.ended), width=24),
            Text(f"{len(self.sweep.ended) - failed} of {self.sweep.count} done", "green"),
            f"{len(self.sweep.running)} running",
            f"{len(self.sweep.waiting)} waiting",
            Text(f"{failed} failed", "bold red" if failed else "dim"),
            f"{clock(left)} left" if left is not None else "",
        )
        return head

    def _working(self) -> Table:
        names = (*SIZED, "step", "steps/s", "L_train")
        rows = plain_table("family", *names, right=names)
        for job in sorted(self.sweep.running.values(), key=lambda job: job.entry.run_id):
            beat, plan = job.entry.files.read_heartbeat(), job.entry.config.plan
            step = f"{beat['step']}/{beat['steps']}" if beat.get("steps") else f"–/{plan.steps if plan else '?'}"
            speed, losses = self.speeds.of(job, beat), curve(job.entry.files.curve)
            progress = step, f"{speed:.3g}" if speed else "", f"{losses[-1]:.4g}" if losses else ""
            rows.add_row(*_who(job.entry), *progress)
        return rows

    def _finished(self) -> Table:
        rows = plain_table("family", *SIZED, "L", right=(*SIZED, "L"))
        for entry in self.sweep.ended[: -LAST - 1 : -1]:
            last = entry.rows[-1] if entry.rows else {}
            loss = f"{last['L']:.4f}" if entry.good and last.get("L") is not None else ""
            rows.add_row(*_who(entry), loss or Text(one_line(last.get("reason") or entry.state), "red"))
        return rows


def _who(entry: "Entry") -> list[str]:
    known, plan = columns(entry.config), entry.config.plan
    sizes = [short(size) for size in (plan.N, plan.D, plan.C)] if plan else ["", "", ""]
    return [*(str(known[key]) for key in record.WHO), *sizes]


def curve(file: Path) -> list[float]:
    """Return the training losses of a curve.csv, without torn lines."""
    losses = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for text in read_bytes(file).decode().splitlines():
            *before, last = text.split(",")
            with contextlib.suppress(ValueError):
                losses += [loss] if len(before) == CURVE - 1 and math.isfinite(loss := float(last)) else []
    return losses


class _Speeds:
    """Optimiser steps per second of each run, between its last two heartbeats that were seen."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[float, float, float | None]] = {}

    def of(self, job: _WatchedRun, beat: Mapping[str, float]) -> float | None:
        """Return the speed of a run [steps/s]; None before its second heartbeat."""
        step, at, speed = self.seen.get(job.entry.run_id, (0.0, 0.0, None))
        if not beat.get("time"):
            return None
        if beat["time"] > at:
            speed = (beat["step"] - step) / (beat["time"] - at) if at and beat["step"] > step else speed
            self.seen[job.entry.run_id] = beat["step"], beat["time"], speed
        return speed


def console() -> Console:
    return Console(highlight=False, width=WIDE)


def plain_table(*names: str, right: Collection[str]) -> Table:
    """Return a table of these columns without lines or rows, those of `right` to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(Text(name), justify="right" if name in right else "left", no_wrap=True)
    return table
