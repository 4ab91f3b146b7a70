"""A mirror of a run where people look: its curve, the loss at its marks and its record, in W&B, TensorBoard or a CSV.

with Mirror(config, folder) as mirror:
    mirror.open(columns, {mark.steps: mark for mark in run.marks})
    mirror.send({"step": 100, "D": 1e5, "C": 1e9, "L_train": 2.1})
    mirror.rows = rows
"""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import pytorch_lightning as pl

from isoflop import record
from isoflop.checks import is_number
from isoflop.errors import BusyError, UserError
from isoflop.folder import RunFolder
from isoflop.scaling.config.frozen import FrozenConfig, failure, status_and_reason
from isoflop.scaling.loop.module import ScalingModule

if TYPE_CHECKING:
    from isoflop.scaling.assemble import Mark


class _Place(Protocol):
    def send(self, point: Mapping[str, float]) -> None:
        """Send values that belong to a step, with step, D and C among them."""

    def close(self, rows: Sequence[record.Row], ok: bool) -> None:
        """Send how the run ended; rows: its record, empty if it has not ended."""


class Mirror(pl.Callback):
    """Sends a run's measures where its config says, and rows once it ended well; a failure costs no result."""

    def __init__(self, config: FrozenConfig, folder: RunFolder) -> None:
        self.config, self.folder = config, folder
        self.rows: Sequence[record.Row] = ()
        self.place: _Place | None = None
        self.marks: Mapping[int, Mark] = {}
        self.sent: set[int] = set()

    def open(self, columns: record.Row, marks: "Mapping[int, Mark]") -> None:
        """Open the mirror, or continue where an earlier attempt ended; columns: what is known beforehand."""
        self.marks = marks
        if self.config.logger.name != "none":
            self._try(lambda: setattr(self, "place", _open(self.config, self.folder, columns)))

    def send(self, point: Mapping[str, float]) -> None:
        """Send values that belong to a step, with step, D and C among them."""
        if place := self.place:
            self._try(lambda: place.send(point))

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, ScalingModule)
        self.sent = set(module.results)  # by the attempt that measured them

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Send what was measured at marks since the last call; D and C are those of the equivalent separate run."""
        assert isinstance(module, ScalingModule)
        for steps in sorted(self.marks.keys() & module.results.keys() - self.sent):
            self.sent.add(steps)
            mark, results = self.marks[steps], module.results[steps]
            # L_train of a mark is a mean over its last twentieth, and no point of the curve
            measured = {name: results[name] for name in results if name != "L_train" and is_number(results[name])}
            self.send({"step": steps, "D": mark.D, "C": mark.C} | measured)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.on_train_batch_end(trainer, module)

    def __enter__(self) -> "Mirror":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        place, self.place = self.place, None
        if place is None:
            return
        rows = self.rows if error is None else self._rows_after(error)
        ok = bool(rows) and all(row["status"] == record.RunStatus.OK for row in rows)
        self._try(lambda: place.close(rows, ok))

    def _rows_after(self, error: BaseException) -> Sequence[record.Row]:
        """Return the record after an error: an earlier one that stands, or the failure; none if the run goes on."""
        if not isinstance(error, Exception) or isinstance(error, UserError | BusyError):
            return ()
        if record.finished(self.folder.path):
            return record.read(self.folder.path)
        return [failure(self.config, *status_and_reason(error))]

    def _try(self, action: Callable[[], None]) -> None:
        """Run an action; if it fails, say so, log the trace, and leave the mirror alone from then on."""
        try:
            action()
        except Exception as error:
            self.place = None
            self.folder.append_log(traceback.format_exc())
            name, first = self.config.logger.name, (str(error).splitlines() or [""])[0]
            print(f"logger={name}: {type(error).__name__}: {first}; the run goes on without it", file=sys.stderr)


class _Lightning:
    """A mirror by one of Lightning's loggers, in the run's folder."""

    def __init__(self, logger: Any, columns: record.Row) -> None:
        self.logger = logger
        logger.log_hyperparams({name: value for name, value in columns.items() if value is not None})
        logger.save()

    def send(self, point: Mapping[str, float]) -> None:
        self.logger.log_metrics(dict(point), step=int(point["step"]))
        self.logger.save()

    def close(self, rows: Sequence[record.Row], ok: bool) -> None:
        """Finish the log; the record lies beside it."""
        self.logger.finalize("success" if ok else "failed")


def _open(config: FrozenConfig, folder: RunFolder, columns: record.Row) -> _Place:
    if config.logger.name == "wandb":
        from isoflop.scaling.loop.wandb import WandbRun

        return WandbRun(config, folder, columns)
    if config.logger.name == "tensorboard":
        from pytorch_lightning.loggers import TensorBoardLogger

        logger = TensorBoardLogger(folder.path, name="tensorboard", version="", default_hp_metric=False)
        return _Lightning(logger, columns)
    from pytorch_lightning.loggers import CSVLogger

    # a new version for every attempt: the logger empties a folder that it finds
    return _Lightning(CSVLogger(folder.path, name="csv"), columns)


def problem(name: str) -> str:
    """Return why a logger cannot be used here, as a sentence; '' if it can. Checks the login at W&B's server."""
    if name == "wandb":
        from isoflop.scaling.loop.wandb import login_problem

        return login_problem()
    if name == "tensorboard" and not any(map(importlib.util.find_spec, ("tensorboard", "tensorboardX"))):
        return "logger=tensorboard needs a package that is not installed: pip install 'isoflop[tensorboard]'"
    return ""
