"""Warn of what a planned design cannot answer, each shortfall in one sentence with what to do.

warnings(rows, Truth.assumed(rows))
# ['N spans 0.8 decades (1e+07 to 6.3e+07) and its exponent needs 1.5: add smaller or larger sizes', ...]
"""

import numpy as np
import pandas as pd

from isoflop.analysis.design.assumed_law import Truth, errors, planned, problem_at
from isoflop.analysis.fitting.diagnose import SCALES, runs_needed
from isoflop.analysis.frontier.isoflop_minima import SIZES
from isoflop.analysis.intervals.estimate import t_quantile
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.cells import cell_columns, seeds_by_level
from isoflop.analysis.runs.levels import SAME_LEVEL, SPAN, level_index
from isoflop.analysis.runs.runs import as_runs
from isoflop.wording import count, listed, number

# >= 3 seeds at >= 3 sizes, as conf/claims/H1.yaml asks
SEEDS, AT_SIZES = 3, 3
# budgets are rounded up to whole steps, so a planned span may be short by a rounding; claims allow as much
ROUNDING = 1.05
# what an axis is in words, so that a sentence can say what to add
ADD = {"N": "smaller or larger sizes", "D": "less or more data", "C": "smaller or larger budgets"}
# how far beyond its sizes the optimum of a budget is looked for, and how finely, in ln N
BEYOND, STEPS = np.log(1e3), 2001


def warnings(rows: pd.DataFrame, truth: Truth) -> list[str]:
    """Return what these planned rows cannot answer by the stated law, in sentences; UserError without a column."""
    table = planned(rows, truth.form)
    if table.empty:
        return ["no runs are planned"]
    few = _few(table, truth)
    offset = [] if few else _offset(table, truth)
    return [*_spans(table, truth), *few, *_budgets(rows, truth), *_seeds(rows), *offset]


def _spans(table: pd.DataFrame, truth: Truth) -> list[str]:
    sentences = []
    for name in truth.form.columns:
        low, high = float(table[name].min()), float(table[name].max())
        decades = np.log10(high / low)
        if name.startswith(SCALES) and decades < SPAN - np.log10(ROUNDING):
            what = ADD.get(name[0].upper(), "values")
            spans = f"spans {decades:.1f} decades ({count(low)} to {count(high)})"
            has = spans if high > low else f"has a single value ({count(low)})"
            sentences.append(f"{name} {has} and its exponent needs {SPAN} decades: add {what}")
    return sentences


def _few(table: pd.DataFrame, truth: Truth) -> list[str]:
    runs, n_runs = as_runs(table).codes, as_runs(table).count
    problem, u = problem_at(truth, table)
    need = runs_needed(problem, u, runs)
    if n_runs >= need:
        return []
    why = f"two more than the {need - 2} parameters that only runs identify"
    return [f"{n_runs} runs are planned and an interval needs {need}, {why}: add {need - n_runs} or more"]


def _budgets(rows: pd.DataFrame, truth: Truth) -> list[str]:
    """Return the budgets of C whose best size is not between the sizes there, or that have too few sizes."""
    if not {"N", "D", "C"} <= set(rows.columns) or truth.form.columns[1:] != ("D",):
        return []
    size = truth.form.columns[0]
    points = planned(rows, truth.form, ("N", "D", "C")).drop(columns="run_id").drop_duplicates()
    if not _by_budget(points):
        return []
    edges: dict[str, list[tuple[float, float]]] = {"smallest": [], "largest": []}
    thin, level = list[float](), level_index(points["C"])
    for _, part in points.groupby(level):
        sizes, C = int(level_index(part[size]).max()) + 1, float(np.exp(np.log(part["C"]).mean()))
        if sizes < 2:
            continue
        thin += [C] if sizes < SIZES else []
        best, low, high = _best_size(part, size, truth), float(part[size].min()), float(part[size].max())
        if best <= low * (1 + SAME_LEVEL):
            edges["smallest"].append((C, best))
        elif best >= high / (1 + SAME_LEVEL):
            edges["largest"].append((C, best))
    sentences = [_edge(side, budgets) for side, budgets in edges.items() if budgets]
    if thin:
        where = "at every budget" if len(thin) > level.max() else _at(thin)
        sentences.append(
            f"{where} there are fewer than {SIZES} sizes, too few for the parabola of an isoFLOP minimum: add sizes "
            "there, or let the law alone say the best split"
        )
    return sentences


def _edge(side: str, budgets: list[tuple[float, float]]) -> str:
    where = "at or below the smallest" if side == "smallest" else "at or above the largest"
    least, most = (count(x) for x in (min(n for _, n in budgets), max(n for _, n in budgets)))
    sizes = f"N={least}" if least == most else f"N={least} to {most}"
    todo = "smaller sizes there or a larger budget" if side == "smallest" else "larger sizes there or a smaller budget"
    place = _at([C for C, _ in budgets])
    return f"{place} the best size by the stated law ({sizes}) is {where} that is planned: add {todo}"


def _at(budgets: list[float]) -> str:
    return f"at C={listed([number(C) for C in budgets])}"


def _by_budget(points: pd.DataFrame) -> bool:
    """Return whether runs of different sizes share C more often than D, as at budgets of compute, not on a grid."""
    logs = {c: np.log(points[c].to_numpy()) for c in ("N", "D", "C")}
    near = {c: np.abs(x[:, None] - x[None, :]) <= np.log1p(SAME_LEVEL) for c, x in logs.items()}
    return int((near["C"] & ~near["N"]).sum()) > int((near["D"] & ~near["N"]).sum())


def _best_size(part: pd.DataFrame, size: str, truth: Truth) -> float:
    """Return the size of the least loss along one budget, with D a power of N as its runs have it."""
    x, y = np.log(part[size].to_numpy()), np.log(part["D"].to_numpy())
    slope = float(np.polyfit(x - x.mean(), y, 1)[0])
    at: Array = np.linspace(x.min() - BEYOND, x.max() + BEYOND, STEPS)
    loss = truth.loss(pd.DataFrame({size: np.exp(at), "D": np.exp(y.mean() + slope * (at - x.mean()))}))
    return float(np.exp(at[int(loss.argmin())]))


def _seeds(rows: pd.DataFrame) -> list[str]:
    if "N" not in rows or not {"run_id", "seed"} & set(rows.columns):
        return []
    unit = rows["seed"] if "seed" in rows else rows["run_id"]
    most = seeds_by_level(rows.assign(seed=unit), "N").clip(max=SEEDS)
    sizes = int((most == SEEDS).sum())
    if sizes >= AT_SIZES:
        return []
    short = SEEDS * AT_SIZES - int(most[:AT_SIZES].sum())
    need = f"claims need {SEEDS} seeds at {AT_SIZES} sizes, of one amount of data each"
    if unit.groupby([rows[c] for c in cell_columns(rows)], dropna=False).nunique().max() < 2:
        return [f"every run has one seed, so the noise between seeds cannot be estimated: {need}"]
    runs = f"{short} run{'' if short == 1 else 's'}"
    return [f"there are {SEEDS} seeds at {sizes} of {AT_SIZES} N ({runs} missing): {need}"]


def _offset(table: pd.DataFrame, truth: Truth) -> list[str]:
    if "E" not in truth.params or truth.params["E"] == 0:
        return []
    half = t_quantile(0.95, as_runs(table).count - 1) * errors(table, truth)["E"]
    if half < truth.params["E"]:
        return []
    return [
        f"E, {truth.params['E']:.3g} by the stated law, cannot be distinguished from 0: its interval would be ± "
        f"{half:.2g} or wider; add runs nearer the floor, larger ones with more data"
    ]
