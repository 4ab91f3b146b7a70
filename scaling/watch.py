"""What looks on while a run trains: the curve, the heartbeat, checkpoints, a mirror in W&B, a progress bar.

Nothing here changes a result. The curve is ours and append-only; W&B is a mirror of it.

    Trainer(callbacks=[Watch(folder, flops_per_target, checkpoint_every_s=300)])
"""

import json
import logging
import os
import socket
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger

from scaling import record
from scaling.module import ScalingModule

CURVE, HEARTBEAT, CHECKPOINT = "curve.csv", "heartbeat.json", "checkpoint.ckpt"
CURVE_COLUMNS = "step,D,C,lr,L_train"
HEARTBEAT_EVERY_S = 1.0


def curve_steps(steps: int, ratio: float = 1.15) -> set[int]:
    """Steps at which the curve has a point: evenly spaced in the logarithm, the last included."""
    points, at = {steps}, 1.0
    while at < steps:
        points.add(round(at))
        at = max(at * ratio, at + 1)
    return points


class Watch(pl.Callback):
    """Writes curve.csv, heartbeat.json and checkpoint.ckpt into the run's folder."""

    def __init__(self, folder: Path, flops_per_target: float, checkpoint_every_s: float, bar: bool = False) -> None:
        self.folder, self.flops_per_target, self.checkpoint_every_s = folder, flops_per_target, checkpoint_every_s
        self.beaten = self.kept = time.monotonic()
        self.earlier_s = 0.0  # time of earlier attempts that this one goes on from
        self.began = time.monotonic()
        self.bar = Bar() if bar else None

    @property
    def wall_s(self) -> float:
        """Time spent on the run so far, earlier attempts included [s]."""
        return self.earlier_s + time.monotonic() - self.began

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, ScalingModule)
        self.points = curve_steps(module.steps)
        path = self.folder / CURVE
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        # a whole line ends in a newline; what was written after the checkpoint is written again
        sound = [line for line in lines if line.count(",") == CURVE_COLUMNS.count(",")]
        kept = [line for line in sound if int(line.split(",")[0]) <= module.position]
        record.write_text(path, "\n".join([CURVE_COLUMNS, *kept]) + "\n")

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, ScalingModule)
        if module.position in self.points:
            self.point(trainer, module)
        now = time.monotonic()
        if now - self.beaten > HEARTBEAT_EVERY_S:
            self.beaten = now
            self.beat(module)
        if now - self.kept > self.checkpoint_every_s and module.position < module.steps:
            self.kept = now
            self.checkpoint(trainer)

    def point(self, trainer: pl.Trainer, module: ScalingModule) -> None:
        """Append a point to the curve and mirror it."""
        step = module.position
        D = step * module.recipe.batch * module.task.targets
        point = {"D": D, "C": D * self.flops_per_target, "lr": module.recipe.rate(step - 1, module.steps)}
        point["L_train"] = module.read_loss()
        with (self.folder / CURVE).open("a") as file:
            file.write(",".join(str(v) for v in (step, *point.values())) + "\n")
        if trainer.logger:
            trainer.logger.log_metrics(point, step=step)
        if self.bar:
            self.bar.update(module, point["L_train"])

    def beat(self, module: ScalingModule) -> None:
        """Say that the run is alive and how far it is."""
        state = {"step": module.position, "steps": module.steps, "host": socket.gethostname(), "pid": os.getpid()}
        draft = self.folder / f".{HEARTBEAT}"
        draft.write_text(json.dumps(state | {"time": time.time()}))
        os.replace(draft, self.folder / HEARTBEAT)
        if self.bar:
            self.bar.update(module)

    def checkpoint(self, trainer: pl.Trainer) -> None:
        """Keep the whole state, so that a killed run goes on from here."""
        with record.replacing(self.folder / CHECKPOINT) as draft:
            trainer.save_checkpoint(draft)

    def state_dict(self) -> dict[str, Any]:
        return {"wall_s": self.wall_s}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.earlier_s = state["wall_s"]

    def close(self, keep_checkpoint: bool) -> None:
        """Take down what is only of use while the run trains."""
        if self.bar:
            self.bar.close()
        (self.folder / HEARTBEAT).unlink(missing_ok=True)
        if not keep_checkpoint:
            (self.folder / CHECKPOINT).unlink(missing_ok=True)


class Bar:
    """A progress bar for a single run in a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps  loss {task.fields[loss]}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=Console(file=sys.stderr), transient=True)
        self.task = self.progress.add_task("", total=None, loss="–")
        self.progress.start()

    def update(self, module: ScalingModule, loss: float | None = None) -> None:
        """Move the bar to the module's step."""
        self.progress.update(self.task, total=module.steps, completed=module.position)
        if loss is not None:
            self.progress.update(self.task, loss=f"{loss:.3f}")

    def close(self) -> None:
        self.progress.stop()


def quiet() -> None:
    """Keep Lightning's advice that does not apply here out of the log: we own the data order, steps and checkpoints."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for advice in (
        ".*does not have many workers.*",
        ".*GPU available but not used.*",
        ".*isinstance.treespec, LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", advice)


def mirror(plain: dict[str, Any], folder: Path) -> WandbLogger | None:
    """The logger that the config asks for: none, or W&B grouped by sweep and tagged by family."""
    logger = plain["logger"]
    if logger["name"] != "wandb":
        return None
    name = f"{plain['names']['family']}-w{plain['family']['width']}-d{plain['family']['depth']}-s{plain['seed']}"
    made = WandbLogger(
        project=logger["project"],
        entity=logger["entity"],
        offline=logger["offline"],
        save_dir=str(folder),
        name=name,
        group=plain["sweep"],
        tags=[plain["names"]["family"], *plain["tags"]],
        config=plain | {"run_id": plain["run_id"]},
        settings={"silent": True, "console": "off"},
    )
    made.experiment.define_metric("D")
    made.experiment.define_metric("C")
    return made
