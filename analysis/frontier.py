"""The compute-optimal frontier by three approaches side by side: envelope, isoFLOP minima, parametric.

A budget is a level of C. Its minimum is the vertex of a parabola of ln L in ln N, and counts only where the parabola
opens upward and its vertex lies between sizes that were run; a budget that fails this stays in the table with the
reason. Exponents come from N_opt = G C^a over the budgets that count, with a delete-one-run jackknife of the whole
procedure. Hoffmann et al. 2022, arXiv:2203.15556, section 3.

    found = frontier(read_runs("runs.csv"))
    found.budgets[["C", "N_opt", "used", "reason"]]
    found.approaches["isoflop"].a          # Estimate(value=0.49, low=0.46, high=0.52)
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.backtest import level_index, points
from analysis.duals import Array
from analysis.fit import fit
from analysis.result import Estimate, FitError
from analysis.uncertainty import t_quantile

# sizes that a parabola needs, one more than its coefficients
SIZES = 4
# budgets that a power of C needs, one more than its coefficients
BUDGETS = 3
# budgets are rounded up to whole steps: values closer than this are one level of C
SAME_LEVEL = 0.1
# bins of the envelope per decade of C
BINS = 4


@dataclass(frozen=True)
class Approach:
    """N_opt = G C^a and D_opt ~ C^b by one approach; `reason` says why there is none, or what is weak."""

    a: Estimate
    b: Estimate
    G: float | None
    n_budgets: int
    reason: str = ""

    def N_opt(self, C: float) -> float | None:
        """The best size at compute C [FLOPs]."""
        return None if self.G is None or self.a.value is None else self.G * C**self.a.value


@dataclass(frozen=True)
class Frontier:
    """Every budget, used or refused, and the three approaches."""

    budgets: pd.DataFrame
    approaches: dict[str, Approach] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The answer of `isoflop frontier --json`."""
        rows = [{k: _plain(v) for k, v in row.items()} for row in self.budgets.to_dict("records")]
        said = {
            name: {"a": vars(x.a), "b": vars(x.b), "G": x.G, "n_budgets": x.n_budgets, "reason": x.reason}
            for name, x in self.approaches.items()
        }
        return {"budgets": rows, "approaches": said}

    def __str__(self) -> str:
        lines = [self.budgets.to_string(index=False, float_format="{:.4g}".format), "", "N_opt = G C^a, D_opt ~ C^b"]
        for name, x in self.approaches.items():
            said = f"  {name:<11} a {x.a}   b {x.b}   {x.n_budgets} budgets"
            lines.append(said + (f"; {x.reason}" if x.reason else ""))
        return "\n".join(lines)


def frontier(runs: pd.DataFrame, *, level: float = 0.95, **how: Any) -> Frontier:
    """The three approaches on the runs of one group; `how` goes to the parametric fit."""
    missing = [c for c in ("N", "D", "C", "L") if c not in runs]
    if missing:
        raise FitError(
            f"a frontier needs the columns N, D, C, L; there is no {' and no '.join(missing)}: see --columns"
        )
    rows = points(runs)
    rows = rows[(rows[["N", "D", "C", "L"]] > 0).all(axis=1)]
    if len(rows) < SIZES:
        raise FitError(
            f"{len(rows)} finished rows are too few for a frontier; it needs {SIZES} sizes at {BUDGETS} budgets"
        )
    unit = rows["run_id"] if "run_id" in rows else pd.Series(range(len(rows)), index=rows.index)
    table = rows[["N", "D", "C", "L"]].astype(float).assign(unit=pd.factorize(unit)[0])
    table["budget"] = level_index(table["C"], SAME_LEVEL)
    approaches = {
        "envelope": _approach(table, _envelope, level),
        "isoflop": _approach(table, minima, level),
        "parametric": _parametric(runs, level, how),
    }
    return Frontier(minima(table), approaches)


def minima(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each budget: the vertex of its parabola, whether it counts, and why not."""
    rows = []
    for _, part in table.groupby("budget"):
        sizes, C = part["N"].nunique(), float(np.exp(np.log(part["C"]).mean()))
        row = {"C": C, "sizes": sizes, "N_opt": np.nan, "D_opt": np.nan, "L_opt": np.nan, "used": False, "reason": ""}
        if sizes < SIZES:
            rows.append(row | {"reason": f"{sizes} sizes, a parabola needs {SIZES}"})
            continue
        x, y = np.log(part["N"].to_numpy()), np.log(part["L"].to_numpy())
        centre = x.mean()
        bend, slope, height = np.polyfit(x - centre, y, 2)
        if bend <= 0:
            rows.append(row | {"reason": "the parabola opens downward: no minimum"})
            continue
        vertex = centre - slope / (2 * bend)
        row |= {"N_opt": float(np.exp(vertex)), "L_opt": float(np.exp(height - slope**2 / (4 * bend)))}
        along = np.polyfit(x, np.log(part["D"].to_numpy()), 1)
        row["D_opt"] = float(np.exp(np.polyval(along, vertex)))
        order = np.unique(x)
        if not order[0] < vertex < order[-1]:
            side = "smaller than the smallest" if vertex <= order[0] else "larger than the largest"
            rows.append(row | {"reason": f"the minimum is {side} size that was run"})
            continue
        rows.append(row | {"used": True})
    return pd.DataFrame(rows)


def _envelope(table: pd.DataFrame) -> pd.DataFrame:
    """The best run of each bin of C, where its size is neither the smallest nor the largest of the bin."""
    bins = np.floor(np.log10(table["C"]) * BINS)
    rows = []
    for _, part in table.groupby(bins):
        best = part.sort_values("L", kind="stable").iloc[0]
        inside = part["N"].min() < best["N"] < part["N"].max()
        rows.append({"C": best["C"], "N_opt": best["N"], "D_opt": best["D"], "used": inside})
    return pd.DataFrame(rows)


def _approach(table: pd.DataFrame, find: Callable[[pd.DataFrame], pd.DataFrame], level: float) -> Approach:
    """Powers of C through the minima that `find` gives, with a jackknife over runs."""
    whole = _powers(find(table))
    if whole is None:
        count = int(find(table)["used"].sum())
        none = Estimate(None)
        return Approach(none, none, None, count, f"{count} budgets have an interior minimum, a power needs {BUDGETS}")
    units = table["unit"].unique()
    left = [_powers(find(table[table["unit"] != unit])) for unit in units]
    count = int(find(table)["used"].sum())
    value = [float(v) for v in whole]
    if any(x is None for x in left):
        few = "without some single run too few budgets have a minimum, so no interval"
        return Approach(Estimate(value[0]), Estimate(value[2]), float(np.exp(value[1])), count, few)
    draws = np.array(left, dtype=float)
    error = np.sqrt((len(units) - 1) / len(units) * ((draws - draws.mean(0)) ** 2).sum(0))
    half = t_quantile(level, len(units) - 1) * error
    a, b = (Estimate(value[i], value[i] - float(half[i]), value[i] + float(half[i])) for i in (0, 2))
    return Approach(a, b, float(np.exp(value[1])), count)


def _powers(found: pd.DataFrame) -> Array | None:
    """a, ln G and b over the budgets that count; None where they are too few."""
    used = found[found["used"].astype(bool)]
    if len(used) < BUDGETS or np.ptp(np.log(used["C"])) == 0:
        return None
    x = np.log(used["C"].to_numpy(float))
    size = np.polyfit(x, np.log(used["N_opt"].to_numpy(float)), 1)
    data = np.polyfit(x, np.log(used["D_opt"].to_numpy(float)), 1)
    return np.array([size[0], size[1], data[0]])


def _parametric(runs: pd.DataFrame, level: float, how: dict[str, Any]) -> Approach:
    try:
        answer = fit(runs, "chinchilla", level=level, **how)
    except FitError as error:
        return Approach(Estimate(None), Estimate(None), None, 0, str(error))
    value = answer.values
    # N_opt(1) = G 6^-a: the coefficient of C and not of C/6
    G = float(answer.law.curve("N_opt", 1.0, value))
    reason = "; ".join(x for x in (answer.status if answer.status != "converged" else "", answer.reason) if x)
    return Approach(answer.derived["a"], answer.derived["b"], G, int(answer.rows["C"].nunique()), reason)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value
