"""Extensions: a user's own families, data, recipes, laws, quantities, figures, claims and studies (no torch, no Hydra).

    declare("my_lab")               # ISOFLOP_EXTENSIONS=my_lab, isoflop.extensions=[my_lab] or --config-dir my_lab

An extension is a folder or an installed package. Its `conf/` (or itself, if it has none) joins Hydra's search path, its
modules `laws`, `quantities` and `figures` are imported where ours are, and `conf/claims` joins the claims. Processes of
every launcher inherit the declaration, an environment variable. No other code is imported: runs may come from anywhere.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from isoflop.errors import UserError

# packages or folders, comma between
ENVIRONMENT = "ISOFLOP_EXTENSIONS"
# how an override of train and plan says the same
KEY = "isoflop.extensions"
CONF = Path(__file__).parent / "conf"
# a module that an extension may have -> the module of ours that imports it
HOSTS = {"laws": "isoflop.analysis.laws.declare", "quantities": "isoflop.analysis.claims.quantities"}


@dataclass(frozen=True)
class Extension:
    name: str
    """By which Python imports it; of a folder, the folder's name."""
    root: Path
    conf: Path
    """The folder of its yamls."""
    folder: bool
    """Whether it was named by its path, and is not an installed package."""

    def modules(self, kind: str) -> list[str]:
        """Return the dotted names of its module `kind`, or of the modules of its folder `kind`."""
        inside = sorted(path.stem for path in (self.root / kind).glob("[!_]*.py"))
        alone = [f"{self.name}.{kind}"] if (self.root / f"{kind}.py").is_file() else []
        return alone + [f"{self.name}.{kind}.{stem}" for stem in inside]

    def yamls(self) -> list[Path]:
        """Return its choices: the yamls of the groups in its conf."""
        return sorted([*self.conf.glob("*/*.yaml"), *self.conf.glob("hydra/*/*.yaml")])

    def files(self) -> list[Path]:
        """Return its Python files; those of hidden folders and of virtual environments left out."""
        files = []
        for folder, inside, names in os.walk(self.root):
            inside[:] = [name for name in inside if name[0] != "." and name not in ("__pycache__", "site-packages")]
            files += [Path(folder, name) for name in names if name.endswith(".py")]
        return sorted(files)


def all_declared() -> tuple[Extension, ...]:
    return tuple(_extension(text, os.getcwd()) for text in _listed(os.environ.get(ENVIRONMENT, "")))


def declared() -> tuple[str, ...]:
    return tuple(extension.name for extension in all_declared())


def declare(*extensions: str) -> None:
    """Declare folders or packages as extensions, here and in child processes; UserError if one is no extension."""
    before = all_declared()
    new = [_extension(text, os.getcwd()) for text in extensions]
    every = list(dict.fromkeys([*before, *new]))
    _refuse_twins(every)
    # folders by their full path, so that a process that is started elsewhere finds them
    os.environ[ENVIRONMENT] = ",".join(str(e.root) if e.folder else e.name for e in every)
    for kind, host in HOSTS.items():
        if host in sys.modules:
            load(kind)


def take(arguments: Iterable[str]) -> list[str]:
    """Declare what `isoflop.extensions=` and `--config-dir` of a command line name; what is left is for Hydra."""
    rest, extensions = list[str](), list[str]()
    given = iter(arguments)
    for argument in given:
        key, _, value = argument.partition("=")
        if key.lstrip("+") == KEY:
            extensions += _listed(value.strip().removeprefix("[").removesuffix("]"))
        elif key in ("--config-dir", "-cd"):
            folder = value or next(given, "")
            if not os.path.isdir(folder):
                raise UserError(f"--config-dir {folder} is not a folder")
            extensions.append(folder)
        else:
            rest.append(argument)
    declare(*extensions)  # also what the environment names is checked here
    return rest


def get(name: str) -> Extension:
    """Return the declared extension of a name; UserError, which says how to declare it, if there is none."""
    for extension in all_declared():
        if extension.name == name:
            return extension
    raise UserError(f"the extension {name} is not declared; run the same with {ENVIRONMENT}=FOLDER/{name}")


def importable(names: Iterable[str] = ()) -> None:
    """Let Python import the declared extensions that are folders; UserError if another module hides one of these."""
    every = all_declared()
    for above in (str(extension.root.parent) for extension in every if extension.folder):
        if above not in sys.path:
            sys.path.append(above)  # last, so that no file beside an extension hides a library
            importlib.invalidate_caches()
    for extension in (one for one in every if one.folder and one.name in names):
        spec = importlib.util.find_spec(extension.name) if extension.name.isidentifier() else None
        if spec is None or not any(extension.root.samefile(place) for place in spec.submodule_search_locations or ()):
            other = f"by which Python finds {spec.origin}" if spec else "which Python cannot import"
            raise UserError(f"the extension {extension.root} has the name {extension.name}, {other}; rename the folder")


def load(kind: str) -> list[ModuleType]:
    """Import the module `kind` of every declared extension, or each of its folder `kind`; UserError where one fails."""
    modules = []
    for extension in all_declared():
        if names := extension.modules(kind):
            importable([extension.name])
        for name in names:
            try:
                modules.append(import_module(name))
            except UserError:
                raise
            except Exception as error:
                raise UserError(f"{name} of {extension.root} cannot be imported: {_line(error)}") from None
    return modules


def blame(error: BaseException | None) -> str:
    """Return where the code of a declared extension raised an error, and which; empty if it is not to blame."""
    roots, chain = tuple(f"{extension.root}{os.sep}" for extension in all_declared()), list[BaseException]()
    while error is not None:
        chain.append(error)
        error = error.__cause__
    for cause in chain if roots and not any(isinstance(one, UserError) for one in chain) else ():
        frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(cause.__traceback__)]
        if own := [frame for frame in frames if frame[0].startswith(roots)]:
            return f"{own[-1][0]}, line {own[-1][1]}: {type(cause).__name__}: {' '.join(str(cause).split())}"
    return ""


def _listed(text: str) -> list[str]:
    parts = (part.strip().strip("'\"").strip() for part in text.split(","))
    return [part for part in parts if part]


@lru_cache(maxsize=64)
def _extension(text: str, directory: str) -> Extension:
    root = Path(os.path.abspath(Path(directory, text)))
    if not (folder := root.is_dir()):
        root = _package(text)
    return Extension(root.name if folder else text, root, root / "conf" if (root / "conf").is_dir() else root, folder)


def _package(name: str) -> Path:
    try:
        spec = importlib.util.find_spec(name) if all(part.isidentifier() for part in name.split(".")) else None
    except ImportError:  # of the parent of a dotted name
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the extension {name!r} is neither a folder nor an installed package; see docs/adding.md")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _refuse_twins(extensions: list[Extension]) -> None:
    """Refuse two extensions of one name, and a yaml of one that would be hidden by ours or by another's."""
    names: dict[str, Path] = {}
    for extension in extensions:
        if (other := names.setdefault(extension.name, extension.root)) != extension.root:
            raise UserError(f"two extensions are called {extension.name}: {other} and {extension.root}; rename one")
    seen: dict[Path, Path] = {}
    for extension in (Extension("isoflop", CONF, CONF, folder=False), *extensions):
        for path in extension.yamls():
            choice = path.relative_to(extension.conf)
            if choice.parts[0] != "claims" and (other := seen.setdefault(choice, path)) != path:
                raise UserError(f"{path} has the name of {other}; rename it")


def _line(error: Exception) -> str:
    where, last = "", error.__traceback__
    while last is not None:
        where = f" ({Path(last.tb_frame.f_code.co_filename).name}, line {last.tb_lineno})"
        last = last.tb_next
    if isinstance(error, SyntaxError):
        where = f" ({Path(error.filename or '').name}, line {error.lineno})"
        return f"{type(error).__name__}: {error.msg}{where}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"
