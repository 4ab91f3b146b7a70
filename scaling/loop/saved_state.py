"""The state of a run: all that training changes, set aside where marks share a trunk, and whole on disk.

On disk a state is written whole or not at all, and read only where every byte is the one that was written: torch.load
does not look at the checksums of its archive, so a flipped bit would be trained on. A digest of all bytes stands at the
end of the file. Files are opened here, by their path alone: no part of it is taken for a URL.

    write(Path("state.ckpt"), {"position": 3})
    read(Path("state.ckpt"))["position"]
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from isoflop import files
from isoflop.scaling.recipe.optimizers import Joint

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


def unsharded(state: State) -> State:
    """Return the same with every tensor whole, as a checkpoint keeps it; all ranks take part."""
    of_module, of_optimizer = ([full(t) for t in part] for part in state)
    return of_module, of_optimizer


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
        size = _size_of_archive(file)
        try:
            state: dict[str, Any] = torch.load(
                cast(IO[bytes], _Head(file, size)), map_location="cpu", weights_only=True
            )
        except Exception as error:  # whole, but nothing that this version can read
            if isinstance(error, MemoryError) or "memory" in str(error):
                raise
            raise DamagedError(f"holds no state ({type(error).__name__})") from error
    return state


def _size_of_archive(file: IO[bytes]) -> int:
    """Return the number of bytes before the digest, which has to match them."""
    size = file.seek(0, io.SEEK_END) - TAIL
    file.seek(0)
    digest, left = hashlib.sha256(), max(0, size)
    while left and (block := file.read(min(left, BLOCK))):
        digest.update(block)
        left -= len(block)
    if size <= 0 or file.read() != MARK + digest.digest():
        raise DamagedError("is damaged: its digest is another")
    return size


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


class _Head(io.RawIOBase):
    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self.file, self.size, self.at = file, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self.size - self.at))
        self.file.seek(self.at)
        count = self.file.readinto(view[:wanted])  # type: ignore[attr-defined]
        self.at += count
        return int(count)
