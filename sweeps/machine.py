"""What this machine has to run on: its GPUs and cores, without asking torch.

gpus()       # ['0', '1'] or []
cores()      # 16
"""

import itertools
import os
from pathlib import Path


def gpus() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        # as CUDA reads it: names after an invalid one are ignored
        return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
