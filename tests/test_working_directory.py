"""Where the command is given does not matter: what lies there is the user's, and never imported by its name."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import TINY

COMMAND = [sys.executable, "-m", "isoflop.cli", "train"]


def test_files_named_as_modules_do_not_disturb_a_sweep(tmp_path: Path) -> None:
    for name in ("random", "torch", "numpy", "typer"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the file of the user was imported')\n")
    run = ["family=mlp", "family.width=8", "family.depth=1", "budget.D=2e3", *TINY, "out=runs"]
    done = subprocess.run([*COMMAND, "-m", *run], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 ok" in done.stderr


def test_the_conf_of_another_project_does_not_replace_ours(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "__init__.py").touch()
    (tmp_path / "conf" / "train.yaml").write_text("theirs: 1\n")
    env = os.environ | {"PYTHONPATH": "."}
    done = subprocess.run([*COMMAND, "--cfg", "job"], capture_output=True, text=True, check=True, cwd=tmp_path, env=env)
    assert "family:" in done.stdout
    assert "theirs" not in done.stdout
