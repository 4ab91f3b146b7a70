"""A frozen config: all that a run is, resolved once, in the file that every launcher is handed (no torch).

freeze(config, Path("runs") / config.run_id)       # runs/<run_id>/frozen.json
thaw(Path("runs") / config.run_id).trainer.devices
columns(config)["recipe.warmup"]                   # those of its record that are known before it starts
"""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from isoflop import record
from isoflop.checks import not_negative, positive, whole_number
from isoflop.command import FULL
from isoflop.errors import UserError
from isoflop.files import leaves
from isoflop.folder import RunFolder
from isoflop.record import DIALS
from isoflop.scaling.config import choices, identity, provenance
from isoflop.scaling.config.provenance import Code
from isoflop.scaling.config.sections import Knobs, Logger, Names, RunPlan, Trainer
from isoflop.scaling.recipe.rules import Budget
from isoflop.schema import keys_of

# seed times a million plus the step still fits the 64 bits of a torch.Generator (loop/module.py, data/base.py)
LARGEST_SEED = 2**42
# characters of a tag, as W&B takes them
LONGEST_TAG = 64

Section = TypeVar("Section")
# knobs that have a column of their own; the family's rate is the recipe's unless that says otherwise
OWN = {*(f"family.{dial}" for dial in (*record.DIALS, "lr")), "data.seq_len", "recipe.batch", "recipe.lr"}


@dataclass(frozen=True)
class FrozenConfig:
    """All that a run is; as JSON it is the run's frozen.json."""

    run_id: str
    names: Names
    family: Knobs
    """Knobs of the family, width and depth among them."""
    data: Knobs
    recipe: Knobs
    budget: Budget
    seed: int
    """Of initialisation and data order."""
    trainer: Trainer
    logger: Logger
    sweep: str | None
    """The planned set that the run belongs to."""
    rung: str | None
    """Its place in the ladder."""
    tags: list[str]
    redo_other_code: bool
    """Whether a finished run is made again where other code made it."""
    code: Code
    """The code that the run was frozen for."""
    probe: Mapping[str, Knobs] = field(default_factory=dict)
    """What is measured at every mark beside the loss, by name, with its knobs; part of no result of training."""
    round_up: bool = False
    """Whether a budget of less than half a step is made one step, and not refused."""
    run_id_rule: int = 1
    """Version of the rule that made run_id."""
    extensions: list[str] = field(default_factory=list)
    """Packages and folders, beside ours, that hold its choices."""
    classes: Mapping[str, str | None] = field(default_factory=dict)
    """The class that each choice builds, by group."""
    plan: RunPlan | None = None
    """What the left side said of it before it was made."""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """What else was composed, such as out; part of no result."""

    def __post_init__(self) -> None:
        whole_number("seed", self.seed, 0)
        if self.seed > LARGEST_SEED:
            raise UserError(f"seed={self.seed} is not a whole number from 0 to 2^42")
        for name in ("redo_other_code", "round_up"):
            if not isinstance(value := getattr(self, name), bool):
                raise UserError(f"{name}={value!r} is neither true nor false")

    @property
    def width(self) -> int:
        return int(self.family["width"])

    @property
    def depth(self) -> int:
        return int(self.family["depth"])

    def knobs(self, group: str) -> Knobs:
        knobs: Knobs = getattr(self, group)
        return knobs

    def target(self, group: str) -> str:
        """Return the dotted name of the class that a choice builds."""
        return choices.target(group, self.names.of(group), self.extensions, self.classes.get(group))

    def present_code(self) -> Code:
        return provenance.code(map(self.target, identity.CHOICES), self.extensions)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "FrozenConfig":
        """Read plain data, as in frozen.json or a composed config; raise UserError for an impossible value."""
        own = {f.name for f in fields(cls)} - {"rest"}
        if missing := [name for name, needed in keys_of(cls).items() if needed and name not in data]:
            raise UserError(f"a frozen config has no {missing[0]}")
        values = {name: data[name] for name in own & data.keys()}
        for group, section in (("names", Names), ("budget", Budget), ("trainer", Trainer), ("logger", Logger)):
            values[group] = _section(group, section, values[group])
        for group in identity.CHOICES:
            values[group] = choices.without_meta(values[group])
        values["probe"] = _probes(data.get("probe"))
        values["tags"] = _tags(data["tags"])
        values |= {"code": Code.of(data["code"]), "plan": None}
        with contextlib.suppress(KeyError, TypeError):  # there is none, or an earlier version wrote it
            values["plan"] = RunPlan.from_json(data["plan"])
        return cls(**values, rest={name: value for name, value in data.items() if name not in own})

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        rest: dict[str, Any] = data.pop("rest")
        return rest | {name: value for name, value in data.items() if name != "plan" or value is not None}


def _section(group: str, section: type[Section], values: Any) -> Section:
    if not isinstance(values, Mapping):
        raise UserError(f"{group}={values} is not a choice of {group}; leave it out for the default")
    known = keys_of(section)
    if unknown := [name for name in values if name not in known]:
        raise UserError(f"{group}.{unknown[0]} is not a key; {group} has {', '.join(known)}")
    if missing := [name for name, needed in known.items() if needed and name not in values]:
        raise UserError(f"{group}.{missing[0]} is missing")
    return section(**values)


def _probes(given: Any) -> dict[str, Knobs]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(knobs, Mapping) for knobs in given.values()):
        raise UserError(f"probe={given} is not a list of probes; write probe=[positions], say")
    return {str(name): choices.without_meta(knobs) for name, knobs in given.items()}


def _tags(given: Any) -> list[str]:
    """Return tags as a list, whether one or several were given; raise UserError for what is not a tag."""
    tags = [] if given is None else given if isinstance(given, list) else [given]
    wrong = [tag for tag in tags if isinstance(tag, bool) or not isinstance(tag, str | int | float)]
    wrong += [tag for tag in tags if not 0 < len(str(tag)) <= LONGEST_TAG]
    if wrong:
        word = f"a word of at most {LONGEST_TAG} letters"
        raise UserError(f"tags={given}: {wrong[0]!r} is not {word}; write tags=[pilot]")
    return [str(tag) for tag in tags]


def freeze(config: FrozenConfig, folder: Path) -> None:
    """Write a config into the run's folder; an earlier request to stop the run is withdrawn."""
    try:
        RunFolder(folder).write_config(config.to_json())
    except ValueError as error:  # JSON has no NaN, and a record would not have it either
        raise UserError(f"the config of {folder.name} cannot be written ({error}); give finite numbers") from None


def thaw(folder: Path) -> FrozenConfig:
    """Read a frozen config; raise FileNotFoundError if there is none, UserError if it is damaged."""
    run = RunFolder(folder)
    try:
        data = run.read_config()
        if data is None or not isinstance(data.get("code"), dict):
            raise UserError("its content is not that of a frozen config")
        config = FrozenConfig.from_json(data | {"run_id": run.run_id})
        _refuse_types(config)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        made = f"{run.config} is not a whole config; delete its folder and rerun the command that made it"
        raise UserError(f"{made} ({str(error)[:200]})") from None
    return config


def _refuse_types(config: FrozenConfig) -> None:
    """Refuse a config that was damaged or edited by hand, before a value of a wrong type breaks its reader."""
    for dial in DIALS:
        positive(f"family.{dial}", config.family[dial])
    for group in identity.CHOICES:
        if not isinstance(getattr(config.names, group), str):
            raise UserError(f"names.{group} is not a name")
    for name in ("batch", "lr"):
        if not isinstance(value := config.recipe[name], Mapping):  # a rule
            positive(f"recipe.{name}", value)
    words = (config.sweep, config.rung, config.code.git, config.code.sources, *config.classes.values())
    if not all(word is None or isinstance(word, str) for word in (*words, *config.tags, *config.extensions)):
        raise UserError("a sweep, rung, tag, extension or commit is not a word")
    if config.plan:
        for name in ("N", "D", "C", "steps", "step_C", "lr", "batch", "memory", "rounded"):
            not_negative(f"plan.{name}", getattr(config.plan, name))
        for mark in config.plan.marks:
            not_negative("plan.marks", mark.C)


def columns(config: FrozenConfig) -> dict[str, Any]:
    """Return the columns that are known before the run starts."""
    # a rule's value is not known before the run is assembled
    batch, lr = (None if isinstance(config.recipe[n], Mapping) else config.recipe[n] for n in ("batch", "lr"))
    return _knobs(config) | {
        "run_id": config.run_id,
        "sweep": config.sweep,
        "mark": 1,
        "seed": config.seed,
        "family": config.names.family,
        "width": config.width,
        "depth": config.depth,
        "data": config.names.data,
        "seq_len": config.data.get("seq_len"),
        "batch": batch,
        "lr": lr,
        "rung": config.rung,
        "run_id_rule": config.run_id_rule,
        **config.code.to_json(),
    }


def _knobs(config: FrozenConfig) -> dict[str, Any]:
    """Return knobs as dotted columns, named as the override that sets them, except those with a column of their own."""
    found = (pair for group in identity.CHOICES for pair in leaves(config.knobs(group), f"{group}."))
    return {name: value for name, value in found if name not in OWN and value != {}}


def rung_of_mark(config: FrozenConfig, value: float) -> dict[str, Any]:
    """Return the rung of one of several marks: that of the equivalent separate run."""
    if not config.budget.several:
        return {}
    return {"rung": f"budget.{config.budget.name}={value:.12g} {config.rung}".strip()}


def failure(config: FrozenConfig, status: str, reason: str) -> record.Row:
    """Return the row of a run that left no result."""
    budget = config.budget
    value = {} if budget.several else {f"budget.{budget.name}": budget.values[0]}
    return record.row(**columns(config), **value, status=status, reason=reason)


def status_and_reason(error: Exception) -> tuple[str, str]:
    name, first = type(error).__name__, (str(error).strip().splitlines() or [""])[0]
    if name == "UncompletedJobError":  # submitit's, after the last time limit
        return record.RunStatus.TIMEOUT, first
    again = "; make room and rerun the command to resume" if isinstance(error, OSError) and error.errno in FULL else ""
    return record.RunStatus.FAILED, f"{name}: {first}{again}"


def rounded(row: record.Row) -> float:
    """Return the factor by which a row's whole steps exceed its budget; 1 if the row does not say."""
    taken = {"D": row["D"], "C": row["C"], "epochs": row["epochs"]}
    taken["D_per_N"] = row["D"] / row["N"] if row["D"] and row["N"] else None
    ratios = [taken[n] / row[f"budget.{n}"] for n in taken if row.get(f"budget.{n}") and taken[n] is not None]
    return max(ratios, default=1.0)
