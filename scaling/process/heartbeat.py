"""The heartbeat of a run at work: it says which process works, how far it is, and looks whether it is to stop.

    with Heart(folder) as heart:
        heart.at(step=120, steps=400)
    is_fresh(folder)        # False: nobody of another host is at work

Standard library only.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from isoflop.folder import RunFolder

# time from beat to beat, while a run is young and later: many runs share one file system [s]
QUICK_S, SLOW_S = 1.0, 5.0
YOUNG_S = 60.0
# beats that may be missed before a run of another host counts as dead
MISSED = 3


def is_fresh(folder: RunFolder, beat: dict[str, Any] | None = None) -> bool:
    """Return whether another host's beat is recent by the file's time: good enough to show, not to decide."""
    beat = folder.read_heartbeat() if beat is None else beat
    if not beat or beat["host"] == socket.gethostname():
        return False
    with contextlib.suppress(OSError):
        return bool(abs(time.time() - folder.heartbeat.stat().st_mtime) < MISSED * beat["every_s"])
    return False


def beats_elsewhere(folder: RunFolder) -> bool:
    """Return whether the heart of a run on another host still beats, by watching it, not a clock."""
    before = folder.read_heartbeat()
    return bool(before) and before["host"] != socket.gethostname() and beats(folder)


def beats(folder: RunFolder, while_there: Path | None = None) -> bool:
    """Return whether a heart keeps beating, watched for as many beats as it may miss.

    while_there: a file that goes when its owner ends, which is then waited for no longer.
    """
    before, last = folder.read_heartbeat(), _sign(folder)
    until = time.monotonic() + MISSED * min(before.get("every_s", SLOW_S), SLOW_S)
    while time.monotonic() < until:
        time.sleep(0.2)
        now = _sign(folder)
        if while_there and not while_there.exists():
            return False
        if now is None and last is not None:  # it ended meanwhile
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
    """Beats in a thread of its own while a run is at work, and stops the run where a person asked for that.

    It stops the run too where another process took it for dead and has the folder now.
    owner: the process that SIGTERM stops; this one by default. stands: whether the folder is still this run's.
    """

    def __init__(self, folder: RunFolder, owner: int | None = None, stands: Callable[[], bool] | None = None) -> None:
        self.folder, self.owner, self.stands = folder, owner or os.getpid(), stands
        self.step = self.steps = self.beats = 0
        self._ended: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def at(self, step: int, steps: int) -> None:
        """Record how far the run is."""
        self.step, self.steps = step, steps

    def __enter__(self) -> "Heart":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if not self.lost():
            self.folder.heartbeat.unlink(missing_ok=True)

    def start(self) -> None:
        """Start beating."""
        self._beat(QUICK_S)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, args=(self._ended,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop beating; the last beat stays."""
        if self._ended and self._thread:
            self._ended.set()
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
