"""The loss by width and depth."""

import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import shortened
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import level_index
from isoflop.wording import count, percent


@figure(order=7, needs="two or more depths and widths at one amount of data")
def width_depth(view: View) -> Figure:
    """Loss over width and depth at one amount of data: whether the shape of a model matters, and which shape is
    best.
    """
    data = _width_depth_data(view)
    x = g.log("width", data, "width")
    y = g.log("depth", data, "depth")
    colour = {
        "field": "above", "type": "quantitative", "title": "above the lowest [%]",
        "scale": {"scheme": "viridis", "reverse": False}, "legend": {"orient": "top", "gradientLength": 160},
    }  # fmt: skip
    tips = g.tooltip(("family", "width", "depth", "N", "D", "L", "above"), data, view.loss_unit)
    layers = [
        g.layer("best", "cell", x=x, y=y, color=colour, tooltip=tips),
        g.layer("note", "cell", x=x, y=y, text={"field": "L", "type": "quantitative", "format": ".3~g"}),
    ]
    best = data.loc[data.groupby("family")["L"].idxmin()]
    lowest = [f"{r.family} {r.L:.3g} at width {r.width:g} and depth {r.depth:g}" for r in best.itertuples()]
    title = "Loss by width and depth"
    spread, D = percent(float(data["above"].max()) / 100), count(float(data["D"].mean()))
    subtitle = f"Mean loss of each shape at D near {D}; shapes differ by up to {spread}, partly because sizes differ."
    alt = f"{title}. Lowest loss: {shortened(lowest, between='; ')}."
    return Figure("width_depth", title, subtitle, alt, g.faceted(layers, data), data)


def _width_depth_data(view: View) -> pd.DataFrame:
    """Return the mean loss of each shape at the amount of data that most shapes share, for each family."""
    if not {"width", "depth", "D"} <= set(view.rows) or view.rows[["width", "depth"]].isna().all().any():
        raise Unmet("no run has a width and a depth")
    parts = []
    for family, rows in view.rows.dropna(subset=["width", "depth", "D"]).groupby("family"):
        shapes = rows.assign(level=level_index(rows["D"]))
        cells = (
            shapes.groupby(["level", "width", "depth"])[[c for c in ("L", "N", "D") if c in rows]].mean().reset_index()
        )
        levels = cells.groupby("level").agg(widths=("width", "nunique"), depths=("depth", "nunique"), n=("L", "size"))
        levels = levels[(levels["widths"] > 1) & (levels["depths"] > 1)]
        if len(levels):
            top = levels[levels["n"] == levels["n"].max()].index.max()
            parts.append(cells[cells["level"] == top].assign(family=family, kind="cell"))
    if not parts:
        raise Unmet("no amount of data has two depths and two widths")
    data: pd.DataFrame = pd.concat(parts, ignore_index=True)
    least = data.groupby("family")["L"].transform("min")
    data["above"] = 100 * (data["L"] / least - 1)
    return data
