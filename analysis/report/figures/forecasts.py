"""A forecast and what came of it."""

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
