"""One process at a time is at work in a run's folder, by a lock that ends with it and a lease (standard library only).

The lock (flock) is the kernel's. Where hosts share a file system but not its locks, all of them get it, and the lease
decides: a file that must not exist is created, which succeeds for one of them there too (open(2), O_EXCL; RFC 1813,
3.3.8). It holds while its owner lives: a process of this machine while the system has it, one of another while its
heartbeat goes on, watched for three beats. A dead owner's lease is taken over by creating the next number; a process
whose lease is no longer the highest stops.

    with sole_writer(folder) as lease, Heart(folder, stands=lease.stands) as heart:
        heart.at(step=120, steps=400)
"""

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from isoflop import files
from isoflop.errors import BusyError
from isoflop.folder import RunFolder

# time from beat to beat, while a run is young and later: many runs share one file system [s]
QUICK_S, SLOW_S = 1.0, 5.0
YOUNG_S = 60.0
# beats that may be missed before a run of another host counts as dead
MISSED = 3


def is_fresh(folder: RunFolder) -> bool:
    """Return whether another host's beat is recent by the file's time: good enough to show, not to decide."""
    beat = folder.read_heartbeat()
    with contextlib.suppress(OSError):
        age_s = abs(time.time() - folder.heartbeat.stat().st_mtime)
        return bool(beat) and beat["host"] != socket.gethostname() and age_s < MISSED * beat["every_s"]
    return False


def beats(folder: RunFolder, while_there: Path | None = None) -> bool:
    """Return whether a heart keeps beating, for as many beats as it may miss, or while its owner's file is there."""
    before, last = folder.read_heartbeat(), _sign(folder)
    until = time.monotonic() + MISSED * min(before.get("every_s", SLOW_S), SLOW_S)
    while time.monotonic() < until:
        time.sleep(0.2)
        now = _sign(folder)
        if (while_there and not while_there.exists()) or (now is None and last is not None):  # it ended meanwhile
            return False
        if now != last:
            return True
    return False


def _sign(folder: RunFolder) -> tuple[Any, ...] | None:
    """Return what every beat changes; None if there is no heartbeat."""
    with contextlib.suppress(OSError):
        beat = folder.read_heartbeat()
        return beat.get("beat"), beat.get("pid"), folder.heartbeat.stat().st_mtime_ns
    return None


class Heart:
    """Beats in a thread of its own while a run is at work; stops the run where a person asks, or another process took
    over.

    owner: the process that SIGTERM stops; this one by default. stands: whether the folder is still this run's.
    """

    def __init__(self, folder: RunFolder, owner: int | None = None, stands: Callable[[], bool] | None = None) -> None:
        self.folder, self.owner, self.stands = folder, owner or os.getpid(), stands
        self.step = self.steps = self.beats = 0
        self._ended: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def at(self, step: int, steps: int) -> None:
        self.step, self.steps = step, steps

    def __enter__(self) -> "Heart":
        try:
            self.start()
        except BaseException:  # a signal that came with the first beat
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if not self.lost():
            self.folder.heartbeat.unlink(missing_ok=True)

    def start(self) -> None:
        self._beat(QUICK_S)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, args=(self._ended,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop beating; the last beat stays."""
        if self._ended and self._thread:
            self._ended.set()
            if self._thread.is_alive():
                self._thread.join()
        self._ended = self._thread = None

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Lend the heart, for a with-block, to a process started here, which has a copy of it, and rest meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def lost(self) -> bool:
        """Return whether another process has the folder now."""
        with contextlib.suppress(OSError):
            return self.stands is not None and not self.stands()
        return False

    def _beat_on(self, ended: threading.Event) -> None:
        began = time.monotonic()
        every_s, signalled = QUICK_S, False
        while not ended.wait(every_s):
            every_s = QUICK_S if time.monotonic() - began < YOUNG_S else SLOW_S
            lost = self.lost()
            if not lost:
                self._beat(every_s)
            if not signalled and (lost or self.folder.cancelled):
                signalled = True
                os.kill(self.owner, signal.SIGTERM)

    def _beat(self, every_s: float) -> None:
        self.beats += 1
        state = {"step": self.step, "steps": self.steps, "host": socket.gethostname(), "pid": self.owner}
        self.folder.write_heartbeat(state | {"beat": self.beats, "every_s": every_s, "time": time.time()})


@dataclass(frozen=True)
class Lease:
    """A folder that this process may work in."""

    folder: RunFolder
    number: int

    def stands(self) -> bool:
        """Return whether nobody has taken the folder over."""
        return self.folder.leases()[-1:] == [self.number]

    def refuse_loss(self) -> None:
        """Raise BusyError if somebody has taken the folder over, so that its contents are theirs."""
        if not self.stands():
            raise BusyError(f"another process has taken over {self.folder.path}, as this one did not answer")

    def release(self) -> None:
        self.folder.lease(self.number).unlink(missing_ok=True)


def _lease(folder: RunFolder) -> Lease:
    """Lease the folder; raise BusyError if a living process holds it, or two take it at once."""
    earlier = folder.leases()
    if any(_is_alive(folder, number) for number in earlier):
        raise _busy(folder)
    mine = max(earlier, default=0) + 1
    try:
        _create(folder.lease(mine))
    except FileExistsError:
        raise _busy(folder) from None
    # of two that saw different files, the one that came second sees the other's
    if set(folder.leases()) - {*earlier, mine}:
        folder.lease(mine).unlink(missing_ok=True)
        raise _busy(folder)
    for number in earlier:
        folder.lease(number).unlink(missing_ok=True)
    return Lease(folder, mine)


def is_leased(folder: RunFolder) -> bool:
    """Return whether a process of this machine holds a lease of the folder."""
    with contextlib.suppress(OSError):
        return any(_lives_here(files.read_json(folder.lease(number))) for number in folder.leases())
    return False


def _busy(folder: RunFolder) -> BusyError:
    return BusyError(f"another process is working in {folder.path}; wait for it or stop it")


@cache
def _machine() -> str:
    """Return where a process number has a meaning: the host, its start, and the processes that are visible here."""
    marks = [socket.gethostname()]
    with contextlib.suppress(OSError):
        marks += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(marks)


def _create(path: Path) -> None:
    owner = {"machine": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}
    with path.open("x") as file:
        try:
            print(json.dumps(owner), file=file, flush=True)
        except OSError:  # no room: nobody else is kept out for it
            path.unlink(missing_ok=True)
            raise


def _is_alive(folder: RunFolder, number: int) -> bool:
    owner = files.read_json(folder.lease(number))
    if isinstance(owner, dict) and owner.get("machine") == _machine():
        return _lives_here(owner)
    return beats(folder, while_there=folder.lease(number))


def _lives_here(owner: Any) -> bool:
    """Return whether a lease's owner is a living process of this machine; without /proc, the lock decides."""
    if not isinstance(owner, dict) or owner.get("machine") != _machine() or not isinstance(owner.get("pid"), int):
        return False
    return owner.get("started") is not None and _started(owner["pid"]) == owner["started"]


def _started(pid: int) -> int | None:
    """Return when a process began [clock ticks since boot]; None if none is alive."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # proc(5): the name, in parentheses, may hold anything; state is field 3, starttime field 22
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    return None


def _without_waiting(path: str, flags: int) -> int:
    """Open the lock without waiting, even for a FIFO in its place (fifo(7))."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def _locked(file: IO[str], how: int) -> bool:
    """Take a lock without waiting; a file system without locks grants all, and the lease must do."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
            raise
    return True


@contextlib.contextmanager
def sole_writer(folder: RunFolder, patience_s: float = 1.0) -> Iterator[Lease]:
    """Hold the run's folder for a with-block, or until the process ends; raise BusyError if another holds it."""
    with open(folder.lock, "a", opener=_without_waiting) as file:
        until = time.monotonic() + patience_s  # who only looks holds it for an instant
        while not (mine := _locked(file, fcntl.LOCK_EX)) and time.monotonic() < until:
            time.sleep(0.05)
        # a run of a version without leases has a heartbeat alone
        beat = {} if folder.leases() else folder.read_heartbeat()
        if not mine or (beat and beat["host"] != socket.gethostname() and beats(folder)):
            raise _busy(folder)
        while True:  # as soon as its holder has ended
            try:
                lease = _lease(folder)
                break
            except BusyError:
                if time.monotonic() >= until:
                    raise
            time.sleep(0.05)
        try:
            yield lease
        finally:
            lease.release()


def held(folder: RunFolder) -> bool:
    """Return whether a process of a host whose locks we see is at work in the folder."""
    try:
        with open(folder.lock, opener=_without_waiting) as file:
            return not _locked(file, fcntl.LOCK_SH)
    except OSError:  # no lock was ever taken
        return False
