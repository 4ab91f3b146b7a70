"""Loss on other held-out data against the loss on the training distribution: whether a gain carries over.

Over runs of one family the two are related by a shifted power law whatever their size (Brandfonbrener et al. 2024,
arXiv:2411.12925); families that lie on one line differ in compute alone.
"""

import re

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View

NAME = "loss_to_loss"
ORDER = 40
NEEDS = "losses on other held-out data, columns L.NAME"
MOST = 6
# characters that make a column's name a path in Vega
PATH = re.compile(r"[.\[\]\\]")


def draw(view: View) -> Figure:
    """Draw a view for each other data set."""
    others = [str(c) for c in view.rows if str(c).startswith("L.") and view.rows[c].notna().sum() >= 3]
    if not others:
        raise Unmet("the runs have no loss on other data")
    places = ["N", "D"] if {"N", "D"} <= set(view.rows) else []
    data = view.rows[["family", *places, "L", *others]].assign(kind="run").reset_index(drop=True)
    hue, shape = g.hue(view.families, legend=True), g.shape(view.families, legend=True)
    views = []
    for name in others[:MOST]:
        tips = g.tooltip(("family", "N", "D", "L"), data, view.loss_unit)
        field = {"field": PATH.sub(r"\\\g<0>", name), "type": "quantitative"}
        y = field | {k: v for k, v in g.log(name, data, f"loss on {name.removeprefix('L.')}").items() if k != "field"}
        x = g.log("L", data, unit=view.loss_unit)
        views.append([g.layer("point", "run", x=x, y=y, color=hue, shape=shape, tooltip=tips)])
    slopes = [f"{name.removeprefix('L.')} {_slope(data, name):.2f}" for name in others[:MOST]]
    title = "Loss on other data against the held-out loss"
    subtitle = f"A point is a run; both axes are logarithmic. Slopes over all runs: {', '.join(slopes)}."
    return Figure(NAME, title, subtitle, f"{title}. {subtitle}", g.beside(views), data)


def _slope(data: pd.DataFrame, name: str) -> float:
    """Return the slope of ln L.name on ln L."""
    rows = data[["L", name]].dropna()
    x, y = np.log(rows["L"].to_numpy(float)), np.log(rows[name].to_numpy(float))
    return float(np.polyfit(x, y, 1)[0]) if np.ptp(x) > 0 else float("nan")
