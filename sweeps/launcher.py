"""The local launcher: a fresh preloaded process for every run, a GPU each or a core each, shown in a live table.

A run that crashes, hangs or is killed is a row with a reason. If this process dies, so do its runs.
"""

import contextlib
import os
import shutil
import signal
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Annotated, Any

from isoflop import record, schema
from isoflop.command import Stopped
from isoflop.errors import BusyError, UserError
from isoflop.scaling.config.frozen import failure, freeze
from isoflop.scaling.config.sections import Trainer
from isoflop.scaling.hardware import cores, gpus, threads
from isoflop.scaling.process.lock import sole_writer
from isoflop.scaling.process.signals import Terminated, describe_exit, terminable
from isoflop.schema import Bound
from isoflop.sweeps.costs import unit_costs
from isoflop.sweeps.ledger import Entry
from isoflop.sweeps.watch.progress import shown
from isoflop.sweeps.workers import BUSY, Lifeline, Run

POLL_S = 0.25
RECENT_S = 60.0  # over which is counted how much time runs receive, which others on the machine change
PARTING_S = 10.0  # for runs to end a step and keep a checkpoint when the sweep is stopped
ROOM = 2**20  # bytes that must be free before a run is started: what it leaves without a checkpoint is less


@dataclass(frozen=True)
class LaunchSettings:
    """How runs are launched: the keys of hydra.launcher."""

    n_jobs: Annotated[int, Bound(least=1)] | None = None
    """Runs at a time; null takes as many as there are GPUs or cores for."""
    n_per_gpu: Annotated[int, Bound(least=1)] = 1
    """Runs at a time on each GPU."""
    timeout_s: Annotated[float, Bound(above=0)] | None = None
    """Longest time that a run may take [s]; null is no limit."""
    retries: Annotated[int, Bound(least=0)] = 1
    """Attempts after the first, for runs that a signal ended."""

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "LaunchSettings":
        """Return the settings of a config's hydra.launcher, without its _target_; UserError if one is not sound."""
        return schema.read(cls, given, "", "hydra.launcher")

    def slots(self, trainer: Trainer) -> list[str | None]:
        """Return a place for every run at a time: its GPUs, as CUDA_VISIBLE_DEVICES takes them, or a core a thread."""
        each = trainer.devices
        cards = gpus() if trainer.accelerator != "cpu" else []
        places: list[str | None]
        if cards:
            together = [",".join(cards[at : at + each]) for at in range(0, len(cards) - each + 1, each)]
            places = [*(together or [",".join(cards)])] * self.n_per_gpu
        else:
            places = [None] * max(1, cores() // (threads() * each))
        return [places[at % len(places)] for at in range(self.n_jobs)] if self.n_jobs else places


def launch(entries: list[Entry], settings: LaunchSettings) -> None:
    """Make every run, those that are placed alike together; what became of them is on disk."""
    alike: dict[tuple[Any, Any], list[Entry]] = {}
    for entry in entries:
        trainer = entry.config.trainer
        alike.setdefault((trainer.accelerator, trainer.devices), []).append(entry)
    try:
        with terminable():
            for members in alike.values():
                _Sweep(members, settings.slots(members[0].config.trainer), settings).run()
    except Terminated as stop:
        raise Stopped(stop.exit_code) from None


@dataclass
class Job:
    """A run at work: its process, and since when."""

    run: Run
    entry: Entry
    since: float
    killed_before: int  # processes that the kernel has ended for want of memory
    received_s: float = 0.0  # time of a processor, or of the clock where a GPU works for it

    def look(self) -> None:
        if self.run.gpu or not Path("/proc/self/stat").exists():
            self.received_s = time.monotonic() - self.since
            return
        with contextlib.suppress(OSError, IndexError):  # it has ended
            fields = Path(f"/proc/{self.run.process.pid}/stat").read_text().rpartition(")")[2].split()
            self.received_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime: proc(5)


class _Sweep:
    """Runs waiting, running and ended; the largest start first, so that none is left alone at the end."""

    def __init__(self, entries: list[Entry], slots: list[str | None], settings: LaunchSettings) -> None:
        self.waiting = sorted(entries, key=lambda entry: _planned(entry)[1])
        self.free, self.settings = list(slots), settings
        self.running: dict[int, Job] = {}
        self.ended: list[Entry] = []
        self.elsewhere: list[Entry] = []  # at work in another process
        self.attempts: Counter[str] = Counter()
        self.spent: list[tuple[float, float, float]] = []
        self.count, self.seen = len(entries), deque([(time.monotonic(), 0.0)])  # what all received, by when

    def run(self) -> None:
        """Keep every slot busy until all have ended; whatever stops this stops the runs."""
        lifeline = Lifeline(self.settings.n_per_gpu)
        with shown(self) as refresh:
            try:
                while self.waiting or self.running or self.elsewhere:
                    self._look_elsewhere()
                    while self.waiting and self.free:
                        self._start(lifeline)
                    if self.running:
                        wait([job.run.process.sentinel for job in self.running.values()], timeout=POLL_S)
                    elif self.elsewhere:
                        time.sleep(POLL_S)
                    self._reap()
                    refresh()
            finally:
                self._stop_all()

    def _stop_all(self) -> None:
        for job in self.running.values():
            job.run.process.terminate()
        until = time.monotonic() + PARTING_S
        for job in self.running.values():
            job.run.process.join(max(0.0, until - time.monotonic()))
            job.run.kill()
            job.run.process.join()

    def _start(self, lifeline: Lifeline) -> None:
        entry = self.waiting.pop()
        if entry.files.cancelled:
            self.ended.append(Entry(entry.folder))
            return
        if (free := shutil.disk_usage(entry.folder).free) < ROOM:
            full = f"{entry.folder.parent}: {free} bytes are free, but a run needs {ROOM}"
            raise UserError(f"{full}; make room and rerun the command to resume")
        self.attempts[entry.run_id] += 1
        run = lifeline.start(entry.folder, self.free.pop())
        self.running[run.process.sentinel] = Job(run, entry, time.monotonic(), _memory_kills())

    def _reap(self) -> None:
        for sentinel, job in list(self.running.items()):
            job.look()
            limit = self.settings.timeout_s
            late = limit is not None and time.monotonic() - job.since > limit
            if job.run.process.is_alive() and not late:
                continue
            if late:
                job.run.kill()
            job.run.process.join()
            del self.running[sentinel]
            self.free.append(job.run.gpu)
            self._take_in(job, f"not done after timeout_s={limit:g}" if late else None)

    def _take_in(self, job: Job, late: str | None) -> None:
        """Sort a run that ended: at work elsewhere, to be retried, or finished."""
        code = job.run.process.exitcode
        if code == BUSY or (not late and job.entry.held):  # a child whose server was killed only seems to have ended
            self.attempts[job.entry.run_id] -= 1
            self.elsewhere.append(job.entry)
        elif not late and self._is_transient(job, code):
            halve_micro_batch(job, code)
            self.waiting.append(Entry(job.entry.folder))
        else:
            account(job.entry, code, late)
            self.spent.append((*_planned(job.entry), job.received_s))
            self.ended.append(Entry(job.entry.folder))

    def _is_transient(self, job: Job, code: int | None) -> bool:
        """Return whether what ended a run may pass, so that it is tried again: a signal that nobody here sent."""
        killed = code is not None and (code < 0 or code > 128)
        left = self.attempts[job.entry.run_id] <= self.settings.retries
        now = Entry(job.entry.folder)
        failed = bool(now.rows) and not now.good
        return killed and left and not (now.files.cancelled or now.finished or failed)

    def _look_elsewhere(self) -> None:
        """Take in what another process has finished, and take up what it left."""
        for entry in [e for e in self.elsewhere if not e.held]:
            self.elsewhere.remove(entry)
            now = Entry(entry.folder)
            (self.ended if now.finished else self.waiting).append(now)

    def time_left_s(self) -> float | None:
        """Estimate the time left from what runs took so far and lately received [s]; None before the first step."""
        done, ahead, now = list(self.spent), [_planned(entry) for entry in self.waiting], time.monotonic()
        for job in self.running.values():
            share = job.entry.share_done
            done.append((*_planned(job.entry, share), job.received_s))
            ahead.append(_planned(job.entry, 1 - share))
        self.seen.append((now, sum(job.received_s for job in self.running.values()) + sum(s for *_, s in self.spent)))
        while self.seen[1][0] < now - RECENT_S:
            self.seen.popleft()
        (began, before), (_, total) = self.seen[0], self.seen[-1]
        of_step, of_flop = unit_costs(done)
        left = sum(steps * of_step + C * of_flop for steps, C in ahead)
        return left * (now - began) / (total - before) if total > before and of_step + of_flop > 0 else None


def _planned(entry: Entry, share: float = 1.0) -> tuple[float, float]:
    plan = entry.config.plan
    return (share * plan.steps, share * plan.C) if plan else (0.0, 0.0)


def _memory_kills() -> int:
    """Return how many processes this machine has ended for want of memory since it started; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        words = Path("/proc/vmstat").read_text().split()
        return int(words[words.index("oom_kill") + 1])
    return 0


def halve_micro_batch(job: Job, code: int | None) -> None:
    """Halve the micro-batch of a run that the kernel ended for want of memory; the batch stays as it is."""
    if code != -signal.SIGKILL or _memory_kills() == job.killed_before:
        return
    config = job.entry.config
    if config.plan and (smaller := config.trainer.halved_micro_batch(config.plan.batch)):
        freeze(replace(config, trainer=replace(config.trainer, micro_batch=smaller)), job.entry.folder)


def account(entry: Entry, code: int | None, late: str | None) -> None:
    """Leave a row for a run whose process could not, unless a person stopped it or another process has it."""
    status = record.RunStatus.TIMEOUT if late else record.RunStatus.FAILED
    how = describe_exit(code) + (", out of memory perhaps" if code == -signal.SIGKILL else "")
    reason = late or f"the process ended without a record: {how}; see {entry.files.log}"
    with contextlib.suppress(OSError, ValueError, BusyError), sole_writer(entry.files):
        if not entry.files.records.exists() and not entry.files.cancelled:
            record.write(entry.folder, [failure(entry.config, status, reason)])
