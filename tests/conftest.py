"""What several tests use: the command line as a user has it, and a small sweep made once."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# one torch thread per process: beside another busy process, more are slower (set before torch is imported)
os.environ.setdefault("OMP_NUM_THREADS", "1")

Isoflop = Callable[..., subprocess.CompletedProcess[str]]

# tiny runs: a second each
TINY = ["data.seq_len=16", "data.eval_size=256", "recipe.batch=4", "trainer.accelerator=cpu"]


@pytest.fixture(scope="session")
def isoflop() -> Isoflop:
    """Call the command line in a process of its own."""

    def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "isoflop.cli", *map(str, arguments)]
        env = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)

    return call


@pytest.fixture(scope="session")
def small_sweep(isoflop: Isoflop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished sweep of two families at two sizes; read it, do not change it."""
    out = tmp_path_factory.mktemp("sweep") / "small"
    grid = ["family=mlp,lstm", "family.width=8,16", "family.depth=1", "budget.D=2e3"]
    done = isoflop("train", "-m", *grid, *TINY, f"out={out}")
    assert done.returncode == 0, done.stderr
    return out
