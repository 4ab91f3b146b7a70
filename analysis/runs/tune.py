"""Searched knobs: where several learning rates (or any other knob) were tried at one size and amount of data, and the
rows with the best of them.

A law of N and D is a law of well-tuned runs. A cell is a size at an amount of data, of one family on one dataset; its
best value is that of the lowest mean loss over seeds. A best value on the edge of what was tried may not be the best
there is, and the cell is flagged.

    searched = pd.concat([rows.assign(lr=lr, L=rows["L"] * (1 + abs(lr - 0.02))) for lr in (0.01, 0.02, 0.04)])
    best, cells = tune(searched, ("lr",))
    cells[["N", "D", "lr", "tried", "edge"]]      # the best lr, 0.02, of 3 at each N and D
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.runs.levels import level_index
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
# values of a knob in one cell that make a search: two may be a repeat by another rule
TRIED = 3


def cells_of(rows: pd.DataFrame, by: Sequence[str] = (), knobs: Sequence[str] = ()) -> pd.Series:
    """The number of each row's cell, (rows,): equal N, D of one level, equal in `by` and in all else that names it.

    The knobs that are searched within a cell are no part of its rung.
    """
    key = [c for c in dict.fromkeys(("N", *CELL, *by)) if c in rows]
    parts = rows[key].astype(str)
    if knobs and "rung" in parts:
        searched = "|".join(re.escape(knob.removeprefix("recipe.")) for knob in knobs)
        parts["rung"] = parts["rung"].str.replace(rf"(?:^| )(?:recipe|family)\.(?:{searched})=\S+", "", regex=True)
    if "D" in rows and rows["D"].notna().all() and len(rows) and (rows["D"] > 0).all():
        parts = parts.assign(_level=level_index(rows["D"]))
    if not len(parts.columns):
        return pd.Series(0, rows.index)
    # what is blank, as in a foreign table, is a value like another
    return parts.groupby(list(parts.columns), sort=False, dropna=False).ngroup()


def searched_knobs(rows: pd.DataFrame) -> dict[str, int]:
    """The knobs that were searched within a cell, and the most values that one cell has; each under one name only."""
    names = [c for c in SEARCHED if c in rows and rows[c].nunique() >= TRIED]
    if not names or "N" not in rows:
        return {}
    cells, values = cells_of(rows, knobs=SEARCHED), rows[names].T.drop_duplicates().index
    most = {str(c): int(rows[c].groupby(cells).nunique().max()) for c in values}
    return {c: k for c, k in most.items() if k >= TRIED}


def searched_notes(rows: pd.DataFrame) -> list[str]:
    """A sentence where a knob was searched within a cell."""
    searched = searched_knobs(rows)
    several = " and ".join(f"{c} takes up to {k} values" for c, k in searched.items())
    return [f"{several} at one N and D: --tune {','.join(searched)} takes the best of each"] if searched else []


def tune(rows: pd.DataFrame, knobs: Sequence[str], cells: pd.Series | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows with the best knobs of each cell, and a row for each cell that was searched.

    rows    finished rows with N and L
    knobs   columns that were searched; those that never vary within a cell are passed over
    cells   number of each row's cell; by default equal N, D of one level, family and data

    The rows have one more column, `edges`: how many of the knobs have their best value on the edge of what was tried.
    Each cell has N, its mean D and C, the best values, the loss there, how many were tried, and the names of the knobs
    that lie on the edge.
    """
    cells = cells_of(rows, knobs=knobs) if cells is None else cells
    searched = [k for k in dict.fromkeys(knobs) if k in rows and rows[k].groupby(cells).nunique().max() > 1]
    if not searched:
        return rows.assign(edges=0), pd.DataFrame()
    at = _best(rows, searched, cells)
    best_rows, of = rows.iloc[at], cells.to_numpy()[at]
    chosen = best_rows.groupby(of, sort=False)
    best, summary, edges = chosen[searched].first(), [], {}
    losses = dict(zip(best.index, chosen["L"].mean().to_numpy(float), strict=True))
    for number, cell in rows.groupby(cells, sort=False):
        values: dict[str, object] = {knob: best.at[number, knob] for knob in searched}
        edge = [knob for knob in searched if _on_edge(cell, knob, values)]
        edges[number] = len(edge)
        row = {"N": cell["N"].iloc[0]} | {c: float(cell[c].mean()) for c in ("D", "C") if c in cell}
        tried = len(cell[searched].drop_duplicates())
        summary.append(row | values | {"L": float(losses[number]), "tried": tried, "edge": ", ".join(edge)})
    return best_rows.assign(edges=[edges[number] for number in of]), pd.DataFrame(summary)


def well_tuned(rows: pd.DataFrame, besides: Sequence[str] = ()) -> pd.DataFrame:
    """The rows without those of searched knobs that were not at their best; those in `besides` are left as they are."""
    knobs = [knob for knob in searched_knobs(rows) if knob not in besides]
    cells = cells_of(rows, knobs=knobs) if knobs else pd.Series(0, rows.index)
    searched = [knob for knob in knobs if rows[knob].groupby(cells).nunique().max() > 1]
    return rows.iloc[_best(rows, searched, cells)] if searched else rows


def _best(rows: pd.DataFrame, searched: Sequence[str], cells: pd.Series) -> NDArray[np.intp]:
    """Where the rows are that have the values of the lowest mean loss in their cell, of equal means the least values;
    cell after cell as they first come."""
    tried = rows.groupby([cells, *(rows[knob] for knob in searched)], dropna=False)
    means, values = tried["L"].transform("mean"), tried.ngroup()
    values = values.where(means == means.groupby(cells).transform("min"))
    best = np.flatnonzero(values == values.groupby(cells).transform("min"))
    return best[np.argsort(pd.factorize(cells)[0][best], kind="stable")]


def _where(cell: pd.DataFrame, values: dict[str, object]) -> pd.DataFrame:
    """The rows of a cell with these values."""
    keep = np.ones(len(cell), dtype=bool)
    for name, value in values.items():
        keep &= (cell[name] == value).to_numpy()
    return cell[keep]


def _on_edge(cell: pd.DataFrame, knob: str, best: dict[str, object]) -> bool:
    """Whether the best value of a knob, the others at their best, is the least or the greatest that was tried."""
    line = _where(cell, {k: v for k, v in best.items() if k != knob})[knob]
    numeric = pd.api.types.is_numeric_dtype(line)
    return bool(numeric and line.nunique() > 1 and best[knob] in (line.min(), line.max()))


def best_of_cells(runs: pd.DataFrame, knobs: Sequence[str], by: Sequence[str] = ()) -> pd.DataFrame:
    """The usable rows of a table with the best knobs of each cell, and notes of how many and which lie on an edge.

    Rows that differ in a column of `by` are of different cells. UserError where a knob is no column, or never varies at
    one N and D.
    """
    rows = usable(runs, [c for c in ("L",) if c in runs])
    for knob in knobs:
        if knob not in rows:
            raise UserError(
                f"--tune {knob}: no such column; the columns are {', '.join(map(str, list(rows.columns)[:30]))}"
            )
    for column in ("N", "L"):
        if column not in rows:
            raise UserError(f"--tune needs the column {column}; name it, as in --columns {column}=its_name")
    best, cells = tune(rows, knobs, cells_of(rows, by, knobs))
    if cells.empty:
        raise UserError(
            f"--tune {','.join(knobs)}: no size at one D has several values of it; leave --tune out, or mend --where"
        )
    edges = cells[cells["edge"] != ""]
    several = int((cells["tried"] > 1).sum())
    notes = [f"the best {' and '.join(knobs)} of each of {len(cells)} cells ({several} searched): {len(best)} rows"]
    if len(edges):
        where = "; ".join(_cell_name(row) for row in edges.head(3).to_dict("records"))
        more = f" and {len(edges) - 3} more" if len(edges) > 3 else ""
        notes.append(
            f"in {len(edges)} of {several} searched cells the best lies on the edge of what was tried ({where}{more}): "
            "the loss there may be too high"
        )
    best.attrs = runs.attrs | {"notes": [*runs.attrs.get("notes", ()), *notes]}
    return best.drop(columns="edges")


def _cell_name(cell: dict[object, object]) -> str:
    place = ", ".join(f"{c}={cell[c]:.3g}" for c in ("N", "D") if c in cell)
    return f"{place}: {cell['edge']}"
