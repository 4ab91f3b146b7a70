"""What runs take: a small one by the step, a large one by the FLOP, in time that a processor gives them.

cost([(1000, 1e9, 2.0), (1000, 1e10, 2.1)])      # of a step and of a FLOP [s]
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# steps and FLOPs of some work, and the time that it received [s]
Work = tuple[float, float, float]


def cost(done: Sequence[Work]) -> tuple[float, float]:
    """Return what a step and a FLOP take [s], by least squares of relative errors, neither below 0."""
    table = np.array([work for work in done if min(work) > 0], dtype=float).reshape(-1, 3)
    x = table[:, :2] / table[:, 2:]
    scale = x.max(axis=0, initial=1e-300)
    both = np.linalg.lstsq(x / scale, np.ones(len(x)))[0] / scale
    if (both >= 0).all():
        return float(both[0]), float(both[1])
    alone = x.sum(axis=0) / (x**2).sum(axis=0)
    by_step, by_flop = ((1 - alone * x) ** 2).sum(axis=0)
    return (float(alone[0]), 0.0) if by_step <= by_flop else (0.0, float(alone[1]))


def received(pid: int | None, elapsed: float) -> float:
    """Return the processor time of a process [s], 0 of one that ended; what elapsed where the system does not tell."""
    if not Path("/proc/self/stat").exists():
        return elapsed
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0.0
