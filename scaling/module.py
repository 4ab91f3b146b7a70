"""The LightningModule: loss, optimiser, evaluation; it knows no architecture.

Everything that changes from step to step is a pure function of the step (data position, rate) or a buffer, so that a
checkpoint resumes to the same bits.

    module = ScalingModule(model, multipliers, task, examples, recipe, steps=100, seed=0)
    Trainer(max_steps=100).fit(module)
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, IterableDataset

from scaling.data.base import Examples, order
from scaling.families.base import Model
from scaling.parametrization import Multipliers
from scaling.recipe import AdamW
from scaling.task import Task

EVAL_BATCH = 64


class DivergedError(Exception):
    """The training loss stopped being a number."""


class Steps(IterableDataset[int]):
    """What Lightning iterates over: nothing but ticks; the module knows which step it is at."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


def loss_per_target(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Loss of every target, (batch, targets) [nats for cross-entropy]; 0 where the target is masked."""
    if task.loss == "cross_entropy":
        flat = cross_entropy(outputs.flatten(0, -2).float(), targets.flatten(), reduction="none", ignore_index=-1)
        return flat.view(targets.shape[0], -1)
    return mse_loss(outputs.float(), targets, reduction="none").flatten(1)


def bearing(task: Task, targets: Tensor) -> Tensor:
    """Losses that each example bears, (batch,): its unmasked targets; for mse the outputs."""
    if task.loss == "cross_entropy":
        return (targets >= 0).view(len(targets), -1).sum(1)
    return torch.full((len(targets),), targets[0].numel(), device=targets.device)


class ScalingModule(pl.LightningModule):
    """Trains a model for a number of steps on examples taken in an order that is a function of the seed.

    position counts finished steps; since and tail hold [sum, count] of the training loss since the last read and over
    the last twentieth of the steps; results holds the columns L, L_se, L_train, L_bpb and metric.* once the fit has
    ended.
    """

    since: Tensor
    tail: Tensor

    def __init__(
        self,
        model: Model,
        multipliers: Mapping[str, Multipliers],
        task: Task,
        examples: Examples,
        recipe: AdamW,
        steps: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.multipliers = model, multipliers
        self.task, self.examples, self.recipe = task, examples, recipe
        self.steps, self.seed = steps, seed
        self.position = 0
        self.results: dict[str, float] = {}
        self.register_buffer("since", torch.zeros(2))
        self.register_buffer("tail", torch.zeros(2))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.recipe.optimizer(self.model, self.multipliers)

    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(Steps(), batch_size=None)

    def on_fit_start(self) -> None:
        self.examples = self.examples.to(self.device)

    def on_train_end(self) -> None:
        """Measure the finished model: L, L_se, L_train, and L_bpb where a target is a known number of bytes."""
        total, steps = self.tail.tolist()
        self.results = self.evaluate() | {"L_train": total / steps}
        wrong = [name for name, value in self.results.items() if not math.isfinite(value)]
        if wrong:
            raise DivergedError(f"{wrong[0]} was {self.results[wrong[0]]} after the last of {self.steps} steps")
        if self.task.bytes_per_target:
            self.results["L_bpb"] = self.results["L"] / math.log(2) / self.task.bytes_per_target

    def training_step(self, _: int, __: int) -> None:
        step, recipe = self.position, self.recipe
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step, self.steps) * group["scale"]
        torch.manual_seed(self.seed * 1_000_003 + step)  # whatever is random in a model follows the step
        x, y = self.examples.take(order(self.seed, step, recipe.batch, self.examples.n).to(self.device))
        with self.arithmetic():
            losses = loss_per_target(self.task, self.model(x), y)
            auxiliary = self.model.auxiliary()
        loss = losses.sum() / (y >= 0).sum() if self.task.loss == "cross_entropy" else losses.mean()
        optimizer.zero_grad()
        self.manual_backward(loss + auxiliary)
        nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        optimizer.step()
        self.count(loss.detach(), step)
        self.position = step + 1

    def count(self, loss: Tensor, step: int) -> None:
        """Add a step's loss to the running sums, without waiting for the device."""
        self.since += torch.stack((loss, torch.ones_like(loss)))
        if step >= math.floor(0.95 * self.steps):
            self.tail += torch.stack((loss, torch.ones_like(loss)))

    def read_loss(self) -> float:
        """Mean training loss since the last read [nats per target]; DivergedError where it is not a number."""
        total, count = self.since.tolist()
        self.since.zero_()
        if not math.isfinite(total):
            raise DivergedError(f"the training loss was {total} by step {self.position} of {self.steps}")
        return float(total / count)

    def arithmetic(self) -> torch.autocast:
        """The precision of the recipe; parameters stay in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16")

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """L and its standard error over held-out examples [nats per target]: sums of losses over sums of targets.

        And metric.*: the share of targets that the likeliest class meets, where targets are not tokens; what the
        family's layers report, the mean over batches.
        """
        self.model.eval()
        losses, counts, met, health = [], [], [], []
        for x, y in self.examples.held_out(EVAL_BATCH):
            with self.arithmetic():
                outputs = self.model(x)
            losses.append(loss_per_target(self.task, outputs, y).double().sum(1))
            counts.append(bearing(self.task, y))
            health.append(self.model.health())
            if self.task.loss == "cross_entropy" and self.task.kind != "tokens":
                met.append((outputs.argmax(-1) == y).sum())
        self.model.train()
        total, count = torch.cat(losses), torch.cat(counts)
        mean = float(total.sum() / count.sum())
        # ratio estimator over examples, Cochran 1977, eq. 2.39
        error = (total - mean * count).std() * len(total) ** 0.5 / count.sum()
        results = {"L": mean, "L_se": float(error)}
        if met:
            results["metric.accuracy"] = float(torch.stack(met).sum() / count.sum())
        means = {name: torch.stack([batch[name] for batch in health]).mean() for name in health[0]}
        return results | {f"metric.{name}": float(value) for name, value in means.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["position"] = self.position

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.position = checkpoint["position"]
