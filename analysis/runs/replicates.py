"""Cells: which rows are replicates of one another, and what seeds make of L.

seed_noise(runs).sd                       # standard deviation of ln L over seeds, pooled over replicated cells
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.runs import tune
from isoflop.analysis.runs.levels import LEVELS, level_index
from isoflop.analysis.runs.recognise import is_setting
from isoflop.analysis.runs.rows import usable

# what makes two runs replicates of one another: all of these equal, the seed not
CELL = tuple(dict.fromkeys((*tune.CELL, "N", "D", *tune.SEARCHED)))


def cell_columns(rows: pd.DataFrame) -> list[str]:
    """The columns of CELL that a table has; its compute where that alone tells its runs apart; and of a foreign table,
    which has no rung to name all that was set, every other setting."""
    known = [c for c in CELL if c in rows] + (["C"] if "C" in rows and not {"N", "D"} <= set(rows) else [])
    return known if "rung" in rows else [*known, *(str(c) for c in rows if c not in known and is_setting(rows, c))]


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
    key = cell_columns(rows)
    rows = rows.assign(ln_L=np.log(rows["L"].astype(float)))
    grouped = rows.groupby(key, dropna=False)["ln_L"]
    cells = grouped.agg(n="count", sd="std").reset_index()
    cells = cells[cells["n"] > 1].reset_index(drop=True)
    df = int((cells["n"] - 1).sum())
    if df == 0:
        return SeedNoise(None, 0, cells)
    return SeedNoise(float(np.sqrt(((cells["n"] - 1) * cells["sd"] ** 2).sum() / df)), df, cells)


def seeds_by_level(rows: pd.DataFrame, axis: str) -> NDArray[np.int64]:
    """The most seeds that one cell has at each level of the axis, (levels,), greatest first."""
    key = cell_columns(rows)
    level = level_index(rows[axis])
    cell = level
    for name in key:
        cell = _together(cell, pd.factorize(rows[name])[0])
    seed = pd.factorize(rows["seed" if "seed" in rows else key[0]])[0]
    known = seed >= 0
    first = np.unique(_together(cell[known], seed[known]), return_index=True)[1]
    count = np.bincount(cell[known][first], minlength=int(cell.max(initial=-1)) + 1)[cell]
    most = np.zeros(int(level.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(most, level, count)
    return np.sort(most)[::-1]


def _together(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each pair of codes, from 0; -1 is a code too."""
    return np.asarray(np.unique(first * (second.max(initial=-1) + 2) + second + 1, return_inverse=True)[1])


def choose_law(rows: pd.DataFrame) -> str | None:
    """The law that suits what varies at LEVELS or more levels: of N and D, of one of them, or none."""
    varies = [c for c in ("N", "D") if c in rows and rows[c].notna().all() and len(set(level_index(rows[c]))) >= LEVELS]
    return "chinchilla" if len(varies) == 2 else f"power_offset({varies[0]})" if varies else None
