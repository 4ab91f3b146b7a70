"""The loss by width and depth."""

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import interval, shortened
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import level_index
from isoflop.errors import FitError
from isoflop.wording import count, percent

LAW = "shape"
SHAPE = ["width", "depth", "D"]
# contours of a panel, and points of each
CONTOURS, POINTS = 6, 120


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


@figure(order=8, needs="three or more widths, depths and amounts of data of a family")
def iso_loss(view: View) -> Figure:
    """Iso-loss contours over width and depth at one amount of data: which shapes reach the same loss by the fitted
    law.
    """
    data, exponents = _iso_loss_data(view)
    unit = view.loss_unit
    x, y = g.log("width", data, "width"), g.log("depth", data, "depth")
    colour = {"field": "L", "type": "quantitative", "scale": {"type": "log", "scheme": "viridis"}, "legend": None}
    tips = g.tooltip(("family", "width", "depth", "D", "L"), data, unit)
    layers = [
        g.layer("line", "contour", x=x, y=y, color=colour, detail="place", tooltip=tips),
        g.layer("point", "run", x=x, y=y, color=colour, tooltip=tips),
        g.layer("note", "end", x=x, y=y, text={"field": "L", "type": "quantitative", "format": ".3~g"}),
    ]
    each = [f"{name} at D = {count(float(part['D'].iloc[0]))}" for name, part in data.groupby("family")]
    title = "Contours of equal loss over width and depth"
    subtitle = (
        f"Lines join shapes of equal loss by the law {LAW}, points are runs: {shortened(each)}. "
        f"Exponents of the loss: {shortened(exponents, between='; ')}."
    )
    return Figure("iso_loss", title, subtitle, f"{title}. {subtitle}", g.faceted(layers, data), data)


def _iso_loss_data(view: View) -> tuple[pd.DataFrame, list[str]]:
    """Return contours, their ends and the runs beside them, and the exponents of each family in words."""
    if not set(SHAPE) <= set(view.rows):
        raise Unmet("no run has a width, a depth and an amount of data")
    parts, exponents, reasons = [], [], []
    for family, rows in view.rows.dropna(subset=SHAPE).groupby("family"):
        few = [c for c in SHAPE if rows[c].nunique() < 3]
        if few:
            reasons.append(f"{family} has fewer than three {', '.join(few)}")
            continue
        try:
            fitted = view.fits.law(LAW, rows)
        except FitError as error:
            reasons.append(f"{family}: {error}")
            continue
        level = level_index(rows["D"])
        shapes = rows.assign(level=level).groupby("level")[["width", "depth"]].apply(lambda d: len(d.drop_duplicates()))
        top = rows[level == shapes[shapes == shapes.max()].index.max()]
        drawn = _contours(fitted, top)
        parts += [part.assign(family=family) for part in (drawn, top[["width", "depth", "D", "L"]].assign(kind="run"))]
        exponents.append(f"{family} {_exponents(fitted)}")
    if not parts:
        raise Unmet("; ".join(reasons) or "no run has a width, a depth and an amount of data")
    return pd.concat(parts, ignore_index=True), exponents


def _contours(fitted: Fit, rows: pd.DataFrame) -> pd.DataFrame:
    """Return lines of equal loss by the law within the span of these runs' shapes; `end` where a line is labelled."""
    D = float(np.exp(np.log(rows["D"].astype(float)).mean()))
    width, depth = (np.geomspace(rows[c].min(), rows[c].max(), POINTS) for c in ("width", "depth"))
    places = pd.DataFrame({"width": np.repeat(width, POINTS), "depth": np.tile(depth, POINTS), "D": D})
    loss = np.asarray(fitted.predict(places), dtype=float).reshape(POINTS, POINTS)
    lines = []
    for level in np.geomspace(loss.min(), loss.max(), CONTOURS + 2)[1:-1]:
        # the loss falls with the depth, so at a width it passes a level once
        reached = (loss[:, -1] <= level) & (level <= loss[:, 0])
        depths = [np.interp(level, loss[i, ::-1], depth[::-1]) for i in np.flatnonzero(reached)]
        line = pd.DataFrame({"width": width[reached], "depth": depths, "D": D, "L": level, "place": f"{level:.6g}"})
        lines += [line.assign(kind="contour"), line.tail(1).assign(kind="end")]
    return pd.concat(lines, ignore_index=True)


def _exponents(fitted: Fit) -> str:
    """Write the exponents of width and depth with their intervals, where they are identified."""
    both = [(axis, fitted.params[name]) for name, axis in (("alpha", "width"), ("gamma", "depth"))]
    if all(e.low is None and e.high is None for _, e in both):
        return "not identified"
    return " and ".join(f"{interval(e.value, e.low, e.high)} in {axis}" for axis, e in both)
