"""Residuals of the fitted law against N, D and C: a pattern is a law of the wrong form, not noise."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import LEVELS, level_index
from isoflop.wording import percent

NAME = "residuals"
ORDER = 21
NEEDS = "a fitted law, more runs than it has parameters, and runs that vary in N, D or C"


def draw(view: View) -> Figure:
    """A view for each axis; the dashed line is the law."""
    data = _data(view)
    runs = data[data["kind"] == "run"]
    axes = [
        c for c in ("N", "D", "C") if c in runs and runs[c].notna().all() and level_index(runs[c]).max() + 1 >= LEVELS
    ]
    if not axes:
        raise Unmet("neither N nor D nor C takes three values")
    several = len(view.families) > 1
    hue, shape = g.hue(view.families, legend=several), g.shape(view.families, legend=several)
    tips = g.tooltip(("family", "N", "D", "C", "L", "off", "seed"), runs, view.loss_unit)
    views = []
    for axis in axes:
        y = g.linear("off", "observed above the law, ln L [%]" if axis == axes[0] else None)
        point = g.layer("point", "run", x=g.log(axis, runs), y=y, color=hue, shape=shape, tooltip=tips)
        views.append([g.layer("zero", "zero", y=y), point])
    spread = runs.groupby("family")["off"].apply(lambda off: float(np.sqrt((off**2).mean())) / 100)
    each = g.of_each(view.families, {str(name): percent(value, 2) for name, value in spread.items()})
    title = f"Runs scatter about their law by {each} (root mean square)"
    subtitle = "A trend along an axis would say that the form of the law is wrong there."
    alt = f"Residuals of the law against {', '.join(axes)}. {title}."
    return Figure(NAME, title, subtitle, alt, g.beside(views, height=220), data, 900)


def _data(view: View) -> pd.DataFrame:
    """How far the runs of each family lie above its law [%], and where that is nothing."""
    parts = []
    for family, fit in view.laws.items():
        if fit.n_rows <= len(fit.params):  # the law goes through every run
            continue
        rows = fit.rows.assign(family=family, off=100 * np.log(fit.rows["L"] / fit.predict(fit.rows)), kind="run")
        parts.append(rows[[c for c in ("family", "kind", "N", "D", "C", "L", "off", "seed") if c in rows]])
    if not parts:
        raise Unmet("no law could be fitted to more runs than it has parameters")
    return pd.concat([*parts, pd.DataFrame([{"kind": "zero", "off": 0.0}])], ignore_index=True)
