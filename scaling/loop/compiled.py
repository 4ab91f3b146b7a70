"""The loss of a batch and its gradient through torch.compile, where that is asked for or saves time.

`trainer.compile=auto` times the model as it is and compiles where what is left of the run would be shortened by more
than compiling takes: what was measured on this machine, by shape and architecture, or what docs/speed.md says.

    compiler = Compiler("auto", kind="ssm", shape="ssm of width 64, 16 examples")
    objective = compiler.compile(objective, parameters, batches, passes=20_000) or objective
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from isoflop import files
from isoflop.scaling.hardware import device_name

# from inputs and targets the sum of the losses, and what the layers ask to have added to the mean
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | float]]

# where nothing is remembered: the least share of a pass that was saved, and times of compiling (docs/speed.md)
SAVES = 0.2
COLD_S, WARM_S = 120.0, 15.0
TIMED = 3  # passes, of which the least counts
BACKEND = "inductor"
CACHE = "TORCHINDUCTOR_CACHE_DIR"  # torch's variable for the folder of compiled code


def _cache() -> Path:
    return files.cache() / "compiled"


@dataclass
class Compiler:
    """asked: True, or auto for where it saves time. kind, shape: names of the architecture and of all that is compiled.
    compile_s: time that compiling and the passes timed for it took [s]; None where nothing was compiled."""

    asked: bool | str
    kind: str
    shape: str
    compile_s: float | None = None

    def compile(
        self,
        objective: Objective,
        parameters: Sequence[Tensor],
        batches: Sequence[tuple[Tensor, Tensor]],
        passes: int,
        again: bool | None = None,
    ) -> Objective | None:
        """Return the compiled objective; None, with a line if it was asked for, where it stays as it is.

        batches: one of each size. passes: how many the run will make. again: what `auto` came to when the run began.
        """
        began, name = time.monotonic(), device_name(batches[0][0].device)  # times of one device say nothing of another
        self.kind, self.shape = f"{self.kind} {name}", f"{self.shape} {name}"
        plain_s = _least_pass_s(objective, parameters, *batches[0])
        if self.asked == "auto" and not (self.is_worth(plain_s, passes) if again is None else again):
            return None
        try:
            compiled = compile_for(objective, parameters, batches)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler, or the lack of one, raises
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            asked = f"trainer.compile={str(self.asked).lower()}"
            print(f"{asked}: {reason}; the model is trained as it is", file=sys.stderr)
            return None
        self.compile_s = time.monotonic() - began
        self.remember(1 - _least_pass_s(compiled, parameters, *batches[0]) / plain_s, self.compile_s)
        return compiled

    def is_worth(self, plain_s: float, passes: int) -> bool:
        """Return whether compiling saves more time than it takes."""
        known = files.recall(_cache() / "saved.json")
        saves, takes_s = known.get(self.shape) or known.get(self.kind) or (SAVES, COLD_S)
        return bool(passes * plain_s * saves > takes_s)

    def remember(self, saves: float, takes_s: float) -> None:
        """Keep what compiling saved and took; the same shape will find its code in the cache."""
        known = files.recall(_cache() / "saved.json")
        entry = (saves, takes_s if self.shape in known else min(takes_s, WARM_S))
        first = {} if self.shape in known else {self.kind: (saves, takes_s)}
        files.keep(_cache() / "saved.json", known | first | {self.shape: entry})


def compile_for(
    objective: Objective, parameters: Sequence[Tensor], batches: Sequence[tuple[Tensor, Tensor]]
) -> Objective:
    """Compile the objective, forward and backward, for batches of these sizes."""
    from torch._inductor import config
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # torch names its own folder there when it is imported, one that does not outlive the machine's start
    if os.environ.get(CACHE, default_cache_dir()) == default_cache_dir():
        os.environ[CACHE] = str(_cache() / "code")
    config.compile_threads = 1  # a sweep has a process on every core
    torch._dynamo.reset()  # its budget of recompilations is that of a process
    compiled: Objective = torch.compile(objective, dynamic=False, backend=BACKEND)
    for x, y in batches:
        _pass_s(compiled, parameters, x, y)
    return compiled


def _least_pass_s(objective: Objective, parameters: Sequence[Tensor], x: Tensor, y: Tensor) -> float:
    """Return the least time of a pass, forward and backward, after an uncounted one [s]."""
    return min([_pass_s(objective, parameters, x, y) for _ in range(1 + TIMED)][1:])


def _pass_s(objective: Objective, parameters: Sequence[Tensor], x: Tensor, y: Tensor) -> float:
    began = time.monotonic()
    loss, auxiliary = objective(x, y)
    torch.autograd.grad(loss / y.numel() + auxiliary, parameters, allow_unused=True)
    if x.device.type != "cpu":
        torch.accelerator.synchronize(x.device)
    return time.monotonic() - began
