"""Straight lines on logarithmic axes: the loss above E, and the exponent that theory gives."""

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Estimate
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import along, interval
from isoflop.analysis.report.figures.style import NEUTRAL
from isoflop.analysis.report.view import View
from isoflop.errors import FitError

# bars of a family
MOST_BARS = 40
# an axis -> the column in which a generator records its exponent (scaling/data/synthetic)
KNOWN = {"D": "data.alpha_D", "N": "data.alpha_N"}


@figure(order=6, needs="a family whose E is identified, with an interval")
def reducible_loss(view: View) -> Figure:
    """L - E, logarithmic, with the uncertainty of E: a power law is a straight line only with the right E."""
    data = _reducible_loss_data(view)
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
    return Figure("reducible_loss", title, _subtitle(view, data), along(title, data, x, y), chart, data)


def _subtitle(view: View, data: pd.DataFrame) -> str:
    some = "some" if data["low"].isna().any() else "the"
    held = {("D",): "the size", ("N",): "the amount of data"}
    laws = {name: view.laws[name].law.columns for name in data["family"].unique()}
    kept = "".join(f" E of {name} includes what {held[c]} costs." for name, c in laws.items() if c in held)
    return f"Points are runs less the fitted E; {some} bars span E's 95 % interval, and grow where L nears E.{kept}"


def _reducible_loss_data(view: View) -> pd.DataFrame:
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


@figure(order=0, needs="runs on data whose exponent theory gives, at three or more D or N, with floor 0")
def known_exponents(view: View) -> Figure:
    """L against the axis whose exponent theory gives: the runs, the fitted power and the line of theory."""
    family, x, theory, rows = _subject(view)
    try:
        alpha = view.fits.law(f"power({x})", rows).params["alpha"]
    except FitError as error:
        raise Unmet(f"power({x}) could not be fitted to {family}: {error}") from None
    data = _known_exponents_data(rows, x, theory, alpha)
    axes: g.Spec = {"x": g.log(x, data, unit=view.loss_unit), "y": g.log("L", data, unit=view.loss_unit)}
    hue, tips = g.hue(view.families), g.tooltip(("family", "N", "D", "L", "seed"), data, view.loss_unit)
    layers = [
        g.layer("guide", "theory", **axes),
        g.layer("line", "fit", color=hue, **axes),
        g.layer("point", "run", color=hue, shape=g.shape(view.families), tooltip=tips, **axes),
        g.layer("end", "label", text="label", color={"value": NEUTRAL}, **axes),
    ]
    title = f"Loss of {family} against {x}, with the exponent that theory gives"
    lines = f"the line is the fitted power, −{interval(alpha.value, alpha.low, alpha.high)}"
    subtitle = f"Points are runs, {lines}; dashed is the slope of theory, −{theory:.3g}, through their middle."
    return Figure("known_exponents", title, subtitle, f"{title}. {subtitle}", g.single(layers, height=360), data)


def _subject(view: View) -> tuple[str, str, float, pd.DataFrame]:
    """Return a family, an axis, its exponent by theory, and rows of that exponent at one value of the other axis."""
    for x, column in KNOWN.items():
        if not {x, column} <= set(view.rows):
            continue
        other = "N" if x == "D" else "D"
        groups = ["family", column, *([other] if other in view.rows else [])]
        for key, rows in view.rows[view.rows[column].notna()].groupby(groups):
            if rows[x].nunique() >= 3 and ("floor" not in rows or (rows["floor"] == 0).all()):
                return str(key[0]), x, float(rows[column].iloc[0]), rows
    raise Unmet("no run is on data whose exponent theory gives")


def _known_exponents_data(rows: pd.DataFrame, x: str, theory: float, alpha: Estimate) -> pd.DataFrame:
    middle = np.exp(np.log(rows[x]).mean()), np.exp(np.log(rows["L"]).mean())
    ends = np.array([rows[x].min(), rows[x].max()], dtype=float)
    lines = [
        pd.DataFrame({x: ends, "L": middle[1] * (ends / middle[0]) ** -slope, "kind": kind})
        for kind, slope in (("theory", theory), ("fit", alpha.value))
        if slope is not None
    ]
    label = lines[0].iloc[[-1]].assign(kind="label", label=f"theory {theory:.3g}")
    parts = [rows[[c for c in ("family", "N", "D", "L", "seed") if c in rows]].assign(kind="run"), *lines, label]
    return pd.concat(parts, ignore_index=True).assign(family=rows["family"].iloc[0])
