"""Cells: which rows are replicates of one another, which values are one level of an axis, and what seeds make of L.

level_index([1.00e10, 1.01e10, 2e10])     # [0, 0, 1]
seed_noise(runs).sd                       # standard deviation of ln L over seeds, pooled over replicated cells
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from isoflop.analysis.tables.rows import usable

points = usable  # the name that claims and the report call it by

# what makes two runs replicates of one another: all of these equal, the seed not
CELL = ("family", "data", "width", "depth", "batch", "lr", "rung", "N", "D", "mark")
# budgets are rounded up to whole steps: values closer than this are one level of an axis
SAME_LEVEL = 0.1


@dataclass(frozen=True)
class SeedNoise:
    """Spread of ln L over seeds: `sd` pooled over replicated cells on `df` degrees of freedom; None without any."""

    sd: float | None
    df: int
    cells: pd.DataFrame


def level_index(values: ArrayLike, tolerance: float = SAME_LEVEL) -> NDArray[np.int64]:
    """The place of each positive value among the distinct ones, from 0; values within `tolerance` are one level."""
    x = np.log(np.asarray(values, dtype=float))
    order = np.argsort(x, kind="stable")
    steps = np.diff(x[order], prepend=x[order[:1]]) > np.log1p(tolerance)
    index = np.empty(len(x), dtype=np.int64)
    index[order] = np.cumsum(steps)
    return index


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
