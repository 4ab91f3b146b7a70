"""Cells: which rows are replicates of one another, and what seeds make of L.

seed_noise(runs).sd                       # standard deviation of ln L over seeds, pooled over replicated cells
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from isoflop.analysis.tables.levels import LEVELS, level_index
from isoflop.analysis.tables.rows import usable

# what makes two runs replicates of one another: all of these equal, the seed not
CELL = ("family", "data", "width", "depth", "batch", "lr", "rung", "N", "D", "mark")


@dataclass(frozen=True)
class SeedNoise:
    """What seeds alone make of the loss.

    sd      standard deviation of ln L over seeds, pooled over replicated cells; None without any
    df      its degrees of freedom
    cells   a row for each replicated cell: what is equal in it, n runs, sd
    """

    sd: float | None
    df: int
    cells: pd.DataFrame


def seed_noise(runs: pd.DataFrame) -> SeedNoise:
    """Standard deviation of ln L over seeds, pooled over the cells that have at least two runs."""
    rows = usable(runs)
    key = [c for c in CELL if c in rows]
    rows = rows.assign(ln_L=np.log(rows["L"].astype(float)))
    grouped = rows.groupby(key, dropna=False)["ln_L"]
    cells = grouped.agg(n="count", sd="std").reset_index()
    cells = cells[cells["n"] > 1].reset_index(drop=True)
    df = int((cells["n"] - 1).sum())
    if df == 0:
        return SeedNoise(None, 0, cells)
    return SeedNoise(float(np.sqrt(((cells["n"] - 1) * cells["sd"] ** 2).sum() / df)), df, cells)


def seeds_by_level(rows: pd.DataFrame, axis: str) -> pd.Series:
    """The most seeds that one cell has at each level of the axis, greatest first."""
    key = [c for c in CELL if c in rows]
    unit = "seed" if "seed" in rows else key[0]
    cells = rows.assign(_level=level_index(rows[axis])).groupby([*key, "_level"], dropna=False)[unit].nunique()
    return cells.groupby("_level").max().sort_values(ascending=False)


def choose_law(rows: pd.DataFrame) -> str | None:
    """The law that suits what varies at LEVELS or more levels: of N and D, of one of them, or none."""
    varies = [c for c in ("N", "D") if c in rows and rows[c].notna().all() and len(set(level_index(rows[c]))) >= LEVELS]
    return "chinchilla" if len(varies) == 2 else f"power_offset({varies[0]})" if varies else None
