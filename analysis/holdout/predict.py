"""Predict a run that has not been made by a fitted law: its loss with a band, the best size for a budget.

result = fit(runs, "chinchilla")
predict(result, {"C": 1e21})["N_opt"]               # Estimate(...)
predict(result, {"N": 1e9, "D": 2e10})["predicts"]  # 'yes': what its hold-outs say, whatever its parameters
print(score(predict_points([result], runs), "L", level=0.9))     # RMSLE and coverage
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.arguments import check_level
from isoflop.analysis.fitting.diagnose import locked
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.average import Average
from isoflop.analysis.holdout.bands import FORM, bands
from isoflop.analysis.holdout.predictability import predictability
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.declare import TRAIN
from isoflop.analysis.runs.levels import SAME_LEVEL
from isoflop.analysis.runs.observations import odd_split
from isoflop.analysis.runs.rows import uncounted
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.errors import FitError


def predict(fit: Fit | Average, at: Mapping[str, float], level: float = 0.9) -> dict[str, Any]:
    """Predict at one place: the target for a new run; with C alone, the best N and D for it too.

    fit     a fitted law, from `fit` or `load_fit`, or an average of laws
    at      columns of the law and numbers above 0, {"N": 1e9, "D": 2e10}; or {"C": 1e21} for the best split; or C and
            one of N and D, for what another split costs
    level   coverage of the band of a new run

    Returns `at` (the columns of the law), `reach` (how many times each lies beyond the largest fitted) and `below` (how
    many times below the smallest), the target by its name, and for a budget N_opt, D_opt and the `excess` over the best
    split, Estimates all, without a value where the law does not identify the split; `band`, what the band of the target
    contains; `predicts` and `why`, what the hold-outs say of the law; `question`, if D/N of the best split is so odd
    that a unit may be wrong. FitError where the law needs other columns, or a number cannot be.
    """
    check_place(at, level)
    law = fit.law
    curves = law.curves if "C" in at and "C" not in law.columns else ()
    best = {name: _estimate(fit.curve(name, at["C"], level)) for name in curves}
    point = _split(fit, at, best) if best else dict(at)
    if surplus := [name for name in at if name not in (*law.columns, *(("C",) if law.curves else ()))]:
        raise FitError(f"{law.name} has no column {surplus[0]}; a place of it gives {', '.join(law.columns)}")
    if missing := [c for c in law.columns if c not in point]:
        choice = ", or C alone for the best split" if law.curves else ""
        raise FitError(f"{', '.join(missing)} not given: {law.name} predicts at {' and '.join(law.columns)}{choice}")
    place = {c: float(point[c]) for c in law.columns}
    band = bands(fit, pd.DataFrame([place]), level)
    estimates = {law.target: _estimate(band)} | best
    if best and set(at) != {"C"}:
        estimates |= _beside(fit, at["C"], point, level, best)
    reach = {c: float(x / fit.rows[c].astype(float).max()) for c, x in place.items()}
    below = {c: float(fit.rows[c].astype(float).min() / x) for c, x in place.items()}
    verdict = predictability(fit, place)
    about = {"band": str(band["band"].iloc[0]), "predicts": verdict.predicts, "why": verdict.reason}
    if best and set(at) == {"C"} and (question := odd_split(fit.rows, place["N"], place["D"])):
        about["question"] = question
    return {"at": place, "reach": reach, "below": below, **about, **estimates}


def predict_then(first: Fit | Average, second: Fit, at: Mapping[str, float], level: float = 0.9) -> dict[str, Any]:
    """Predict at a place as `predict` does, and the target of a second law of that prediction beside it.

    first    a law of size and data, whose target is the column of the second
    second   a law of that one column
    at       as in `predict`
    level    coverage of both bands

    Returns what `predict` does, with the second target by its name, and `then`: the law, its status and what its own
    hold-outs say. FitError where the second law is of other columns.
    """
    _check_step(first, second)
    prediction, law = predict(first, at, level), second.law
    middle = prediction[first.law.target]
    step = predict(second, {first.law.target: middle.value}, level)
    then = {"law": law.name, "status": str(second.status), "predicts": step["predicts"], "why": step["why"]}
    ends = [np.nan if x is None else x for x in (middle.low, middle.high)]
    score = _second_step(second, pd.DataFrame([[middle.value, *ends]], columns=["value", "low", "high"]), level)
    return prediction | {law.target: _estimate(score), "then": then}


def then_points(
    table: pd.DataFrame, fits: Sequence[Fit | Average], seconds: Mapping[tuple[Any, ...], Fit], level: float = 0.9
) -> pd.DataFrame:
    """Add to a table of `predict_points` the target of a second law of each group's prediction, and its band, by the
    fits of the second law, whose keys are the values of the columns of the groups. The errors of both are independent:
    half-widths add up as variances do."""
    for fit in fits:
        mine = _rows_of(fit, table) & table["value"].notna().to_numpy()
        if (second := seconds.get(tuple(fit.by.items()))) is not None and mine.any():
            _check_step(fit, second)
            score = _second_step(second, table[mine], level)
            for side, column in (("value", "predicted"), ("low", "low"), ("high", "high")):
                table.loc[mine, f"{second.law.target}_{column}"] = score[side].to_numpy()
    return table


def _check_step(first: Fit | Average, second: Fit) -> None:
    law, loss = second.law, first.law.target
    if law.columns != (loss,):
        raise FitError(f"{law.name} predicts from {', '.join(law.columns)}; a second step is a law of {loss} alone")


def _second_step(second: Fit, first: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return value, low and high of a second law of what a first one predicts: value, low, high."""
    loss = second.law.columns[0]
    alone = bands(second, pd.DataFrame({loss: first["value"]}), level)
    value, low, high = (alone[side].to_numpy(float) for side in ("value", "low", "high"))
    ends = np.stack([second.predict(pd.DataFrame({loss: first[side]})) for side in ("low", "high")]) - value
    down, up = np.hypot(np.minimum(ends.min(0), 0.0), value - low), np.hypot(np.maximum(ends.max(0), 0.0), high - value)
    low, high = second.law.inside(np.stack([value - down, value + up]), second.values, second.rows[second.law.target])
    return pd.DataFrame({"value": value, "low": low, "high": high}, index=first.index)


def _split(fit: Fit | Average, at: Mapping[str, float], best: Mapping[str, Estimate]) -> dict[str, Any]:
    """Return the place of a budget: the split that is given, else the best one."""
    if unit := uncounted(fit.notes):
        raise FitError(f"no compute follows: {unit}")
    if {"N", "D"} <= set(at) and abs(np.log(at["C"] / TRAIN / at["N"] / at["D"])) > np.log1p(SAME_LEVEL):
        implied = TRAIN * at["N"] * at["D"]
        raise FitError(f"C={at['C']:g} is not {TRAIN:g} N D = {implied:.4g} at that N and D; give two of the three")
    if "N" in at or "D" in at:
        known, other = ("N", "D") if "N" in at else ("D", "N")
        return dict(at) | {other: at["C"] / TRAIN / at[known]}
    if reason := _one_split(fit):
        raise FitError(f"these runs identify no best split: {reason}; or give N or D, too")
    N, D = best["N_opt"].value, best["D_opt"].value
    if not all(value is not None and 0 < value < np.inf for value in (N, D)):
        raise FitError(f"{fit.law.name} has no best split at C={at['C']:g} within the numbers; give N or D, too")
    return dict(at) | {"N": N, "D": D}


def check_place(at: Mapping[str, float], level: float) -> None:
    """Check a place and a coverage; FitError where nothing can be predicted there, whatever the law."""
    check_level(level)
    for name, value in at.items():
        if not 0 < value < np.inf:
            raise FitError(f"{name}={value:g} is not above 0; a law predicts at numbers above 0, such as {name}=1e9")


def to_json(fit: Fit | Average, prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Return one entry of `predictions` in the JSON of `isoflop predict --json`: estimates as value, low and high."""
    values = {k: vars(v) if isinstance(v, Estimate) else v for k, v in prediction.items()}
    return {"by": fit.by, "status": str(fit.status), "reason": fit.explanation} | values


def _one_split(fit: Fit | Average) -> str:
    """Return why runs of growing compute identify no best split: an exponent, the splits tried, or one size."""
    if not {"N", "D"} <= set(fit.rows):
        return ""
    N, D = (fit.rows[name].to_numpy(float) for name in ("N", "D"))
    if single := [name for name, x in (("N", N), ("D", D)) if np.ptp(x) == 0]:
        return f"{single[0]} has a single value: add runs at others"
    if np.ptp(np.log(N) + np.log(D)) > np.log1p(SAME_LEVEL) and (cause := locked("N", "D", N, D)):
        return cause
    return "" if isinstance(fit, Average) or fit.splits else fit.reason or "the exponent of the best size has no bounds"


def _estimate(frame: pd.DataFrame) -> Estimate:
    value, *ends = (float(frame[c].iloc[0]) for c in ("value", "low", "high"))
    return Estimate(value, *(x if np.isfinite(x) else None for x in ends))


def _beside(
    fit: Fit | Average, C: float, point: Mapping[str, float], level: float, best: Mapping[str, Estimate]
) -> dict[str, Estimate]:
    """Return the best split and what another one costs, without values where the law does not identify the split."""
    if _one_split(fit):
        return dict.fromkeys([*best, "excess"], Estimate(None))
    return dict(best) | {"excess": _excess(fit, C, point, level)}


def _excess(fit: Fit | Average, C: float, point: Mapping[str, float], level: float) -> Estimate:
    """Return the relative loss above that of the best split of the same C."""
    law = fit.law

    def above(**params: Any) -> Any:
        best = law(law.curve("N_opt", C, params), law.curve("D_opt", C, params), **params)
        return law(*(point[c] for c in law.columns), **params) / best - 1

    return fit.quantity(above, level=level)


def as_text(fit: Fit | Average, prediction: Mapping[str, Any], level: float) -> str:
    """Return lines for a terminal."""
    where = ", ".join(f"{k}={v:.4g}" for k, v in prediction["at"].items())
    group = "".join(f"  {k}={v}" for k, v in fit.by.items())
    lines = [f"{fit.law.formula}{group}", f"  at         {where}"]
    lines += [f"  {name:<10} {value}" for name, value in prediction.items() if isinstance(value, Estimate)]
    band = prediction["band"] or "none: the data allow other values as well, or there are too few runs"
    lacking = "" if FORM in band or not prediction["band"] else "; not the error of the form, too few rows to hold out"
    lines.append(f"  band       {level:.0%}: {band}{lacking}")
    lines.append(f"  predicts   {prediction['predicts']}: {prediction['why']}")
    lines.append(f"  fit        {fit.status}" + (f": {fit.reason}" if fit.reason else ""))
    if then := prediction.get("then"):
        lines.append(f"  then       {then['law']}, {then['status']}; predicts {then['predicts']}: {then['why']}")
    far = [f"{c} is {x:.3g} times the largest fitted" for c, x in prediction["reach"].items() if x > 1]
    far += [f"{c} is {x:.3g} times below the smallest fitted" for c, x in prediction["below"].items() if x > 1]
    far += [prediction["question"]] if "question" in prediction else []
    return "\n".join(lines + [f"  note       {note}" for note in (*far, *fit.notes)])


@dataclass(frozen=True)
class Score:
    """How predictions compare with what was observed.

    rows       points whose target is known and that were predicted
    rmsle      root mean square of ln(predicted / observed)
    banded     those of them that have a band
    coverage   share of the banded that lie inside it; NaN without any
    level      what the bands should cover
    """

    rows: int
    rmsle: float
    banded: int
    coverage: float
    level: float

    def __str__(self) -> str:
        band = f"{self.coverage:.0%} of {self.banded} inside their {self.level:.0%} band" if self.banded else "no bands"
        return f"RMSLE {self.rmsle:.3%} on {self.rows} rows; {band}"


def predict_points(
    fits: Sequence[Fit | Average], points: RunsLike, by: Sequence[str] = (), level: float = 0.9
) -> pd.DataFrame:
    """Return the rows of `points` with the law's value, the band of a new run and what it contains, whether the law
    predicts by its hold-outs, and the status of the fit that they rest on.

    fits     of `fit_groups`, one for each group
    points   the columns of the law for every point, and those of `by`
    by       the columns by which the fits were grouped
    level    coverage of the band

    A point whose group has no fit, or whose columns hold no number above 0, has an empty value and the reason.
    FitError where a column of the law or of `by` is missing.
    """
    check_level(level)
    source, rows = as_runs(points).source or "the points", as_runs(points).frame
    needed = [*dict.fromkeys(c for fit in fits for c in fit.law.columns), *by]
    if missing := [c for c in needed if c not in rows]:
        there = ", ".join(map(str, rows.columns[:30]))
        text = f"{fits[0].law.name} predicts from {', '.join(needed)}"
        raise FitError(f"{source}: {text}; there is no {missing[0]} ({there})")
    reason = "no runs of this group were fitted"
    out = rows.assign(value=np.nan, low=np.nan, high=np.nan, band="", predicts="", status="", reason=reason)
    for fit in fits:
        if not (mine := _rows_of(fit, rows)).any():
            continue
        columns = rows[list(fit.law.columns)].apply(pd.to_numeric, errors="coerce").astype(float)
        sound = (np.isfinite(columns) & (columns > 0)).all(axis=1).to_numpy()
        verdict = predictability(fit)
        out.loc[mine, ["predicts", "status", "reason"]] = str(verdict.predicts), str(fit.status), str(fit.reason)
        if fit.objective is not None and (able := mine & sound).any():
            band = bands(fit, columns[able], level)
            out.loc[able, ["value", "low", "high", "band"]] = band[["value", "low", "high", "band"]].to_numpy()
        out.loc[mine & ~sound, ["predicts", "reason"]] = "", f"{', '.join(fit.law.columns)} must be numbers above 0"
    return out


def _rows_of(fit: Fit | Average, rows: pd.DataFrame) -> NDArray[np.bool_]:
    mine = np.ones(len(rows), dtype=bool)
    for name, label in fit.by.items():
        mine &= (rows[name].isna() if pd.isna(label) else rows[name] == label).to_numpy()
    return mine


def score(predictions: pd.DataFrame, target: str, level: float) -> Score | None:
    """Compare the predictions with the column `target`; None where no predicted point has a value there."""
    if target not in predictions:
        return None
    observed = pd.to_numeric(predictions[target], errors="coerce").to_numpy(float)
    value, low, high = (predictions[c].to_numpy(float) for c in ("value", "low", "high"))
    known = (observed > 0) & (value > 0)
    if not known.any():
        return None
    banded = known & np.isfinite(low) & np.isfinite(high)
    inside = banded & (low <= observed) & (observed <= high)
    error = np.log(value[known] / observed[known])
    coverage = float(inside.sum() / banded.sum()) if banded.any() else float("nan")
    return Score(int(known.sum()), float(np.sqrt((error**2).mean())), int(banded.sum()), coverage, level)
