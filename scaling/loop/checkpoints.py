"""Checkpoints: the whole state of a run, kept now and then and before a signal ends it, and taken up again."""

import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from isoflop import files
from isoflop.folder import RunFolder
from isoflop.scaling.config.provenance import Code
from isoflop.scaling.loop.module import ScalingModule
from isoflop.scaling.process.signals import Deferred, Terminated, stop_if_terminated

ASK_EVERY = 20  # steps between the times that ranks ask whether to keep a checkpoint


class Checkpoints(pl.Callback):
    """Keeps a checkpoint while the run is not finished, and the trunk after a run of several marks.

    A signal that stops the run finds a checkpoint of the last whole step (process/signals.py). The time that the run
    has taken goes with the checkpoint.
    """

    def __init__(self, folder: RunFolder, code: Code, every_s: float, deferred: Deferred) -> None:
        self.folder, self.code, self.every_s, self.deferred = folder, code, every_s, deferred
        self.folder.remove_drafts()
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
        if self.is_due(trainer, module, now - self.saved > self.every_s):
            self.saved = now
            self.save(trainer, self.folder.checkpoint)

    def is_due(self, trainer: pl.Trainer, module: ScalingModule, late: bool) -> bool:
        """Whether a checkpoint is to be kept now; all ranks do what the first one's clock says, asked now and then."""
        if trainer.world_size > 1:
            late = module.made % ASK_EVERY == 0 and bool(trainer.strategy.broadcast(late))
        return late and module.position < module.goal

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        assert isinstance(module, ScalingModule)
        if isinstance(exception, SIGTERMException | Terminated):  # raised between steps
            self.save_before_stop(trainer, module)

    def save_before_stop(self, trainer: pl.Trainer, module: ScalingModule) -> None:
        """Keep what there is before a signal ends the run; of several ranks none waits for another."""
        if trainer.world_size == 1 and 0 < module.position < module.goal:
            self.save(trainer, self.folder.checkpoint)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, ScalingModule)
        if module.keep_trunk and trainer.should_stop:  # a further mark goes on from here
            self.save(trainer, self.folder.trunk)

    def save(self, trainer: pl.Trainer, path: Path) -> None:
        """Keep the whole state, so that a killed or a longer run goes on from here."""
        if not trainer.is_global_zero:
            trainer.save_checkpoint(path)  # takes part, and writes nothing
            return
        with files.replacing(path) as draft:
            trainer.save_checkpoint(draft)

    def state_dict(self) -> dict[str, Any]:
        return {"wall_s": self.wall_s, "code": self.code.to_json()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.earlier_s = state["wall_s"]

    def find(self, module: ScalingModule) -> Path | None:
        """The checkpoint to go on from; one that other code made, or that cannot be read or used, is passed over."""
        for path in (self.folder.checkpoint, self.folder.trunk):
            if not path.exists():
                continue
            if (problem := self.problem_of(path, module)) is None:
                return path
            logging.getLogger(__name__).warning("%s %s: the run begins again", path.name, problem)
            path.unlink(missing_ok=True)  # every rank looks
        return None

    def problem_of(self, path: Path, module: ScalingModule) -> str | None:
        """Why a checkpoint cannot be gone on from; None where it can."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            code = Code.of(state["callbacks"][type(self).__name__]["code"])
            if not code.same(self.code):
                return f"is of other code ({code})"
            return None if module.reaches(state) else "does not lead to a missing mark"
        except Exception as error:  # whatever is wrong with it, the run can begin again
            return f"cannot be read ({type(error).__name__})"

    def close(self, keep: bool) -> None:
        """Stop the clock; without `keep`, remove the checkpoint, which is of use only while the run is unfinished."""
        self.earlier_s, self.ended = self.wall_s, True
        if not keep:
            self.folder.checkpoint.unlink(missing_ok=True)
