"""From a composed config to a frozen one: the run's identity and the file that every launcher is handed (no torch).

A run is its frozen config. `freeze` resolves everything once, when the run is made; nothing is composed again when it
starts.

    plain = resolved(cfg)
    freeze(plain, Path("runs") / plain["run_id"])       # runs/<run_id>/frozen.json
"""

import json
import os
import platform
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from isoflop import record
from isoflop.errors import UserError
from isoflop.scaling import choices, identity, provenance
from isoflop.scaling.process import hold

FILE = "frozen.json"
SPENT = "spent.json"  # what all steps of a run of several marks cost

GROUPS = ("family", "data", "recipe", "budget", "trainer", "logger", "names")

# what a frozen config has besides
KEYS = ("seed", "sweep", "rung", "tags", "redo_other_code")

# what places a run in its ladder, whether or not it was overridden
PLACE = ("family.width", "family.depth", "data.size")

Config = dict[str, Any]


class OtherCodeError(Exception):
    """A run was frozen for other code than would run it."""


def whole(value: Any) -> Any:
    """Numbers that are whole as int, at any depth: 1e5, 100000.0 and 100000 are one choice."""
    if isinstance(value, dict):
        return {k: whole(v) for k, v in value.items()}
    if isinstance(value, list):
        return [whole(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def resolved(cfg: DictConfig, keys: Iterable[str] = ()) -> Config:
    """The config as plain dicts, references resolved, whole numbers as int, with the run's and the code's identity."""
    check(cfg, keys)
    composed = {str(key): whole(container(cfg[key])) for key in cfg if key != "hydra"}
    name, rule = identity.name_in(Path(composed["out"]), composed)
    plain = composed | {group: bare(composed[group]) for group in identity.CHOICES}
    plain |= {"run_id": name, "run_id_rule": rule, "extensions": list(choices.declared())}
    plain["classes"] = {group: composed[group].get("_target_") for group in identity.CHOICES}
    return plain | {"code": code(plain)}


def bare(node: Config) -> Config:
    """The knobs of a choice, without what its yaml says of itself: its class, which knobs came later."""
    return {key: value for key, value in node.items() if not key.startswith("_")}


def code(plain: Config) -> dict[str, Any]:
    """The code that makes a run: commit, whether it was changed since, hash of the sources of the run's result."""
    return provenance.code(map(partial(target, plain), identity.CHOICES), plain["extensions"])


def target(plain: Config, group: str) -> str:
    """The dotted name of the class that a choice builds."""
    return choices.target(group, plain["names"][group], plain["extensions"], plain["classes"].get(group))


def check(cfg: DictConfig, keys: Iterable[str]) -> None:
    """Refuse a config that lacks a part, or whose bookkeeping is wrong; `keys` are what was overridden."""
    for group in GROUPS:
        if not OmegaConf.is_dict(cfg.get(group)):
            raise UserError(f"{group}={cfg.get(group)} is no choice of {group}; leave it out for the default")
    named = [key for key in keys if key.split(".")[0] == "names"]
    if named:
        raise UserError(f"{named[0]} follows from the choice of groups; choose one by {named[0].split('.')[-1]}=")
    if not str("" if cfg.out is None else cfg.out).strip():
        raise UserError("out= names no folder; give out=runs, say")
    if not isinstance(cfg.redo_other_code, bool):
        raise UserError(f"redo_other_code={cfg.redo_other_code!r} is neither true nor false")


def container(node: Any) -> Any:
    """A config node as plain Python."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def folder_name(cfg: DictConfig) -> str:
    """The name of a composed run's folder."""
    parts = (*identity.SCIENCE, "names")
    return identity.name_in(Path(str(cfg.out)), {key: whole(container(cfg[key])) for key in parts})[0]


def rung(cfg: DictConfig, keys: Iterable[str]) -> str:
    """A run's place in its ladder: its size, data and budget and what was chosen besides, but for family and seed."""
    parts = []
    budgets = {f"budget.{name}" for name in cfg.budget} if OmegaConf.is_dict(cfg.get("budget")) else set()
    for key in sorted({*keys, *PLACE, *budgets} - {"family", "seed"}):
        value = cfg.names[key] if key in cfg.names else whole(container(OmegaConf.select(cfg, key)))
        if isinstance(value, list) and key in budgets:
            continue  # each mark has its own
        if key.split(".")[0] in identity.SCIENCE and value is not None:
            parts.append(f"{key}={value:.12g}" if isinstance(value, (int, float)) else f"{key}={value}")
    return " ".join(parts)


def freeze(plain: Config, folder: Path) -> None:
    """Write a resolved config into the run's folder; what was asked of an earlier one, to stop, is void."""
    record.write_text(folder / FILE, json.dumps(plain, indent=1) + "\n")
    (folder / hold.CANCEL).unlink(missing_ok=True)


def thaw(folder: Path) -> Config:
    """Read a frozen config; UserError where it is not whole."""
    path = folder / FILE
    try:
        plain = json.loads(path.read_bytes())
    except ValueError:
        plain = None
    if not isinstance(plain, dict) or not {"run_id", "code", *KEYS, *GROUPS} <= plain.keys():
        raise UserError(f"{path} is not a whole config; delete its folder and give the command that made it again")
    plain |= {group: bare(plain[group]) for group in identity.CHOICES}  # earlier ones name their classes
    return {"run_id_rule": 1, "extensions": [], "classes": {}} | plain | {"run_id": folder.resolve().name}


def refuse_other_code(plain: Config) -> None:
    """Refuse to run what was frozen for other code than this: its record would name the wrong sources."""
    now = code(plain)
    if not provenance.same(plain["code"], now):
        then, now_ = provenance.spelled(plain["code"]), provenance.spelled(now)
        raise OtherCodeError(f"frozen for the code of commit {then}, but this is {now_}; give the command again")


def knobs(plain: Config) -> dict[str, Any]:
    """Knobs as dotted columns, named as the override that sets them; those that have a column of their own left out."""
    own = {"family.width", "family.depth", "family.lr", "data.seq_len", "recipe.batch", "recipe.lr"}
    found: dict[str, Any] = {}

    def walk(prefix: str, node: Config) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                walk(f"{prefix}.{key}", value)
            elif f"{prefix}.{key}" not in own:
                found[f"{prefix}.{key}"] = value

    for group in ("family", "data", "recipe"):
        walk(group, plain[group])
    return found


def done(folder: Path, plain: Config) -> bool:
    """Whether a folder's run need not be made: every mark finished, and not again because other code made it."""
    return record.finished(folder) and not missing(reusable(folder, plain), plain)


def reusable(folder: Path, plain: Config) -> list[record.Row]:
    """The rows of a finished run that need not be made again."""
    if not record.finished(folder):
        return []
    return [row for row in record.read(folder) if not plain["redo_other_code"] or same_code(row, plain)]


def budget(plain: Config) -> tuple[str, Any]:
    """Name and value of the budget that was given, one epoch where none was; several are refused when it is run."""
    return next(((name, value) for name, value in plain["budget"].items() if value is not None), ("epochs", 1))


def missing(rows: list[record.Row], plain: Config) -> list[float]:
    """The budgets, a mark each, that no row answers."""
    name, values = budget(plain)
    answered = {row.get(f"budget.{name}") for row in rows}
    return [value for value in (values if isinstance(values, list) else [values]) if value not in answered]


def answering(rows: list[record.Row], plain: Config, but: list[float]) -> list[record.Row]:
    """The rows that answer other budgets than these."""
    return [row for row in rows if row.get(f"budget.{budget(plain)[0]}") not in (*but, None)]


def smaller(trainer: Config, batch: int) -> int | None:
    """The next smaller micro-batch of a run [examples]; none below one."""
    now: int = trainer["micro_batch"] or -(-batch // trainer["devices"])
    return now // 2 or None


def threads() -> int:
    """Torch threads of a process: OMP_NUM_THREADS where it is a number, else one."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(given)) if given.isdecimal() else 1


def same_code(row: record.Row, plain: Config) -> bool:
    """Whether a finished row was made by the sources of this config."""
    return provenance.same(row, plain["code"])


def columns(plain: Config) -> dict[str, Any]:
    """The columns of a record that are known before the run starts."""
    return knobs(plain) | {
        "run_id": plain["run_id"],
        "sweep": plain["sweep"],
        "mark": 1,
        "seed": plain["seed"],
        "family": plain["names"]["family"],
        "width": plain["family"]["width"],
        "depth": plain["family"]["depth"],
        "data": plain["names"]["data"],
        "seq_len": plain["data"].get("seq_len"),
        "batch": number(plain["recipe"]["batch"]),
        "lr": number(plain["recipe"]["lr"]),
        "rung": plain["rung"],
        "run_id_rule": plain["run_id_rule"],
        **plain["code"],
    }


def at_mark(plain: Config, budget: str, value: float) -> dict[str, Any]:
    """The rung of one mark of several: that of the separate run."""
    if not isinstance(plain["budget"][budget], list):
        return {}
    return {"rung": f"budget.{budget}={value:.12g} {plain['rung']}".strip()}


def number(value: Any) -> Any:
    """A hyperparameter; nothing where it is a rule, whose value is not known before the run is assembled."""
    return None if isinstance(value, dict) else value


def failure(plain: Config, status: str, reason: str) -> record.Row:
    """The row of a run that left no result."""
    budgets = {f"budget.{name}": v for name, v in plain["budget"].items() if v is not None and not isinstance(v, list)}
    return record.row(**columns(plain), **budgets, status=status, reason=reason)


def register_resolvers() -> None:
    """Teach OmegaConf the three words that conf/ uses: run_id, basename, interpreter."""
    OmegaConf.register_new_resolver("run_id", lambda *, _root_: folder_name(_root_), replace=True)
    OmegaConf.register_new_resolver("basename", lambda path: os.path.basename(os.path.abspath(str(path))), replace=True)
    OmegaConf.register_new_resolver("interpreter", platform.python_version, replace=True)
