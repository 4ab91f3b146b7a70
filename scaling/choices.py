"""Choices of the config by name: the yaml that `family=mlp` selects, and the class that it names (no torch).

The folder is the registry: conf/GROUP/NAME.yaml, here or in the conf/ of a declared extension. A folder of runs may
come from anywhere, so what it names as a class is built only where it is one of ours or of a declared extension; else
the yaml of the choice's name decides.

    yaml_of("family", "mlp")                # .../conf/family/mlp.yaml
    target("family", "mlp")                 # 'isoflop.scaling.families.mlp.Mlp'
"""

import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from isoflop.errors import UserError

CONF = Path(__file__).parents[1] / "conf"
# packages or folders, comma between, whose conf/ is searched beside ours
ENVIRONMENT = "ISOFLOP_EXTENSIONS"
# the packages of ours that hold classes of choices
ROOMS = ("families", "data", "recipe")
NAME = re.compile(r"[\w-]+(/[\w-]+)*")


def declared() -> tuple[str, ...]:
    """The extensions that this process was started with."""
    return tuple(part for part in os.environ.get(ENVIRONMENT, "").split(",") if part)


def root_of(extension: str) -> Path:
    """The folder of an extension, which is a package or a folder; UserError where there is none."""
    if os.path.isdir(extension):
        return Path(extension).resolve()
    spec = importlib.util.find_spec(extension) if extension.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the extension {extension!r} is neither a folder nor an installed package")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def conf_of(extension: str) -> Path:
    """The folder of an extension's yamls: its conf/, or itself where it has none."""
    root = root_of(extension)
    return root / "conf" if (root / "conf").is_dir() else root


def importable(extensions: Iterable[str]) -> None:
    """Let Python import the extensions that are folders by their own name."""
    for extension in extensions:
        if (above := str(root_of(extension).parent)) not in sys.path and os.path.isdir(extension):
            sys.path.append(above)


def yaml_of(group: str, name: str, extensions: Iterable[str] = ()) -> Path:
    """The yaml of a choice; UserError where neither ours nor an extension has one."""
    folders = [CONF, *map(conf_of, extensions)]
    if NAME.fullmatch(name):
        for folder in folders:
            if (path := folder / group / f"{name}.yaml").is_file():
                return path
    searched = ", ".join(map(str, folders))
    raise UserError(f"{group}={name} is not in {searched}; declare the extension that has it: {ENVIRONMENT}=FOLDER")


def target(group: str, name: str, extensions: Sequence[str] = (), frozen: str | None = None) -> str:
    """The dotted name of a choice's class: the frozen one where it may be built, else that of the yaml of its name."""
    packages = [*(f"{__package__}.{room}" for room in ROOMS), *(Path(extension).name for extension in extensions)]
    if frozen and any(frozen.startswith(f"{package}.") for package in packages):
        return frozen
    return _target(group, name, tuple(extensions))


@lru_cache(maxsize=1024)
def _target(group: str, name: str, extensions: tuple[str, ...]) -> str:
    path = yaml_of(group, name, extensions)
    node: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    if isinstance(node, dict):
        if isinstance(named := node.get("_target_"), str):
            return named
        for base in reversed(node.get("defaults", [])):
            if isinstance(base, str) and base != "_self_":
                return _target(group, base, extensions)
    raise UserError(f"{path} names no class; its first line is _target_: package.module.Class")
