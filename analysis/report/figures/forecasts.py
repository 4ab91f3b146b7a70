"""A forecast and what came of it."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import values
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.rows import joined
from isoflop.wording import percent


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


@figure(order=5, needs="a forecast (--forecast), runs at its points, and the runs that it was fitted to")
def forecast_error(view: View) -> Figure:
    """The error of a forecast by how far it lies beyond the fitted compute, beside what the noise of seeds leaves."""
    if view.forecast is None or (cells := view.forecast.score.cells)["times"].isna().all():
        raise Unmet("no forecast was given, or the runs that it was fitted to are not in the table")
    cells = cells.assign(family=cells["family"].astype(str) if "family" in cells else "all runs")
    families = sorted(cells["family"].unique())
    parts = [
        cells.assign(kind=kind, percent=100 * cells[column])
        for kind, column in (("law", "error"), ("line", "error_line"))
    ]
    floor = 100 * float(cells["floor"].max())
    ends = cells["times"].min() / 1.1, cells["times"].max() * 1.1
    noise = pd.DataFrame({"kind": "floor", "times": ends, "low": -floor, "high": floor, "percent": 0.0})
    data = pd.concat([*parts, noise], ignore_index=True)
    x, y = g.log("times", data, "compute, in times of the largest fitted"), g.linear("percent", "error of the loss [%]")
    tips = g.tooltip(("family", "at", "times", "percent", "runs"), data)
    look: g.Spec = {"color": g.hue(families, legend=True), "shape": g.shape(families, legend=True)}
    layers = [
        g.layer("area", "floor", x=x, y=y | {"field": "low"}, y2={"field": "high"}),
        g.layer("guide", "floor", x=x, y=y),
        g.layer("hollow", "line", x=x, y=y, tooltip=tips, **look),
        g.layer("best", "law", x=x, y=y, tooltip=tips, **look),
    ]
    title = "Error of the forecast against compute"
    known = f"Shaded: the median error that the noise of seeds leaves, {floor:.2f} %. " if np.isfinite(floor) else ""
    subtitle = f"Filled: the forecast; hollow: a straight line. {known}Means of the runs at each point."
    return Figure("forecast_error", title, subtitle, g.along(title, parts[0], x, y), g.single(layers), data)
