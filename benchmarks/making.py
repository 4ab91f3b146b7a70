"""Runs that a benchmark needs: missing ones are made by the command line, as by a user.

made(Path("/tmp/x"), [{"family": "mlp", "recipe.lr": "0.01,0.02"}], ["budget.D=1e5"])["L"]
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd


def made(out: Path, grids: Sequence[Mapping[str, object]], common: Sequence[str]) -> pd.DataFrame:
    """Return the runs of a folder after making missing points of the grids; a missing loss is infinite."""
    points = ["{" + ",".join(f"{key}:{quoted(value)}" for key, value in grid.items()) + "}" for grid in grids]
    isoflop = [sys.executable, "-m", "isoflop.cli"]
    overrides = [f"hydra.sweeper.grids=[{','.join(points)}]", *common, f"out={out}"]
    subprocess.run([*isoflop, "train", "-m", *overrides], check=True)
    subprocess.run([*isoflop, "collect", str(out), "-o", str(out / "runs.csv")], check=True)
    runs = pd.read_csv(out / "runs.csv")
    return runs.assign(L=runs["L"].fillna(np.inf))


def quoted(value: object) -> str:
    """Return a value of a grid as one word of Hydra's parser, also with commas or brackets."""
    return f"'{value}'" if set(str(value)) & set(",[]") else str(value)
