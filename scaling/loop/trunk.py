"""The trunk that several marks share: a copy of all that training changes, set aside and taken up again.

state = set_aside(module, optimizer)
...                                       # a cooldown
take_up(state, module, optimizer)          # to the same bits
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from isoflop.scaling.recipe.optimizers import Joint

# tensors of the module, tensors of its optimiser
State = tuple[list[Tensor], list[Tensor]]


def parts(optimizer: torch.optim.Optimizer) -> Sequence[torch.optim.Optimizer]:
    """Return the optimisers that hold the state."""
    return optimizer.parts if isinstance(optimizer, Joint) else (optimizer,)


def tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> State:
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
    of_module, of_optimizer = tensors(module, optimizer)
    return [t.detach().clone() for t in of_module], [t.detach().clone() for t in of_optimizer]


@torch.no_grad()
def take_up(state: State, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give the module and its optimiser what was set aside."""
    of_module, of_optimizer = tensors(module, optimizer)
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
