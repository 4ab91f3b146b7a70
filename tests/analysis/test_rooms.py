"""The rooms of analysis stand in an order, arrows of imports go one way, and nowhere is there a circle."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# from the ground up: a room may import itself and what stands before it
ROOMS = (
    *("laws", "runs", "solving", "intervals", "fitting", "holdout", "frontier", "design", "claims", "report"),
    "confirm",
)
PACKAGES = ("isoflop", "scaling", "sweeps", "analysis")


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without `isoflop.`, the links in isoflop/ left out."""
    files = [f for top in PACKAGES for f in (ROOT / top).rglob("*.py") if not any(p.is_symlink() for p in f.parents)]
    return {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


def imported(path: Path, known: dict[str, Path], *, at_run_time: bool) -> set[str]:
    """The modules of the package that a file names: anywhere in it, or only where a statement runs on import."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree)) if at_run_time else tree.body
    names = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            base = node.module.removeprefix("isoflop.")
            names |= {name for name in (base, *(f"{base}.{alias.name}" for alias in node.names)) if name in known}
    return names


def room(module: str) -> str:
    """The room of a module of analysis; empty where it stands in none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "analysis" and len(parts) > 2 else ""


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    """Module -> modules that it names anywhere."""
    known = modules()
    return {name: imported(path, known, at_run_time=True) - {name} for name, path in known.items()}


def test_every_room_of_analysis_has_its_place(arrows: dict[str, set[str]]) -> None:
    assert {room(name) for name in arrows if room(name)} == set(ROOMS)


def test_imports_between_rooms_go_downwards(arrows: dict[str, set[str]]) -> None:
    upward = [
        f"{name} -> {other}"
        for name, others in arrows.items()
        for other in others
        if room(name) and room(other) and ROOMS.index(room(other)) > ROOMS.index(room(name))
    ]
    assert upward == []


def test_few_rooms_know_one_another(arrows: dict[str, set[str]]) -> None:
    between = {(room(a), room(b)) for a, others in arrows.items() for b in others if room(a) and room(b)}
    assert len([pair for pair in between if pair[0] != pair[1]]) <= 45


def test_there_is_no_circle_of_imports() -> None:
    known = modules()
    graph = {name: imported(path, known, at_run_time=False) - {name} for name, path in known.items()}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle
