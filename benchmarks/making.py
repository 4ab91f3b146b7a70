"""Runs that a benchmark needs: made where they are missing, by the command line as a user has it.

made(Path("/tmp/x"), [{"family": "mlp", "recipe.lr": "0.01,0.02"}], ["budget.D=1e5"])["L"]
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd


def made(out: Path, grids: Sequence[Mapping[str, object]], common: Sequence[str]) -> pd.DataFrame:
    """The runs of a folder, the missing points of the grids made; a loss that is not there is infinite."""
    points = ["{" + ",".join(f"{key}:{quoted(value)}" for key, value in grid.items()) + "}" for grid in grids]
    isoflop = [sys.executable, "-m", "isoflop.cli"]
    overrides = [f"hydra.sweeper.grids=[{','.join(points)}]", *common, f"out={out}"]
    subprocess.run([*isoflop, "train", "-m", *overrides], check=True)
    subprocess.run([*isoflop, "collect", str(out), "-o", str(out / "runs.csv")], check=True)
    runs = pd.read_csv(out / "runs.csv")
    return runs.assign(L=runs["L"].fillna(np.inf))


def quoted(value: object) -> str:
    """A value of a grid: what holds commas or brackets is one word to Hydra's parser."""
    return f"'{value}'" if set(str(value)) & set(",[]") else str(value)
