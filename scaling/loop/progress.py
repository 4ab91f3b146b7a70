"""How a run goes: a beat of its heart at every step, a bar in a terminal, and the training curve, mirrored (mirror.py).

curve.csv is append-only, with points evenly spaced in log(step).
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from isoflop import files
from isoflop.folder import RunFolder
from isoflop.scaling.loop.mirror import Mirror
from isoflop.scaling.loop.module import ScalingModule
from isoflop.scaling.process.lock import Heart

BAR_EVERY_S = 0.5


class Progress(pl.Callback):
    """Counts steps, those of cooldowns that are left again included; steps: of the whole run."""

    def __init__(self, heart: Heart, steps: int, bar: bool = False) -> None:
        self.heart, self.steps = heart, steps
        self.bar = _Bar(steps) if bar else None

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, ScalingModule)
        self.heart.at(module.made, self.steps)
        if self.bar:
            self.bar.update(module.made, module.last_loss)

    def close(self) -> None:
        if self.bar:
            self.bar.close()


class _Bar:
    def __init__(self, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        text = TextColumn("steps  loss {task.fields[loss]}")
        columns = (BarColumn(), MofNCompleteColumn(), text, TimeRemainingColumn())
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


COLUMNS = ("step", "D", "C", "lr", "L_train")
WARM_UP = 10  # steps that are not timed: kernels are chosen in them, and a graph is captured


def _curve_steps(steps: int, ratio: float = 1.15) -> set[int]:
    """Return the steps at which the curve has a point: even in the logarithm, the last included."""
    points, step = {steps}, 1.0
    while step < steps:
        points.add(round(step))
        step = max(step * ratio, step + 1)
    return points


class CurveWriter(pl.Callback):
    """Writes the curve of the trunk and of the last cooldown."""

    def __init__(self, folder: RunFolder, flops_per_target: float, mirror: Mirror) -> None:
        self.folder, self.flops_per_target, self.mirror = folder, flops_per_target, mirror
        self.before: tuple[int, int, float] | None = None  # steps made, marks measured and the clock at the last point
        self.times: list[tuple[float, int]] = []  # mean time of a step between two points [s], and how many there were

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, ScalingModule)
        self.points = _curve_steps(module.marks[-1])
        module.borders |= self.points
        if trainer.is_global_zero:
            _cut(self.folder.curve, module.position)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, ScalingModule)
        if module.position not in self.points or module.branches:
            return
        step = module.position
        D = step * module.recipe.batch * module.task.targets
        point = {"D": D, "C": D * self.flops_per_target, "lr": module.recipe.rate(step - 1, module.goal, module.first)}
        point["L_train"] = module.read_loss()
        self.note_time(module.made, len(module.results))
        if not trainer.is_global_zero:
            return
        with files.naming(self.folder.curve), self.folder.curve.open("a") as file:
            file.write(",".join(map(str, (step, *point.values()))) + "\n")
        self.mirror.send({"step": step} | point)

    def note_time(self, made: int, measured: int) -> None:
        """Note the time since the last point, if no mark was measured meanwhile; to read the loss ended the steps."""
        now = time.perf_counter()
        if self.before and self.before[0] >= WARM_UP and self.before[1] == measured:
            steps = made - self.before[0]
            self.times.append(((now - self.before[2]) / steps, steps))
        self.before = made, measured, now

    def step_s(self) -> float | None:
        """Return the median time of a step [s]; None if none was timed."""
        return float(np.median(np.concatenate([np.full(n, each) for each, n in self.times]))) if self.times else None


def _cut(path: Path, position: int) -> None:
    """Keep the points up to a step; a torn last line, a damaged one and those after the checkpoint go."""
    try:
        lines = files.read_bytes(path).decode(errors="replace").splitlines()[1:]
    except FileNotFoundError:
        lines = []
    steps = [_step(line) for line in lines]
    earlier = [line for line, step in zip(lines, steps, strict=True) if step is not None and step <= position]
    if damaged := sum(step is None for step in steps[:-1]):  # the last may be torn
        print(f"{path}: {damaged} damaged line{'s' * (damaged > 1)} left out", file=sys.stderr)
    files.write_text(path, "\n".join([",".join(COLUMNS), *earlier]) + "\n")


def _step(line: str) -> int | None:
    cells = line.split(",")
    try:
        step, *values = int(cells[0]), *map(float, cells[1:])
    except ValueError:
        return None
    return step if line.isascii() and step > 0 and len(values) == len(COLUMNS) - 1 else None
