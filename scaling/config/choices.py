"""Choices of the config by name: the yaml that `family=mlp` selects, and the class that it names (no torch).

The folder is the registry: conf/GROUP/NAME.yaml, here or in the conf/ of a declared extension. A class that a folder of
runs names is built only if it is one of ours or of a declared extension; else the yaml of the choice's name decides.

    yaml_of("family", "mlp")                # .../conf/family/mlp.yaml
    target("family", "mlp")                 # 'isoflop.scaling.families.mlp.Mlp'
"""

import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from isoflop.errors import UserError
from isoflop.extensions import CONF, ENVIRONMENT, all_declared, blame, declared, get, importable
from isoflop.scaling import present

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["build", "declared", "importable", "knobs", "names", "target", "yaml_of"]

# the packages of ours that hold classes of choices
ROOMS = tuple(f"isoflop.scaling.{room}." for room in ("families", "data", "recipe", "probes"))
NAME = re.compile(r"[\w-]+(/[\w-]+)*")


def names(group: str) -> list[str]:
    """Return the choices of a group, ours and those of declared extensions."""
    folders = [CONF / group, *(extension.conf / group for extension in all_declared())]
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})


def yaml_of(group: str, name: str, extensions: Iterable[str] = ()) -> Path:
    """Return the yaml of a choice; raise UserError if neither we nor an extension have one."""
    searched = [CONF]
    if NAME.fullmatch(name):
        if (path := CONF / group / f"{name}.yaml").is_file():
            return path
        for extension in extensions:
            searched.append(get(extension).conf)
            if (path := searched[-1] / group / f"{name}.yaml").is_file():
                return path
    folders = ", ".join(map(str, searched))
    raise UserError(f"{group}={name} is not in {folders}; declare the extension that has it: {ENVIRONMENT}=FOLDER")


def target(group: str, name: str, extensions: Sequence[str] = (), frozen: str | None = None) -> str:
    """Return a choice's class, the frozen one if it may be built, else its yaml's; UserError if it is undeclared."""
    frozen = present(frozen) if frozen else None
    if frozen and frozen.startswith(ROOMS) and _is_there(frozen.rpartition(".")[0]):
        return frozen
    for extension in extensions:
        if frozen and frozen.startswith(f"{extension}."):
            importable([get(extension).name])
            if _is_there(frozen.rpartition(".")[0]):
                return frozen
    return _target(group, name, tuple(extensions))


def build(
    group: str, name: str, knobs: Mapping[str, Any], extensions: Sequence[str] | None = None, frozen: str | None = None
) -> Any:
    """Build a choice from its class and these knobs; raise UserError if they do not fit.

    extensions: those that may hold it, by default the declared ones. frozen: the class that a frozen config names.
    """
    named = target(group, name, declared() if extensions is None else extensions, frozen)
    importable()
    try:
        built_from = resolve_name(named)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{group}={name}: its _target_, {named}, is not a class ({blame(error) or error})") from None
    try:
        return built_from(**knobs)
    except TypeError as error:
        raise UserError(f"{group}={name} does not fit {named}: {error}") from None


def knobs(group: str, name: str) -> dict[str, Any]:
    """Return a choice's knobs with the values of its yaml; raise UserError, listing the choices, if there is none."""
    if name not in names(group):
        raise UserError(f"{group}={name} is not there; choose one of {', '.join(names(group))}")
    return without_meta(_plain(group, name, resolve=True))


@lru_cache(maxsize=256)
def defaults(group: str, name: str) -> dict[str, Any]:
    """Return a choice's knobs as its yaml spells them, references unresolved; cached, so do not change them."""
    return without_meta(_plain(group, name, resolve=False))


@lru_cache(maxsize=256)
def allowed(group: str, name: str) -> dict[str, list[Any]]:
    """Return the values that a choice's knobs may have, where its yaml lists them (`_allowed_`)."""
    return dict(_plain(group, name, resolve=False).get("_allowed_", {}))


def without_meta(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the knobs of a choice without what its yaml says about itself."""
    return {key: value for key, value in choice.items() if not key.startswith("_")}


def _plain(group: str, name: str, resolve: bool) -> dict[str, Any]:
    """Return the yaml of a choice, merged over those that its `defaults` name, as plain data."""
    from omegaconf import OmegaConf

    node: Any = OmegaConf.to_container(_node(group, name), resolve=resolve)
    return {str(key): value for key, value in node.items()}


def _node(group: str, name: str) -> "DictConfig":
    from omegaconf import DictConfig, OmegaConf  # a twentieth of a second, which reading frozen configs need not take

    node = OmegaConf.load(yaml_of(group, name, declared()))
    assert isinstance(node, DictConfig)
    bases = [base for base in node.pop("defaults", []) if isinstance(base, str) and base != "_self_"]
    merged = OmegaConf.merge(*(_node(group, base) for base in bases), node)
    assert isinstance(merged, DictConfig)
    return merged


def _is_there(module: str) -> bool:
    importable()
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # of a package above it; of no name
        return False


@lru_cache(maxsize=1024)
def _target(group: str, name: str, extensions: tuple[str, ...]) -> str:
    from omegaconf import OmegaConf

    path = yaml_of(group, name, extensions)
    node: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    if isinstance(node, dict):
        if isinstance(named := node.get("_target_"), str):
            named = present(named)
            if not _is_there(named.rpartition(".")[0]):
                raise UserError(f"{group}={name}: its _target_, {named}, is in no module that can be imported ({path})")
            return named
        for base in reversed(node.get("defaults", [])):
            if isinstance(base, str) and base != "_self_":
                return _target(group, base, extensions)
    raise UserError(f"{path} names no class; its first line is _target_: package.module.Class")
