"""A server that imports for seconds ends with the process that started it (standard library only).

Python's forkserver looks whether its launcher lives only once all is preloaded. Here the kernel ends it, whatever it is
at (prctl(2), PR_SET_PDEATHSIG, of Linux). Once all is imported, it must outlive the thread that started it.

    end_with_parent()
    import torch
    outlive()
"""

import contextlib
import ctypes
import os
import signal

# the variable in which a server finds the process that started it
PARENT = "ISOFLOP_SERVER_OF"
# linux/prctl.h
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Kill this process when its parent ends; exit if it has ended already."""
    _on_death_of_parent(signal.SIGKILL)
    if os.environ.pop(PARENT, str(os.getppid())) not in (str(os.getppid()), str(os.getpid())):
        os._exit(1)


def outlive() -> None:
    """Let this process outlive its parent."""
    _on_death_of_parent(0)


def _on_death_of_parent(number: int) -> None:
    """Set the signal that this process gets when its parent ends; do nothing if the system has none."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
