"""Interval plot of the fitted laws' parameters by family; values that are not identified are hollow."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import values
from isoflop.analysis.report.view import View
from isoflop.wording import percent

NAME = "parameters"
ORDER = 6
NEEDS = "a fitted law with an interval for at least one family"
SHOWN = ("E", "alpha", "beta")


def draw(view: View) -> Figure:
    """Draw a panel for each parameter, an interval for each family; hollow where the fit has not converged."""
    data = _data(view)
    rows: g.Spec = {"y": g.family_names(view.families), "color": g.hue(view.families)}
    kinds = list(data["kind"].unique())
    x = g.linear("value", None, ticks=5)
    tips = g.tooltip(("family", "parameter", "value", "low", "high", "status"), data)
    marks: g.Spec = rows | {"x": x, "shape": g.shape(view.families), "tooltip": tips}
    layers = [
        g.layer("bar", kinds, x=x | {"field": "low"}, x2={"field": "high"}, **rows),
        # a layer without a row would have no extent
        *(g.layer(mark, kind, **marks) for mark, kind in (("solid", "sound"), ("hollow", "doubtful")) if kind in kinds),
    ]
    chart = g.faceted(layers, data, "parameter", width=225, height=34 * data["family"].nunique())
    chart |= {"resolve": {"scale": {"x": "independent"}}}
    doubtful = dict(zip(data["family"], data["status"], strict=True))
    open_fits = [f"{name} is {status.replace('_', ' ')}" for name, status in doubtful.items() if status != "converged"]
    hollow = f" Hollow: {', '.join(open_fits)}; not an estimate." if open_fits else ""
    level = percent(next(iter(view.laws.values())).level, 0)
    title = "Parameters of the laws, by family" if len(view.families) > 1 else "Parameters of the law"
    subtitle = f"Point and {level} interval over runs; a missing bar is a bound that does not exist.{hollow}"
    return Figure(NAME, title, subtitle, values(title, data, ["family", "parameter"]), chart, data)


def _data(view: View) -> pd.DataFrame:
    """Return a row for each family and parameter of the law that most families have."""
    # alpha of a law of D is not comparable with alpha of a law of N and D
    laws = pd.Series({name: fitted.law.name for name, fitted in view.laws.items()}, dtype=object)
    common = laws.mode().iloc[0] if len(laws) else ""
    rows = [
        {"family": name, "parameter": p, "value": e.value, "low": e.low, "high": e.high, "status": fitted.status}
        for name, fitted in view.laws.items()
        for p, e in fitted.params.items()
        if p in SHOWN and e.value is not None and fitted.law.name == common
    ]
    bounded = {r["parameter"] for r in rows if r["low"] is not None and r["high"] is not None}
    if not bounded:
        raise Unmet("no parameter has an interval")
    data = pd.DataFrame([r for r in rows if r["parameter"] in bounded])
    data["kind"] = np.where(data["status"] == "converged", "sound", "doubtful")
    return data.sort_values("parameter", key=_position, kind="stable")


def _position(names: pd.Series) -> pd.Series:
    """Return the place of each parameter in SHOWN."""
    return names.map(SHOWN.index)
