"""Where the loss is least at each budget: tuned cells, isoFLOP parabolas, the envelope, a power of C through them.

A budget is a level of C. Where a knob such as the learning rate was searched, a cell (a size at a budget) counts with
its best value, and not at all if that lies on the edge of what was tried. The minimum of a budget is the vertex of a
parabola of ln L in ln N over the sizes near the best one, and counts only where the parabola opens upward and the
vertex lies between sizes that were run. What fails stays in the table with the reason.

    rows, cells = tune(table, ("lr",))
    isoflop(rows)[["C", "N_opt", "used", "reason"]]
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from isoflop.analysis.intervals.resampling import t_quantile
from isoflop.analysis.laws.dual_numbers import Array

# sizes that a parabola needs, one more than its coefficients
SIZES = 4
# sizes this many times smaller or larger than the best one belong to its parabola: ln L is no parabola far from it
NEAR = 4.0
# budgets that a power of C needs, one more than its coefficients
BUDGETS = 3
# bins of the envelope per decade of C
BINS = 4

Find = Callable[[pd.DataFrame], dict[str, object]]


def tune(table: pd.DataFrame, knobs: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows with the best knobs of each cell, without cells whose best lies on an edge; and a row for each cell that
    was searched: N, C, the best value, how many were tried, whether it is on the edge."""
    searched = [k for k in knobs if k in table and table.groupby(["budget", "N"])[k].nunique().max() > 1]
    if not searched:
        return table.assign(edges=0), pd.DataFrame()
    best_rows, cells = [], []
    for (_, size), cell in table.groupby(["budget", "N"]):
        means = cell.groupby(searched)["L"].mean()
        best = dict(zip(searched, np.atleast_1d(np.array(means.idxmin(), dtype=float)), strict=True))
        edge = []
        for knob in searched:
            others = [k for k in searched if k != knob]
            line = cell[(cell[others] == pd.Series({k: best[k] for k in others})).all(axis=1)] if others else cell
            tried = line[knob].nunique()
            if tried > 1 and best[knob] in (line[knob].min(), line[knob].max()):
                edge.append(knob)
        mine = cell[(cell[searched] == pd.Series(best)).all(axis=1)]
        best_rows.append(mine.assign(edges=len(edge)))
        row = {"N": size, "C": float(cell["C"].mean()), **best, "L": float(means.min()), "tried": len(means)}
        cells.append(row | {"edge": ", ".join(edge)})
    return pd.concat(best_rows), pd.DataFrame(cells)


def parabola(part: pd.DataFrame) -> dict[str, object]:
    """The minimum of one budget: its vertex, whether it counts, and why not."""
    edges = int(part.loc[part["edges"] > 0, "N"].nunique())
    left_out = f"{edges} sizes have their best knob on the edge of what was tried; " if edges else ""
    C = float(np.exp(np.log(part["C"]).mean()))
    part = part[part["edges"] == 0]
    sizes = part["N"].nunique()
    row: dict[str, object] = {
        "C": C, "sizes": sizes, "N_opt": np.nan, "D_opt": np.nan, "D_per_N": np.nan, "L_opt": np.nan,
        "bend": np.nan, "used": False, "reason": "",
    }  # fmt: skip
    if sizes < SIZES:
        return row | {"reason": f"{left_out}{sizes} sizes, a parabola needs {SIZES}"}
    x, y = np.log(part["N"].to_numpy()), np.log(part["L"].to_numpy())
    near = _near(x, y)
    centre = x[near].mean()
    bend, slope, height = np.polyfit(x[near] - centre, y[near], 2)
    if bend <= 0:
        return row | {"reason": f"{left_out}the parabola opens downward: no minimum"}
    vertex = centre - slope / (2 * bend)
    if abs(vertex - centre) > np.ptp(x):  # an extrapolation by more than all sizes is no number to show
        vertex = centre + np.copysign(np.ptp(x), vertex - centre)
    D = float(np.exp(np.polyval(np.polyfit(x, np.log(part["D"].to_numpy()), 1), vertex)))
    N, L = float(np.exp(vertex)), float(np.exp(height + slope * (vertex - centre) + bend * (vertex - centre) ** 2))
    row |= {"N_opt": N, "D_opt": D, "D_per_N": D / N, "L_opt": L, "bend": bend}
    if not x.min() < vertex < x.max():
        side = "smaller than the smallest" if vertex <= x.min() else "larger than the largest"
        return row | {"reason": f"{left_out}the minimum is {side} size that was run"}
    return row | {"used": True, "reason": left_out.removesuffix("; ")}


def _near(x: Array, y: Array) -> Array:
    """Whether each size is near the best one; the nearest few count in any case."""
    sizes, index = np.unique(x, return_inverse=True)
    means = np.bincount(index, weights=y) / np.bincount(index)
    gap = np.abs(sizes - sizes[means.argmin()])
    near: Array = np.abs(x - sizes[means.argmin()]) <= max(np.log(NEAR), np.sort(gap)[SIZES - 1]) * (1 + 1e-9)
    return near


def best_run(part: pd.DataFrame) -> dict[str, object]:
    """The best run of one bin of C; it counts where its size is neither the smallest nor the largest of the bin."""
    part = part[part["edges"] == 0]
    if part.empty:
        return {"C": np.nan, "N_opt": np.nan, "D_opt": np.nan, "used": False}
    best = part.sort_values("L", kind="stable").iloc[0]
    inside = bool(part["N"].min() < best["N"] < part["N"].max())
    return {"C": best["C"], "N_opt": best["N"], "D_opt": best["D"], "used": inside}


def isoflop(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each budget."""
    return pd.DataFrame([parabola(part) for _, part in table.groupby("budget")])


def powers(table: pd.DataFrame, by: pd.Series, find: Find, level: float) -> tuple[Array | None, Array | None, int]:
    """ln G, a and b of N_opt = G C^a, D_opt ~ C^b through what `find` gives for each group of `by`; half-widths of a
    and b by leaving out one run at a time; and how many groups count. None where there is none."""
    parts = dict(list(table.groupby(by)))
    minima = {key: find(part) for key, part in parts.items()}
    through_all = _through(list(minima.values()))
    count = sum(bool(row["used"]) for row in minima.values())
    if through_all is None:
        return None, None, count
    units, draws = table["unit"].unique(), []
    for unit in units:
        # only the groups that the run belongs to change
        changed: dict[object, dict[str, object]] = {
            key: find(part[part["unit"] != unit]) if (part["unit"] != unit).any() else {"used": False}
            for key, part in parts.items()
            if (part["unit"] == unit).any()
        }
        draws.append(_through([changed.get(key, row) for key, row in minima.items()]))
    if any(x is None for x in draws):
        return through_all, None, count
    values = np.array(draws, dtype=float)[:, 1:]
    error = np.sqrt((len(units) - 1) / len(units) * ((values - values.mean(0)) ** 2).sum(0))
    return through_all, t_quantile(level, len(units) - 1) * error, count


def _through(minima: list[dict[str, object]]) -> Array | None:
    used = pd.DataFrame([row for row in minima if row["used"]])
    if len(used) < BUDGETS or np.ptp(np.log(used["C"].to_numpy(float))) == 0:
        return None
    x = np.log(used["C"].to_numpy(float))
    a, G = np.polyfit(x, np.log(used["N_opt"].to_numpy(float)), 1)
    b, _ = np.polyfit(x, np.log(used["D_opt"].to_numpy(float)), 1)
    return np.array([G, a, b])
