"""The folder of one run: every file in it, named, read and written here alone, whole and by one owner.

folder = RunFolder(Path("runs/0f3a9c2b7d11"))
folder.read_heartbeat().get("step")
"""

import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from isoflop import files
from isoflop.checks import is_number


@dataclass(frozen=True)
class _RunFile:
    name: str

    def __get__(self, folder: "RunFolder", owner: type) -> Path:
        return folder.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    CONFIG: ClassVar[str] = "frozen.json"
    RECORDS: ClassVar[str] = "records.json"
    PROFILES: ClassVar[str] = "probes.json"
    DIGEST: ClassVar[str] = "sha256"
    LEASE: ClassVar[re.Pattern[str]] = re.compile(r"claim\.([1-9][0-9]{0,8})")
    # what a point of a profile is
    PROBES: ClassVar[tuple[str, ...]] = ("D", "probe", "quantity", "axis", "index", "value", "se")

    config = _RunFile(CONFIG)
    """The frozen config, there from the moment a run is planned (scaling/config/frozen.py)."""
    records = _RunFile(RECORDS)
    """The rows of the run; their presence is what makes it finished (isoflop/record.py)."""
    lock = _RunFile("lock")
    """Locked by the process that is at work."""
    heartbeat = _RunFile("heartbeat.json")
    """Who is at work and how far."""
    cancel = _RunFile("cancel")
    """There if a person asked the run to stop."""
    curve = _RunFile("curve.csv")
    """The training loss along the run."""
    checkpoint = _RunFile("checkpoint.ckpt")
    """The state of a run that is not finished."""
    trunk = _RunFile("trunk.ckpt")
    """The state that a further mark goes on from."""
    spent = _RunFile("spent.json")
    """What all steps of a run of several marks cost."""
    probes = _RunFile(PROFILES)
    """The profiles that probes measured."""
    mirror = _RunFile("mirror.json")
    """Where the run is mirrored online."""
    log = _RunFile("log.txt")
    """What the run's process printed."""

    @property
    def run_id(self) -> str:
        return self.path.resolve().name

    def lease(self, number: int) -> Path:
        """Return the lease of a number; who holds the highest one may work here (scaling/process/lock.py)."""
        return self.path / f"claim.{number}"

    def leases(self) -> list[int]:
        """Return the numbers of the leases that there are, ascending."""
        with os.scandir(self.path) as inside:
            names = [self.LEASE.fullmatch(one.name) for one in inside]
        return sorted(int(name[1]) for name in names if name)

    def weights(self, D: int) -> Path:
        """Return the weights of the mark at D, where trainer.keep=marks asked for them."""
        return self.path / f"weights.{D}.ckpt"

    @property
    def cancelled(self) -> bool:
        """Whether a person asked for this run to stop; re-running it clears the request."""
        return self.cancel.exists()

    def read_config(self) -> dict[str, Any] | None:
        """Return the frozen config as plain data; None if it is not whole. FileNotFoundError if there is none."""
        try:
            data = files.parse_json(files.read_bytes(self.config))
        except ValueError:
            return None
        if not isinstance(data, dict):
            return None
        digest = data.pop(self.DIGEST, None)  # earlier versions wrote none
        return data if digest in (None, files.digest(data)) else None

    def write_config(self, data: dict[str, Any]) -> None:
        """Write the frozen config with a digest of its values, and clear an earlier request to stop the run."""
        values = json.loads(json.dumps(data, allow_nan=False))  # keys as they will be read
        text = json.dumps({self.DIGEST: files.digest(values)} | values, indent=1)
        files.write_text(self.config, text + "\n")
        self.cancel.unlink(missing_ok=True)

    def read_heartbeat(self) -> dict[str, Any]:
        """Return step, steps, host, pid, beat, every_s, time of the last beat; {} if there is no valid one."""
        beat = files.read_json(self.heartbeat)
        return beat if isinstance(beat, dict) and _is_beat(beat) else {}

    def write_heartbeat(self, beat: dict[str, Any]) -> None:
        """Replace the heartbeat, without a flush; on a full disk, give the last one the time of now."""
        draft = self.path / f".{self.heartbeat.name}.{beat['host']}.{beat['pid']}"
        try:
            draft.write_text(json.dumps(beat))
            os.replace(draft, self.heartbeat)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                os.utime(self.heartbeat)

    def read_spent(self) -> dict[str, Any]:
        """Return what a run of several marks has spent so far; {} before its first mark, or if the file is damaged."""
        spent, names = files.read_json(self.spent), ("marks", "steps", "C", "C_separate")
        sound = isinstance(spent, dict) and all(is_number(spent.get(name)) and spent[name] > 0 for name in names)
        return spent if sound else {}

    def write_spent(self, spent: dict[str, Any]) -> None:
        files.write_json(self.spent, spent)

    def read_probes(self) -> list[tuple[Any, ...]]:
        """Return the points of the profiles that probes measured (PROBES); none if there are none, or not whole."""
        points = files.read_json(self.probes)
        sound = isinstance(points, list) and all(isinstance(p, list) and _is_point(p) for p in points)
        return [tuple(point) for point in points] if sound else []

    def write_probes(self, points: list[tuple[Any, ...]]) -> None:
        """Write the points of profiles, in place of earlier ones at the same D of the same probe."""
        new = {point[:2] for point in points}
        earlier = [point for point in self.read_probes() if point[:2] not in new]
        files.write_json(self.probes, files.finite([list(point) for point in earlier + points]))

    def read_mirror(self) -> str | None:
        """Return the address of the run's mirror; None if none is known."""
        mirror = files.read_json(self.mirror)
        url = mirror.get("url") if isinstance(mirror, dict) else None
        return url if isinstance(url, str) else None

    def write_mirror(self, url: str) -> None:
        files.write_json(self.mirror, {"url": url})

    def append_log(self, text: str) -> None:
        """Append to the log, if there is room on the disk."""
        with contextlib.suppress(OSError), self.log.open("a") as file:
            file.write(text)

    def remove_drafts(self) -> None:
        """Remove what a killed process was about to write; for who holds the folder alone."""
        written = (self.checkpoint, self.trunk, self.records, self.spent, self.curve, self.heartbeat)
        for pattern in (*(f".{path.name}.*" for path in written), ".weights.*.ckpt.*"):
            for draft in self.path.glob(pattern):
                draft.unlink(missing_ok=True)

    def remove_unstarted(self) -> None:
        """Remove what freezing left of a run that cannot be made at all, unless it has a record."""
        if not self.records.exists():
            for path in (self.config, self.lock):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()


def _is_beat(beat: dict[str, Any]) -> bool:
    numbers = all(is_number(beat.get(name)) and beat[name] >= 0 for name in ("step", "steps", "pid", "beat", "time"))
    every_s = beat.get("every_s")
    # the longest is SLOW_S (scaling/process/lock.py); who waits for three beats must not wait for ever
    return numbers and isinstance(beat.get("host"), str) and is_number(every_s) and 0 < every_s <= 60  # type: ignore[operator]


def _is_point(point: list[Any]) -> bool:
    """Return whether these are the members of a point of a profile (RunFolder.PROBES), null for what is not finite."""
    if len(point) != len(RunFolder.PROBES):
        return False
    D, *names, index, value, se = point
    numbers = all(number is None or is_number(number) for number in (value, se))
    return is_number(D) and is_number(index) and numbers and all(isinstance(name, str) for name in names)
