"""From a composed config to a frozen one: the run's identity and the file that every launcher is handed (no torch).

A run is its frozen config. `freeze` resolves everything once, when the run is made; nothing is composed again when it
starts.

    plain = resolved(cfg)
    freeze(plain, Path("runs") / plain["run_id"])       # runs/<run_id>/frozen.json
"""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from scaling import hold, record
from scaling.errors import UserError

FILE = "frozen.json"
SPENT = "spent.json"  # what all steps of a run of several marks cost

# what determines a result; all else in a config is placement, names and bookkeeping
SCIENCE = ("family", "data", "recipe", "budget", "seed")

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
    plain = {str(key): whole(container(cfg[key])) for key in cfg if key != "hydra"}
    return plain | {"run_id": identified(plain), "code": code()}


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


def trunk(budget: Config, recipe: Config) -> Config:
    """What of a budget determines a run: of several marks the first, which the warm-up follows, for others extend it.

    Where a rule of the recipe follows D, which is the largest, all of them.
    """
    follows = any(isinstance(value, dict) and value.get("D") for value in recipe.values())
    numbers = {
        n: v for n, v in budget.items() if isinstance(v, list) and v and all(isinstance(x, int | float) for x in v)
    }
    return budget | ({} if follows else {name: {"first": min(value)} for name, value in numbers.items()})


def run_id(cfg: DictConfig) -> str:
    """The run_id of a composed config."""
    return identified({key: whole(container(cfg[key])) for key in (*SCIENCE, "names")})


def identified(plain: Config) -> str:
    """Hash of what determines the result, and the names that go with it, 12 hex digits."""
    science = {key: plain[key] for key in (*SCIENCE, "names")}
    if isinstance(science["budget"], dict):
        science["budget"] = trunk(science["budget"], science["recipe"])
    return digest(science)[:12]


def digest(plain: Any) -> str:
    """Hash of plain data, the order of keys aside."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def rung(cfg: DictConfig, keys: Iterable[str]) -> str:
    """A run's place in its ladder: its size, data and budget and what was chosen besides, but for family and seed."""
    parts = []
    budgets = {f"budget.{name}" for name in cfg.budget} if OmegaConf.is_dict(cfg.get("budget")) else set()
    for key in sorted({*keys, *PLACE, *budgets} - {"family", "seed"}):
        value = cfg.names[key] if key in cfg.names else whole(container(OmegaConf.select(cfg, key)))
        if isinstance(value, list) and key in budgets:
            continue  # each mark has its own
        if key.split(".")[0] in SCIENCE and value is not None:
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
    return plain


def refuse_other_code(plain: Config) -> None:
    """Refuse to run what was frozen for other code than this: its record would name the wrong commit."""
    if plain["code"] != code():
        then, now = (f"{c['git']}{' with changes' if c['dirty'] else ''}" for c in (plain["code"], code()))
        raise OtherCodeError(f"frozen for the code of commit {then}, but this is {now}; give the command again")


@lru_cache(maxsize=1)
def code() -> dict[str, Any]:
    """The commit of this code and whether it was changed since; nothing where it is not a git checkout."""
    root = Path(__file__).parents[1]

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return {"git": None, "dirty": None}
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "scaling", "conf")
        return {"git": git("rev-parse", "HEAD")[:12], "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return {"git": None, "dirty": None}


def knobs(plain: Config) -> dict[str, Any]:
    """Knobs as dotted columns, named as the override that sets them; those that have a column of their own left out."""
    own = {"family.width", "family.depth", "family.lr", "data.seq_len", "recipe.batch", "recipe.lr"}
    found: dict[str, Any] = {}

    def walk(prefix: str, node: Config) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                walk(f"{prefix}.{key}", value)
            elif key != "_target_" and f"{prefix}.{key}" not in own:
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
    """Whether a finished row was made by the code of this config, in a clean checkout or not alike."""
    return (row["git"], row["dirty"]) == (plain["code"]["git"], plain["code"]["dirty"])


def identity(plain: Config) -> dict[str, Any]:
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
    return record.row(**identity(plain), **budgets, status=status, reason=reason)


def register_resolvers() -> None:
    """Teach OmegaConf the three words that conf/ uses: run_id, basename, interpreter."""
    OmegaConf.register_new_resolver("run_id", lambda *, _root_: run_id(_root_), replace=True)
    OmegaConf.register_new_resolver("basename", lambda path: os.path.basename(os.path.abspath(str(path))), replace=True)
    OmegaConf.register_new_resolver("interpreter", platform.python_version, replace=True)
