"""How far a run is: reported to its heartbeat at every step, and shown as a bar in a terminal."""

import sys
import time
from typing import Any

import pytorch_lightning as pl

from isoflop.scaling.loop.module import ScalingModule
from isoflop.scaling.process.heartbeat import Heart

BAR_EVERY_S = 0.5


class Progress(pl.Callback):
    """Counts steps, those of cooldowns that are left again included; steps: of the whole run."""

    def __init__(self, heart: Heart, steps: int, bar: bool = False) -> None:
        self.heart, self.steps = heart, steps
        self.bar = Bar(steps) if bar else None

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, ScalingModule)
        self.heart.at(module.made, self.steps)
        if self.bar:
            self.bar.update(module.made, module.last_loss)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar:
            self.bar.close()


class Bar:
    """A progress bar for a single run in a terminal."""

    def __init__(self, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps  loss {task.fields[loss]}"),
            TimeRemainingColumn(),
        )
        self.bars = Bars(*columns, console=Console(file=sys.stderr), transient=True)
        self.task = self.bars.add_task("", total=steps, loss="–")
        self.shown = time.monotonic()
        self.bars.start()

    def update(self, step: int, loss: float | None) -> None:
        """Move the bar, now and then."""
        if time.monotonic() - self.shown > BAR_EVERY_S:
            self.shown = time.monotonic()
            self.bars.update(self.task, completed=step, loss="–" if loss is None else f"{loss:.3f}")

    def close(self) -> None:
        self.bars.stop()
