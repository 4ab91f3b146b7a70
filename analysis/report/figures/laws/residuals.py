"""Residuals of the fitted law against N, D and C: a pattern is a law of the wrong form, not noise."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import shortened
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import LEVELS, level_index
from isoflop.wording import listed, percent

NAME = "residuals"
ORDER = 21
NEEDS = "a fitted law, more runs than it has parameters, and runs that vary in N, D or C"


def draw(view: View) -> Figure:
    """Draw a view for each axis; the dashed line is the law."""
    data = _data(view)
    runs = data[data["kind"] == "run"]
    axes = [
        c for c in ("N", "D", "C") if c in runs and runs[c].notna().all() and level_index(runs[c]).max() + 1 >= LEVELS
    ]
    if not axes:
        raise Unmet("neither N nor D nor C takes three values")
    hue, shape = g.hue(view.families, legend=True), g.shape(view.families, legend=True)
    tips = g.tooltip(("family", "N", "D", "C", "L", "off", "seed"), runs, view.loss_unit)
    views = []
    for axis in axes:
        y = g.linear("off", "observed above the law, ln L [%]" if axis == axes[0] else None)
        point = g.layer("point", "run", x=g.log(axis, runs), y=y, color=hue, shape=shape, tooltip=tips)
        views.append([g.layer("zero", "zero", y=y), point])
    spread = runs.groupby("family")["off"].apply(lambda off: float(np.sqrt((off**2).mean())) / 100)
    scatter = [f"{name} {percent(value, 2)}" for name, value in spread.items()]
    title = f"Residuals of the law{'s' if len(spread) > 1 else ''} against {listed(axes)}"
    subtitle = f"Root mean square: {shortened(scatter)}. A trend along an axis means a wrong form of the law."
    return Figure(NAME, title, subtitle, f"{title}. {subtitle}", g.beside(views, height=220), data)


def _data(view: View) -> pd.DataFrame:
    """Return how far the runs of each family lie above its law [%], and the line of 0."""
    parts = []
    for family, fit in view.laws.items():
        if fit.n_rows <= len(fit.params):  # the law goes through every run
            continue
        rows = fit.rows.assign(family=family, off=100 * np.log(fit.rows["L"] / fit.predict(fit.rows)), kind="run")
        parts.append(rows[[c for c in ("family", "kind", "N", "D", "C", "L", "off", "seed") if c in rows]])
    if not parts:
        raise Unmet("no law could be fitted to more runs than it has parameters")
    return pd.concat([*parts, pd.DataFrame([{"kind": "zero", "off": 0.0}])], ignore_index=True)
