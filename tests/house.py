"""The house, measured: its size, the arrows between its files and folders, its names, and the walks through it.

python -m tests.house              # the figures, and where each of the bad ones is
python -m tests.house --walks      # files entered by `fit` and by `report` of studies/demo, and moves between them
python -m tests.house --tree ../x  # of another checkout

Files are read, never links: isoflop/analysis leads to analysis/, and each file is counted once, under the folder in
which it lies. An arrow is an import statement, wherever in a file it stands.
"""

import argparse
import ast
import json
import subprocess
import sys
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("isoflop", "scaling", "sweeps", "analysis")
# rooms of analysis from the ground up: each may import itself and those before it
ROOMS = (
    *("laws", "runs", "solving", "intervals", "fitting", "holdout", "frontier", "design", "claims", "report"),
    "confirm",
)
LONG_FILE, LONG_FUNCTION, MANY = 300, 40, 6
CACHES = {"cache", "lru_cache", "memo", "remember", "memoised"}
PROPERTIES = {"property", "cached_property", "setter"}
# with what the docstring of a function begins
VERBS = frozenset((ROOT / "tests" / "verbs.txt").read_text(encoding="utf-8").split())

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class House:
    """The files of a checkout and what their trees say.

    root   the folder of the checkout
    """

    root: Path = ROOT

    @cached_property
    def files(self) -> dict[str, Path]:
        """Each module by its dotted name without `isoflop.`; links are passed over."""
        found = {}
        for part in PARTS:
            for path in sorted((self.root / part).rglob("*.py")):
                inside = path.relative_to(self.root)
                if not any((self.root / folder).is_symlink() for folder in (inside, *inside.parents)):
                    found[".".join(inside.with_suffix("").parts).removesuffix(".__init__")] = path
        return found

    @cached_property
    def texts(self) -> dict[str, str]:
        """The text of each module."""
        return {name: path.read_text(encoding="utf-8") for name, path in self.files.items()}

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """The syntax tree of each module."""
        return {name: ast.parse(text) for name, text in self.texts.items()}

    @cached_property
    def arrows(self) -> dict[str, set[str]]:
        """Module -> the modules that its import statements name."""
        return {name: set(self._imports(name)) - {name} for name in self.files}

    def _imports(self, module: str) -> Iterator[str]:
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.ImportFrom) and node.module:
                base = self._own(node.module)
                names = {f"{base}.{alias.name}" for alias in node.names} & self.files.keys()
                # `from isoflop.analysis.runs import read` is of the file, not of the folder's __init__
                yield from names if len(names) == len(node.names) else names | ({base} & self.files.keys())
            elif isinstance(node, ast.Import):
                yield from {self._own(alias.name) for alias in node.names} & self.files.keys()

    def _own(self, name: str) -> str:
        """A dotted name as `files` has it; modules of the face keep the name of their folder, isoflop."""
        inside = name.removeprefix("isoflop.")
        return inside if inside.split(".")[0] in PARTS else name

    def folder(self, module: str) -> str:
        """The folder in which a module's file lies."""
        return str(self.files[module].parent.relative_to(self.root))

    def room(self, module: str) -> tuple[str, str]:
        """The part that a module is of, and the folder or file directly below it."""
        parts = [*module.split("."), ""]
        return parts[0], parts[1]

    @cached_property
    def functions(self) -> list[tuple[str, Function]]:
        """Every function and method with its module, nested ones too."""
        kinds = ast.FunctionDef | ast.AsyncFunctionDef
        return [(name, n) for name, tree in self.trees.items() for n in ast.walk(tree) if isinstance(n, kinds)]

    def where(self, module: str, node: Function) -> str:
        """The place of a function, as an editor opens it."""
        return f"{self.files[module].relative_to(self.root)}:{node.lineno} {node.name}"

    # -- what is wrong, one line each ----------------------------------------------------------------------------------

    def circles_of_files(self) -> list[str]:
        """List the circles of import statements that run when a module is imported or a function is called."""
        return [" -> ".join(sorted(knot)) for knot in knots(self.arrows)]

    def circles_of_folders(self) -> list[str]:
        """List the groups of folders that import each other, a folder and what lies inside it apart."""
        graph: dict[str, set[str]] = defaultdict(set)
        for module, others in self.arrows.items():
            for other in others:
                a, b = self.folder(module), self.folder(other)
                if a != b and not a.startswith(f"{b}/") and not b.startswith(f"{a}/"):
                    graph[a].add(b)
        return [" <-> ".join(sorted(knot)) for knot in knots(graph)]

    def upward(self) -> list[str]:
        """List the arrows that run up: in analysis against ROOMS, in scaling and sweeps those that no order avoids."""
        found = []
        for part in ("scaling", "sweeps", "analysis"):
            pairs = self._pairs(part)
            order = ROOMS if part == "analysis" else arranged(pairs)
            found += [
                f"{part}: {a} -> {b} ({', '.join(sorted(modules)[:3])})"
                for (a, b), modules in sorted(pairs.items())
                if a in order and b in order and order.index(b) > order.index(a)
            ]
        return found

    def _pairs(self, part: str) -> dict[tuple[str, str], set[str]]:
        """Pairs of rooms of a part that import one another -> the modules that do."""
        pairs: dict[tuple[str, str], set[str]] = defaultdict(set)
        for module, others in self.arrows.items():
            for other in others:
                (here, a), (there, b) = self.room(module), self.room(other)
                if here == there == part and a and b and a != b:
                    pairs[a, b].add(module)
        return dict(pairs)

    def floors(self, part: str) -> int:
        """Count the floors of a part: the rooms on the longest way down."""
        below: dict[str, set[str]] = defaultdict(set)
        for a, b in self._pairs(part):
            below[a].add(b)
        order = arranged({pair: {""} for pair in self._pairs(part)})
        depth: dict[str, int] = {}
        for room in order:  # from the ground up
            depth[room] = 1 + max((depth.get(b, 0) for b in below[room]), default=0)
        return max(depth.values(), default=0)

    def long_files(self) -> list[str]:
        """List the files of more than LONG_FILE lines."""
        counts = {name: text.count("\n") for name, text in self.texts.items()}
        return [f"{self.files[m].relative_to(self.root)} {n}" for m, n in counts.items() if n > LONG_FILE]

    def wide_folders(self) -> Counter[str]:
        """Count the files of each folder, __init__.py apart."""
        return Counter(self.folder(m) for m, path in self.files.items() if path.name != "__init__.py")

    def names_used_twice(self) -> list[str]:
        """List the class names that several files define."""
        classes = defaultdict(list)
        for module, tree in self.trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    classes[node.name].append(module)
        return [f"{name}: {', '.join(modules)}" for name, modules in sorted(classes.items()) if len(modules) > 1]

    def long_functions(self) -> list[str]:
        """List the functions of more than LONG_FUNCTION lines."""
        return [
            f"{self.where(m, n)} {lines}"
            for m, n in self.functions
            if (lines := (n.end_lineno or n.lineno) - n.lineno + 1) > LONG_FUNCTION
        ]

    def many_parameters(self) -> list[str]:
        """List the functions of more than MANY parameters; a law's are its columns and parameters."""
        return [
            f"{self.where(m, n)} {count}" for m, n in self.functions if (count := parameters(n)) > MANY and not law(n)
        ]

    def public_names(self) -> list[str]:
        """List the functions and classes that a file offers to others, constants aside."""
        return [f"{module}.{name}" for module, tree in self.trees.items() for name in offered(tree)]

    def attrs(self) -> list[str]:
        """List the lines of analysis that hide state in a frame."""
        return [
            f"{self.files[module].relative_to(self.root)}:{node.lineno}"
            for module, tree in self.trees.items()
            if module.startswith("analysis.")
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr == "attrs"
        ]

    def caches(self) -> list[str]:
        """List what modules of analysis remember between calls: memoised functions of data, dicts that fill."""
        return [
            f"{self.files[module].relative_to(self.root)}:{line} {name}"
            for module, tree in self.trees.items()
            if module.startswith("analysis.")
            for line, name in memories(tree)
        ]

    def without_verb(self) -> list[str]:
        """List the public functions whose docstring does not begin with a verb of VERBS."""
        return [f"{self.where(m, n)}: {opening(n)}" for m, n in self.documented() if not begins_with_verb(n)]

    def documented(self) -> list[tuple[str, Function]]:
        """List the public functions and methods that have a docstring, laws, quantities and properties aside."""
        nested = {id(inner) for _, n in self.functions for inner in ast.walk(n) if inner is not n}
        return [
            (m, n)
            for m, n in self.functions
            if not n.name.startswith("_") and id(n) not in nested and ast.get_docstring(n)
            and not law(n) and not decorators(n) & PROPERTIES
        ]  # fmt: skip

    def figures(self) -> dict[str, int]:
        """Return every figure by its name; fewer is better, except for `verbs_percent`."""
        documented = self.documented()
        return {
            "lines": sum(text.count("\n") for text in self.texts.values()),
            "files": len(self.files),
            "public_names": len(self.public_names()),
            "names_used_twice": len(self.names_used_twice()),
            "circles_of_files": len(self.circles_of_files()),
            "circles_of_folders": len(self.circles_of_folders()),
            "upward_arrows": len(self.upward()),
            "widest_folder": max(self.wide_folders().values()),
            "long_files": len(self.long_files()),
            "long_functions": len(self.long_functions()),
            "many_parameters": len(self.many_parameters()),
            "attrs": len(self.attrs()),
            "caches": len(self.caches()),
            "verbs_percent": 100 * (len(documented) - len(self.without_verb())) // max(len(documented), 1),
        }


def knots(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Find the groups of nodes that reach each other (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(group)

    sys.setrecursionlimit(10_000)
    for node in list(graph):
        if node not in index:
            visit(node)
    return found


def arranged(pairs: Mapping[tuple[str, str], Iterable[str]]) -> list[str]:
    """Order rooms from the ground up so that few arrows run up (Eades, Lin and Smyth 1993)."""
    weights = {pair: len(list(modules)) for pair, modules in pairs.items()}
    rest = {room for pair in weights for room in pair}
    ground: list[str] = []
    top: list[str] = []
    while rest:
        out = {r: sum(w for (a, b), w in weights.items() if a == r and b in rest) for r in rest}
        into = {r: sum(w for (a, b), w in weights.items() if b == r and a in rest) for r in rest}
        if sinks := sorted(r for r in rest if not out[r]):
            ground += sinks
            rest -= set(sinks)
        elif sources := sorted(r for r in rest if not into[r]):
            top += sources
            rest -= set(sources)
        else:
            chosen = min(sorted(rest), key=lambda r: out[r] - into[r])
            ground.append(chosen)
            rest.discard(chosen)
    return ground + top[::-1]


def parameters(node: Function) -> int:
    """Count the parameters of a function, self and cls apart."""
    args = node.args
    names = [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def decorators(node: Function | ast.ClassDef) -> set[str]:
    """Return the last names of a definition's decorators."""
    called = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return {d.attr if isinstance(d, ast.Attribute) else d.id for d in called if isinstance(d, ast.Attribute | ast.Name)}


def law(node: Function) -> bool:
    """Check whether a function is in a catalogue: its docstring begins with a formula, or what a figure shows."""
    return bool(decorators(node) & {"law", "quantity", "figure"})


def opening(node: Function) -> str:
    """Return the first two words of a docstring."""
    return " ".join((ast.get_docstring(node) or "").split()[:2])


def begins_with_verb(node: Function) -> bool:
    """Check whether a docstring begins with a verb: 'Number the rows', and not 'Number of rows'."""
    first, _, second = opening(node).lower().partition(" ")
    return first.strip("`*:,.;()") in VERBS and second != "of"


def offered(tree: ast.Module) -> Iterator[str]:
    """Yield the public functions and classes that a module defines at its top level."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def memories(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and name of each memoised function with arguments and of each private dict that begins empty."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and decorators(node) & CACHES and parameters(node):
            yield node.lineno, node.name
    for node in tree.body:
        value = getattr(node, "value", None)
        made = value.func if isinstance(value, ast.Call) and not (value.args or value.keywords) else None
        name = ast.unparse(made).split("[")[0] if made is not None else ""
        empty = (isinstance(value, ast.Dict) and not value.keys) or name.split(".")[-1] in {
            "dict", "OrderedDict", "WeakKeyDictionary", "WeakValueDictionary", "Keyed",
        }  # fmt: skip
        if isinstance(node, ast.Assign | ast.AnnAssign) and empty:
            target = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
            if target.startswith("_"):  # a public one is a catalogue that decorators fill
                yield node.lineno, target


# -- walks: what runs when a verb runs ---------------------------------------------------------------------------------

WALKS = {
    "fit": ["fit", "studies/demo/runs.csv", "--where", "family='lstm'"],
    "report": ["report", "studies/demo/runs.csv", "-o", "{out}"],
}
PROFILE = """
    import contextlib, io, json, os, sys, tempfile
    root, line = sys.argv[1], json.loads(sys.argv[2])
    sys.path.insert(0, root)
    os.chdir(root)
    entered, moves, last = set(), 0, None
    def watch(frame, event, argument):
        global moves, last
        if event == "call":
            name = frame.f_code.co_filename
            if name.startswith(root) and "/.venv/" not in name:
                entered.add(name)
                moves += name != last
                last = name
    from isoflop import cli
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        sys.setprofile(watch)
        code = cli.call([argument.replace("{out}", out) for argument in line])
        sys.setprofile(None)
    names = sorted(name.removeprefix(root + "/").removeprefix("isoflop/") for name in entered)
    print(json.dumps({"code": code, "files": len(entered), "moves": moves, "entered": names}))
"""


def walk(verb: str, root: Path = ROOT) -> dict[str, Any]:
    """Run a verb in a process of its own; return its exit code, the files it entered and the moves between them."""
    command = [sys.executable, "-c", textwrap.dedent(PROFILE), str(root), json.dumps(WALKS[verb])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(argv: list[str] | None = None) -> None:
    """Print the figures and where the bad ones are, or the walks."""
    parser = argparse.ArgumentParser(prog="python -m tests.house", description="Measure the house.")
    parser.add_argument("--walks", action="store_true", help="run fit and report instead, and count what they enter")
    parser.add_argument("--tree", default=str(ROOT), help="the checkout to measure")
    parser.add_argument("--lines", type=int, default=12, help="places shown of each figure")
    given = parser.parse_args(argv)
    root = Path(given.tree).resolve()
    if given.walks:
        for verb in WALKS:
            found = walk(verb, root)
            print(f"{verb:8}{found['files']:5} files entered, {found['moves']:7,} moves between files")
            print(textwrap.indent("\n".join(found["entered"][: given.lines]), "    "))
        return
    house = House(root)
    for name, value in house.figures().items():
        print(f"{name:20}{value:7,}")
    for part in PARTS[1:]:
        rooms = house._pairs(part)
        print(f"{part:20}{house.floors(part):7} floors, {len(rooms)} arrows between rooms")
    print("widest folders      ", ", ".join(f"{f} {n}" for f, n in house.wide_folders().most_common(4)))
    for what in (
        house.circles_of_files, house.circles_of_folders, house.upward, house.names_used_twice, house.long_files,
        house.long_functions, house.many_parameters, house.attrs, house.caches, house.without_verb,
    ):  # fmt: skip
        if places := what():
            print(f"{what.__name__}: {len(places)}")
            print(textwrap.indent("\n".join(places[: given.lines]), "    "))


if __name__ == "__main__":
    main()
