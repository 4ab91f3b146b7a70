"""From a frozen config to everything a run is made of, checked before anything starts.

run = assemble(config.thaw(folder))
run.cost.N, run.steps, run.C
"""

from dataclasses import dataclass
from typing import Any, cast

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from scaling import budget
from scaling.cost import Cost, count
from scaling.data.base import Data
from scaling.errors import UserError
from scaling.families.base import Family, whole
from scaling.recipe import AdamW
from scaling.task import Task, check

ACCELERATORS = ("auto", "cpu", "gpu", "mps")


@dataclass(frozen=True)
class Assembled:
    """The parts of one run. D counts training targets, C training FLOPs."""

    data: Data
    family: Family
    recipe: AdamW
    task: Task
    cost: Cost
    steps: int

    @property
    def D(self) -> int:
        return self.steps * self.recipe.batch * self.task.targets

    @property
    def C(self) -> float:
        return self.cost.flops_per_target * self.D

    @property
    def D_unique(self) -> int:
        return min(self.D, self.data.unique)

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a record that say how large the run is."""
        cost, D = self.cost, self.D
        every_position = self.task.targets == self.task.seq_len
        return {
            "N": cost.N,
            "n_body": cost.n_body,
            "n_embed": cost.n_embed,
            "n_readout": cost.n_readout,
            "n_total": cost.n_total,
            "n_active": cost.n_active,
            "D": D,
            "D_unique": self.D_unique,
            "epochs": D / self.data.unique,
            "flops_per_target": cost.flops_per_target,
            "C": self.C,
            "C_attention": cost.attention_per_target * D,
            "C_6nd": 6 * cost.n_total * D if every_position else None,
            "floor": self.task.floor,
        }


def place(trainer: dict[str, Any]) -> None:
    """Refuse a placement that cannot be."""
    accelerator, every = trainer["accelerator"], trainer["checkpoint_every_s"]
    if accelerator not in ACCELERATORS:
        raise UserError(f"trainer.accelerator={accelerator!r} is not one of {', '.join(ACCELERATORS)}")
    if not isinstance(every, (int, float)) or every < 0:
        raise UserError(f"trainer.checkpoint_every_s={every!r} is not a number of seconds from 0")


def build(group: str, node: dict[str, Any]) -> Any:
    """Instantiate one group of the config; what its class refuses is passed on as the user's error."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, TypeError):
            raise UserError(f"{group}= does not fit {node.get('_target_')}: {error.__cause__}") from None
        raise


def assemble(plain: dict[str, Any]) -> Assembled:
    """Build data, family and recipe, check that they fit, count the cost and turn the budget into steps."""
    whole("seed", plain["seed"], 0)
    place(plain["trainer"])
    family = cast(Family, build("family", plain["family"]))
    data = cast(Data, build("data", plain["data"]))
    recipe = cast(AdamW, build("recipe", plain["recipe"]))
    budget.chosen(plain["budget"])
    task = data.task
    check(plain["names"]["family"], family.learns, plain["names"]["data"], task)
    family.refuse(task)
    cost = count(family, task)
    steps = budget.steps(plain["budget"], cost, recipe.batch * task.targets, data.unique)
    return Assembled(data, family, recipe, task, cost, steps)


def describe(plains: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each config would run: N, D, C and steps, or the sentence by which it is refused; costs are counted once."""
    answers: list[dict[str, Any]] = []
    for plain in plains:
        try:
            run = assemble(plain)
            answers.append({"N": run.cost.N, "D": run.D, "C": run.C, "steps": run.steps})
        except UserError as error:
            answers.append({"error": str(error)})
    return answers
