"""What status needs of the records of a folder, remembered, so that the next look reads only what has changed.

    from isoflop.sweeps.ledger import entries
    glances = Glances(Path("runs"))
    runs = [glances.of(entry) for entry in entries(Path("runs"))]
    glances.keep()

A record counts as unchanged while its file has the same inode, size and times; a file changed within the last seconds
is not remembered ("racily clean", git's Documentation/technical/racy-git). Collect and runs read the record itself.
"""

import os
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from isoflop import record, record_checks, remembered
from isoflop.sweeps.ledger import Entry

# the columns that are shown or summed up
KEYS = (*record.WHO, "run_id", "status", "reason", "data", "N", "D", "C", "lr", "L", "L_se", "loss_unit", "wall_s")
# a file that was changed so short a time ago may change again unseen [s]: file systems keep times to 2 s at worst (FAT)
FRESH_S = 3.0


class Glances:
    """The records of a folder as they were last read."""

    def __init__(self, folder: Path) -> None:
        name = sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
        self.path = remembered.home() / "status" / f"{name}.json"
        self.known: dict[str, Any] = {}
        data = remembered.recall(self.path)
        if data.get("reader") == reader():
            self.known = data["runs"]
        self.now, self.new = time.time(), False
        self.seen: dict[str, Any] = {}

    def of(self, entry: Entry) -> Entry:
        """Return the run with the remembered content of its record, read again if the file has changed."""
        if (facts := entry.record_facts) is None:
            return entry
        sign = [facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
        known = self.known.get(entry.run_id)
        if known and known[0] == sign:
            entry.__dict__["contents"] = ([dict(zip(KEYS, values, strict=True)) for values in known[1]], "")
            self.seen[entry.run_id] = known
        elif entry.rows and self.now - max(facts.st_mtime, facts.st_ctime) > FRESH_S:
            self.seen[entry.run_id] = [sign, [[row.get(key) for key in KEYS] for row in entry.rows]]
            self.new = True
        return entry

    def keep(self) -> None:
        """Remember what was seen, where any of it is new."""
        if self.new:
            remembered.keep(self.path, {"reader": reader(), "runs": self.seen})


def reader() -> str:
    """Return the version of what reads a record: another may find fault with it."""
    sources = [Path(module.__file__ or "").read_bytes() for module in (record, record_checks)]
    return sha256(b"".join([*sources, repr(KEYS).encode()])).hexdigest()
