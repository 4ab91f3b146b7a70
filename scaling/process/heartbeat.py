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
from typing import Any

from isoflop.folder import RunFolder

# time from beat to beat, while a run is young and later: many runs share one file system [s]
QUICK_S, SLOW_S = 1.0, 5.0
YOUNG_S = 60.0
# beats that may be missed before a run of another host counts as dead
MISSED = 3


def is_fresh(folder: RunFolder, beat: dict[str, Any] | None = None) -> bool:
    """Whether the beat of another host is recent by the file's own time; good enough to show, not to decide."""
    beat = folder.read_heartbeat() if beat is None else beat
    if not beat or beat["host"] == socket.gethostname():
        return False
    with contextlib.suppress(OSError):
        return bool(abs(time.time() - folder.heartbeat.stat().st_mtime) < MISSED * beat["every_s"])
    return False


def beats_elsewhere(folder: RunFolder) -> bool:
    """Whether the heart of a run on another host still beats: it is watched, no clock is asked."""
    before = folder.read_heartbeat()
    if not before or before["host"] == socket.gethostname():
        return False
    until = time.monotonic() + MISSED * before["every_s"]
    while time.monotonic() < until:
        time.sleep(0.2)
        now = folder.read_heartbeat()
        if not now:  # it ended meanwhile
            return False
        if (now["beat"], now["pid"]) != (before["beat"], before["pid"]):
            return True
    return False


class Heart:
    """Beats in a thread of its own while a run is at work, and stops the run where a person asked for that.

    owner: the process that SIGTERM stops; this one by default.
    """

    def __init__(self, folder: RunFolder, owner: int | None = None) -> None:
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
        self.folder.heartbeat.unlink(missing_ok=True)

    def _beat_on(self) -> None:
        began = time.monotonic()
        every_s, signalled = QUICK_S, False
        while not self._ended.wait(every_s):
            every_s = QUICK_S if time.monotonic() - began < YOUNG_S else SLOW_S
            self._beat(every_s)
            if not signalled and self.folder.cancelled:
                signalled = True
                os.kill(self.owner, signal.SIGTERM)

    def _beat(self, every_s: float) -> None:
        self.beats += 1
        state = {"step": self.step, "steps": self.steps, "host": socket.gethostname(), "pid": self.owner}
        self.folder.write_heartbeat(state | {"beat": self.beats, "every_s": every_s, "time": time.time()})
