"""Predictions and what came of them: hold-outs, and a forecast."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from isoflop.analysis.holdout.backtest import backtest
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import along, values
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.rows import joined
from isoflop.errors import FitError
from isoflop.wording import percent

FOLDS = 4
GUESSES = {"error": "law", "error_line": "straight line", "error_last": "last value"}


@figure(order=22, needs="a law, and runs at four or more C", costly=True)
def holdouts(view: View) -> Figure:
    """How far a law predicts: its error on held-out larger runs by how much was held out, beside naive guesses."""
    data, inside, known = _holdouts_data(view)
    colours = {"field": "guess", "type": "nominal", "legend": {"title": None, "orient": "top"}, "scale": {
        "domain": list(GUESSES.values()), "range": ["#0072B2", "#D55E00", "#8a8f98"]}}  # fmt: skip
    x = g.log("reach", data, "largest held-out C over largest fitted C")
    y = g.log("rmsle", data, "root mean square error, ln L [%]")
    tips = g.tooltip(("family", "guess", "cut", "reach", "rmsle", "runs"), data)
    layers = [
        g.layer("line", "fold", x=x, y=y, color=colours),
        g.layer("best", "fold", x=x, y=y, color=colours, tooltip=tips),
    ]
    covered = f"{inside} of {known} held-out losses lie inside their 90 % bands" if known else "no bands"
    title = "Hold-out error of the law and of naive guesses"
    subtitle = (
        f"Each point leaves out all runs above a compute; {covered}. Straight line: a power law without E. "
        "Last value: no progress."
    )
    alt = along(title, data.assign(group=data["family"] + ", " + data["guess"]), x, y, by="group")
    return Figure("holdouts", title, subtitle, alt, g.faceted(layers, data), data)


def _holdouts_data(view: View) -> tuple[pd.DataFrame, int, int]:
    """Return a row for each family, fold and guess, how many losses lie inside their bands, and of how many."""
    parts, inside, known, reasons = [], 0, 0, []
    for family, fit in view.laws.items():
        try:
            test = backtest(view.few(family), fit.law.name, axis="C", folds=FOLDS)
        except FitError as error:
            reasons.append(f"{family}: {error}")
            continue
        covered = test.coverage
        inside, known = inside + covered[0], known + covered[1]
        for fold in test.folds:
            for column, guess in GUESSES.items():
                parts += [cell | {"family": family, "guess": guess} for cell in _cell(fold.errors, column)]
    if not parts:
        raise Unmet("; ".join(reasons) or "no law could be fitted")
    return pd.DataFrame(parts).assign(kind="fold"), inside, known


def _cell(errors: pd.DataFrame, column: str) -> Iterator[dict[str, object]]:
    """Yield the root mean square error at one cut [%], or nothing where nothing was predicted."""
    off = errors[column].to_numpy(float)
    if len(off) and np.isfinite(off).all():
        cut, reach = float(errors["cut"].iloc[0]), float(errors["reach"].max())
        yield {"cut": cut, "reach": reach, "runs": len(off), "rmsle": 100 * float(np.sqrt((off**2).mean()))}


@figure(order=4, needs="a forecast (--forecast) and runs at its points")
def forecast_outcome(view: View) -> Figure:
    """A forecast beside its outcome: the band that was written down, and the loss that came."""
    if view.forecast is None:
        raise Unmet("no forecast was given")
    rows = view.forecast.score.rows
    if rows.empty:
        raise Unmet("no run was made at a point of the forecast")
    by = [c for c in view.forecast.forecast.by if c in rows]
    named = joined(rows, by, ", ") + " " if by else ""
    data = rows.assign(point=named + rows["at"].astype(str), kind="point").reset_index(drop=True)
    y, colour = g.text("point"), {"value": "#0072B2"}
    x = {"type": "quantitative", "title": f"loss [{view.loss_unit}]", "scale": {"zero": False}}
    tips = g.tooltip(("point", "observed", "predicted", "low", "high", "error"), data, view.loss_unit)
    band = {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y, "color": colour}
    layers = [
        g.layer("bar", "point", where="isValid(datum.low)", **band),
        g.layer("hollow", "point", x=x | {"field": "predicted"}, y=y, color=colour, tooltip=tips),
        g.layer("best", "point", x=x | {"field": "observed"}, y=y, color={"value": "#D55E00"}, tooltip=tips),
    ]
    level = percent(view.forecast.score.level, 0)
    title = "Forecast and outcome"
    subtitle = f"Hollow: predicted, with its {level} band; filled: observed."
    predicted = data.assign(value=data["predicted"])
    alt = values(f"{title}: predicted losses with their {level} bands", predicted, "point")
    return Figure("forecast_outcome", title, subtitle, alt, g.single(layers, height=max(60, 26 * len(data))), data)
