"""What this machine has to run on, and the device that a run was made on: measured beside the result, not part of it.

    measure(trainer, "bf16", step_C=6e9, step_s=0.01)
    peak("NVIDIA H100 80GB HBM3", "bf16")       # 989e12 FLOP/s
    gpus()                                      # ['GPU-5a1c…', 'GPU-77b0…'], without asking torch

torch stays out of the imports above the functions: plans look up peaks without it.
"""

import ctypes
import itertools
import os
import platform
import re
import resource
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import torch


class Card(NamedTuple):
    """What a data sheet says of a GPU."""

    bf16: float
    """Dense peak of products in bf16 [FLOP/s]."""
    bandwidth: float
    """Of its memory [bytes/s]."""
    fp32: float | None
    """Peak in fp32, without TF32 [FLOP/s]; None where the sheets differ."""


# by a word of the device's name, the more particular first. NVIDIA data sheets B200 (2024), GH200 (2024), H200 (2024),
# H100 (2023: SXM, PCIe, NVL), A100 (2021, SXM 80 GB), L40S (2023), L4 (2023), V100 fp16 (2020); sparse figures halved
CARDS = {
    "B200": Card(2.25e15, 8.0e12, None),
    "GH200": Card(989e12, 4.0e12, 67e12),
    "H200": Card(989e12, 4.8e12, 67e12),
    "H100 PCIe": Card(756e12, 2.0e12, 51e12),
    "H100 NVL": Card(835e12, 3.9e12, 60e12),
    "H100": Card(989e12, 3.35e12, 67e12),
    "A100": Card(312e12, 2.039e12, 19.5e12),
    "L40S": Card(362e12, 0.864e12, 91.6e12),
    "L4": Card(121e12, 0.3e12, 30.3e12),
    "V100": Card(125e12, 0.9e12, 15.7e12),
}

RUNS_PER_GPU = "ISOFLOP_RUNS_PER_GPU"  # the variable by which a sweep tells each of its runs how many share its GPU

# numbers of mallopt(3), as glibc's malloc.h has them
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def peak(name: str, precision: str) -> float | None:
    """Return the dense peak of a device in bf16 or fp32 [FLOP/s]; None if it is not known."""
    found = card(name)
    return None if found is None else found.bf16 if precision == "bf16" else found.fp32


def card(name: str) -> Card | None:
    """Return the data sheet of a device by a word of its name; None if there is none, as of a slice (MIG)."""
    if re.search(r"\bMIG\b", name):
        return None
    return next((sheet for word, sheet in CARDS.items() if re.search(rf"\b{word}\b", name)), None)


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        # as CUDA reads it: names after an invalid one are ignored
        return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))
    nodes = len(list(Path("/dev").glob("nvidia[0-9]*")))  # a container's need not begin at 0, as its ordinals do
    return (list(_listed()) or [str(ordinal) for ordinal in range(nodes)]) if nodes else []


@lru_cache(maxsize=1)
def _listed() -> tuple[str, ...]:
    """Return the UUIDs of this machine's GPUs by nvidia-smi; of a GPU that is sliced (MIG), those of its slices."""
    try:
        lines = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    names = re.findall(r"UUID: ((GPU|MIG)-[^\s)]+)", lines)
    sliced = {card for (card, _), (_, kind) in itertools.pairwise(names) if kind == "MIG"}
    return tuple(name for name, kind in names if kind == "MIG" or name not in sliced)


def threads() -> int:
    """Return the torch threads of a process: OMP_NUM_THREADS if it is a number, else one."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(given)) if given.isdecimal() else 1


def keep_freed_memory() -> None:
    """Keep freed memory in this process, so that a step's tensors are not requested again (glibc, mallopt(3))."""
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, 2**30)


def choose_kernels(precision: str, deterministic: bool) -> None:
    """Set how torch works on a GPU: TF32 where precision is bf16, coarser still; deterministic kernels if asked."""
    import torch

    if torch.cuda.is_initialized():  # by an earlier run of this process, whose peak is not of this one
        torch.cuda.reset_peak_memory_stats()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "bf16"
    if deterministic or torch.are_deterministic_algorithms_enabled():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as CUDA's notes on reproducible cuBLAS ask
        torch.use_deterministic_algorithms(deterministic, warn_only=True)


def refuse_missing_gpu(accelerator: str) -> None:
    """Raise RuntimeError if this process was given a GPU and torch sees none, rather than train on the CPU."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    if accelerator != "cpu" and given not in ("", "-1") and not torch.cuda.is_available():
        raise RuntimeError(f"CUDA_VISIBLE_DEVICES={given}, but torch sees no GPU; give trainer.accelerator=cpu")


def gpu_memory() -> int:
    """Return the first visible GPU's memory [bytes], by nvidia-smi, as torch would start CUDA here; 0 if unknown."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    command = ["nvidia-smi", "-i", first, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return int(said) * 2**20 if said.isdecimal() else 0  # of a slice of a GPU it says nothing


def device_name(device: "torch.device") -> str:
    """Return the name of the GPU, or of the processor."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure(trainer: "pl.Trainer", precision: str, step_C: float, step_s: float | None) -> dict[str, Any]:
    """Return the columns of a record that say where and how fast a run went; step_C: FLOPs of all devices."""
    import torch

    device = trainer.strategy.root_device
    name, on_gpu = device_name(device), device.type == "cuda"
    top, unit = peak(name, precision), 1 if sys.platform == "darwin" else 1024
    of_process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "step_s": step_s,
        "mfu": step_C / step_s / (top * trainer.world_size) if top and step_s else None,
        "peak_memory": torch.cuda.max_memory_allocated(device) if on_gpu else of_process,
        "device": name,
        "torch": torch.__version__,
        "tf32": torch.backends.cuda.matmul.allow_tf32 if on_gpu else None,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
