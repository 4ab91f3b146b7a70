"""Runs of two families in pairs: what differs between them, and how surely.

table = paired(runs, Pair("lstm", "transformer"))
table["delta"].mean()          # mean difference of ln L at matched compute
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.claims.declare import Contrast, NotIdentified, Pair, Part, Sample, require_columns
from isoflop.analysis.claims.quantities.columns import welch
from isoflop.analysis.fitting.fit import fit, fit_near
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.intervals.resampling import Spread
from isoflop.analysis.runs.rows import usable

# budgets are rounded up to whole steps: compute is matched where it differs by no more than this
MATCHED = 0.05
# by which runs are paired, and the mark where runs have several
KEY = ("data", "seed", "rung")
# share of the runs of both families that must have a partner for the two to be compared in pairs
SHARED = 0.8
# share of the resamples of a difference that may come to no minimum, as of a parameter's at 95 %
MOST_LOST = 0.025
# degrees of freedom (Satterthwaite's) that an error needs more of: with one it hangs on one run or pair of runs
LEAST_DOF = 1.0
# what pairs a run -> its L and C
Cells = dict[tuple[Any, ...], tuple[float, float]]


def paired(runs: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """Runs of two families joined on (data, seed, rung), C matched: delta = ln L of the first less the second."""
    one, two = (cells(Part(runs[runs["family"] == name])) for name in pair)
    names = [*KEY, *(["mark"] if any(len(key) > len(KEY) for key in one) else [])]
    rows = [(*key, *one[key], *two[key]) for key in one if key in two and _is_matched(one[key][1], two[key][1])]
    both = pd.DataFrame(rows, columns=[*names, "L_one", "C_one", "L_two", "C_two"])
    return both.assign(delta=np.log(both["L_one"]) - np.log(both["L_two"]), C=np.sqrt(both["C_one"] * both["C_two"]))


@lru_cache(maxsize=1024)  # a family is in a pair with every other
def cells(part: Part) -> Cells:
    """Mean L and C of the runs of a family by what pairs them, sorted."""
    require_columns(part.runs, [*KEY, "C"], ", by which runs are paired")
    rows = usable(part.runs)
    key = [*KEY, *(["mark"] if "mark" in rows and rows["mark"].notna().any() else [])]
    means = rows.groupby(key).agg(L=("L", "mean"), C=("C", "mean"))
    return dict(zip(means.index, zip(means["L"], means["C"], strict=True), strict=True))


def _is_matched(one: float, two: float) -> bool:
    """Whether two C count as equal."""
    return one > 0 and two > 0 and abs(math.log(one / two)) <= math.log1p(MATCHED)


def matched(one: Cells, two: Cells) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Any]]:
    """C, difference of ln L, and rung of each matched pair of runs."""
    keys = [key for key in one if key in two and _is_matched(one[key][1], two[key][1])]
    L = np.array([(one[key][0], two[key][0]) for key in keys]).reshape(-1, 2)
    C = np.array([one[key][1] * two[key][1] for key in keys])
    return np.sqrt(C), np.log(L[:, 0]) - np.log(L[:, 1]), [key[KEY.index("rung")] for key in keys]


def mean_of_rungs(
    C: NDArray[np.float64], delta: NDArray[np.float64], rung: list[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """C and mean difference of each rung, (rungs,), by ascending C."""
    place = {name: at for at, name in enumerate(dict.fromkeys(rung))}
    at = np.array([place[name] for name in rung], dtype=np.intp)
    _, first = np.unique(at, return_index=True)
    means = np.bincount(at, weights=delta, minlength=len(place)) / np.bincount(at, minlength=len(place))
    order = np.argsort(C[first], kind="stable")
    return C[first][order], means[order]


def error_between_runs(sample: Sample) -> tuple[float, int]:
    """Standard error of the mean difference over rungs between runs, and its degrees of freedom; (0, 0) if not known.

    The marks of a run are not independent: the unit is the pair of runs, whose deviations from the means of their rungs
    are summed (the cluster-robust variance of a mean; Cameron and Miller 2015, J. Human Resources 50, eq. 11).
    """
    one, two = map(cells, sample.parts)
    _, delta, rung = matched(one, two)
    run, keys = runs_of(sample.parts[0]), [key for key in one if key in two and _is_matched(one[key][1], two[key][1])]
    table = pd.DataFrame({"rung": rung, "delta": delta, "run": [run.get(key) for key in keys]})
    if table["run"].isna().any() or table["run"].nunique() == len(table):  # no marks: each pair is a run
        return 0.0, 0
    by_rung = table.groupby("rung")["delta"]
    parts = (table["delta"] - by_rung.transform("mean")) / by_rung.transform("size") / table["rung"].nunique()
    sums = parts.groupby(table["run"]).sum()
    n = len(sums)
    return (math.sqrt(float((sums**2).sum()) * n / (n - 1)), n - 1) if n > 1 else (0.0, 0)


@lru_cache(maxsize=1024)
def runs_of(part: Part) -> dict[tuple[Any, ...], str]:
    """The run of each of the cells of a family; none where the table does not name runs."""
    if "run_id" not in part.runs:
        return {}
    rows = usable(part.runs)
    key = [*KEY, *(["mark"] if "mark" in rows and rows["mark"].notna().any() else [])]
    runs: dict[Any, str] = rows.groupby(key)["run_id"].first().astype(str).to_dict()
    return runs


def both_fits(sample: Sample) -> tuple[Fit, Fit]:
    """The law on the runs of each of two families.

    Where most runs of either have a partner (SHARED), it is fitted to those that have, and the draws of both
    leave out the same pairs, in order, or, where a parameter reaches its bound without one of them, weigh the same
    pairs at random alike. Else it is fitted to all runs of each, and the two are independent.
    """
    one, two = map(cells, sample.parts)
    # a law stands over N and D, so that the compute of partners need not be the same
    partners = [each[: len(KEY)] for each in one if each in two]
    if len(partners) < SHARED * max(len(one), len(two)):
        alone, other = (own_fit(part, sample.law) for part in sample.parts)
        return alone, other
    key, rows = [*KEY], usable(sample.runs)
    keys = pd.MultiIndex.from_tuples(partners, names=key)
    rows = rows[pd.MultiIndex.from_frame(rows[key]).isin(keys)].sort_values(key, kind="stable")
    rows = rows.assign(pair=pair_of_runs(rows, sample.pair[0], key))
    parts = [rows[rows["family"] == name] for name in sample.pair]
    fits = [
        fit(part, sample.law, run="pair", interval="jackknife", by={"family": name})
        for part, name in zip(parts, sample.pair, strict=True)
    ]
    if any(each.optimum and each.optimum.spread and each.optimum.spread.bounded for each in fits):
        fits = [
            fit_near(part, sample.law, each, run="pair", interval="bootstrap", by=each.by)
            for part, each in zip(parts, fits, strict=True)
        ]
    return fits[0], fits[1]


@lru_cache(maxsize=256)  # a family is in a pair with every other
def own_fit(part: Part, law: str) -> Fit:
    """The law on all runs of one family."""
    return fit(usable(part.runs), law, by={"family": part.runs["family"].iloc[0]})


def pair_of_runs(rows: pd.DataFrame, first: str, key: list[str]) -> pd.Series:
    """The number of the pair of runs that each row is of, (rows,): of marks of one run it is the same."""
    one = rows[rows["family"] == first]
    if "run_id" not in rows or one["run_id"].isna().any():
        return rows.groupby(key, sort=True).ngroup()
    run = one.groupby(key)["run_id"].first()
    return pd.Series(
        pd.factorize(run.reindex(pd.MultiIndex.from_frame(rows[key])).to_numpy(), sort=True)[0], rows.index
    )


def contrast(fits: tuple[Fit, Fit], value: Callable[..., Any], name: str) -> Contrast:
    """Difference of a function of the parameters between two fits, with its standard error.

    Of paired fits the error is that of the difference over their common draws; of independent ones each has that of its
    own fit, and the two are added in quadrature.
    """
    values, draws = [], []
    for each in fits:
        if each.optimum is None or each.optimum.spread is None:
            raise NotIdentified(f"{each.by['family']}: {each.no_interval or each.reason}")
        spread, drawn = each.optimum.spread, each.optimum.draws
        with np.errstate(all="ignore"):
            values.append(float(value(**{k: np.float64(v) for k, v in each.values.items()})))
            draws.append(np.broadcast_to(np.asarray(value(**drawn or {}), dtype=float), len(spread.draws)))
    spreads = [each.optimum.spread for each in fits if each.optimum and each.optimum.spread]
    if all("pair" in each.rows for each in fits):
        se, dof = _paired_error(spreads[0], draws), min(float(spread.dof) for spread in spreads)
        reason, left = f"{fits[0].n_runs} pairs of runs", "with or without each pair"
        if spreads[0].method == "bootstrap":
            reason += ", weighed at random as a parameter reaches its bound"
    else:
        se, dof = welch([(float(s.error(d)), s.dof) for s, d in zip(spreads, draws, strict=True)])
        reason, left = f"{fits[0].n_runs} and {fits[1].n_runs} runs, unpaired", "with or without each run"
    if not math.isfinite(values[0] - values[1] + se):
        raise NotIdentified(f"the law gives no {name} for one of the two, {left}")
    if dof <= LEAST_DOF:
        raise NotIdentified(
            f"how far {name} is known hangs on one of {reason}: their scatter has no more than one degree of freedom; "
            "add runs of both"
        )
    return Contrast(values[0] - values[1], se, dof, reason=reason)


def _paired_error(spread: Spread, draws: list[NDArray[np.float64]]) -> float:
    """Standard error of the difference of two draws of the same pairs; infinite where too many of them are lost."""
    count = min(map(len, draws))
    apart = draws[0][:count] - draws[1][:count]
    sound = np.isfinite(apart)
    lost = 0.0 if spread.method == "jackknife" else MOST_LOST
    return float(spread.error(apart[sound])) if 1 - sound.mean() <= lost else math.inf
