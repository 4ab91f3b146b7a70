"""The ledger: the state of every run of a folder, read from the files that the runs leave; no server, no index.

    for entry in entries(Path("runs")):
        print(entry.run_id, entry.state)

Damage hides no run: what cannot be read is `broken`, and `Entry.problem` says why.
"""

import contextlib
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop import record
from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.scaling.process.lock import held, is_fresh, is_leased

if TYPE_CHECKING:
    from isoflop.scaling.config.frozen import FrozenConfig

# what a run can be, in the order of display
STATES = ("ok", "diverged", "running", "planned", "stale", "cancelled", "timeout", "failed", "broken")
# ... and is made again, by the same command or by retry
UNMADE = ("planned", "stale", "cancelled", "timeout", "failed", "broken")


@dataclass(frozen=True)
class Entry:
    """One run's folder, as it was when first looked at.

    state: ok, diverged, failed, timeout (those of its record); planned; running; stale, where a process was at work and
    ended without a word; cancelled; broken, where its record, its frozen config or its folder cannot be read.
    """

    folder: Path

    @property
    def run_id(self) -> str:
        return self.folder.name

    @property
    def files(self) -> RunFolder:
        return RunFolder(self.folder)

    @cached_property
    def config(self) -> "FrozenConfig":
        """The frozen config; UserError if it is lost or not whole."""
        from isoflop.scaling.config.frozen import thaw  # a tenth of a second, which a folder of records need not take

        try:
            return thaw(self.folder)
        except OSError as error:
            raise UserError(f"{self.files.config}: {error.strerror or error}; rerun the command that made it") from None

    @cached_property
    def contents(self) -> tuple[list[record.Row], str]:
        """The rows of its record, none where it has not ended; and why what is there cannot be read, or nothing."""
        try:
            return record.read(self.folder), ""
        except FileNotFoundError:
            return [], ""
        except UserError as error:
            return [], str(error)
        except OSError as error:
            return [], f"{error.filename or self.files.records}: {error.strerror or error}"

    @property
    def rows(self) -> list[record.Row]:
        return self.contents[0]

    @cached_property
    def problem(self) -> str:
        """Why the run is broken; empty if its record is whole, or if there is none and its config is whole."""
        rows, unreadable = self.contents
        if rows or unreadable:
            return unreadable
        try:
            self.config  # noqa: B018
        except UserError as error:
            return str(error)
        return ""

    @property
    def good(self) -> bool:
        return bool(self.rows) and record.has_result(self.rows[0])

    @cached_property
    def state(self) -> str:
        if self.good and not self.asked_for_more:
            return str(self.rows[0]["status"])
        if self.held:
            return "running"
        if self.problem:
            return "broken"
        if self.files.cancelled:
            return "cancelled"
        if self.rows and not self.good:
            return str(self.rows[0]["status"])
        return "stale" if self.files.read_heartbeat() else "planned"

    @cached_property
    def record_facts(self) -> os.stat_result | None:
        """What the system says of its record; None if there is none."""
        return _facts(f"{self.folder}/{RunFolder.RECORDS}")

    @property
    def asked_for_more(self) -> bool:
        """Whether it was frozen again after its record was written, and asks for a missing mark or for other code."""
        made, frozen = self.record_facts, _facts(f"{self.folder}/{RunFolder.CONFIG}")
        if made is None or frozen is None:
            return False
        return frozen.st_mtime_ns > made.st_mtime_ns and not self.finished

    @property
    def held(self) -> bool:
        """Whether a process is at work in the folder, here or on another host."""
        return held(self.files) or is_leased(self.files) or is_fresh(self.files)

    @property
    def finished(self) -> bool:
        """Whether nothing of what is frozen is left to be made; where the config is lost, whether there are results."""
        from isoflop.scaling.config import resume

        try:
            config = self.config
        except UserError:
            return self.good
        return resume.is_done(self.folder, config)

    @property
    def share_done(self) -> float:
        """The share of its steps that a run at work has made."""
        beat = self.files.read_heartbeat()
        return min(1.0, beat["step"] / beat["steps"]) if beat.get("steps") else 0.0


@contextlib.contextmanager
def no_garbage() -> Iterator[None]:
    """Read many records, which hold no cycles, without Python's search for such among their millions of cells."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def entries(folder: Path) -> Iterator[Entry]:
    """Return the runs of a folder, sorted by run_id; UserError if there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of runs; give the out= of a sweep, or train one first")
    with os.scandir(folder) as inside:
        names = sorted(one.name for one in inside if record.RUN_ID.fullmatch(one.name) and _is_run(one.path))
    if not names and RunFolder(folder).config.exists():
        raise UserError(f"{folder} is one run; give its parent folder, {folder.parent}")
    if not names:
        raise UserError(f"{folder} holds no run (no */{RunFolder.CONFIG}); give the out= of a sweep, or train first")
    return (Entry(folder / name) for name in names)


def _facts(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _is_run(path: str) -> bool:
    """Return whether a path named like a run is a run's folder (also if unreadable), not one yet to be planned."""
    try:
        os.stat(f"{path}/{RunFolder.CONFIG}")
        return True
    except FileNotFoundError:
        return _has_traces(path)
    except NotADirectoryError:
        return False
    except OSError:
        return True


def _has_traces(path: str) -> bool:
    """Return whether a folder without a frozen config holds anything that a run leaves, drafts and the lock aside."""
    try:
        with os.scandir(path) as inside:
            return any(not one.name.startswith(".") and one.name != "lock" for one in inside)
    except FileNotFoundError:  # a link to nowhere, or removed meanwhile
        return False
    except OSError:
        return True
