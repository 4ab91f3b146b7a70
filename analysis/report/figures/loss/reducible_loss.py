"""L - E, logarithmic, with the uncertainty of E: a power law is a straight line only with the right E."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View

NAME = "reducible_loss"
ORDER = 6
NEEDS = "a family whose E is identified, with an interval"
# runs of a family that have a bar
MOST_BARS = 40


def draw(view: View) -> Figure:
    """Points are L - E at the estimate, bars reach to the ends of E's interval."""
    data = _data(view)
    families, unit = view.families, view.loss_unit
    params, seen = g.chosen(families)
    title_x = None if data["axis"].iloc[0] != "C" else "training compute, C [FLOPs]"
    x = g.log("x", data, title_x or f"{data['axis'].iloc[0]}")
    y = g.log("excess", data, f"loss above E [{unit}]")
    hue = g.hue(families, legend=len(families) > 1)
    tips = g.tooltip(("family", "x", "L", "excess", "low", "high"), data, unit)
    shape = g.shape(families, legend=len(families) > 1)
    ends: g.Spec = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
    layers = [
        g.layer("whisker", "run", where="isValid(datum.low)", x=x, color=hue, opacity=seen, **ends),
        g.layer("point", "run", x=x, y=y, color=hue, shape=shape, opacity=seen, tooltip=tips),
    ]
    E = {name: fit.params["E"] for name, fit in view.laws.items() if name in set(data["family"])}
    known = {name: g.interval(e.value, e.low, e.high) for name, e in E.items()}
    title = f"What is left to gain lies above E: {g.of_each(families, known)} {unit}"
    some = " of some" if data["low"].isna().any() else ""
    reach = "reach to the ends of E's 95 % interval, and grow where L nears E"
    held = {("D",): "its size", ("N",): "its amount of data"}
    at = {n: held[law.law.columns] for n, law in view.laws.items() if n in E and law.law.columns in held}
    kept = "".join(f" E of {name} holds what {what} costs." for name, what in list(at.items())[: g.MOST_IN_TITLE])
    subtitle = f"Points are runs less the fitted E; bars{some} {reach}.{kept}"
    return Figure(
        NAME,
        title,
        subtitle,
        f"Loss above E against {data['axis'].iloc[0]}. {title}.",
        g.single(layers, params=params),
        data,
    )


def _data(view: View) -> pd.DataFrame:
    """Runs of families whose E has both bounds, where L is above E."""
    parts = []
    for family, fit in view.laws.items():
        E = fit.params.get("E")
        if E is None or fit.status != "converged" or E.value is None or E.low is None or E.high is None:
            continue
        rows = view.compared(family)
        axis = "C" if "C" in rows and rows["C"].notna().all() else fit.law.columns[0]
        table = pd.DataFrame({"x": rows[axis], "L": rows["L"], "family": family, "axis": axis, "kind": "run"})
        table["excess"] = table["L"] - E.value
        # an E above the loss has no logarithm: the bar ends at the axis
        floor = float(table["excess"].where(table["excess"] > 0).min())
        table["low"] = np.maximum(table["L"] - E.high, floor / 10)
        table["high"] = table["L"] - E.low
        table = table[table["excess"] > 0].sort_values("x")
        # bars side by side are a band that hides the points: of many runs some have one
        table.loc[np.arange(len(table)) % -(-len(table) // MOST_BARS) > 0, ["low", "high"]] = np.nan
        parts.append(table)
    if not parts:
        raise Unmet("no family's E is identified with an interval")
    return pd.concat(parts, ignore_index=True)
