"""Learn what the curves of smaller runs say of a larger one's, at every step and under any schedule.

One law holds for all curves, of size and schedule (Luo et al. 2025, arXiv:2503.12811, with a term of size), along the
data and with rates as shares of the peak. How far a curve drifts from the law of the others, and how its points
scatter, is learnt by leaving curves out.

    learn(curves)            # a mapping, kept in forecast.json; curves as `isoflop import --curves` writes them
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from isoflop import record
from isoflop.analysis.fitting.fit import fit_quickly
from isoflop.analysis.holdout.forecast import Forecast
from isoflop.analysis.holdout.watching.filter import LOOKS, taught
from isoflop.analysis.laws.declare import Kind, Law, get_law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.read import add_schedule, read_runs
from isoflop.analysis.runs.runs import Runs, as_runs
from isoflop.errors import UserError

# share of a run before it is watched: a warmup follows no law
BURN_IN = 0.03
# points of a curve that the law is fitted to, and curves that are left out in turn
POINTS, LEFT_OUT = 40, 8
# data of the longest curve, in the unit of the law, whose starts suit sums of rates; and a rate that stands for none
LONGEST, LEAST = 10.0, 1e-3
# by how much of its peak a rate may leave those of the smaller runs
UNLIKE = 0.05
NEEDED = ("run_id", "N", "D", "L")


def of_sizes(sized: bool) -> Law:
    """Return the law of a curve, by its schedule; with a term of the size where there are several."""
    law = get_law("multi_power")
    if not sized:
        return law

    def function(*columns: Any, F: Any, phi: Any, **params: Any) -> Any:
        return law(*columns[:-1], **params) + F * columns[-1] ** -phi

    params = dict(law.params) | {"F": Kind(low=0.0, log=True, linear=True), "phi": law.params["alpha"]}
    columns, arguments = (*law.columns, "N"), (*law.arguments, "N")
    formula = f"{law.formula} + F N^-phi"
    return replace(law, function=function, columns=columns, arguments=arguments, params=params, formula=formula)


def with_curves(forecast: Forecast, path: Path, runs: Runs) -> Forecast:
    """Return a forecast with what a table of curves says of a larger run's; UserError for one of several groups."""
    if forecast.by:
        raise UserError("--curves is of one group: leave --by out, and keep a group by --where")
    if not any(p["L"] and p["L"]["low"] is not None and {"N", "D"} <= p["at"].keys() for p in forecast.points):
        why = next((p["reason"] for p in forecast.points if p["reason"]), "its law has no N and D")
        raise UserError(f"--curves needs an interval at N and D: {why}; give another law, or no --curves")
    curves = read_runs(path).frame
    return replace(forecast, curves=learn(curves) | {"gap": _gap(curves, runs)})


def _gap(curves: pd.DataFrame, runs: Runs) -> float:
    """Return by how much ln L of the table lies above the end of the curve on average, over the runs in both."""
    rows = runs.usable.frame
    if "run_id" not in rows or "D" not in rows:
        return 0.0
    ends = np.log(curves.sort_values("D")["L"]).groupby(curves["run_id"].astype(str)).apply(lambda x: x.tail(3).mean())
    last = np.log(rows.sort_values("D")["L"]).groupby(rows["run_id"].astype(str)).last()
    gaps = (last - ends).dropna()
    return float(gaps.mean()) if len(gaps) else 0.0


def learn(curves: pd.DataFrame) -> dict[str, Any]:
    """Return what the curves of smaller runs say of a larger one's; UserError where they are too few."""
    if lost := [name for name in NEEDED if name not in curves or curves[name].isna().all()]:
        raise UserError(f"a table of curves lacks {', '.join(lost)}; isoflop import --curves writes one")
    parts = [_thinned(part) for _, part in curves[curves["D"] > 0].groupby("run_id", sort=False)]
    parts = sorted((part for part in parts if len(part) >= POINTS // 4), key=lambda part: float(part["N"].iloc[0]))
    if len(parts) < 3:
        raise UserError(f"{len(parts)} curves have {POINTS // 4} points or more, and a band needs three")
    whole = _fitted(parts)
    unseen = [_unseen(part, parts, curves) for part in parts[-LEFT_OUT:]]
    drift = taught(unseen)
    along = np.linspace(0, 1, POINTS + 1)[1:]
    rates = [np.interp(along, part["D"] / part["D"].iloc[-1], part["lr"]) for part in parts]
    learnt = {"drift": drift._asdict(), "schedule": np.median(rates, axis=0).tolist()}
    if "lr" in curves and curves.groupby("run_id")["lr"].any().all():
        # a neighbour's rate is as good: a step of it may lie between two points
        limits = minimum_filter1d(np.min(rates, axis=0), 3), maximum_filter1d(np.max(rates, axis=0), 3)
        learnt |= {"rates": np.array(limits).tolist()}
    return learnt | whole | {"runs": len(parts), "loss_unit": record.loss_unit(curves)}


def _thinned(part: pd.DataFrame) -> pd.DataFrame:
    """Return about POINTS points of a curve, each the mean of its share of ln D, with rates as shares of the peak."""
    part = part.sort_values("D")
    part = part.assign(lr=_rates(part), lnL=np.log(part["L"]))
    # even along ln D, where the loss falls, and along D, where the rate does
    edges = np.unique([np.geomspace(BURN_IN, 1, POINTS), np.linspace(BURN_IN, 1, POINTS)]) * part["D"].iloc[-1]
    part = part[part["D"] >= edges[0]]
    groups = part.groupby(np.minimum(np.searchsorted(edges, part["D"]), len(edges) - 1))
    return groups.agg(run_id=("run_id", "first"), N=("N", "last"), D=("D", "mean"), lr=("lr", "mean"),
                      L=("lnL", lambda x: np.exp(x.mean()))).reset_index(drop=True)  # fmt: skip


def _rates(run: pd.DataFrame) -> Array:
    """Return the rates of a curve as shares of their peak; one that was not logged is 1."""
    lr: Array = run["lr"].ffill().bfill().fillna(1.0).to_numpy(float) if "lr" in run else np.ones(len(run))
    return lr / np.float64(lr.max())


def _scheduled(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return curves as rows of the law: along the data in place of the steps."""
    table = pd.concat(parts, ignore_index=True)
    unit = table["D"].max() / LONGEST
    table = table.assign(lr=table["lr"].clip(lower=LEAST).round(6), step=table["D"] / unit)
    return add_schedule(table).assign(unit=unit)


def _fitted(parts: list[pd.DataFrame]) -> dict[str, Any]:
    """Return what `foreseen` needs of a law of these curves."""
    table = _scheduled(parts)
    sized = bool(table["N"].nunique() > 1)
    law = fit_quickly(as_runs(table), of_sizes(sized), interval="none")
    return {"sized": sized, "unit": float(table["unit"].iloc[0]), "params": {n: p.value for n, p in law.params.items()}}


def _unseen(part: pd.DataFrame, parts: list[pd.DataFrame], curves: pd.DataFrame) -> pd.DataFrame:
    """Return the looks of a curve, beside the law of the others."""
    run = curves[(curves["run_id"] == part["run_id"].iloc[0]) & (curves["D"] > 0)].sort_values("D")
    others = _fitted([other for other in parts if other is not part])
    return looks_of(run, foreseen(others, run, float(run["N"].iloc[-1])), float(run["D"].max()))


def foreseen(learnt: Mapping[str, Any], run: pd.DataFrame, N: float) -> Array:
    """Return ln L by the law at the points of a run, and how much of it the fall of the rate makes, (2, points)."""
    lr, law, lnL = np.clip(_rates(run), LEAST, None).round(6), of_sizes(learnt["sized"]), []
    peak = np.maximum.accumulate(lr)
    for rates in (lr, peak):
        table = add_schedule(pd.DataFrame({"step": run["D"].to_numpy(float) / learnt["unit"], "lr": rates}))
        columns = [table["curve"].to_numpy(float), table["S1"].to_numpy(float), rates]
        columns += [np.full(len(lr), N)] if learnt["sized"] else []
        with np.errstate(all="ignore"):
            lnL.append(np.log(law(*columns, **learnt["params"])))
    return np.array([lnL[0], lnL[1] - lnL[0]])


def looks_of(run: pd.DataFrame, law: Array, end: float) -> pd.DataFrame:
    """Return the gaps of ln L from what was foreseen, the mean of each look, with its D, step, and the law there."""
    predicted, effect = law
    D, step = run["D"].to_numpy(float), run.get("step", run["D"])
    gap = np.log(run["L"].to_numpy(float)) - predicted
    points = pd.DataFrame({"D": D, "step": step, "gap": gap, "predicted": predicted, "effect": effect})
    points = points[(end * BURN_IN <= D) & np.isfinite(points["gap"])]
    looks: pd.DataFrame = points.groupby(np.ceil(points["D"] / end * LOOKS)).mean().reset_index(drop=True)
    return looks


def to_the_end(run: pd.DataFrame, learnt: Mapping[str, Any], end: float) -> pd.DataFrame:
    """Return the points of a run and those to come, whose rates go on as those of the smaller runs did."""
    share = np.linspace(0, 1, len(learnt["schedule"]) + 1)[1:]
    last = float(run["D"].iloc[-1])
    later = share[share * end > last * 1.0001] * end
    lr = _rates(run) if "lr" in run else np.interp(run["D"] / end, share, learnt["schedule"])
    to_come = np.interp(later / end, share, learnt["schedule"])
    return pd.DataFrame({"D": np.append(run["D"], later), "lr": np.append(lr, to_come)})


def departure(run: pd.DataFrame, learnt: Mapping[str, Any], end: float) -> float | None:
    """Return the first step at which the rate, as a share of its peak so far, is none of the smaller runs' at that
    share of the data; None where there is no such, or rates were not logged; a warmup does not count."""
    if "lr" not in run or "rates" not in learnt:
        return None
    lr, along, share = _rates(run), run["D"].to_numpy(float) / end, np.linspace(0, 1, len(learnt["schedule"]) + 1)[1:]
    low, high = (np.interp(along, share, limit) for limit in learnt["rates"])
    warm = (np.arange(len(lr)) >= lr.argmax()) & (along >= share[np.argmax(learnt["schedule"])])
    unlike = np.flatnonzero(warm & ((lr < low - UNLIKE) | (lr > high + UNLIKE)))
    return float(run.get("step", run["D"]).iloc[unlike[0]]) if len(unlike) else None
