"""Runs of two families in pairs: what differs between them, and how surely.

table = paired(runs, Pair("lstm", "transformer"))
table["delta"].mean()          # mean difference of ln L at matched compute
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.claims.declare import Contrast, NotIdentified, Pair, Sample, require_columns
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.tables.rows import usable

# budgets are rounded up to whole steps: compute is matched where it differs by no more than this
MATCHED = 0.05


def paired(runs: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """Runs of two families joined on (data, seed, rung), C matched: delta = ln L of the first less the second."""
    key = ["data", "seed", "rung", *(["mark"] if "mark" in runs and runs["mark"].notna().any() else [])]
    require_columns(runs, [*key, "C"], ", by which runs are paired")
    rows = usable(runs)
    one, two = (rows[rows["family"] == name].groupby(key).agg(L=("L", "mean"), C=("C", "mean")) for name in pair)
    both = pd.merge(one.reset_index(), two.reset_index(), on=key, suffixes=("_one", "_two"))
    both = both[np.abs(np.log(both["C_one"] / both["C_two"])) <= math.log1p(MATCHED)]
    return both.assign(delta=np.log(both["L_one"]) - np.log(both["L_two"]), C=np.sqrt(both["C_one"] * both["C_two"]))


def paired_fits(sample: Sample) -> tuple[Fit, Fit]:
    """The law on the runs of each family that have a partner; the draws of both leave out the same pairs, in order."""
    key = ["data", "seed", "rung"]
    keys = pd.MultiIndex.from_frame(paired(sample.runs, sample.pair)[key])
    rows = usable(sample.runs)
    rows = rows[pd.MultiIndex.from_frame(rows[key]).isin(keys)].sort_values(key, kind="stable")
    rows = rows.assign(pair=rows.groupby(key, sort=True).ngroup())
    one, two = (
        fit(rows[rows["family"] == name], sample.law, run="pair", interval="jackknife", by={"family": name})
        for name in sample.pair
    )
    return one, two


def paired_contrast(fits: tuple[Fit, Fit], value: Callable[..., Any], name: str) -> Contrast:
    """Difference of a function of the parameters between two paired fits, with its delete-one-pair standard error."""
    values, draws = [], []
    for each in fits:
        if each.optimum is None or each.optimum.spread is None:
            raise NotIdentified(f"{each.by['family']}: {each.no_interval or each.reason}")
        spread, drawn = each.optimum.spread, each.optimum.draws
        with np.errstate(all="ignore"):
            values.append(float(value(**{k: np.float64(v) for k, v in each.values.items()})))
            draws.append(np.broadcast_to(np.asarray(value(**drawn or {}), dtype=float), len(spread.draws)))
    se = float(spread.error(draws[0] - draws[1]))
    if not math.isfinite(values[0] - values[1] + se):
        raise NotIdentified(f"the law gives no {name} for one of the two, with or without each pair")
    return Contrast(values[0] - values[1], se, spread.dof, reason=f"{fits[0].n_runs} pairs of runs")
