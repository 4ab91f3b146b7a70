"""How compute should be split: N_opt, D_opt and D/N against C, by isoFLOP minima and by the law, with reference slopes.

Half of the growth in each (a = b = 1/2) and 20 targets for each parameter are Hoffmann et al. 2022, arXiv:2203.15556.
"""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View
from isoflop.wording import number

NAME = "allocation"
ORDER = 3
NEEDS = "isoFLOP minima at three budgets, or a law of N and D whose parameters are identified"
PANELS = {"N": "best size, N_opt", "D": "best amount of data, D_opt", "D/N": "targets for each parameter, D/N"}
# the power that is drawn for reference, and targets for each parameter (Hoffmann et al. 2022)
HALF, TWENTY = 0.5, 20.0


def draw(view: View) -> Figure:
    """Three views side by side against C."""
    data = _data(view)
    named = len(view.families) > 1
    hue, shape = g.hue(view.families, legend=named), g.shape(view.families, legend=named)
    drawn = [name for name in view.families if name in set(data["family"])]
    for spec in (hue, shape) if named else ():
        spec["legend"] |= {"values": drawn}
    views = []
    for quantity, title in PANELS.items():
        rows = data[data["quantity"] == quantity]
        x, y = g.log("C", data), g.log("value", rows, title)
        here, place = f"datum.quantity === '{quantity}'", {"x": x, "y": y}
        tips = g.tooltip(("family", "C", "value", "low", "high"), data)
        views.append(
            [
                g.layer("guide", "guide", where=here, **place),
                g.layer("area", "law", where=here, x=x, y=y | {"field": "low"}, y2={"field": "high"}, color=hue),
                g.layer("line", "law", where=here, **place, color=hue),
                g.layer(
                    "best",
                    "minimum",
                    where=here,
                    **place,
                    color=hue,
                    shape=shape,
                    tooltip=tips,
                ),
                g.layer("note", "label", where=here, **place, text="label"),
            ]
        )
    title = _title(view, data)
    kinds = {"minimum": "points are isoFLOP minima", "law": "lines and 95 % bands the law"}
    seen = ", ".join(words for kind, words in kinds.items() if kind in set(data["kind"]))
    subtitle = f"{seen[0].upper()}{seen[1:]}; dashed: growth as C^½, 20 targets for each parameter."
    return Figure(
        NAME, title, subtitle, f"Best size, data and ratio against compute. {title}.", g.beside(views), data, 900
    )


def _data(view: View) -> pd.DataFrame:
    """Minima and the curves of converged laws, long: a row for each quantity at each C."""
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
        raise Unmet(view.no_frontier or "no minimum lies between the sizes tried, and no law of N and D is identified")
    data = pd.concat(parts, ignore_index=True)
    return pd.concat([data, *_guides(data)], ignore_index=True)


def _curves(view: View, family: str) -> pd.DataFrame:
    """N_opt, D_opt and their ratio by the law over the compute of the family's runs."""
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
    """The reference slopes through the middle of what is drawn."""
    ends = np.array([data["C"].min(), data["C"].max()])
    guides = []
    for quantity in ("N", "D"):
        rows = data[data["quantity"] == quantity]
        middle = [float(np.exp(np.log(rows[c].astype(float)).mean())) for c in ("C", "value")]
        line = pd.DataFrame({"C": ends, "value": middle[1] * (ends / middle[0]) ** HALF, "quantity": quantity})
        guides.append(line.assign(kind="guide"))
    twenty = pd.DataFrame({"C": ends, "value": TWENTY, "quantity": "D/N", "kind": "guide"})
    return [*guides, twenty, twenty.head(1).assign(kind="label", label="20")]


def _title(view: View, data: pd.DataFrame) -> str:
    """The ratio at the largest compute, by the minima where these make a power, else by the law, with its interval."""
    ratios, by_minima = {}, True
    for family, rows in data[data["quantity"].eq("D/N") & data["family"].notna()].groupby("family"):
        frontier = view.frontiers.get(str(family))
        lawful = frontier is None or frontier.approaches["isoflop"].a.value is None
        part = rows[rows["kind"] == ("law" if lawful else "minimum")]
        if part.empty:
            continue
        top = part.iloc[int(part["C"].astype(float).argmax())]
        by_minima &= not lawful
        bounded = lawful and top[["low", "high"]].notna().all()
        within = f" ({_two(top['low'])} to {_two(top['high'])})" if bounded else ""
        ratios[str(family)] = f"{_two(top['value'])}{within}"
    if not ratios:
        return "Too few budgets have a minimum for a best split"
    where = "budget with a minimum" if by_minima else "compute"
    return f"At the largest {where} the best split has D/N of about {g.of_each(view.families, ratios)}"


def _two(value: float) -> str:
    """A number to two digits: 4.6, 110."""
    return number(float(f"{value:.2g}"))
