"""A family built by name, for those who want to look inside a model without training it.

lstm = build_family("lstm", width=64)          # iso.family in a notebook
lstm.cost.N                                    # parameters that multiply
lstm.model                                     # a torch.nn.Module, with .embed, .body and .readout
"""

import difflib
from dataclasses import dataclass
from typing import Any

from isoflop.errors import UserError
from isoflop.scaling.config import choices
from isoflop.scaling.config.composed import register_resolvers
from isoflop.scaling.cost import Cost, count
from isoflop.scaling.data.base import Data
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.task import Task, check


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
    family: Family = build_choice("family", name, knobs)
    dataset: Data = build_choice("data", data, {})
    check(name, family.learns, data, dataset.task)
    family.refuse(dataset.task)
    return BuiltFamily(family, dataset, dataset.task, family.build(dataset.task), count(family, dataset.task))


def build_choice(group: str, name: str, given: dict[str, Any]) -> Any:
    """Build one choice of a group with these knobs instead of its yaml's; raise UserError for an unknown knob."""
    default = choices.knobs(group, name)
    if unknown := [knob for knob in given if knob not in default]:
        close = difflib.get_close_matches(unknown[0], default, n=1)
        mean = f"did you mean {close[0]}? " if close else ""
        raise UserError(f"{group} {name} has no knob {unknown[0]}; {mean}it has {', '.join(default)}")
    return choices.build(group, name, default | given)
