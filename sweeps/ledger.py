"""The ledger: the state of every run of a folder, read from the files that the runs leave; no server, no index.

    for entry in entries(Path("runs")):
        print(entry.run_id, entry.state)

isoflop/folder.py describes the files.
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
from isoflop.folder import RunFolder
from isoflop.scaling.config import resume
from isoflop.scaling.config.frozen import FrozenConfig, thaw
from isoflop.scaling.process.claim import is_claimed
from isoflop.scaling.process.heartbeat import is_fresh
from isoflop.scaling.process.lock import held

# what a run's folder is called: a copy under another name is none
RUN_ID = re.compile("[0-9a-f]{12}")
# what a run can be, in the order of display
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

    @property
    def files(self) -> RunFolder:
        """The files of the run."""
        return RunFolder(self.folder)

    @cached_property
    def config(self) -> FrozenConfig:
        """The frozen config; UserError where it is not whole."""
        return thaw(self.folder)

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
        return bool(self.rows) and record.has_result(self.rows[0])

    @cached_property
    def state(self) -> str:
        if self.good and not self.asked_for_more:
            return str(self.rows[0]["status"])
        if self.held:
            return "running"
        if not self.rows and not self.whole:
            return "broken"
        if self.files.cancelled:
            return "cancelled"
        if self.rows and not self.good:
            return str(self.rows[0]["status"])
        return "stale" if self.heartbeat() else "planned"

    @property
    def whole(self) -> bool:
        """Whether its frozen config can be read, and no record that cannot lies beside it."""
        with contextlib.suppress(UserError):
            return bool(self.config) and not self.files.records.exists()
        return False

    @property
    def asked_for_more(self) -> bool:
        """Whether it was frozen anew after its record was written, and asks for what that lacks: a mark, other code."""
        with contextlib.suppress(OSError, UserError):
            frozen, made = (path.stat().st_mtime_ns for path in (self.files.config, self.files.records))
            return frozen > made and not self.finished
        return False

    @property
    def held(self) -> bool:
        """Whether a process is at work in the folder, here or on another host."""
        return held(self.files) or is_claimed(self.files) or is_fresh(self.files, self.heartbeat())

    @property
    def finished(self) -> bool:
        """Whether nothing of what is frozen is left to be made."""
        return resume.is_done(self.folder, self.config)

    @property
    def share_done(self) -> float:
        """The share of its steps that a run at work has made."""
        beat = self.heartbeat()
        return beat["step"] / beat["steps"] if beat.get("steps") else 0.0

    def heartbeat(self) -> dict[str, Any]:
        """Step, steps, host, pid and time of a run at work; empty where there is none."""
        return self.files.read_heartbeat()


def entries(folder: Path) -> Iterator[Entry]:
    """The runs of a folder, sorted by run_id; UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of runs; give the out= of a sweep, or train one first")
    with os.scandir(folder) as inside:
        names = sorted(one.name for one in inside if RUN_ID.fullmatch(one.name))
    frozen = [name for name in names if os.path.exists(f"{folder}/{name}/{RunFolder.CONFIG}")]
    if not frozen and RunFolder(folder).config.exists():
        raise UserError(f"{folder} is one run; give the folder that it lies in, {folder.parent}")
    if not frozen:
        raise UserError(f"{folder} holds no run (no */{RunFolder.CONFIG}); give the out= of a sweep, or train first")
    return (Entry(folder / name) for name in frozen)
