"""What a fitted law says of a run that has not been made: its loss with a band, and the best size for a budget.

answer = predict(fit(runs, "chinchilla"), {"C": 1e21})
answer["L"], answer["N_opt"]     # Estimate(...) each
predict(answer_of_fit, {"N": 1e9, "D": 2e10})["L"]
predict(answer_of_fit, {"C": 1e21, "N": 1e9})["excess"]   # what another size than the best one costs
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.errors import FitError

# training takes 6 FLOPs for each parameter and target (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)
FLOPS = 6.0


def predict(answer: Fit, at: Mapping[str, float], level: float = 0.9) -> dict[str, Any]:
    """Estimates at the columns `at`: the target for a new run; with C alone, the best N and D for it too.

    Raises FitError where the law needs other columns.
    """
    law = answer.law
    point: dict[str, Any] = dict(at)
    best: dict[str, Estimate] = {}
    if "C" in at and "C" not in law.columns and law.curves:
        best = {name: _one(answer.curve(name, at["C"], level)) for name in law.curves}
        if "N" in at or "D" in at:
            known = "N" if "N" in at else "D"
            point |= {"D" if known == "N" else "N": at["C"] / FLOPS / at[known]}
        else:
            point |= {"N": best["N_opt"].value, "D": best["D_opt"].value}
    missing = [c for c in law.columns if c not in point]
    if missing:
        choice = " or C alone, for the best split" if law.curves else ""
        raise FitError(f"{law.name} predicts at {', '.join(law.columns)}{choice}; {', '.join(missing)} not given")
    frame = pd.DataFrame({c: [float(point[c])] for c in law.columns})
    found = {law.target: _one(answer.predict_interval(frame, level))} | best
    if best and set(at) != {"C"}:
        found["excess"] = _excess(answer, at["C"], point, level)
    return {"at": {c: float(frame[c][0]) for c in frame}, "reach": _reach(answer, frame), **found}


def _one(frame: pd.DataFrame) -> Estimate:
    value, low, high = (float(frame[c].iloc[0]) for c in ("value", "low", "high"))
    return Estimate(value, *(x if np.isfinite(x) else None for x in (low, high)))


def _excess(answer: Fit, C: float, point: Mapping[str, float], level: float) -> Estimate:
    """Relative loss above that of the best split of the same C."""
    law = answer.law

    def above(**params: Any) -> Any:
        best = law(law.curve("N_opt", C, params), law.curve("D_opt", C, params), **params)
        return law(*(point[c] for c in law.columns), **params) / best - 1

    return answer.quantity(above, level=level)


def _reach(answer: Fit, frame: pd.DataFrame) -> dict[str, float]:
    """How many times beyond the largest fitted value each column lies."""
    return {c: float(frame[c][0] / answer.rows[c].astype(float).max()) for c in answer.law.columns}


def as_text(answer: Fit, said: Mapping[str, Any], level: float) -> str:
    """Lines for a terminal."""
    where = ", ".join(f"{k}={v:.4g}" for k, v in said["at"].items())
    group = "".join(f"  {k}={v}" for k, v in answer.by.items())
    lines = [f"{answer.law.formula}{group}", f"  at         {where}"]
    lines += [f"  {name:<10} {value}" for name, value in said.items() if isinstance(value, Estimate)]
    far = [f"{c} is {x:.3g} times the largest fitted" for c, x in said["reach"].items() if x > 1]
    lines.append(
        f"  {level:.0%} bands; fit {answer.status}" + (f": {answer.explanation}" if answer.explanation else "")
    )
    return "\n".join(lines + [f"  note       {f}" for f in far])
