"""The state of every run of a folder, read from the files that the runs leave: no server, nothing kept in memory.

for entry in entries(Path("runs")):
    print(entry.run_id, entry.state)
"""

import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scaling import config, record
from scaling.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One run's folder. state: planned, running, broken (a record that is not whole), or the status of its record."""

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

    @cached_property
    def state(self) -> str:
        if self.rows and not (self.rows[0]["status"] not in ("ok", "diverged") and held(self.folder)):
            return str(self.rows[0]["status"])
        if (self.folder / record.FILE).exists():
            return "broken"
        return "running" if held(self.folder) else "planned"

    @property
    def finished(self) -> bool:
        """Whether the same command need not make it again."""
        return self.state in ("ok", "diverged")

    def heartbeat(self) -> dict[str, Any]:
        """Step, steps, host, pid and time of a run at work; empty where there is none."""
        try:
            return json.loads((self.folder / config.HEARTBEAT).read_text())  # type: ignore[no-any-return]
        except (OSError, ValueError):
            return {}


def held(folder: Path) -> bool:
    """Whether a process is at work in the folder."""
    try:
        with (folder / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:  # no lock was ever taken
        return False


def entries(folder: Path) -> Iterator[Entry]:
    """The runs of a folder, sorted by run_id."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of runs; give the out= of a sweep, or train one first")
    frozen = sorted(path.parent for path in folder.glob(f"*/{config.FILE}"))
    if not frozen:
        raise UserError(f"{folder} holds no run (no */{config.FILE}); give the out= of a sweep, or train one first")
    return map(Entry, frozen)
