"""The ledger: the state of every run of a folder, read from the files that the runs leave; no server, no index.

    for entry in entries(Path("runs")):
        print(entry.run_id, entry.state)

A run's folder holds `frozen.json` from the moment it is planned, `lock` and `heartbeat.json` while a process is at work
in it, `cancel` where a person asked to stop, and `records.json` once it has ended: each written whole, by one owner, so
that any number of processes on a shared file system may read and write them.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from isoflop import record
from isoflop.errors import UserError
from isoflop.scaling import frozen as config
from isoflop.scaling.process import hold

# what a run's folder is called: a copy under another name is none
RUN_ID = re.compile("[0-9a-f]{12}")
# what a run can be, in the order in which it is told
STATES = ("ok", "diverged", "running", "planned", "stale", "cancelled", "timeout", "failed", "broken")
# ... and is made again, by the same command or by retry
UNMADE = ("planned", "stale", "cancelled", "timeout", "failed", "broken")


@dataclass(frozen=True)
class Entry:
    """One run's folder, as it was when first looked at.

    state: ok, diverged, failed, timeout (those of its record); planned; running; stale, where a process was at work and
    ended without a word; cancelled; broken, where its record or its frozen config is not whole.
    """

    folder: Path

    @property
    def run_id(self) -> str:
        return self.folder.name

    @cached_property
    def plain(self) -> config.Config:
        """The frozen config."""
        return config.thaw(self.folder)

    @cached_property
    def rows(self) -> list[record.Row]:
        """The rows of its record; none where it is not finished or not whole."""
        try:
            return record.read(self.folder)
        except (FileNotFoundError, UserError):
            return []

    @property
    def good(self) -> bool:
        """Whether its record holds results."""
        return bool(self.rows) and self.rows[0]["status"] in ("ok", "diverged")

    @cached_property
    def state(self) -> str:
        if self.good and not self.asked_for_more:
            return str(self.rows[0]["status"])
        if self.held:
            return "running"
        if not self.rows and not self.whole:
            return "broken"
        if hold.cancelled(self.folder):
            return "cancelled"
        if self.rows and not self.good:
            return str(self.rows[0]["status"])
        return "stale" if self.heartbeat() else "planned"

    @property
    def whole(self) -> bool:
        """Whether its frozen config can be read, and no record that cannot lies beside it."""
        with contextlib.suppress(UserError):
            return bool(self.plain) and not (self.folder / record.FILE).exists()
        return False

    @property
    def asked_for_more(self) -> bool:
        """Whether it was frozen anew after its record was written, and asks for what that lacks: a mark, other code."""
        with contextlib.suppress(OSError, UserError):
            frozen, made = (os.stat(self.folder / name).st_mtime_ns for name in (config.FILE, record.FILE))
            return frozen > made and not self.finished
        return False

    @property
    def held(self) -> bool:
        """Whether a process is at work in the folder, here or on another host."""
        return hold.held(self.folder) or hold.fresh(self.folder, self.heartbeat())

    @property
    def finished(self) -> bool:
        """Whether nothing of what is frozen is left to be made."""
        return config.done(self.folder, self.plain)

    @property
    def share_done(self) -> float:
        """The share of its steps that a run at work has made."""
        beat = self.heartbeat()
        return beat["step"] / beat["steps"] if beat.get("steps") else 0.0

    def heartbeat(self) -> dict[str, Any]:
        """Step, steps, host, pid and time of a run at work; empty where there is none."""
        return hold.heartbeat(self.folder)


def entries(folder: Path) -> Iterator[Entry]:
    """The runs of a folder, sorted by run_id; UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of runs; give the out= of a sweep, or train one first")
    with os.scandir(folder) as inside:
        names = sorted(one.name for one in inside if RUN_ID.fullmatch(one.name))
    frozen = [name for name in names if os.path.exists(f"{folder}/{name}/{config.FILE}")]
    if not frozen and (folder / config.FILE).exists():
        raise UserError(f"{folder} is one run; give the folder that it lies in, {folder.parent}")
    if not frozen:
        raise UserError(f"{folder} holds no run (no */{config.FILE}); give the out= of a sweep, or train one first")
    return (Entry(folder / name) for name in frozen)
