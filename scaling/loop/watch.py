"""What looks on while a run trains: the curve, checkpoints, how far it is, a mirror in W&B, a progress bar.

Nothing here changes a result. The curve is ours and append-only; W&B is a mirror of it.

    Trainer(callbacks=[Watch(folder, plain, flops_per_target, steps_made, heart, deferred)])
"""

import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from isoflop import record
from isoflop.scaling import provenance
from isoflop.scaling.loop.module import ScalingModule
from isoflop.scaling.process.hold import Deferred, Heart, Terminated, stop_if_terminated

CURVE, CHECKPOINT, TRUNK = "curve.csv", "checkpoint.ckpt", "trunk.ckpt"
CURVE_COLUMNS = "step,D,C,lr,L_train"
BAR_EVERY_S = 0.5
ASK_EVERY = 20  # steps between the times that ranks ask whether to keep a checkpoint


def curve_steps(steps: int, ratio: float = 1.15) -> set[int]:
    """Steps at which the curve has a point: evenly spaced in the logarithm, the last included."""
    points, at = {steps}, 1.0
    while at < steps:
        points.add(round(at))
        at = max(at * ratio, at + 1)
    return points


class Watch(pl.Callback):
    """Writes curve.csv, checkpoint.ckpt and trunk.ckpt into the run's folder, and tells the heart how far the run is.

    steps_made: of the whole run, cooldowns that are left again included; what progress is told by. The curve is that of
    the trunk and the last cooldown. A signal that ends the run finds a checkpoint of the last whole step.
    """

    def __init__(
        self,
        folder: Path,
        plain: dict[str, Any],
        flops_per_target: float,
        steps_made: int,
        heart: Heart,
        deferred: Deferred,
        bar: bool = False,
    ) -> None:
        self.folder, self.flops_per_target, self.steps_made = folder, flops_per_target, steps_made
        self.heart, self.deferred = heart, deferred
        self.code, self.checkpoint_every_s = plain["code"], plain["trainer"]["checkpoint_every_s"]
        for stale in folder.glob(f".{CHECKPOINT}.*"):
            stale.unlink(missing_ok=True)
        self.shown = self.kept = time.monotonic()
        self.earlier_s = 0.0  # time of earlier attempts that this one goes on from
        self.began, self.ended = time.monotonic(), False
        self.bar = Bar() if bar else None

    @property
    def wall_s(self) -> float:
        """Time spent on the run so far, earlier attempts included [s]."""
        return self.earlier_s if self.ended else self.earlier_s + time.monotonic() - self.began

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, ScalingModule)
        self.points = curve_steps(module.marks[-1])
        if not trainer.is_global_zero:
            return
        path = self.folder / CURVE
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        # a torn last line and what was written after the checkpoint are written again
        sound = [line for line in lines if line.count(",") == CURVE_COLUMNS.count(",")]
        kept = [line for line in sound if int(line.split(",")[0]) <= module.position]
        record.write_text(path, "\n".join([CURVE_COLUMNS, *kept]) + "\n")

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, ScalingModule)
        if module.position in self.points and not module.branches:
            self.point(trainer, module)
        now = time.monotonic()
        self.heart.at(module.made, self.steps_made)
        if self.bar and now - self.shown > BAR_EVERY_S:
            self.shown = now
            self.bar.update(module, self.steps_made)
        self.deferred.handle(before=lambda: self.leave(trainer, module))
        if module.position < module.goal:
            stop_if_terminated()
        if self.due(trainer, module, now - self.kept > self.checkpoint_every_s):
            self.kept = now
            self.checkpoint(trainer, CHECKPOINT)

    def due(self, trainer: pl.Trainer, module: ScalingModule, late: bool) -> bool:
        """Whether a checkpoint is to be kept now; all ranks do what the first one's clock says, asked now and then."""
        if trainer.world_size > 1:
            late = module.made % ASK_EVERY == 0 and bool(trainer.strategy.broadcast(late))
        return late and module.position < module.goal

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        assert isinstance(module, ScalingModule)
        if isinstance(exception, SIGTERMException | Terminated):  # raised between steps
            self.leave(trainer, module)

    def leave(self, trainer: pl.Trainer, module: ScalingModule) -> None:
        """Keep what there is before a signal ends the run; of several ranks none waits for another."""
        if trainer.world_size == 1 and 0 < module.position < module.goal:
            self.checkpoint(trainer, CHECKPOINT)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, ScalingModule)
        if module.keep_trunk and trainer.should_stop:  # a further mark goes on from here
            self.checkpoint(trainer, TRUNK)

    def point(self, trainer: pl.Trainer, module: ScalingModule) -> None:
        """Append a point to the curve and mirror it."""
        step = module.position
        D = step * module.recipe.batch * module.task.targets
        point = {"D": D, "C": D * self.flops_per_target, "lr": module.recipe.rate(step - 1, module.goal, module.first)}
        point["L_train"] = module.read_loss()
        if not trainer.is_global_zero:
            return
        with (self.folder / CURVE).open("a") as file:
            file.write(",".join(str(v) for v in (step, *point.values())) + "\n")
        if trainer.logger:
            trainer.logger.log_metrics(point, step=module.made)
        if self.bar:
            self.bar.update(module, self.steps_made, point["L_train"])

    def checkpoint(self, trainer: pl.Trainer, name: str) -> None:
        """Keep the whole state, so that a killed or a longer run goes on from here."""
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.folder / name)  # takes part, and writes nothing
            return
        with record.replacing(self.folder / name) as draft:
            trainer.save_checkpoint(draft)

    def state_dict(self) -> dict[str, Any]:
        return {"wall_s": self.wall_s, "code": self.code}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.earlier_s = state["wall_s"]

    def resumable(self, module: ScalingModule) -> Path | None:
        """The checkpoint to go on from; one that other code made, or that cannot be read or used, is passed over."""
        for path in (self.folder / CHECKPOINT, self.folder / TRUNK):
            if not path.exists():
                continue
            try:
                kept = torch.load(path, map_location="cpu", weights_only=True)
                code = kept["callbacks"]["Watch"]["code"]
                ours = provenance.same(code, self.code)
                on_the_way = module.reaches(kept)
            except Exception as error:  # whatever is wrong with it, the run can begin again
                code, ours, on_the_way = f"unreadable: {type(error).__name__}", False, False
            if ours and on_the_way:
                return path
            why = "does not lead to what is asked for" if ours else f"is of other code ({code})"
            logging.getLogger(__name__).warning("%s %s: the run begins again", path.name, why)
            path.unlink()
        return None

    def close(self, keep_checkpoint: bool) -> None:
        """Stop the clock and take down what is only of use while the run trains."""
        self.earlier_s, self.ended = self.wall_s, True
        if self.bar:
            self.bar.close()
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

    def update(self, module: ScalingModule, steps: int, loss: float | None = None) -> None:
        """Move the bar to the module's step of so many."""
        self.progress.update(self.task, total=steps, completed=module.made)
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
        ".*`srun` command is available.*",
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


def close_mirror(logger: WandbLogger | None, result: dict[str, Any]) -> None:
    """Send the result and say how the run ended; the record stands already, so trouble here is only logged."""
    if logger is None:
        return
    try:
        logger.log_metrics({k: v for k, v in result.items() if k.startswith("L")})
        logger.experiment.finish(exit_code=int(result["status"] != "ok"))
    except Exception:
        logging.getLogger(__name__).exception("W&B could not be told how the run ended")
