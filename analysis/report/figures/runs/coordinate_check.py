"""Coordinate check: how much a step changes the activations against the width.

With a right parametrization the change is the same at every width.

Columns probe.coordinates.NAME hold the root mean square change of an activation; benchmarks/coordinates.py --csv writes
such a table. Source: muP, arXiv:2203.03466, appendix D.1.
"""

import math

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import interval, shortened
from isoflop.analysis.report.view import View

NAME = "coordinate_check"
ORDER = 32
NEEDS = "columns probe.coordinates.NAME, the change of an activation, at three or more widths"
PREFIX = "probe.coordinates."
# least number of widths for a slope
WIDTHS = 3


def draw(view: View) -> Figure:
    """Draw a panel for each activation, a line for each family; its slope is 0 under a right parametrization."""
    data, slopes = _data(view)
    families = [str(name) for name in data["family"].unique()]
    hue = g.hue(families, legend=True)
    x, y = g.log("width", data, "width"), g.log("change", data, "root mean square change of the activation")
    tips = g.tooltip(("family", "activation", "width", "depth", "change"), data)
    layers = [
        g.layer("thin", "change", x=x, y=y, color=hue),
        g.layer("point", "change", x=x, y=y, color=hue, tooltip=tips),
    ]
    title = "Change of activations in the first steps against width"
    subtitle = (
        f"Slopes of logarithm on logarithm, with 95 % intervals: {shortened(slopes)}. "
        "0: a step changes the activation equally at every width."
    )
    return Figure(NAME, title, subtitle, f"{title}. {subtitle}", g.faceted(layers, data, "activation"), data)


def _data(view: View) -> tuple[pd.DataFrame, list[str]]:
    """Return the mean change by family, activation and width, at the depth that most widths share, and each slope."""
    columns = [str(c) for c in view.searched if str(c).startswith(PREFIX)]
    if not columns or "width" not in view.searched:
        raise Unmet(f"no run has a width and a column {PREFIX}NAME")
    parts, slopes = [], []
    for name in columns:
        rows = view.searched[view.searched[name].notna() & (view.searched[name] > 0) & view.searched["width"].notna()]
        for family, part in rows.groupby("family"):
            if "depth" in part:
                widths = part.groupby("depth")["width"].nunique()
                part = part[part["depth"] == widths.idxmax()] if len(widths) else part
            means = part.groupby("width")[name].mean()
            if len(means) < WIDTHS:
                continue
            activation = name.removeprefix(PREFIX)
            table = pd.DataFrame({"width": means.index.astype(float), "change": means.to_numpy(float)})
            parts.append(table.assign(family=family, activation=activation, kind="change"))
            slopes.append(f"{activation} of {family} {_slope(table)}")
    if not parts:
        raise Unmet(f"no family has {WIDTHS} widths with a change of an activation")
    return pd.concat(parts, ignore_index=True), slopes


def _slope(table: pd.DataFrame) -> str:
    """Return the least-squares slope of ln change on ln width, with Student's interval."""
    x, y = (np.log(table[c].to_numpy(float)) for c in ("width", "change"))
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    free = len(x) - 2
    half = float(stdtrit(free, 0.975)) * math.sqrt(float(((y - slope * x) ** 2).sum()) / free / float(x @ x))
    return interval(slope, slope - half, slope + half, "+.2f")
