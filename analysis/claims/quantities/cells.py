"""One number for each run, which runs are alike but for their seed, and which of two groups belong together.

values = of_runs(runs, "L", marks="last")      # a row for each run, its number in `value`
pairs(values[values["family"] == "lstm"], values[values["family"] == "transformer"], compared=("family",))
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.claims.declare import Untested, require_columns
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs

Frame = pd.DataFrame
# columns that name a choice of a run and not a result
CHOICES = ("family", "data", "width", "depth", "seq_len", "batch")
PREFIXES = ("family.", "data.", "recipe.", "budget.")
# columns that follow from others: within equal values of those they do not vary
FOLLOWS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("N", "n_body", "n_total", "n_active"), ("width", "depth")),
    **dict.fromkeys(("D", "D_unique", "epochs"), ("budget.", "data.size")),
    **dict.fromkeys(("C", "C_6nd", "D_per_N"), ("width", "depth", "budget.", "data.size")),
}
# names for simple functions of columns, for a claim to use as columns: sources, function, meaning
DERIVED: Mapping[str, tuple[tuple[str, ...], Callable[..., Any], str]] = {
    "ln_L": (("L",), np.log, "logarithm of the held-out loss"),
    "gap": (("L", "L_train"), lambda L, L_train: L - L_train, "held-out less training loss"),
    "excess": (("L", "floor"), lambda L, floor: L - floor, "held-out loss above its floor"),
    "L_over_floor": (("L", "floor"), lambda L, floor: L / floor.where(floor > 0), "held-out loss over its floor"),
    "steps": (("D", "batch", "seq_len"), lambda D, batch, length: D / (batch * length), "steps of training"),
    "D_per_N": (("D", "N"), lambda D, N: D / N, "targets per parameter"),
    # a multiply-add and its two of the backward pass count 6 (Kaplan et al. 2020, arXiv:2001.08361, table 1)
    "reuse": (("flops_per_target", "N"), lambda F, N: F / (6 * N), "times that a weight is used for a target"),
}


def with_derived(runs: Runs, names: Iterable[str]) -> Runs:
    """Return the runs with those of the derived columns that are named, absent, and can be computed."""
    more = {}
    for name in names:
        if name in DERIVED and name not in runs and all(source in runs for source in DERIVED[name][0]):
            sources, function, _ = DERIVED[name]
            with np.errstate(all="ignore"):
                more[name] = function(*(pd.to_numeric(runs[c], errors="coerce") for c in sources))
    return runs.with_columns(**more) if more else runs


def of_runs(runs: RunsLike, name: str, marks: str = "", less: str = "") -> Frame:
    """Return a row for each run that has a number, its first, with the number as `value`, from which `less` is taken;
    Untested where none has. marks: mean (also where empty), last, first, or drop: the largest less the last."""
    rows = as_runs(runs).usable.frame
    require_columns(rows, [name, *([less] if less else [])])
    value = pd.to_numeric(rows[name], errors="coerce")
    if less:
        value = value - pd.to_numeric(rows[less], errors="coerce")
    rows = rows.assign(value=value.replace([np.inf, -np.inf], np.nan)).dropna(subset="value")
    if rows.empty:
        raise Untested(f"no run has a number in the column {name}")
    if "run_id" not in rows or rows["run_id"].isna().any():
        return rows
    order = [c for c in ("mark", "D") if c in rows]
    rows = rows.sort_values(order, kind="stable") if order else rows
    grouped = rows.groupby("run_id", sort=True)
    return grouped.first().assign(value=_reduced(grouped["value"], marks)).reset_index()


def _reduced(grouped: Any, marks: str) -> "pd.Series[float]":
    if marks == "drop":
        if int(grouped.size().max()) < 2:
            raise Untested("a drop along a run needs runs of several marks, as of budget.D=[1e4,2e4,4e4]")
        number: pd.Series[float] = grouped.max() - grouped.last()
        return number
    how: pd.Series[float] = {"last": grouped.last, "first": grouped.first}.get(marks, grouped.mean)()
    return how


def choices(rows: Frame, without: Iterable[str] = ()) -> list[str]:
    """Return the columns that name a choice which varies here, but `without`, what follows from it, and rates."""
    without = {*without}
    gone = [lead for name in without for lead in FOLLOWS.get(name, ())]
    names = [c for c in map(str, rows.columns) if c in CHOICES or c.startswith(PREFIXES)]
    names = [c for c in names if c not in without and not any(c == lead or c.startswith(lead) for lead in gone if lead)]
    varied = [c for c in names if rows[c].astype(str).nunique() > 1 and not c.endswith(".lr")]
    return [c for c in varied if not any(_follows(rows, c, other) for other in without if other in rows)]


def _follows(rows: Frame, name: str, other: str) -> bool:
    """Return whether a column has one value at each value of another."""
    return int(rows[name].astype(str).groupby(rows[other].astype(str)).nunique().max()) <= 1


def cell_of(rows: Frame, names: list[str]) -> pd.Series:
    """Return the number of each row's cell: equal where all of these columns are."""
    if not names:
        return pd.Series(0, index=rows.index)
    return rows[names].astype(str).groupby(names, sort=True).ngroup()


def pairs(one: Frame, two: Frame, compared: Iterable[str]) -> Frame:
    """Return the runs of two groups side by side, in columns `one` and `two`: equal in seed and in what both vary, of
    which most values are the same in both; runs that are equal in all of that are averaged."""
    names = shared_choices(one, two, compared)
    names += ["seed"] if "seed" in one and {*one["seed"]} & {*two["seed"]} else []
    if not names:
        one, two = one.assign(_all=0), two.assign(_all=0)
        names = ["_all"]
    means = [
        part.assign(**{c: part[c].astype(str) for c in names}).groupby(names)["value"].mean() for part in (one, two)
    ]
    return pd.concat(means, axis=1, keys=["one", "two"], join="inner").reset_index()


def shared_choices(one: Frame, two: Frame, without: Iterable[str]) -> list[str]:
    """Return the choices that vary in two groups, most of their values alike in both."""
    return [c for c in choices(pd.concat([one, two]), without) if _shared(one, two, c)]


def _shared(one: Frame, two: Frame, name: str) -> bool:
    """Return whether most values of a column are those of both groups."""
    a, b = ({*part[name].astype(str)} for part in (one, two))
    return len(a & b) > len(a ^ b)
