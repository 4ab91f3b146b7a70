"""From a frozen config to everything a run is made of, checked before anything starts; and a family built by name.

run = assemble(thaw(folder))
run.cost.N, run.marks[-1].D, run.C_spent

lstm = build_family("lstm", width=64)          # iso.family in a notebook: .cost.N, and .model, a torch.nn.Module
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

from isoflop.errors import UserError
from isoflop.scaling.config import choices
from isoflop.scaling.config.composed import register_resolvers
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.config.sections import Knobs
from isoflop.scaling.cost import Cost, count
from isoflop.scaling.data.base import Bounded, Data
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.recipe import rules
from isoflop.scaling.recipe.optimizers import AdamW
from isoflop.scaling.recipe.rules import steps, targets
from isoflop.scaling.subject import Probe, refuse_probe
from isoflop.scaling.task import Task, check
from isoflop.wording import suggest

# whole steps that exceed a budget by more than this factor are refused
MOST_ROUNDED = 2.0


@dataclass(frozen=True)
class Mark:
    """A point along a run at which a cooled-down model is measured, and the budget that asked for it.

    steps, D, C: those of the separate run that is equivalent, in whole steps; wanted: D that the budget asks for.
    """

    budget: str
    value: float
    steps: int
    D: int
    C: float
    wanted: float

    @property
    def rounded(self) -> float:
        """Factor by which whole steps exceed the budget that was asked for."""
        return self.D / self.wanted


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
    probes: Mapping[str, Probe]

    @property
    def steps_made(self) -> int:
        """Optimiser steps of all marks: the trunk up to the last one, and the cooldown of every other."""
        branches = (mark.steps - math.floor(self.recipe.steps_before_cooldown(mark.steps)) for mark in self.marks[:-1])
        return self.marks[-1].steps + sum(branches)

    @property
    def step_targets(self) -> int:
        return self.recipe.batch * self.task.targets

    @property
    def step_C(self) -> float:
        return self.cost.flops_per_target * self.step_targets

    @property
    def C_spent(self) -> float:
        """Training FLOPs of all steps made."""
        return self.step_C * self.steps_made

    def rebuild(self, task: Task) -> Model:
        """Build the model as it is trained, for this or another task; raise UserError if the family cannot learn it."""
        self.family.refuse(task)
        model = self.family.build(task)
        self.recipe.multipliers(model, self.family, task)  # sets the scale of residual branches
        return model

    def columns(self, mark: Mark) -> dict[str, Any]:
        """Return the columns of a record that say how large the run is at a mark."""
        cost, D = self.cost, mark.D
        every_position = self.task.targets == self.task.seq_len
        return {
            f"budget.{mark.budget}": mark.value,
            "batch": self.recipe.batch,
            "lr": self.recipe.lr,
            "recipe.weight_decay": self.recipe.weight_decay,
            **{name: getattr(cost, name) for name in ("N", "n_body", "n_embed", "n_readout", "n_total", "n_active")},
            "D": D,
            "D_unique": min(D, self.data.unique),
            "epochs": D / self.data.unique,
            "flops_per_target": cost.flops_per_target,
            "C": mark.C,
            "C_attention": cost.attention_per_target * D,
            "C_6nd": 6 * cost.n_total * D if every_position else None,
            "floor": self.task.floor,
            "loss_unit": self.task.loss_unit,
        }


def build(config: FrozenConfig, group: str, knobs: Knobs | None = None) -> Any:
    """Build one choice of the config from its class and these knobs; raise UserError if they do not fit."""
    given = config.knobs(group) if knobs is None else knobs
    return choices.build(group, config.names.of(group), given, config.extensions, config.classes.get(group))


def _build_probes(config: FrozenConfig, task: Task) -> dict[str, Probe]:
    probes: dict[str, Probe] = {}
    for name, knobs in config.probe.items():
        probes[name] = choices.build("probe", name, knobs, config.extensions)
        refuse_probe(name, probes[name], config.names.data, task)
    if probes and config.trainer.strategy == "fsdp":
        raise UserError("probe= measures a whole model, and trainer.strategy=fsdp shards it; give ddp, or no probe")
    return probes


def assemble(config: FrozenConfig) -> Assembled:
    """Build data, family and recipe, check that they fit, count the cost, settle the rules and place the marks."""
    family = cast(Family, build(config, "family"))
    data = cast(Data, build(config, "data"))
    rules.rules(config.recipe)
    task = data.task
    check(config.names.family, family.learns, config.names.data, task)
    family.refuse(task)
    probes = _build_probes(config, task)
    cost = count(family, task)
    name, several = config.budget.name, config.budget.several
    wanted = {value: targets(name, value, cost, data.unique) for value in config.budget.values}
    numbers = rules.settle(config.recipe, cost.N, max(wanted.values()), task.targets)
    recipe = cast(AdamW, build(config, "recipe", numbers))
    if recipe.batch < config.trainer.devices:
        sizes = f"recipe.batch={recipe.batch} is less than trainer.devices={config.trainer.devices}"
        raise UserError(f"{sizes}; each device needs an example")
    if isinstance(data, Bounded):
        data.refuse(recipe.batch)
    if several:
        _refuse_marks(config.recipe, recipe)
    step_targets = recipe.batch * task.targets
    marks = []
    for value, D in wanted.items():
        n = steps(D, step_targets)
        marks.append(Mark(name, value, n, n * step_targets, n * step_targets * cost.flops_per_target, wanted=D))
        if marks[-1].rounded > MOST_ROUNDED and not config.round_up:
            step = f"a step takes {value * marks[-1].rounded / n:.3g} ({step_targets} targets)"
            small = f"budget.{name}={value:g} is less than half a step, {step}"
            raise UserError(f"{small}; raise it, lower recipe.batch, or give round_up=true to train for one step")
    if same := [(a, b) for a, b in pairwise(marks) if a.steps == b.steps]:
        both = f"{same[0][0].value:g} and {same[0][1].value:g} are both {same[0][0].steps} steps"
        raise UserError(f"budget.{name}={both} of {step_targets} targets; leave one out")
    return Assembled(data, family, recipe, task, cost, tuple(marks), several, probes)


def _refuse_marks(knobs: Knobs, recipe: AdamW) -> None:
    """Refuse several marks if the rate depends on D: runs of different D then share no trunk."""
    why = "recipe.schedule=cosine depends on D" if recipe.schedule == "cosine" else None
    if rules.rules(knobs).get("lr", {}).get("D"):
        why = "recipe.lr is a rule of D"
    if why:
        raise UserError(
            f"{why}, so that several marks cannot share one trunk; give one budget a run, as in budget.D=1e6"
        )


@dataclass(frozen=True)
class BuiltFamily:
    """A family at one size, its task, its model and what it costs."""

    family: Family
    """The frozen dataclass of its knobs."""
    data: Data
    """The dataset; `.load()` gives its examples."""
    task: Task
    """What the dataset asks of a model: kind, sizes, loss."""
    model: Model
    """The model, initialised from torch's global generator."""
    cost: Cost
    """Parameters by role and training FLOPs per target."""

    def __repr__(self) -> str:
        size = f"N={self.cost.N:,}, {self.cost.flops_per_target:,.0f} training FLOPs per target"
        return f"{self.family}\n{size}\n{self.model}"


def build_family(name: str, *, data: str = "text", **knobs: Any) -> BuiltFamily:
    """Build a family by the name of its yaml.

    Args:
        name: a family, ours or an extension's: `lstm`, `transformer`.
        data: the dataset whose task the model is built for, at its default size.
        **knobs: knobs of the family, in place of those of its yaml: `width=64, depth=4`.

    Raises:
        UserError: there is no such family, dataset or knob, or the family does not learn that kind of task.
    """
    register_resolvers()
    family: Family = _build_choice("family", name, knobs)
    dataset: Data = _build_choice("data", data, {})
    check(name, family.learns, data, dataset.task)
    family.refuse(dataset.task)
    return BuiltFamily(family, dataset, dataset.task, family.build(dataset.task), count(family, dataset.task))


def _build_choice(group: str, name: str, given: dict[str, Any]) -> Any:
    """Build one choice of a group with these knobs instead of its yaml's; raise UserError for an unknown knob."""
    default = choices.knobs(group, name)
    if unknown := [knob for knob in given if knob not in default]:
        mean = suggest(unknown[0], default) or ";"
        raise UserError(f"{group} {name} has no knob {unknown[0]}{mean} it has {', '.join(default)}")
    return choices.build(group, name, default | given)
