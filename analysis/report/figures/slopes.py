"""Straight lines on logarithmic axes: the exponent that theory gives."""

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Estimate
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import interval
from isoflop.analysis.report.figures.style import NEUTRAL
from isoflop.analysis.report.view import View
from isoflop.errors import FitError

# an axis -> the column in which a generator records its exponent (scaling/data/synthetic)
KNOWN = {"D": "data.alpha_D", "N": "data.alpha_N"}


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
    """Return runs, and two lines through their geometric mean."""
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
