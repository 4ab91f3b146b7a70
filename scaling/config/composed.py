"""From what Hydra composed to a frozen config, and the words that the yamls of conf/ may use (no torch).

resolve(cfg).run_id
rung(cfg, ["family", "family.width"])           # its place in a ladder: width, depth, size and budget
"""

import os
import platform
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop.errors import UserError
from isoflop.record import DIALS
from isoflop.scaling.config import choices, identity
from isoflop.scaling.config.contents import WORDS
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.hardware import gpus

if TYPE_CHECKING:  # a twentieth of a second, which planning need not take
    from omegaconf import DictConfig

GROUPS = ("family", "data", "recipe", "budget", "trainer", "logger", "names")
# what places a run in its ladder, whether or not it was overridden
PLACE = (*(f"family.{dial}" for dial in DIALS), "data.size")


def resolve(cfg: "DictConfig", keys: Iterable[str] = ()) -> FrozenConfig:
    """Freeze what Hydra composed, `keys` having been overridden, with its identity; UserError for a missing part."""
    _check(cfg, keys)
    composed = {str(key): whole_as_int(container(cfg[key])) for key in cfg if key not in ("hydra", "study")}
    name, rule = identity.name_in(Path(composed["out"]), composed)
    classes = {group: composed[group].get("_target_") for group in identity.CHOICES}
    composed |= {"run_id": name, "run_id_rule": rule, "extensions": list(choices.declared()), "classes": classes}
    config = FrozenConfig.from_json(composed | {"code": {}})
    return replace(config, code=config.present_code())


def _check(cfg: "DictConfig", keys: Iterable[str]) -> None:
    """Refuse a composed config that lacks a part or has wrong bookkeeping; `keys` are what was overridden."""
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
    """Return whole numbers as int, at any depth: 1e5, 100000.0 and 100000 are one choice."""
    if isinstance(value, dict):
        return {k: whole_as_int(v) for k, v in value.items()}
    if isinstance(value, list):
        return [whole_as_int(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def container(node: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _folder_name(cfg: "DictConfig") -> str:
    """Return the name of a composed run's folder; raise UserError if a group is not one."""
    _check(cfg, ())
    parts = (*identity.SCIENCE, "names")
    return identity.name_in(Path(str(cfg.out)), {key: whole_as_int(container(cfg[key])) for key in parts})[0]


def rung(cfg: "DictConfig", keys: Iterable[str]) -> str:
    """Return a run's place in its ladder: size, data, budget and other choices, without family and seed."""
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
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("run_id", lambda *, _root_: _folder_name(_root_), replace=True)
    OmegaConf.register_new_resolver("basename", lambda path: os.path.basename(os.path.abspath(str(path))), replace=True)
    OmegaConf.register_new_resolver("interpreter", platform.python_version, replace=True)
    OmegaConf.register_new_resolver("gpus_of_run", _gpus_of_run, replace=True)
    for word, function in WORDS.items():
        OmegaConf.register_new_resolver(word, function, replace=True)


def _gpus_of_run(devices: int, accelerator: str) -> int:
    return 0 if accelerator == "cpu" else min(devices, len(gpus()))
