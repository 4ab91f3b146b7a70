"""Checkpoints: the whole state of a run, kept now and then and before a signal ends it, and taken up again.

The state is that of the module, its optimiser and its position; the loops of Lightning have none that matters here.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch.utils._pytree import tree_map

from isoflop.folder import RunFolder
from isoflop.scaling.config.provenance import Code
from isoflop.scaling.loop import saved_state
from isoflop.scaling.loop.module import ScalingModule
from isoflop.scaling.process.signals import Deferred, Terminated, stop_if_terminated

ASK_EVERY = 20  # steps between the times that ranks ask whether to keep a checkpoint


class Checkpoints(pl.Callback):
    """Keeps a checkpoint until the run is finished, and the trunk of marks; lost: another process has the folder."""

    def __init__(
        self, folder: RunFolder, code: Code, every_s: float, deferred: Deferred, lost: Callable[[], bool]
    ) -> None:
        self.folder, self.code, self.every_s, self.deferred, self.lost = folder, code, every_s, deferred, lost
        self.earlier_s = 0.0  # time of earlier attempts that this one goes on from
        self.began = self.saved = time.monotonic()
        self.ended = False

    @property
    def wall_s(self) -> float:
        """Time spent on the run so far, earlier attempts included [s]."""
        return self.earlier_s if self.ended else self.earlier_s + time.monotonic() - self.began

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, ScalingModule)
        self.deferred.handle(before=lambda: self.save_before_stop(trainer, module))
        if module.position < module.goal:
            stop_if_terminated()
        now = time.monotonic()
        late = now - self.saved > self.every_s
        if trainer.world_size > 1:  # all ranks follow the clock of the first
            late = module.made % ASK_EVERY == 0 and bool(trainer.strategy.broadcast(late))
        if late and module.position < module.goal:
            self.saved = now
            self.save(trainer, module, self.folder.checkpoint)

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        assert isinstance(module, ScalingModule)
        if isinstance(exception, SIGTERMException | Terminated):  # raised between steps
            self.save_before_stop(trainer, module)

    def save_before_stop(self, trainer: pl.Trainer, module: ScalingModule) -> None:
        """Save the state before a signal ends the run; no rank waits for another."""
        if trainer.world_size == 1 and 0 < module.position < module.goal:
            self.save(trainer, module, self.folder.checkpoint)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, ScalingModule)
        if module.keep_trunk and trainer.should_stop:  # a further mark goes on from here
            self.save(trainer, module, self.folder.trunk)

    def save(self, trainer: pl.Trainer, module: ScalingModule, path: Path) -> None:
        """Save the whole state, so that a killed or a longer run resumes here; all ranks take part."""
        state = {"code": self.code.to_json(), "wall_s": self.wall_s} | _state_of(module)
        if trainer.is_global_zero and not self.lost():
            saved_state.write(path, state)
        trainer.strategy.barrier()  # no rank ends while the first one writes

    def find(self, module: ScalingModule) -> dict[str, Any] | None:
        """Return the state to resume from; remove a file of other code, or one that cannot be read or used."""
        for path in (self.folder.checkpoint, self.folder.trunk):
            try:
                state = saved_state.read(path)
                problem = self.problem_of(state, module)
            except FileNotFoundError:
                continue
            except (saved_state.DamagedError, OSError) as error:
                problem = str(error)
            if problem is None:
                self.earlier_s = state["wall_s"]
                return state
            self.folder.append_log(f"{path.name} {problem}: it is thrown away, and the steps it held are made again\n")
            path.unlink(missing_ok=True)  # every rank looks
        return None

    def problem_of(self, state: Mapping[str, Any], module: ScalingModule) -> str | None:
        """Return why a state cannot be resumed from; None if it can."""
        try:
            code = Code.of(state["code"])
            if not code.same(self.code):
                return f"is of other code ({code})"
            shapes = [{name: t.shape for name, t in of.items()} for of in (state["module"], module.state_dict())]
            if shapes[0] != shapes[1]:
                return "is of a model of another shape"
            return None if module.reaches(state) else "does not lead to a missing mark"
        except (KeyError, TypeError, AttributeError) as error:  # the form of another version
            return f"cannot be used ({type(error).__name__}: {error})"

    def close(self) -> None:
        """Stop the clock."""
        self.earlier_s, self.ended = self.wall_s, True


class Resume(pl.Callback):
    """Takes up a state before anything else of the fit looks at the module."""

    def __init__(self, state: dict[str, Any] | None) -> None:
        self.state = state

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, ScalingModule)
        if self.state is not None:
            _take_up(self.state, module)
            self.state = None  # its memory is wanted


def _state_of(module: ScalingModule) -> dict[str, Any]:
    """Return everything that training changes, every tensor whole; all ranks take part."""
    saved_state.reshard(module)
    state: dict[str, Any] = {"module": {name: saved_state.full(value) for name, value in module.state_dict().items()}}
    state["optimizer"] = tree_map(saved_state.full, module.bare_optimizer().state_dict())
    module.on_save_checkpoint(state)
    return state


@torch.no_grad()
def _take_up(state: dict[str, Any], module: ScalingModule) -> None:
    """Give a module and its optimiser the state from `_state_of`, sharded over the ranks as they are."""
    for name, tensor in module.state_dict().items():
        tensor.copy_(saved_state.sharded_as(tensor, state["module"][name]))
    optimizer, of_optimizer = module.bare_optimizer(), state["optimizer"]
    for part, of_part in zip(saved_state.parts(optimizer), of_optimizer.get("parts", [of_optimizer]), strict=True):
        parameters = [parameter for group in part.param_groups for parameter in group["params"]]
        for number, entries in of_part["state"].items():
            for key, value in entries.items():  # what has a parameter's shape is sharded as that is
                if isinstance(value, torch.Tensor) and value.shape == parameters[number].shape:
                    entries[key] = saved_state.sharded_as(parameters[number], value)
    optimizer.load_state_dict(of_optimizer)
    module.on_load_checkpoint(state)
