"""Predictions of a fitted law for a run that has not been made: its loss with a band, the best size for a budget.

result = fit(runs, "chinchilla")
predict(result, {"C": 1e21})["N_opt"]               # Estimate(...)
predict(result, {"N": 1e9, "D": 2e10})["L"]
predict(result, {"C": 1e21, "N": 1e9})["excess"]    # what another size than the best one costs
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.fitting.settings import check_level
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.flops import TRAIN
from isoflop.analysis.tables.replicates import SAME_LEVEL
from isoflop.errors import FitError


def predict(fit: Fit, at: Mapping[str, float], level: float = 0.9) -> dict[str, Any]:
    """Estimates at one place: the target for a new run; with C alone, the best N and D for it too.

    fit     a fitted law, from `fit` or `load_fit`
    at      columns of the law and numbers above 0, {"N": 1e9, "D": 2e10}; or {"C": 1e21} for the best split; or C and
            one of N and D, for what another split costs
    level   coverage of the band of a new run

    Gives `at` (the columns of the law), `reach` (how far each lies beyond the largest fitted), the target by its name,
    and for a budget N_opt, D_opt and the `excess` over the best split, Estimates all. FitError where the law needs
    other columns, or a number cannot be.
    """
    check_place(at, level)
    law = fit.law
    point: dict[str, Any] = dict(at)
    best: dict[str, Estimate] = {}
    if "C" in at and "C" not in law.columns and law.curves:
        best = {name: _one(fit.curve(name, at["C"], level)) for name in law.curves}
        if {"N", "D"} <= set(at) and abs(np.log(at["C"] / TRAIN / at["N"] / at["D"])) > np.log1p(SAME_LEVEL):
            implied = TRAIN * at["N"] * at["D"]
            raise FitError(f"C={at['C']:g} is not {TRAIN:g} N D = {implied:.4g} at that N and D; give two of the three")
        if "N" in at or "D" in at:
            known = "N" if "N" in at else "D"
            point |= {"D" if known == "N" else "N": at["C"] / TRAIN / at[known]}
        else:
            point |= {"N": best["N_opt"].value, "D": best["D_opt"].value}
    missing = [c for c in law.columns if c not in point]
    if missing:
        choice = " or C alone, for the best split" if law.curves else ""
        raise FitError(f"{law.name} predicts at {', '.join(law.columns)}{choice}; {', '.join(missing)} not given")
    frame = pd.DataFrame({c: [float(point[c])] for c in law.columns})
    estimates = {law.target: _one(fit.predict_interval(frame, level))} | best
    if best and set(at) != {"C"}:
        estimates["excess"] = _excess(fit, at["C"], point, level)
    return {"at": {c: float(frame[c][0]) for c in frame}, "reach": _reach(fit, frame), **estimates}


def check_place(at: Mapping[str, float], level: float) -> None:
    """FitError where nothing can be predicted at a place, whatever the law, or no band has this coverage."""
    check_level(level)
    for name, value in at.items():
        if not 0 < value < np.inf:
            raise FitError(f"{name}={value:g} is not above 0; a law predicts at numbers above 0, such as {name}=1e9")


def to_json(fit: Fit, prediction: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of `predictions` in the JSON of `isoflop predict --json`: estimates as value, low and high."""
    values = {k: vars(v) if isinstance(v, Estimate) else v for k, v in prediction.items()}
    return {"by": fit.by, "status": str(fit.status), "reason": fit.explanation} | values


def _one(frame: pd.DataFrame) -> Estimate:
    value, low, high = (float(frame[c].iloc[0]) for c in ("value", "low", "high"))
    return Estimate(value, *(x if np.isfinite(x) else None for x in (low, high)))


def _excess(fit: Fit, C: float, point: Mapping[str, float], level: float) -> Estimate:
    """Relative loss above that of the best split of the same C."""
    law = fit.law

    def above(**params: Any) -> Any:
        best = law(law.curve("N_opt", C, params), law.curve("D_opt", C, params), **params)
        return law(*(point[c] for c in law.columns), **params) / best - 1

    return fit.quantity(above, level=level)


def _reach(fit: Fit, frame: pd.DataFrame) -> dict[str, float]:
    """How many times beyond the largest fitted value each column lies."""
    return {c: float(frame[c][0] / fit.rows[c].astype(float).max()) for c in fit.law.columns}


def as_text(fit: Fit, prediction: Mapping[str, Any], level: float) -> str:
    """Lines for a terminal."""
    where = ", ".join(f"{k}={v:.4g}" for k, v in prediction["at"].items())
    group = "".join(f"  {k}={v}" for k, v in fit.by.items())
    lines = [f"{fit.law.formula}{group}", f"  at         {where}"]
    lines += [f"  {name:<10} {value}" for name, value in prediction.items() if isinstance(value, Estimate)]
    far = [f"{c} is {x:.3g} times the largest fitted" for c, x in prediction["reach"].items() if x > 1]
    lines.append(f"  {level:.0%} bands; fit {fit.status}" + (f": {fit.explanation}" if fit.explanation else ""))
    return "\n".join(lines + [f"  note       {f}" for f in far])
