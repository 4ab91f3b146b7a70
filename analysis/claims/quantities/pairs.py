"""Runs of two families in pairs: what differs between them, and how surely.

from isoflop.analysis.claims.declare import Pair

one, two = Sample(runs, pair=Pair("lstm", "transformer")).sides
C, delta, rung = matched(cells(one), cells(two))
delta.mean()          # mean difference of ln L at matched compute
"""

import bisect
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from isoflop.analysis.claims.declare import Contrast, NotIdentified, Sample, require_columns
from isoflop.analysis.claims.quantities.columns import welch
from isoflop.analysis.fitting.fit import fit, fit_near
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.intervals.estimate import Spread
from isoflop.analysis.runs.runs import Runs

# budgets are rounded up to whole steps: compute is matched where it differs by no more than this
MATCHED = 0.05
# by which runs are paired, and the mark where runs have several
KEY = ("data", "seed", "rung")
# share of the runs of both families that must have a partner for the two to be compared in pairs
SHARED = 0.8
# share of the resamples of a difference that may come to no minimum, as of a parameter's at 95 %
MOST_LOST = 0.025
# degrees of freedom (Satterthwaite's) that an error needs more of: with one it depends on one run or pair of runs
LEAST_DOF = 1.0
Named = TypeVar("Named", bound=Hashable)
# what pairs a run -> its L and C
Cells = dict[tuple[Any, ...], tuple[float, float]]


def cells(runs: Runs) -> Cells:
    """Return mean L and C of the runs of a family by what pairs them, sorted."""
    require_columns(runs.frame, [*KEY, "C"], ", by which runs are paired")
    means = _by_pair(runs).agg(L=("L", "mean"), C=("C", "mean"))
    return dict(zip(means.index, zip(means["L"], means["C"], strict=True), strict=True))


def _by_pair(runs: Runs) -> Any:
    """Return the usable rows in groups of equal data, seed and rung, and mark where runs have several."""
    rows = runs.usable.frame
    return rows.groupby([*KEY, *(["mark"] if "mark" in rows and rows["mark"].notna().any() else [])])


def _is_matched(one: float, two: float) -> bool:
    return one > 0 and two > 0 and abs(math.log(one / two)) <= math.log1p(MATCHED)


def matched(one: Cells, two: Cells) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Any]]:
    """Return C, difference of ln L, and rung of each matched pair of runs."""
    keys = [key for key in one if key in two and _is_matched(one[key][1], two[key][1])]
    L = np.array([(one[key][0], two[key][0]) for key in keys]).reshape(-1, 2)
    C = np.array([one[key][1] * two[key][1] for key in keys])
    return np.sqrt(C), np.log(L[:, 0]) - np.log(L[:, 1]), [key[KEY.index("rung")] for key in keys]


def mean_of_rungs(
    C: NDArray[np.float64], delta: NDArray[np.float64], rung: list[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return C and mean difference of each rung, (rungs,), by ascending C."""
    codes, names = pd.factorize(np.array(rung, dtype=object))
    _, first = np.unique(codes, return_index=True)
    means = np.bincount(codes, weights=delta, minlength=len(names)) / np.bincount(codes, minlength=len(names))
    order = np.argsort(C[first], kind="stable")
    return C[first][order], means[order]


def error_between_runs(sample: Sample) -> tuple[float, int]:
    """Return the standard error of the mean difference over rungs between pairs of runs, and its dof, (0, 0) if not
    known (the cluster-robust variance of a mean; Cameron and Miller 2015, J. Human Resources 50, eq. 11)."""
    one, two = (sample.once(cells, side) for side in sample.sides)
    _, delta, rung = matched(one, two)
    keys = [key for key in one if key in two and _is_matched(one[key][1], two[key][1])]
    named = [[sample.once(_runs_of, side).get(key) for key in keys] for side in sample.sides]
    table = pd.DataFrame({"rung": rung, "delta": delta, "run": _linked(*named)})
    if any(None in runs for runs in named) or table["run"].nunique() == len(table):  # no marks: each pair is a run
        return 0.0, 0
    by_rung = table.groupby("rung")["delta"]
    parts = (table["delta"] - by_rung.transform("mean")) / by_rung.transform("size") / table["rung"].nunique()
    sums = parts.groupby(table["run"]).sum()
    n = len(sums)
    return (math.sqrt(float((sums**2).sum()) * n / (n - 1)), n - 1) if n > 1 else (0.0, 0)


def _linked(one: list[Any], two: list[Any]) -> NDArray[np.int32]:
    """Return a number for each pair of runs, (pairs,): equal where pairs share a run, or others link them."""
    codes, names = pd.factorize(pd.Series([*(("one", run) for run in one), *(("two", run) for run in two)]))
    first, second = codes.reshape(2, -1)
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(names),) * 2)
    return connected_components(links, directed=False)[1][first]


def _runs_of(runs: Runs) -> dict[tuple[Any, ...], str]:
    """Return the run of each of the cells of a family; none where the table does not name runs."""
    if "run_id" not in runs:
        return {}
    named: dict[Any, str] = _by_pair(runs)["run_id"].first().astype(str).to_dict()
    return named


def both_fits(sample: Sample) -> tuple[Fit, Fit]:
    """Return the law on the runs of each of two families.

    Where most runs of either have a partner (SHARED), it is fitted to those that have, and the draws of both leave out
    the same pairs, in order, or, where a parameter then reaches its bound, weigh the same pairs at random alike. Else
    it is fitted to all runs of each, and the two are independent.
    """
    by = [{"family": name} for name in sample.pair]
    partners: list[Any] = []
    most = math.inf
    if {*KEY} <= {*sample.runs.frame.columns[sample.runs.frame.notna().any()]}:
        one, two = (sample.once(cells, side) for side in sample.sides)
        # a law stands over N and D, so that the compute of partners need not be the same
        partners, most = [key[: len(KEY)] for key in one if key in two], max(len(one), len(two))
    if len(partners) < SHARED * most:
        alone = (sample.fits.law(sample.law, side.usable, by=name) for side, name in zip(sample.sides, by, strict=True))
        return next(alone), next(alone)
    both = [(rows, pd.MultiIndex.from_frame(rows[[*KEY]])) for rows in (side.usable.frame for side in sample.sides)]
    sides = [rows[keys.isin(partners)].sort_values([*KEY], kind="stable") for rows, keys in both]
    tables = [rows.assign(pair=_pair_of_runs(rows, sides[0])) for rows in sides]
    chosen = {name: getattr(sample.fits.settings, name) for name in ("loss", "delta", "weights")}
    fits = [
        fit(rows, sample.law, run="pair", interval="jackknife", by=name, **chosen)
        for rows, name in zip(tables, by, strict=True)
    ]
    if any(each.optimum and each.optimum.spread and each.optimum.spread.bounded for each in fits):
        fits = [
            fit_near(rows, sample.law, each, run="pair", interval="bootstrap", by=each.by, **chosen)
            for rows, each in zip(tables, fits, strict=True)
        ]
    return fits[0], fits[1]


def _pair_of_runs(rows: pd.DataFrame, first: pd.DataFrame) -> pd.Series:
    """Return the number of each row's pair of runs, (rows,), one for all marks; first: rows of the first family."""
    if "run_id" not in rows or first["run_id"].isna().any():
        return rows.groupby([*KEY], sort=True).ngroup()
    run = first.groupby([*KEY])["run_id"].first()
    numbers = {name: number for number, name in enumerate(sorted(set(run)))}
    return pd.Series(run.reindex(pd.MultiIndex.from_frame(rows[[*KEY]])).map(numbers).to_numpy(), rows.index)


def contrast(fits: tuple[Fit, Fit], value: Callable[..., Any], name: str) -> Contrast:
    """Return the difference of a function of the parameters of two fits, if paired with that of their draws."""
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
            f"the error of {name} depends on one of {reason}: their scatter has at most one degree of freedom; "
            "add runs of both"
        )
    return Contrast(values[0] - values[1], se, dof, reason=reason)


def _paired_error(spread: Spread, draws: list[NDArray[np.float64]]) -> float:
    """Return the standard error of the difference of two draws of the same pairs; infinite where too many are lost."""
    count = min(map(len, draws))
    apart = draws[0][:count] - draws[1][:count]
    sound = np.isfinite(apart)
    lost = 0.0 if spread.method == "jackknife" else MOST_LOST
    return float(spread.error(apart[sound])) if 1 - sound.mean() <= lost else math.inf


def interaction(one: Contrast, two: Contrast) -> Contrast:
    """Return the difference of two independent contrasts."""
    se, df = welch([(one.se, one.df), (two.se, two.df)])
    turned = {"least": "most", "most": "least", "": ""}[two.bound]
    bound = one.bound or turned
    if one.bound and turned and one.bound != turned:
        se = math.nan  # either side is open
    noise = max((c.seed_sd for c in (one, two) if c.seed_sd is not None), default=None)
    return Contrast(one.value - two.value, se, df, noise, f"{one.reason}; against {two.reason}", bound)


def holm(contrasts: Mapping[Named, Contrast], level: float) -> dict[Named, float]:
    """Return the level of the interval of every contrast (Holm 1979): 1 − α/m, m the contrasts not yet rejected."""
    levels: dict[Named, float] = {}
    pending = sorted(contrasts, key=lambda subject: contrasts[subject].p_value)
    while pending:
        alpha = (1 - level) / len(pending)
        # ascending: those that differ from 0 at this level come first
        rejected = bisect.bisect_left(pending, alpha, key=lambda subject: contrasts[subject].p_value)
        levels |= dict.fromkeys(pending[: rejected or None], 1 - alpha)
        pending = pending[rejected:] if rejected else []
    return levels
