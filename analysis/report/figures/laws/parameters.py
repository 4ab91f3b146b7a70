"""Interval plot of the fitted laws' parameters by family; values that are not identified are hollow."""

from typing import Any

import pandas as pd

from isoflop.analysis.report.figures.base import Figure, Unmet, family_scales
from isoflop.analysis.report.view import View
from isoflop.wording import percent

NAME = "parameters"
ORDER = 6
NEEDS = "a fitted law with an interval for at least one family"
SHOWN = ("E", "alpha", "beta")


def draw(view: View) -> Figure:
    """A panel for each parameter, an interval for each family; hollow where the fit is not converged."""
    import altair as alt

    data = _data(view)
    colour, shape = family_scales(view.families)
    y = alt.Y("family:N", title=None, axis=alt.Axis(grid=False, labelFontSize=12))
    hue = alt.Color("family:N", scale=colour, legend=None)
    base = alt.Chart(data).encode(y=y, color=hue)
    bars = base.mark_rule(strokeWidth=3, opacity=0.7).encode(
        x=alt.X("low:Q", title=None, axis=alt.Axis(tickCount=5)), x2="high:Q"
    )
    marks: dict[str, Any] = {
        "x": alt.X("value:Q", scale=alt.Scale(zero=False)),
        "shape": alt.Shape("family:N", scale=shape, legend=None),
        "tooltip": ["family", "parameter", "value", "low", "high", "status"],
    }
    layers = [bars]
    if (data["status"] == "converged").any():
        sound = base.transform_filter("datum.status == 'converged'").mark_point(size=90, filled=True, opacity=1)
        layers.append(sound.encode(**marks))
    if (data["status"] != "converged").any():
        hollow = base.transform_filter("datum.status != 'converged'").mark_point(size=90, strokeWidth=2, opacity=1)
        layers.append(hollow.encode(**marks))
    chart = alt.layer(*layers).properties(width=225, height=34 * data["family"].nunique())
    chart = chart.facet(alt.Facet("parameter:N", title=None, sort=list(SHOWN)), columns=3)
    chart = chart.resolve_scale(x="independent")
    doubtful = [
        f"{name} is {fit.status.replace('_', ' ')}" for name, fit in view.laws.items() if fit.status != "converged"
    ]
    title = _finding(data)
    about = f" Hollow: {', '.join(doubtful)}; no estimate." if doubtful else ""
    level = next(iter(view.laws.values())).level
    seen = "; ".join(f"{r['family']} {r['parameter']} {r['value']:.3g}" for _, r in data.iterrows())
    subtitle = f"Point and {percent(level, 0)} interval over runs; a missing bar is a bound that does not exist.{about}"
    return Figure(NAME, title, subtitle, f"Interval plot of parameters: {seen}.", chart, data)


def _data(view: View) -> pd.DataFrame:
    rows = [
        {"family": name, "parameter": p, "value": e.value, "low": e.low, "high": e.high, "status": fitted.status}
        for name, fitted in view.laws.items()
        for p, e in fitted.params.items()
        if p in SHOWN and e.value is not None
    ]
    if not any(r["low"] is not None and r["high"] is not None for r in rows):
        raise Unmet("no parameter has an interval")
    return pd.DataFrame(rows)


def _finding(data: pd.DataFrame) -> str:
    """Which parameters the intervals tell apart."""
    bounded = data[data["low"].notna() & data["high"].notna() & (data["status"] == "converged")]
    if bounded["family"].nunique() < 2:
        return "These runs do not pin down the law's parameters: read the intervals, not the points"
    apart = [p for p in SHOWN if (part := bounded[bounded["parameter"] == p])["low"].max() > part["high"].min()]
    if apart:
        return f"The intervals of {', '.join(apart)} do not overlap for some families"
    return "The intervals overlap: these runs do not tell the families' laws apart"
