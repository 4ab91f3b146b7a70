"""Cells: runs of one size and amount of data, what was searched inside them, and which are replicates of one another.

    searched = pd.concat([rows.assign(lr=lr, L=rows["L"] * (1 + abs(lr - 0.02))) for lr in (0.01, 0.02, 0.04)])
    best, cells = tune(searched, ("lr",))
    cells[["N", "D", "lr", "tried", "edge"]]      # the best lr, 0.02, of 3 at each N and D
    seed_noise(rows).sd                           # standard deviation of ln L over seeds, pooled over replicated cells

A cell is a size at an amount of data, of one family on one dataset; its best value of a searched knob is that of the
lowest mean loss over seeds, flagged on the edge of what was tried.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.runs.levels import LEVELS, level_index
from isoflop.analysis.runs.rows import usable
from isoflop.errors import UserError

# knobs that are searched, under the names that tables give them
SEARCHED = (
    "lr", "learning_rate", "max_lr", "peak_lr", "batch", "batch_size", "bs", "bsz", "weight_decay", "wd", "warmup",
    "beta1", "beta2", "momentum", "recipe.weight_decay", "recipe.warmup", "recipe.beta2",
)  # fmt: skip
# what makes a cell, beside N and D: runs that differ in these were never meant to be compared
CELL = (
    "family", "data", "width", "depth", "rung", "mark", "D_unique", "n_active", "n_experts", "dataset", "hparams",
)  # fmt: skip
# what makes two runs replicates of one another: all of these equal, the seed not
REPLICATE = tuple(dict.fromkeys((*CELL, "N", "D", *SEARCHED)))
# values of a knob in one cell that make a search: two may be a repeat by another rule
_TRIED = 3
# cells that a note names
_NAMED = 3


def cells_of(rows: pd.DataFrame, by: Sequence[str] = (), knobs: Sequence[str] = ()) -> pd.Series:
    """Return the number of each row's cell, (rows,): equal N, D of one level, `by`, CELL, rung without `knobs`."""
    key = [c for c in dict.fromkeys(("N", *CELL, *by)) if c in rows]
    parts = rows[key].astype(str)
    if knobs and "rung" in parts:
        searched = "|".join(re.escape(knob.removeprefix("recipe.")) for knob in knobs)
        parts["rung"] = parts["rung"].str.replace(rf"(?:^| )(?:recipe|family)\.(?:{searched})=\S+", "", regex=True)
    if "D" in rows and rows["D"].notna().all() and len(rows) and (rows["D"] > 0).all():
        parts = parts.assign(_level=level_index(rows["D"]))
    if not len(parts.columns):
        return pd.Series(0, rows.index)
    # a blank, as in a foreign table, is a value like another
    return parts.groupby(list(parts.columns), sort=False, dropna=False).ngroup()


def searched_knobs(rows: pd.DataFrame) -> dict[str, int]:
    """Return the knobs that were searched within a cell, each under one name, and the most values that a cell has."""
    names = [c for c in SEARCHED if c in rows and rows[c].nunique() >= _TRIED]
    if not names or "N" not in rows:
        return {}
    cells, values = cells_of(rows, knobs=SEARCHED), rows[names].T.drop_duplicates().index
    most = {str(c): int(rows[c].groupby(cells).nunique().max()) for c in values}
    return {c: k for c, k in most.items() if k >= _TRIED}


def searched_notes(searched: dict[str, int]) -> list[str]:
    """Return a note if a knob was searched within a cell."""
    several = " and ".join(f"{c} takes up to {k} values" for c, k in searched.items())
    return [f"{several} at one N and D: --tune {','.join(searched)} takes the best of each"] if searched else []


def tune(rows: pd.DataFrame, knobs: Sequence[str], cells: pd.Series | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows with the best knobs of each cell, and a table of the cells that were searched.

    rows    finished rows with N and L
    knobs   columns that were searched; those that never vary within a cell are skipped
    cells   number of each row's cell; by default equal N, D of one level, family and data

    The rows have one more column, `edges`: how many of the knobs are best on the edge of what was tried. The table has
    N, the mean D and C, the best values, the loss there, how many were tried, and the knobs that are best on an edge.
    """
    cells = cells_of(rows, knobs=knobs) if cells is None else cells
    searched = [k for k in dict.fromkeys(knobs) if k in rows and rows[k].groupby(cells).nunique().max() > 1]
    if not searched:
        return rows.assign(edges=0), pd.DataFrame()
    best_places = _best(rows, searched, cells)
    best_rows, numbers = rows.iloc[best_places], cells.to_numpy()[best_places]
    chosen = best_rows.groupby(numbers, sort=False)
    best, summary, edges = chosen[searched].first(), [], {}
    losses = dict(zip(best.index, chosen["L"].mean().to_numpy(float), strict=True))
    for number, cell in rows.groupby(cells, sort=False):
        values: dict[str, object] = {knob: best.at[number, knob] for knob in searched}
        edge = [knob for knob in searched if _on_edge(cell, knob, values)]
        edges[number] = len(edge)
        row = {"N": cell["N"].iloc[0]} | {c: float(cell[c].mean()) for c in ("D", "C") if c in cell}
        tried = len(cell[searched].drop_duplicates())
        summary.append(row | values | {"L": float(losses[number]), "tried": tried, "edge": ", ".join(edge)})
    return best_rows.assign(edges=[edges[number] for number in numbers]), pd.DataFrame(summary)


def well_tuned(rows: pd.DataFrame, besides: Sequence[str] = ()) -> pd.DataFrame:
    """Return the rows at the best value of every searched knob; those in `besides` keep all their values."""
    knobs = [knob for knob in searched_knobs(rows) if knob not in besides]
    cells = cells_of(rows, knobs=knobs) if knobs else pd.Series(0, rows.index)
    searched = [knob for knob in knobs if rows[knob].groupby(cells).nunique().max() > 1]
    return rows.iloc[_best(rows, searched, cells)] if searched else rows


def _best(rows: pd.DataFrame, searched: Sequence[str], cells: pd.Series) -> NDArray[np.intp]:
    """Return the positions of the rows with the lowest mean loss in their cell; of equal means the least values."""
    tried = rows.groupby([cells, *(rows[knob] for knob in searched)], dropna=False)
    means, values = tried["L"].transform("mean"), tried.ngroup()
    values = values.where(means == means.groupby(cells).transform("min"))
    best = np.flatnonzero(values == values.groupby(cells).transform("min"))
    return best[np.argsort(pd.factorize(cells)[0][best], kind="stable")]


def _on_edge(cell: pd.DataFrame, knob: str, best: dict[str, object]) -> bool:
    """Return whether the best value of a knob, the others at their best, is the least or the greatest tried."""
    keep = np.ones(len(cell), dtype=bool)
    for name, value in best.items():
        keep &= name == knob or (cell[name] == value).to_numpy()
    line = cell[knob][keep]
    numeric = pd.api.types.is_numeric_dtype(line)
    return bool(numeric and line.nunique() > 1 and best[knob] in (line.min(), line.max()))


def best_of_cells(rows: pd.DataFrame, knobs: Sequence[str], by: Sequence[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """Return usable rows at the best knobs of each cell (rows that differ in a column of `by` are of different ones),
    and notes: how many cells, and which are best on an edge. UserError where a knob is no column, or never varies in a
    cell."""
    for knob in knobs:
        if knob not in rows:
            raise UserError(f"--tune {knob}: no such column; there are {', '.join(map(str, list(rows.columns)[:30]))}")
    for column in ("N", "L"):
        if column not in rows:
            raise UserError(f"--tune needs the column {column}; name it, as in --columns {column}=its_name")
    best, cells = tune(rows, knobs, cells_of(rows, by, knobs))
    if cells.empty:
        raise UserError(f"--tune {','.join(knobs)}: no N at one D has several; leave --tune out, or change --where")
    edges, several = cells[cells["edge"] != ""], int((cells["tried"] > 1).sum())
    notes = [f"the best {' and '.join(knobs)} of each of {len(cells)} cells ({several} searched): {len(best)} rows"]
    if len(edges):
        where = "; ".join(_cell_name(row) for row in edges.head(_NAMED).to_dict("records"))
        more = f" and {len(edges) - _NAMED} more" if len(edges) > _NAMED else ""
        notes.append(
            f"in {len(edges)} of {several} searched cells the best lies on the edge of what was tried ({where}{more}): "
            "the loss there may be too high"
        )
    return best.drop(columns="edges"), notes


def _cell_name(cell: dict[object, object]) -> str:
    place = ", ".join(f"{c}={cell[c]:.3g}" for c in ("N", "D") if c in cell)
    return f"{place}: {cell['edge']}"


def cell_columns(rows: pd.DataFrame) -> list[str]:
    """Return the columns that are equal in replicates, of REPLICATE, C, and settings of a foreign table."""
    known = [c for c in REPLICATE if c in rows] + (["C"] if "C" in rows and not {"N", "D"} <= set(rows) else [])
    if "rung" in rows:
        return known
    from isoflop.analysis.runs.recognise import is_setting

    return [*known, *(str(c) for c in rows if c not in known and is_setting(rows, c))]


@dataclass(frozen=True)
class SeedNoise:
    """The scatter of the loss over seeds.

    sd      standard deviation of ln L over seeds, pooled over replicated cells; None without any
    df      its degrees of freedom
    cells   a row for each replicated cell: its values, the number of runs n, sd
    """

    sd: float | None
    df: int
    cells: pd.DataFrame


def seed_noise(runs: pd.DataFrame) -> SeedNoise:
    """Pool the standard deviation of ln L over the cells of usable rows that have at least two runs."""
    rows = usable(runs)
    key = cell_columns(rows)
    rows = rows.assign(ln_L=np.log(rows["L"].astype(float)))
    cells = rows.groupby(key, dropna=False)["ln_L"].agg(n="count", sd="std").reset_index()
    cells = cells[cells["n"] > 1].reset_index(drop=True)
    df = int((cells["n"] - 1).sum())
    if df == 0:
        return SeedNoise(None, 0, cells)
    return SeedNoise(float(np.sqrt(((cells["n"] - 1) * cells["sd"] ** 2).sum() / df)), df, cells)


def seeds_by_level(rows: pd.DataFrame, axis: str) -> NDArray[np.int64]:
    """Return the most seeds that one cell has at each level of the axis, (levels,), greatest first."""
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
    """Return the number of each pair of codes, from 0; -1 is a code too."""
    return np.asarray(np.unique(first * (second.max(initial=-1) + 2) + second + 1, return_inverse=True)[1])


def choose_law(rows: pd.DataFrame) -> str | None:
    """Return the law of what varies at LEVELS or more levels: of N and D, of one of them, or None."""
    varies = [c for c in ("N", "D") if c in rows and rows[c].notna().all() and len(set(level_index(rows[c]))) >= LEVELS]
    return "chinchilla" if len(varies) == 2 else f"power_offset({varies[0]})" if varies else None
