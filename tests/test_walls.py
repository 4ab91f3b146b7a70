"""The rooms of the house: who may import whom, in the statements and when run."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BARRED = {
    "scaling": {"scipy", "pandas", "analysis", "sweeps", "altair"},
    "sweeps": {"torch", "pytorch_lightning", "scipy"},
    "analysis": {"torch", "pytorch_lightning", "hydra", "sweeps", "wandb"},
    "isoflop": {"torch", "pytorch_lightning", "scipy", "pandas", "sweeps", "analysis", "wandb"},
}
# what analysis may use: itself and the ground, isoflop/*.py
SHARED = {"analysis"} | {path.stem for path in (ROOT / "isoflop").glob("*.py")}


BLOCK_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "pytorch_lightning"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
"""


def python_files(room: str) -> list[Path]:
    """Those of a room; isoflop/ has links to the other rooms, which are not its own."""
    return sorted((ROOT / room).glob("*.py") if room == "isoflop" else (ROOT / room).rglob("*.py"))


def dotted(path: Path) -> str:
    """The name by which a file is imported."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name if name.startswith("isoflop.") else f"isoflop.{name}"


def imports(path: Path) -> set[str]:
    """Every module that a file's import statements name, wherever in the file they stand."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def first(name: str) -> str:
    """The room or the library that a dotted name is of."""
    return name.removeprefix("isoflop.").split(".")[0]


@pytest.mark.parametrize("room", BARRED)
def test_no_statement_crosses_a_wall(room: str) -> None:
    files = python_files(room)
    assert files
    for path in files:
        crossed = {name for name in imports(path) if first(name) in BARRED[room]}
        assert not crossed, f"{path.relative_to(ROOT)} imports {crossed}"


def test_analysis_takes_nothing_from_the_left_side_but_what_is_common_ground() -> None:
    for path in (ROOT / "analysis").rglob("*.py"):
        for name in imports(path):
            if name.startswith("isoflop."):
                assert first(name) in SHARED, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", ["sweeps", "analysis", "isoflop"])
def test_the_right_side_and_the_middle_import_with_torch_blocked(room: str) -> None:
    modules = [dotted(path) for path in python_files(room) if path.name not in ("__init__.py",)]
    code = f"{BLOCK_TORCH}\nfor name in {modules!r}: __import__(name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["isoflop.record", "isoflop.errors"])
def test_the_record_needs_the_standard_library_alone(module: str) -> None:
    others = "{n.split('.')[0] for n in sys.modules} & {'numpy', 'omegaconf', 'hydra'}"
    code = f"import sys; import {module}; print({others})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
