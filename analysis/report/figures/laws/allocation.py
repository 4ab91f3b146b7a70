"""How compute should be split: N_opt, D_opt and D/N against C, by isoFLOP minima and by the law, with reference slopes.

Half of the growth in each (a = b = 1/2) and 20 targets for each parameter are Hoffmann et al. 2022, arXiv:2203.15556.
"""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import along
from isoflop.analysis.report.view import View

NAME = "allocation"
ORDER = 3
NEEDS = "isoFLOP minima at three budgets, or a law of N and D whose parameters are identified"
PANELS = {"N": "best size, N_opt", "D": "best amount of data, D_opt", "D/N": "targets for each parameter, D/N"}
# reference exponent of size and data, and reference targets for each parameter (Hoffmann et al. 2022)
HALF, TWENTY = 0.5, 20.0


def draw(view: View) -> Figure:
    """Draw three views side by side against C."""
    data = _data(view)
    hue, shape = g.hue(view.families, legend=True), g.shape(view.families, legend=True)
    drawn = [name for name in view.families if name in set(data["family"])]
    for spec in (hue, shape) if len(view.families) > 1 else ():
        spec["legend"] |= {"values": drawn}
    tips = g.tooltip(("family", "C", "value", "low", "high"), data)
    views, x = [], g.log("C", data)
    for quantity, title in PANELS.items():
        y, here = g.log("value", data[data["quantity"] == quantity], title), f"datum.quantity === '{quantity}'"
        marks: g.Spec = {"where": here, "x": x, "y": y}
        band: g.Spec = {"where": here, "x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}}
        views.append([
            g.layer("guide", "guide", **marks),
            g.layer("area", "law", color=hue, **band),
            g.layer("line", "law", color=hue, **marks),
            g.layer("best", "minimum", color=hue, shape=shape, tooltip=tips, **marks),
            g.layer("note", "label", text="label", **marks),
        ])  # fmt: skip
    kinds = {"minimum": "points are isoFLOP minima", "law": "lines and 95 % bands the law"}
    shown = ", ".join(words for kind, words in kinds.items() if kind in set(data["kind"]))
    title = "Compute-optimal size, data and D/N against compute"
    subtitle = f"{shown[0].upper()}{shown[1:]}; dashed: growth as C^½, and {TWENTY:g} targets for each parameter."
    ratios = data[data["quantity"].eq("D/N") & data["family"].notna()]
    ratios = ratios.assign(source=ratios["family"] + " by the " + ratios["kind"].replace("minimum", "minima"))
    alt = along(f"{title}: the best D/N", ratios, x, g.log("value", ratios, PANELS["D/N"]), by="source")
    return Figure(NAME, title, subtitle, alt, g.beside(views), data)


def _data(view: View) -> pd.DataFrame:
    """Return minima and the curves of identified laws, a row for each quantity at each C."""
    parts = []
    for family, result in view.frontiers.items():
        used = result.budgets[result.budgets["used"].astype(bool)]
        for quantity, column in (("N", "N_opt"), ("D", "D_opt"), ("D/N", "D_per_N")):
            about = {"family": family, "quantity": quantity, "kind": "minimum"}
            parts.append(pd.DataFrame({"C": used["C"], "value": used[column]}).assign(**about))
    parts += [
        _curves(view, family) for family, fit in view.laws.items() if view.splits(family) and fit.status == "converged"
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        raise Unmet(
            view.no_frontier or "no budget has a minimum between its sizes, and no law of N and D is identified"
        )
    data = pd.concat(parts, ignore_index=True)
    return pd.concat([data, *_guides(data)], ignore_index=True)


def _curves(view: View, family: str) -> pd.DataFrame:
    """Return N_opt, D_opt and their ratio by the law over the compute of the family's runs."""
    fit, runs = view.laws[family], view.compared(family)
    C = np.geomspace(runs["C"].min(), runs["C"].max(), 15)
    parts = [fit.curve(name, C).assign(quantity=quantity) for name, quantity in (("N_opt", "N"), ("D_opt", "D"))]
    points = [
        fit.quantity(lambda c=c, **p: fit.law.curve("D_opt", c, p) / fit.law.curve("N_opt", c, p), log=True) for c in C
    ]
    ratio = {side: [getattr(e, side) for e in points] for side in ("value", "low", "high")}
    parts.append(pd.DataFrame({"C": C, "quantity": "D/N"} | ratio))
    curves = pd.concat(parts, ignore_index=True).assign(family=family, kind="law")
    return curves[np.isfinite(curves["value"].astype(float)) & (curves["value"].astype(float) > 0)]


def _guides(data: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the reference slopes through the middle of what is drawn."""
    ends = np.array([data["C"].min(), data["C"].max()])
    guides = []
    for quantity in ("N", "D"):
        rows = data[data["quantity"] == quantity]
        middle = [float(np.exp(np.log(rows[c].astype(float)).mean())) for c in ("C", "value")]
        line = pd.DataFrame({"C": ends, "value": middle[1] * (ends / middle[0]) ** HALF, "quantity": quantity})
        guides.append(line.assign(kind="guide"))
    twenty = pd.DataFrame({"C": ends, "value": TWENTY, "quantity": "D/N", "kind": "guide"})
    return [*guides, twenty, twenty.head(1).assign(kind="label", label="20")]
