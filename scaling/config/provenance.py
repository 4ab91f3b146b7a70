"""Which code makes a run: the commit, and a hash of the sources that its result follows from (no torch).

code(["isoflop.scaling.families.mlp.Mlp", "isoflop.scaling.data.text.Text"])
# Code(git='0d641d2a1b2c', dirty=False, sources='5f0c9a7e21bd')
"""

import hashlib
import importlib.util
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from isoflop.errors import UserError
from isoflop.extensions import get
from isoflop.scaling.config import choices

ROOM = Path(__file__).resolve().parents[1]  # scaling/, not by isoflop's link to it
PACKAGE = "isoflop.scaling"
# folders of which a run uses the files of its choices, and what those import
CHOSEN = ("families", "data")
FROM = rf"^from ({re.escape(PACKAGE)}\.(?:{'|'.join(CHOSEN)})[\w.]*) import"
IMPORT = re.compile(rf"{FROM} (?:\(([^)]*)\)|(.*)$)", re.MULTILINE)


@dataclass(frozen=True)
class Code:
    git: str | None
    """Commit; None outside a git checkout."""
    dirty: bool | None
    """Whether it was changed since that commit."""
    sources: str | None = None
    """Hash of the sources that the result follows from; None in what earlier versions wrote."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Code":
        """Return the code that a row of a record, or other plain data, names."""
        return cls(data.get("git"), data.get("dirty"), data.get("sources"))

    def same(self, other: "Code") -> bool:
        """Return whether the sources are the same; compare commits if one is too old to have a hash of sources."""
        if self.sources and other.sources:
            return self.sources == other.sources
        return (self.git, self.dirty) == (other.git, other.dirty)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        changes = " with changes" if self.dirty else ""
        return f"{self.git}{changes}" + (f" (sources {self.sources})" if self.sources else "")


def code(classes: Iterable[str], extensions: Sequence[str] = ()) -> Code:
    """Return the code, as it is now, that would make a run of these classes."""
    return Code(**commit(), sources=_sources(tuple(sorted(classes)), tuple(extensions)))


@lru_cache(maxsize=1)
def commit() -> dict[str, Any]:
    """Return the commit of this code and whether it was changed since; None for each outside a git checkout."""
    root = ROOM.parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return {"git": None, "dirty": None}
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "isoflop", "scaling", "conf")
        return {"git": git("rev-parse", "HEAD")[:12], "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return {"git": None, "dirty": None}


@lru_cache(maxsize=1)
def tree() -> dict[str, str]:
    """Return the hash of every source file of this room, by its path in the room, as it was when first asked."""
    return {str(path.relative_to(ROOM)): _hash(path) for path in sorted(ROOM.rglob("*.py"))}


@lru_cache(maxsize=256)
def _sources(classes: tuple[str, ...], extensions: tuple[str, ...]) -> str:
    modules = [name.rpartition(".")[0] for name in classes]
    choices.importable()
    own = [name for name in extensions if any(f"{module}.".startswith(f"{name}.") for module in modules)]
    files = [path for name in own for path in get(name).files()]
    files = list(dict.fromkeys([*files, *(_file(name) for name in modules if not name.startswith(f"{PACKAGE}."))]))
    always = [ROOM / name for name in tree() if name.split("/")[0] not in CHOSEN]
    imported = [module for path in (*always, *files) for module in _imports(path)]
    used = _used((*(module for module in modules if module.startswith(f"{PACKAGE}.")), *imported))
    parts = [(name, digest) for name, digest in tree().items() if name.split("/")[0] not in CHOSEN or name in used]
    parts += [(path.name, _hash(path)) for path in files]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


@lru_cache(maxsize=256)
def _used(modules: tuple[str, ...]) -> frozenset[str]:
    """Return the files of these modules of ours, and of those that they import from the folders of choices."""
    used, left = set[str](), list(modules)
    while left:
        name = left.pop().removeprefix(f"{PACKAGE}.").replace(".", "/") + ".py"
        if name in tree() and name not in used:
            used.add(name)
            left += _imports(ROOM / name)
    return frozenset(used)


def _imports(path: Path) -> list[str]:
    modules = []
    for module, several, names in IMPORT.findall(path.read_text(encoding="utf-8")):
        words = (name.split(" as ")[0].strip() for name in (several or names).split("#")[0].split(","))
        modules += [module, *(f"{module}.{word}" for word in words if word)]
    return modules


def _file(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(f"the module {module}, named by the _target_ of a yaml, cannot be found; correct the yaml")
    return Path(spec.origin).resolve()


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
