"""From a frozen config to everything a run is made of, checked before anything starts.

run = assemble(config.thaw(folder))
run.cost.N, run.marks[-1].D, run.C_spent
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

from hydra.utils import get_class

from isoflop.errors import UserError
from isoflop.scaling import choices
from isoflop.scaling import frozen as config
from isoflop.scaling.cost import Cost, count
from isoflop.scaling.data.base import Data
from isoflop.scaling.families.base import Family, one_of, whole
from isoflop.scaling.recipe import budget, rules
from isoflop.scaling.recipe.optimizers import AdamW
from isoflop.scaling.task import Task, check

ACCELERATORS = ("auto", "cpu", "gpu", "mps")
STRATEGIES = ("ddp", "fsdp")


@dataclass(frozen=True)
class Mark:
    """A point along a run at which a cooled-down model is measured, and the budget that asked for it.

    steps, D, C: those of the separate run that is equivalent.
    """

    budget: str
    value: float
    steps: int
    D: int
    C: float


@dataclass(frozen=True)
class Assembled:
    """The parts of one run; its marks ascend, several say that they are branches of one trunk."""

    data: Data
    family: Family
    recipe: AdamW
    task: Task
    cost: Cost
    marks: tuple[Mark, ...]
    several: bool

    @property
    def steps_made(self) -> int:
        """Optimiser steps that all marks take: the trunk up to the last, and every other's cooldown."""
        branches = (mark.steps - math.floor(self.recipe.left(mark.steps)) for mark in self.marks[:-1])
        return self.marks[-1].steps + sum(branches)

    @property
    def step_C(self) -> float:
        """Training FLOPs of a step."""
        return self.cost.flops_per_target * self.recipe.batch * self.task.targets

    @property
    def C_spent(self) -> float:
        """Training FLOPs of all steps made."""
        return self.step_C * self.steps_made

    def columns(self, mark: Mark) -> dict[str, Any]:
        """The columns of a record that say how large the run is at a mark."""
        cost, D = self.cost, mark.D
        every_position = self.task.targets == self.task.seq_len
        return {
            f"budget.{mark.budget}": mark.value,
            "batch": self.recipe.batch,
            "lr": self.recipe.lr,
            "recipe.weight_decay": self.recipe.weight_decay,
            "N": cost.N,
            "n_body": cost.n_body,
            "n_embed": cost.n_embed,
            "n_readout": cost.n_readout,
            "n_total": cost.n_total,
            "n_active": cost.n_active,
            "D": D,
            "D_unique": min(D, self.data.unique),
            "epochs": D / self.data.unique,
            "flops_per_target": cost.flops_per_target,
            "C": mark.C,
            "C_attention": cost.attention_per_target * D,
            "C_6nd": 6 * cost.n_total * D if every_position else None,
            "floor": self.task.floor,
        }


def place(trainer: dict[str, Any]) -> None:
    """Refuse a placement that cannot be."""
    every = trainer["checkpoint_every_s"]
    one_of("trainer.accelerator", trainer["accelerator"], ACCELERATORS)
    one_of("trainer.strategy", trainer["strategy"], STRATEGIES)
    whole("trainer.devices", trainer["devices"])
    if trainer["strategy"] == "fsdp" and trainer["devices"] == 1:
        raise UserError("trainer.strategy=fsdp shards over several devices; give trainer.devices=2, say")
    if not (isinstance(every, (int, float)) and every >= 0):  # a nan is neither
        raise UserError(f"trainer.checkpoint_every_s={every!r} is not a number of seconds from 0")
    if trainer["micro_batch"] is not None:
        whole("trainer.micro_batch", trainer["micro_batch"])


def build(plain: dict[str, Any], group: str, knobs: dict[str, Any] | None = None) -> Any:
    """Build one choice of the config by its class and these knobs; UserError where they do not fit."""
    name, target = plain["names"][group], config.target(plain, group)
    choices.importable(plain["extensions"])
    try:
        built_from = get_class(target)
    except (ImportError, ValueError) as error:
        raise UserError(f"{group}={name}: its _target_, {target}, is not a class ({error})") from None
    try:
        return built_from(**(plain[group] if knobs is None else knobs))
    except TypeError as error:
        raise UserError(f"{group}={name} does not fit {target}: {error}") from None


def assemble(plain: dict[str, Any]) -> Assembled:
    """Build data, family and recipe, check that they fit, count the cost, settle rules, turn the budget into marks."""
    whole("seed", plain["seed"], 0)
    place(plain["trainer"])
    family = cast(Family, build(plain, "family"))
    data = cast(Data, build(plain, "data"))
    name, values = budget.chosen(plain["budget"])
    rules.rules(plain["recipe"])
    task = data.task
    check(plain["names"]["family"], family.learns, plain["names"]["data"], task)
    family.refuse(task)
    cost = count(family, task)
    wanted = {value: budget.targets(name, value, cost, data.unique) for value in values}
    node = rules.settled(plain["recipe"], cost.N, max(wanted.values()), task.targets)
    recipe = cast(AdamW, build(plain, "recipe", node))
    if recipe.batch < plain["trainer"]["devices"]:
        sizes = f"recipe.batch={recipe.batch} is less than trainer.devices={plain['trainer']['devices']}"
        raise UserError(f"{sizes}; each device needs an example")
    several = budget.several(plain["budget"])
    if several:
        refuse_marks(plain["recipe"], recipe)
    step_targets = recipe.batch * task.targets
    steps = {value: budget.steps(targets, step_targets) for value, targets in wanted.items()}
    marks = [Mark(name, v, n, n * step_targets, n * step_targets * cost.flops_per_target) for v, n in steps.items()]
    for one, other in pairwise(marks):
        if one.steps == other.steps:
            both = f"{one.value:g} and {other.value:g}"
            raise UserError(f"budget.{name}={both} are both {one.steps} steps of {step_targets} targets; leave one out")
    return Assembled(data, family, recipe, task, cost, tuple(marks), several)


def refuse_marks(node: dict[str, Any], recipe: AdamW) -> None:
    """Refuse several marks where the rate depends on D, so that runs of different D share no trunk."""
    why = "recipe.schedule=cosine depends on D" if recipe.schedule == "cosine" else None
    if rules.rules(node).get("lr", {}).get("D"):
        why = "recipe.lr is a rule of D"
    if why:
        raise UserError(
            f"{why}, so that several marks cannot share one trunk; give one budget a run, as in budget.D=1e6"
        )
