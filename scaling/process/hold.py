"""Who is at work in a run's folder: a lock that ends with its process, and a heartbeat that says who it is and how far.

The lock (flock) is the kernel's: it ends with the process, whatever the clocks say. Where hosts share a file system
whose locks are each host's own, the heartbeat tells: one that goes on beating belongs to a run that is at work.

    with sole_writer(folder), Heart(folder) as heart:
        heart.at(step=120, steps=400)

Files in the folder: `lock`, `heartbeat.json` while a process is at work, and `cancel` where a person asked to stop.
Standard library only.
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
from pathlib import Path
from typing import IO, Any

from isoflop.errors import BusyError

LOCK, HEARTBEAT, CANCEL = "lock", "heartbeat.json", "cancel"

# seconds from beat to beat, while a run is young and later: many runs share one file system
QUICK_S, SLOW_S = 1.0, 5.0
YOUNG_S = 60.0
# beats that may be missed before a run of another host counts as dead
MISSED = 3


def _locked(file: IO[str], how: int) -> bool:
    """Take a lock without waiting; a file system that has none gives it to all, and the heartbeat must do."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
            raise
    return True


@contextlib.contextmanager
def sole_writer(folder: Path, patience_s: float = 1.0) -> Iterator[None]:
    """Hold the run's folder for a with-block, or until the process ends; BusyError where another process holds it."""
    with (folder / LOCK).open("a") as file:
        until = time.monotonic() + patience_s  # who only looks holds it for an instant
        while not (mine := _locked(file, fcntl.LOCK_EX)) and time.monotonic() < until:
            time.sleep(0.05)
        if not mine or _beats_elsewhere(folder):
            raise BusyError(f"another process is at work in {folder}; wait for it or stop it") from None
        yield


def held(folder: Path) -> bool:
    """Whether a process of a host whose locks we see is at work in the folder."""
    try:
        with (folder / LOCK).open() as file:
            return not _locked(file, fcntl.LOCK_SH)
    except OSError:  # no lock was ever taken
        return False


def heartbeat(folder: Path) -> dict[str, Any]:
    """step, steps, host, pid, beat, every_s, time of the last beat; empty where there is none."""
    try:
        return json.loads((folder / HEARTBEAT).read_text())  # type: ignore[no-any-return]
    except (OSError, ValueError):
        return {}


def fresh(folder: Path, beat: dict[str, Any]) -> bool:
    """Whether a beat of another host is recent by the file's own time; good enough to show, not to decide."""
    if not beat or beat["host"] == socket.gethostname():
        return False
    with contextlib.suppress(OSError):
        return bool(abs(time.time() - (folder / HEARTBEAT).stat().st_mtime) < MISSED * beat["every_s"])
    return False


def _beats_elsewhere(folder: Path) -> bool:
    """Whether the heart of a run on another host still beats: it is watched, no clock is asked."""
    before = heartbeat(folder)
    if not before or before["host"] == socket.gethostname():
        return False
    until = time.monotonic() + MISSED * before["every_s"]
    while time.monotonic() < until:
        time.sleep(0.2)
        now = heartbeat(folder)
        if not now:  # it ended meanwhile
            return False
        if (now["beat"], now["pid"]) != (before["beat"], before["pid"]):
            return True
    return False


def cancelled(folder: Path) -> bool:
    """Whether a person asked for this run to stop; making it anew takes the wish back."""
    return (folder / CANCEL).exists()


class Heart:
    """Beats in a thread of its own while a run is at work, and ends the run where a person asked for that.

    owner: the process that is told to stop by SIGTERM; this one by default.
    """

    def __init__(self, folder: Path, owner: int | None = None) -> None:
        self.folder, self.owner = folder, owner or os.getpid()
        self.step = self.steps = self.beats = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, daemon=True)

    def at(self, step: int, steps: int) -> None:
        """Say how far the run is."""
        self.step, self.steps = step, steps

    def __enter__(self) -> "Heart":
        self._beat(QUICK_S)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        (self.folder / HEARTBEAT).unlink(missing_ok=True)

    def _beat_on(self) -> None:
        began = time.monotonic()
        every_s, told = QUICK_S, False
        while not self._ended.wait(every_s):
            every_s = QUICK_S if time.monotonic() - began < YOUNG_S else SLOW_S
            self._beat(every_s)
            if not told and cancelled(self.folder):
                told = True
                os.kill(self.owner, signal.SIGTERM)

    def _beat(self, every_s: float) -> None:
        self.beats += 1
        state = {"step": self.step, "steps": self.steps, "host": socket.gethostname(), "pid": self.owner}
        state |= {"beat": self.beats, "every_s": every_s, "time": time.time()}
        draft = self.folder / f".{HEARTBEAT}.{state['host']}.{self.owner}"
        with contextlib.suppress(OSError):  # a full disk must not end a run that needs no room
            draft.write_text(json.dumps(state))
            os.replace(draft, self.folder / HEARTBEAT)


class Terminated(BaseException):
    """SIGTERM came while a run was at work."""


_terminated = threading.Event()  # an exception may come where it is swallowed, as in an import; this is remembered


def _terminate(*_: object) -> None:
    _terminated.set()
    raise Terminated


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into Terminated for a with-block, where nobody else, such as a scheduler, has a handler for it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    _terminated.clear()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def between_steps() -> Iterator[None]:
    """For a with-block SIGTERM is only remembered; `stop_if_terminated`, between two steps, ends the run."""
    ours = signal.getsignal(signal.SIGTERM) is _terminate
    if ours:
        signal.signal(signal.SIGTERM, lambda *_: _terminated.set())
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, _terminate)


def stop_if_terminated() -> None:
    """Raise Terminated where SIGTERM has come since the run began."""
    if _terminated.is_set():
        raise Terminated


class Deferred:
    """Signals that another has a handler for, such as a scheduler's, kept until a step has ended.

    with Deferred(signal.SIGUSR2) as deferred:
        ...
        deferred.handle(before=keep_a_checkpoint)       # between steps
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self.signals, self.came = signals, list[tuple[int, Any]]()
        self.handlers: dict[int, Any] = {}
        self.handled = False

    def __enter__(self) -> "Deferred":
        if threading.current_thread() is threading.main_thread():
            self.handlers = {
                number: handler for number in self.signals if callable(handler := signal.getsignal(number))
            }
            for number in self.handlers:
                signal.signal(number, lambda number, frame: self.came.append((number, frame)))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def handle(self, before: Callable[[], None]) -> None:
        """Where a signal came: call `before`, then its own handler, which may not return."""
        if self.came:
            before()
            self.handled = True
            number, frame = self.came.pop(0)
            self.handlers[number](number, frame)
