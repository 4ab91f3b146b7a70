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
}
# the table at which the two programs meet, and the sentence that both may say
SHARED = {"scaling", "scaling.record", "scaling.errors"}


BLOCK_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "pytorch_lightning"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
"""


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


@pytest.mark.parametrize("room", BARRED)
def test_no_statement_crosses_a_wall(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        crossed = {name for name in imports(path) if name.split(".")[0] in BARRED[room]}
        assert not crossed, f"{path.relative_to(ROOT)} imports {crossed}"


def test_analysis_takes_only_the_record_from_the_left_side() -> None:
    for path in (ROOT / "analysis").rglob("*.py"):
        for name in imports(path):
            if name.split(".")[0] == "scaling":
                assert ".".join(name.split(".")[:2]) in SHARED, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", ["sweeps", "analysis"])
def test_the_right_side_and_the_middle_import_with_torch_blocked(room: str) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name not in ("__init__.py",)
    ]
    code = f"{BLOCK_TORCH}\nfor name in {modules!r}: __import__(name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["scaling.record", "scaling.errors"])
def test_the_record_needs_the_standard_library_alone(module: str) -> None:
    others = "{n.split('.')[0] for n in sys.modules} & {'numpy', 'omegaconf', 'hydra'}"
    code = f"import sys; import {module}; print({others})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
