"""What this machine has to run on: its GPUs and cores, without asking torch.

gpus()       # ['GPU-5a1c…', 'GPU-77b0…'] or []
cores()      # 16
"""

import itertools
import os
import re
import subprocess
from functools import lru_cache
from pathlib import Path

# a GPU, or a slice of the GPU above it, as `nvidia-smi -L` lists them
LISTED = re.compile(r"UUID: ((GPU|MIG)-[^\s)]+)")


def gpus() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        # as CUDA reads it: names after an invalid one are ignored
        return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))
    nodes = len(list(Path("/dev").glob("nvidia[0-9]*")))  # a container's need not begin at 0, as its ordinals do
    return (list(listed()) or [str(ordinal) for ordinal in range(nodes)]) if nodes else []


@lru_cache(maxsize=1)
def listed() -> tuple[str, ...]:
    """Return the UUIDs of this machine's GPUs by nvidia-smi; of a GPU that is sliced (MIG), those of its slices."""
    try:
        lines = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    names = LISTED.findall(lines)
    sliced = {card for (card, _), (_, kind) in itertools.pairwise(names) if kind == "MIG"}
    return tuple(name for name, kind in names if kind == "MIG" or name not in sliced)


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
