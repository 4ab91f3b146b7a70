"""One process at a time is at work in a run's folder, by a lock that ends with it (standard library only).

The lock (flock) is the kernel's. Where hosts share a file system without common locks, the lease (lease.py) decides.

    with sole_writer(folder) as lease, Heart(folder, stands=lease.stands) as heart:
        heart.at(step=120, steps=400)
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from typing import IO

from isoflop.errors import BusyError
from isoflop.folder import RunFolder
from isoflop.scaling.process.heartbeat import beats_elsewhere
from isoflop.scaling.process.lease import Lease, busy, make


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
        if not mine or (not folder.leases() and beats_elsewhere(folder)):
            raise busy(folder)
        while True:  # as soon as its holder has ended
            try:
                lease = make(folder)
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
