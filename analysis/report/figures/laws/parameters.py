"""Interval plot of the fitted laws' parameters by family; values that are not identified are hollow."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View
from isoflop.wording import listed, percent

NAME = "parameters"
ORDER = 6
NEEDS = "a fitted law with an interval for at least one family"
SHOWN = ("E", "alpha", "beta")


def draw(view: View) -> Figure:
    """A panel for each parameter, an interval for each family; hollow where the fit is not converged."""
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
    chart = g.faceted(layers, "parameter", width=225, height=34 * data["family"].nunique())
    chart |= {"resolve": {"scale": {"x": "independent"}}}
    doubtful = [
        f"{name} is {fit.status.replace('_', ' ')}"
        for name, fit in view.laws.items()
        if fit.status != "converged" and name in set(data["family"])
    ]
    title = _finding(data, len(view.families) == 1)
    about = f" Hollow: {', '.join(doubtful)}; no estimate." if doubtful else ""
    level = next(iter(view.laws.values())).level
    seen = "; ".join(f"{r['family']} {r['parameter']} {r['value']:.3g}" for _, r in data.iterrows())
    subtitle = f"Point and {percent(level, 0)} interval over runs; a missing bar is a bound that does not exist.{about}"
    return Figure(NAME, title, subtitle, f"Interval plot of parameters: {seen}.", chart, data)


def _data(view: View) -> pd.DataFrame:
    # alpha of a law of D is another than alpha of a law of N and D: of several laws the one of most families
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
    # of a parameter without any interval there is nothing to see
    data = pd.DataFrame([r for r in rows if r["parameter"] in bounded])
    data["kind"] = np.where(data["status"] == "converged", "sound", "doubtful")
    return data.sort_values("parameter", key=_place, kind="stable")


def _ends(part: pd.DataFrame) -> str:
    """The families with the smallest and the largest value of a parameter."""
    rows = part.sort_values("value").to_dict("records")
    ends = (rows[0], rows[-1])
    return " to ".join(f"{g.interval(end['value'], end['low'], end['high'])} for {end['family']}" for end in ends)


def _place(names: pd.Series) -> pd.Series:
    """Where each parameter stands among those that are shown."""
    return names.map(SHOWN.index)


def _finding(data: pd.DataFrame, of_one: bool) -> str:
    """Which parameters the intervals tell apart; of one family what they are."""
    bounded = data[data["low"].notna() & data["high"].notna() & (data["status"] == "converged")]
    known = [f"{r['parameter']} {g.interval(r['value'], r['low'], r['high'])}" for _, r in bounded.iterrows()]
    if known and of_one:
        return f"These runs give {listed(known)}"
    if known and bounded["family"].nunique() == 1:
        return f"The runs of {bounded['family'].iloc[0]} give {listed(known)}"
    if not known:
        return "These runs do not pin down the law's parameters: read the intervals, not the points"
    parts = {p: bounded[bounded["parameter"] == p] for p in SHOWN}
    apart = [f"{p} from {_ends(part)}" for p, part in parts.items() if part["low"].max() > part["high"].min()]
    if apart:
        return f"Families differ in {listed(apart)}"
    # laws whose parameters trade against one another may differ all the same: see their losses
    compared = [p for p, part in parts.items() if part["family"].nunique() > 1]
    return f"The families' intervals of {listed(compared)} overlap" if compared else "No two families have an interval"
