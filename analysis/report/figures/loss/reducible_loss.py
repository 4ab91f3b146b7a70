"""L - E, logarithmic, with the uncertainty of E: a power law is a straight line only with the right E."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import along
from isoflop.analysis.report.view import View

NAME = "reducible_loss"
ORDER = 6
NEEDS = "a family whose E is identified, with an interval"
# bars of a family
MOST_BARS = 40


def draw(view: View) -> Figure:
    """Draw points of L - E at the estimate, with bars that span E's interval."""
    data = _data(view)
    families, unit = view.families, view.loss_unit
    params, seen = g.chosen(families)
    axis = str(data["axis"].iloc[0])
    x = g.log("x", data, "training compute, C [FLOPs]" if axis == "C" else axis)
    y = g.log("excess", data, f"loss above E [{unit}]")
    hue, shape = g.hue(families, legend=True), g.shape(families, legend=True)
    tips = g.tooltip(("family", "x", "L", "excess", "low", "high"), data, unit)
    ends: g.Spec = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
    layers = [
        g.layer("whisker", "run", where="isValid(datum.low)", x=x, color=hue, opacity=seen, **ends),
        g.layer("point", "run", x=x, y=y, color=hue, shape=shape, opacity=seen, tooltip=tips),
    ]
    title = f"Loss above the fitted E against {'compute' if axis == 'C' else axis}"
    chart = g.single(layers, params=params)
    return Figure(NAME, title, _subtitle(view, data), along(title, data, x, y), chart, data)


def _subtitle(view: View, data: pd.DataFrame) -> str:
    """Say what the bars are, and what an E of one axis holds."""
    some = "some" if data["low"].isna().any() else "the"
    held = {("D",): "the size", ("N",): "the amount of data"}
    laws = {name: view.laws[name].law.columns for name in data["family"].unique()}
    kept = "".join(f" E of {name} includes what {held[c]} costs." for name, c in laws.items() if c in held)
    return f"Points are runs less the fitted E; {some} bars span E's 95 % interval, and grow where L nears E.{kept}"


def _data(view: View) -> pd.DataFrame:
    """Return the runs of families whose E has both bounds, where L is above E."""
    parts = []
    for family, fit in view.laws.items():
        E = fit.params.get("E")
        if E is None or fit.status != "converged" or E.value is None or E.low is None or E.high is None:
            continue
        rows = view.compared(family)
        axis = "C" if "C" in rows and rows["C"].notna().all() else fit.law.columns[0]
        table = pd.DataFrame({"x": rows[axis], "L": rows["L"], "family": family, "axis": axis, "kind": "run"})
        table["excess"] = table["L"] - E.value
        # L - E may be negative at the upper bound of E, and has no logarithm: the bar ends at the axis
        floor = float(table["excess"].where(table["excess"] > 0).min())
        table["low"] = np.maximum(table["L"] - E.high, floor / 10)
        table["high"] = table["L"] - E.low
        table = table[table["excess"] > 0].sort_values("x")
        # many bars side by side would hide the points
        table.loc[np.arange(len(table)) % -(-len(table) // MOST_BARS) > 0, ["low", "high"]] = np.nan
        parts.append(table)
    if not parts:
        raise Unmet("no family's E is identified with an interval")
    return pd.concat(parts, ignore_index=True)
