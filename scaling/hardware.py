"""In what circumstances a run was made: device, speed, memory; measured beside the result, never part of it.

measure(trainer, flops=6e12, targets=1e6, wall_s=12.0, precision="bf16")
"""

import platform
import resource
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from isoflop.scaling.peaks import peak


def device_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> int:
    """Largest memory held so far [bytes]: on the GPU, or by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(trainer: pl.Trainer, flops: float, targets: float, wall_s: float, precision: str) -> dict[str, Any]:
    """The columns of a record that say how the run went; flops and targets are those of all devices in wall_s."""
    device = trainer.strategy.root_device
    name = device_name(device)
    top = peak(name, precision)
    return {
        "wall_s": wall_s,
        "targets_per_s": targets / wall_s,
        "mfu": flops / wall_s / (top * trainer.world_size) if top else None,
        "peak_memory": peak_memory(device),
        "device": name,
        "torch": torch.__version__,
    }
