"""A frozen config: all that a run is, resolved once, in the file that every launcher is handed (no torch).

A run is its frozen config. `resolve` turns what Hydra composed into it, `freeze` writes it when the run is planned, and
nothing is composed again when the run starts.

    config = resolve(cfg)
    freeze(config, Path("runs") / config.run_id)       # runs/<run_id>/frozen.json
    thaw(Path("runs") / config.run_id).trainer.devices
"""

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from isoflop.checks import not_negative, one_of, positive, whole_number
from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.record import DIALS
from isoflop.scaling.config import choices, identity, provenance
from isoflop.scaling.config.provenance import Code
from isoflop.scaling.data.corpus.listing import WORDS
from isoflop.scaling.recipe.budget import Budget

if TYPE_CHECKING:  # a twentieth of a second, which reading frozen configs need not take
    from omegaconf import DictConfig

GROUPS = ("family", "data", "recipe", "budget", "trainer", "logger", "names")
# what places a run in its ladder, whether or not it was overridden
PLACE = (*(f"family.{dial}" for dial in DIALS), "data.size")

# times a million plus the step it still fits the 64 bits of a torch.Generator (loop/module.py, data/base.py)
LARGEST_SEED = 2**42
ACCELERATORS = ("auto", "cpu", "gpu", "mps")
STRATEGIES = ("ddp", "fsdp")
KEEP = ("nothing", "marks")
COMPILE = (True, False, "auto")
LOGGERS = ("none", "wandb", "tensorboard", "csv")
# characters of a tag, as W&B takes them
LONGEST_TAG = 64

Knobs = Mapping[str, Any]
Section = TypeVar("Section")


@dataclass(frozen=True)
class Names:
    """The yamls that were chosen."""

    family: str
    data: str
    recipe: str

    def of(self, group: str) -> str:
        """The name of the choice of a group."""
        return str(getattr(self, group))


@dataclass(frozen=True)
class Trainer:
    """Where and how a run is placed; nothing here changes a result but by the order of sums."""

    accelerator: str = "auto"
    devices: int = 1
    """Devices of one run, each with its share of every batch."""
    strategy: str = "ddp"
    """Of several devices: ddp, each holds the model; fsdp, each holds a part of it."""
    micro_batch: int | None = None
    """Examples at a time on a device; None for all at once."""
    checkpoint_every_s: float = 300
    """Time between checkpoints [s]."""
    keep: str = "nothing"
    """What stays of a finished run besides its record: nothing, or the weights of its marks."""
    graph: bool = False
    """Whether a whole step is captured as a CUDA graph and replayed."""
    compile: bool | str = False
    """Whether the model's passes are compiled; auto for where that saves time."""

    def __post_init__(self) -> None:
        one_of("trainer.accelerator", self.accelerator, ACCELERATORS)
        one_of("trainer.strategy", self.strategy, STRATEGIES)
        one_of("trainer.keep", self.keep, KEEP)
        if not isinstance(self.graph, bool):
            raise UserError(f"trainer.graph={self.graph} is neither true nor false")
        one_of("trainer.compile", self.compile, COMPILE)
        whole_number("trainer.devices", self.devices)
        if self.strategy == "fsdp" and self.devices == 1:
            raise UserError("trainer.strategy=fsdp shards over several devices; give trainer.devices=2, say")
        not_negative("trainer.checkpoint_every_s", self.checkpoint_every_s, " [s]")
        if self.micro_batch is not None:
            whole_number("trainer.micro_batch", self.micro_batch)

    def halved_micro_batch(self, batch: int) -> int | None:
        """The next smaller micro-batch of a run whose batch is this [examples]; None below one."""
        return (self.micro_batch or -(-batch // self.devices)) // 2 or None


@dataclass(frozen=True)
class Logger:
    """Where a run is mirrored: nowhere, in W&B, or for TensorBoard or as a CSV in its folder."""

    name: str = "none"
    project: str = "isoflop"
    """Of W&B; as is entity, whose project it is, the one of the login by default."""
    entity: str | None = None
    offline: bool = False
    """Whether W&B writes into the run's folder alone."""

    def __post_init__(self) -> None:
        one_of("logger.name", self.name, LOGGERS)
        if not isinstance(self.offline, bool):
            raise UserError(f"logger.offline={self.offline} is neither true nor false")


@dataclass(frozen=True)
class PlannedMark:
    """A mark of a run that is planned: the value of its budget, and the D and C of the equivalent separate run."""

    value: float
    D: int
    C: float


@dataclass(frozen=True)
class RunPlan:
    """What a run will be: what the left side says of it before it is made (estimate.py)."""

    N: int
    """Parameters that multiply."""
    D: int
    """Training targets of the last mark."""
    C: float
    """Training FLOPs of all steps."""
    steps: int
    """Optimiser steps of all marks."""
    step_C: float  # noqa: N815
    """Training FLOPs of a step."""
    lr: float
    batch: int
    memory: int
    """Most that training will hold [bytes], of the device where there is one, else of the process."""
    marks: tuple[PlannedMark, ...]
    """Ascending."""
    rounded: float = 1.0
    """D made over D asked for, the largest of the marks: a run takes whole steps."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunPlan":
        """From plain data; KeyError or TypeError where they are not those of a plan."""
        return cls(**{**data, "marks": tuple(PlannedMark(**mark) for mark in data["marks"])})

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


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
        """The family's width dial."""
        return int(self.family["width"])

    @property
    def depth(self) -> int:
        """The family's depth dial."""
        return int(self.family["depth"])

    def knobs(self, group: str) -> Knobs:
        """The knobs of a choice."""
        knobs: Knobs = getattr(self, group)
        return knobs

    def target(self, group: str) -> str:
        """The dotted name of the class that a choice builds."""
        return choices.target(group, self.names.of(group), self.extensions, self.classes.get(group))

    def present_code(self) -> Code:
        """The code that would make the run now."""
        return provenance.code(map(self.target, identity.CHOICES), self.extensions)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "FrozenConfig":
        """From plain data, as frozen.json or a composed config holds them; UserError where a value cannot be."""
        own = {f.name for f in fields(cls)} - {"rest"}
        if missing := [f.name for f in _required(cls) if f.name not in data]:
            raise UserError(f"a frozen config has no {missing[0]}")
        values = {name: data[name] for name in own & data.keys()}
        for group, section in (("names", Names), ("budget", Budget), ("trainer", Trainer), ("logger", Logger)):
            values[group] = _section(group, section, values[group])
        for group in identity.CHOICES:
            values[group] = _without_meta(values[group])
        values["probe"] = _probes(data.get("probe"))
        values["tags"] = _tags(data["tags"])
        values |= {"code": Code.of(data["code"]), "plan": _plan(data.get("plan"))}
        return cls(**values, rest={name: value for name, value in data.items() if name not in own})

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        data = asdict(self)
        rest: dict[str, Any] = data.pop("rest")
        return rest | {name: value for name, value in data.items() if name != "plan" or value is not None}


def _required(section: type) -> list[Field[Any]]:
    return [f for f in fields(section) if f.default is MISSING and f.default_factory is MISSING]


def _section(group: str, section: type[Section], values: Any) -> Section:
    """A part of the config, typed; UserError for a key that it does not have."""
    if not isinstance(values, Mapping):
        raise UserError(f"{group}={values} is not a choice of {group}; leave it out for the default")
    names = [f.name for f in fields(section)]  # type: ignore[arg-type]
    if unknown := [name for name in values if name not in names]:
        raise UserError(f"{group}.{unknown[0]} is not a key; {group} has {', '.join(names)}")
    if missing := [f.name for f in _required(section) if f.name not in values]:
        raise UserError(f"{group}.{missing[0]} is missing")
    return section(**values)


def _without_meta(choice: Any) -> Knobs:
    """The knobs of a choice, without what its yaml says of itself: its class, which knobs were added later."""
    return {key: value for key, value in choice.items() if not key.startswith("_")}


def _probes(given: Any) -> dict[str, Knobs]:
    """The knobs of every probe; UserError where the config has something else there."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(knobs, Mapping) for knobs in given.values()):
        raise UserError(f"probe={given} is not a list of probes; write probe=[positions], say")
    return {str(name): _without_meta(knobs) for name, knobs in given.items()}


def _tags(given: Any) -> list[str]:
    """Tags as a list, whether a word or several were given; UserError for what is no tag."""
    tags = [] if given is None else given if isinstance(given, list) else [given]
    wrong = [tag for tag in tags if isinstance(tag, bool) or not isinstance(tag, str | int | float)]
    wrong += [tag for tag in tags if not 0 < len(str(tag)) <= LONGEST_TAG]
    if wrong:
        raise UserError(f"tags={given}: {wrong[0]!r} is no word of at most {LONGEST_TAG} letters; write tags=[pilot]")
    return [str(tag) for tag in tags]


def _plan(data: Any) -> RunPlan | None:
    """The plan in a frozen config; None where there is none or an earlier version wrote it."""
    try:
        return RunPlan.from_json(data)
    except (KeyError, TypeError):
        return None


def freeze(config: FrozenConfig, folder: Path) -> None:
    """Write a config into the run's folder; an earlier wish for the run to stop is void."""
    try:
        RunFolder(folder).write_config(config.to_json())
    except ValueError as error:  # JSON has no NaN, and a record would not have it either
        raise UserError(f"the config of {folder.name} cannot be written ({error}); give finite numbers") from None


def thaw(folder: Path) -> FrozenConfig:
    """Read a frozen config; FileNotFoundError where there is none, UserError where it is not whole."""
    run = RunFolder(folder)
    try:
        data = run.read_config()
        if data is None or not isinstance(data.get("code"), dict):
            raise UserError("it is not what was written")
        config = FrozenConfig.from_json(data | {"run_id": run.run_id})
        refuse_types(config)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        made = f"{run.config} is not a whole config; delete its folder and rerun the command that made it"
        raise UserError(f"{made} ({str(error)[:200]})") from None
    return config


def refuse_types(config: FrozenConfig) -> None:
    """Refuse a config that was damaged, or edited by hand, before a value of another type stops what reads it."""
    for dial in DIALS:
        positive(f"family.{dial}", config.family[dial])
    for group in identity.CHOICES:
        if not isinstance(getattr(config.names, group), str):
            raise UserError(f"names.{group} is no name")
    for name in ("batch", "lr"):
        if not isinstance(value := config.recipe[name], Mapping):  # a rule
            positive(f"recipe.{name}", value)
    words = (config.sweep, config.rung, config.code.git, config.code.sources, *config.classes.values())
    if not all(word is None or isinstance(word, str) for word in (*words, *config.tags, *config.extensions)):
        raise UserError("what is a name is not one")
    if config.plan:
        for name in ("N", "D", "C", "steps", "step_C", "lr", "batch", "memory", "rounded"):
            not_negative(f"plan.{name}", getattr(config.plan, name))
        for mark in config.plan.marks:
            not_negative("plan.marks", mark.C)


def resolve(cfg: "DictConfig", keys: Iterable[str] = ()) -> FrozenConfig:
    """The frozen config of what Hydra composed: references resolved, whole numbers as int, with its identity.

    keys: what was overridden. UserError where a part is missing or a value cannot be.
    """
    check(cfg, keys)
    composed = {str(key): whole_as_int(container(cfg[key])) for key in cfg if key not in ("hydra", "study")}
    name, rule = identity.name_in(Path(composed["out"]), composed)
    classes = {group: composed[group].get("_target_") for group in identity.CHOICES}
    composed |= {"run_id": name, "run_id_rule": rule, "extensions": list(choices.declared()), "classes": classes}
    config = FrozenConfig.from_json(composed | {"code": {}})
    return replace(config, code=config.present_code())


def check(cfg: "DictConfig", keys: Iterable[str]) -> None:
    """Refuse a composed config that lacks a part, or whose bookkeeping is wrong; `keys` are what was overridden."""
    from omegaconf import OmegaConf

    for group in GROUPS:
        if not OmegaConf.is_dict(cfg.get(group)):
            raise UserError(f"{group}={cfg.get(group)} is not a choice of {group}; leave it out for the default")
    named = [key for key in keys if key.split(".")[0] == "names"]
    if named:
        raise UserError(f"{named[0]} follows from the choice of groups; choose one by {named[0].split('.')[-1]}=")
    if not str("" if cfg.out is None else cfg.out).strip():
        raise UserError("out= names no folder; give out=runs, say")


def whole_as_int(value: Any) -> Any:
    """Numbers that are whole as int, at any depth: 1e5, 100000.0 and 100000 are one choice."""
    if isinstance(value, dict):
        return {k: whole_as_int(v) for k, v in value.items()}
    if isinstance(value, list):
        return [whole_as_int(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def container(node: Any) -> Any:
    """A config node as plain Python."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def folder_name(cfg: "DictConfig") -> str:
    """The name of a composed run's folder; UserError where a group is not one."""
    check(cfg, ())
    parts = (*identity.SCIENCE, "names")
    return identity.name_in(Path(str(cfg.out)), {key: whole_as_int(container(cfg[key])) for key in parts})[0]


def rung(cfg: "DictConfig", keys: Iterable[str]) -> str:
    """A run's place in its ladder: its size, data and budget and what was chosen besides, but for family and seed."""
    from omegaconf import OmegaConf

    parts = []
    budgets = {f"budget.{name}" for name in cfg.budget} if OmegaConf.is_dict(cfg.get("budget")) else set()
    for key in sorted({*keys, *PLACE, *budgets} - {"family", "seed"}):
        value = cfg.names[key] if key in cfg.names else whole_as_int(container(OmegaConf.select(cfg, key)))
        if isinstance(value, list) and key in budgets:
            continue  # each mark has its own
        if key.split(".")[0] in identity.SCIENCE and value is not None:
            parts.append(f"{key}={value:.12g}" if isinstance(value, (int, float)) else f"{key}={value}")
    return " ".join(parts)


def register_resolvers() -> None:
    """Teach OmegaConf the words that conf/ uses: run_id, basename, interpreter, and those of corpora."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("run_id", lambda *, _root_: folder_name(_root_), replace=True)
    OmegaConf.register_new_resolver("basename", lambda path: os.path.basename(os.path.abspath(str(path))), replace=True)
    OmegaConf.register_new_resolver("interpreter", platform.python_version, replace=True)
    for word, function in WORDS.items():
        OmegaConf.register_new_resolver(word, function, replace=True)
