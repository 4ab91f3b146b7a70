"""The state of a run: all that training changes, set aside where marks share a trunk, and whole on disk.

    write(Path("state.ckpt"), {"position": 3})
    read(Path("state.ckpt"))["position"]

torch.load does not look at the checksums of its archive, so a digest of all bytes stands at the end of each file. Files
are opened here, by their path alone: no part of it is taken for a URL. Kept weights of a mark (`trainer.keep=marks`)
count only where they still give the loss of the record.
"""

import hashlib
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from isoflop import files, record
from isoflop.folder import RunFolder
from isoflop.scaling.config import resume
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.data.base import Examples
from isoflop.scaling.evaluate import evaluate
from isoflop.scaling.hardware import device_name
from isoflop.scaling.recipe.optimizers import Joint
from isoflop.scaling.subject import Subject, measure

if TYPE_CHECKING:
    from isoflop.scaling.assemble import Assembled, Mark

# two evaluations of the same weights differ by the order of sums in float32, whose rounding is 6e-8 each
SAME_LOSS = 1e-5
# on another device products differ too: of bf16 by 2^-8 each, of TF32, which cuDNN may take, by 2^-11
ELSEWHERE = {"fp32": 1e-4, "bf16": 5e-3}
# tensors of the module, tensors of its optimiser
State = tuple[list[Tensor], list[Tensor]]


def parts(optimizer: torch.optim.Optimizer) -> Sequence[torch.optim.Optimizer]:
    """Return the optimisers that hold the state."""
    return optimizer.parts if isinstance(optimizer, Joint) else (optimizer,)


def _tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Return all tensors that training changes, in a fixed order."""
    reshard(module)
    of_optimizer = [
        value
        for part in parts(optimizer)
        for group in part.param_groups
        for parameter in group["params"]
        for _, value in sorted(part.state.get(parameter, {}).items())
        if isinstance(value, Tensor)
    ]
    return [*module.parameters(), *module.buffers()], of_optimizer


def reshard(module: nn.Module) -> None:
    """Shard over the ranks what the last forward may have left whole."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def set_aside(module: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Return a copy of all that training changes."""
    of_module, of_optimizer = _tensors(module, optimizer)
    return [t.detach().clone() for t in of_module], [t.detach().clone() for t in of_optimizer]


@torch.no_grad()
def take_up(state: State, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give the module and its optimiser what was set aside."""
    of_module, of_optimizer = _tensors(module, optimizer)
    for tensor, copy in zip(of_module, state[0], strict=True):
        tensor.copy_(sharded_as(tensor, copy))
    if state[1]:
        for tensor, copy in zip(of_optimizer, state[1], strict=True):
            tensor.copy_(sharded_as(tensor, copy))
    else:  # set aside before its first step
        for part in parts(optimizer):
            part.state.clear()


def full(value: Any) -> Any:
    """Return a tensor whole, gathered if it is sharded (all ranks take part); anything else unchanged."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def sharded_as(tensor: Tensor, copy: Tensor) -> Tensor:
    """Return a copy, sharded over the ranks as the tensor is."""
    if isinstance(tensor, DTensor) and not isinstance(copy, DTensor):
        return distribute_tensor(copy, tensor.device_mesh, tensor.placements)
    return copy


# what stands between the archive and its digest
MARK = b"\nsha256 "
TAIL = len(MARK) + hashlib.sha256().digest_size
BLOCK = 2**20  # bytes read at a time


class DamagedError(Exception):
    """The file is not the one that was written."""


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a state of plain data and tensors, flushed to disk; raise OSError, leaving nothing, if it does not fit."""
    with files.replacing(path) as draft, draft.open("wb") as file:
        digested = _Digested(file)
        try:
            torch.save(state, cast(IO[bytes], digested))
        except Exception as error:  # torch's own, where its writer could not write: the reason is the file's
            raise (digested.error or error) from None
        file.write(MARK + digested.digest.digest())


def read(path: Path) -> dict[str, Any]:
    """Read a state, its tensors on the CPU; raise DamagedError if a byte differs, OSError if there is no file."""
    with path.open("rb") as file:
        _refuse_damage(file)
        try:  # what stands behind the archive is passed over, as behind any zip
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whole, but nothing that this version can read
            if isinstance(error, MemoryError) or "memory" in str(error):
                raise
            raise DamagedError(f"holds no state ({type(error).__name__})") from error
    return state


def _refuse_damage(file: IO[bytes]) -> None:
    """Raise DamagedError unless the digest at the end of a file is that of the bytes before it."""
    size = file.seek(0, io.SEEK_END) - TAIL
    file.seek(0)
    digest, left = hashlib.sha256(), max(0, size)
    while left and (block := file.read(min(left, BLOCK))):
        digest.update(block)
        left -= len(block)
    if size <= 0 or file.read() != MARK + digest.digest():
        raise DamagedError("is damaged: its digest is another")
    file.seek(0)


class _Digested:
    """A file to write to, with the digest of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self.digest.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def whole(model: nn.Module) -> dict[str, Any]:
    """Return the model's weights, gathered from the ranks; all of them take part."""
    return {name: full(tensor) for name, tensor in model.state_dict().items()}


def measure_again(
    config: FrozenConfig, folder: RunFolder, run: "Assembled", values: Iterable[float]
) -> list[record.Row] | None:
    """Measure missing probes of finished marks, at these values of the budget, and return their rows; None where a mark
    is not finished, or its weights were not kept or do not give the loss of its row."""
    rows = {row.get(f"budget.{config.budget.name}"): row for row in resume.reusable(folder.path, config)}
    marks = [mark for mark in run.marks if mark.value in values]
    finished = [(mark, rows[mark.value]) for mark in marks if mark.value in rows and folder.weights(mark.D).exists()]
    if not run.probes or len(finished) < len(marks) or any(row["status"] != record.RunStatus.OK for _, row in finished):
        return None
    examples = run.data.load().to(_device_of(config))
    measured, points = [], []
    for mark, row in finished:
        subject = _subject_of(config, folder, run, mark, examples, row)
        if subject is None:
            return None
        lacking = {name: probe for name, probe in run.probes.items() if f"probe.{name}.version" not in row}
        columns, profiles = measure(lacking, subject)
        measured.append(record.row(**row | columns))
        points += [(mark.D, name, *astuple(point)) for name, point in profiles]
    if points:
        folder.write_probes(points)
    return measured


def _device_of(config: FrozenConfig) -> torch.device:
    return torch.device("cuda" if config.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def _subject_of(
    config: FrozenConfig, folder: RunFolder, run: "Assembled", mark: "Mark", examples: Examples, row: record.Row
) -> Subject | None:
    """Return what a probe sees of a mark, from its weights; None, with a line in the log, if the row's loss differs."""
    torch.manual_seed(config.seed)
    device = _device_of(config)
    model = run.rebuild(run.task).to(device)
    try:
        model.load_state_dict(read(folder.weights(mark.D))["weights"])
    except (DamagedError, OSError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        problem = " ".join(str(error).split())
        folder.append_log(f"{folder.weights(mark.D).name} {problem}: the run is made again\n")
        return None
    now = evaluate(model, run.task, examples, run.recipe.precision)["L"]
    L, here = float(row["L"]), device_name(device)
    elsewhere = here != row["device"]
    if elsewhere:
        folder.append_log(f"{folder.weights(mark.D).name}: trained on {row['device']}, measured on {here}\n")
    if not math.isclose(now, L, rel_tol=ELSEWHERE[run.recipe.precision] if elsewhere else SAME_LOSS):
        losses = f"gives a loss of {now:.6g} and not {L:.6g}"
        folder.append_log(f"{folder.weights(mark.D).name} {losses}: the run is made again\n")
        return None
    return Subject(model, run.task, examples, run.recipe.precision, config.seed, run.data, run.rebuild)
