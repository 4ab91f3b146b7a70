"""What a budget of compute buys: isoFLOP profiles and the best split (Hoffmann et al. 2022, arXiv:2203.15556)."""

from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.frontier.frontier import Frontier
from isoflop.analysis.frontier.isoflop_minima import BUDGETS, NEAR, SIZES
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import along
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import LEVELS, level_index
from isoflop.wording import number

# budgets that are named beside their minima, and points of a parabola
MOST_LABELS, POINTS = 6, 15
# budgets of a family that are drawn: of more, those with a minimum, evenly spaced
MOST_BUDGETS = 12
PANELS = {"N": "best size, N_opt", "D": "best amount of data, D_opt", "D/N": "targets for each parameter, D/N"}
# reference exponent of size and data, and reference targets for each parameter (Hoffmann et al. 2022)
HALF, TWENTY = 0.5, 20.0


@figure(order=2, needs=f"budgets of compute with {LEVELS} sizes each, {SIZES} for a minimum")
def isoflop_profiles(view: View) -> Figure:
    """IsoFLOP profiles: L against N at each budget of compute, with the parabola's minimum, or why there is none.

    The budgets, parabolas and minima are those of `isoflop frontier`.
    """
    data = _isoflop_profiles_data(view)
    unit, hue = view.loss_unit, g.hue(view.families)
    x, y = g.log("N", data, pad=3.0), g.log("L", data, unit=unit)
    shade = {"field": "shade", "type": "quantitative", "scale": {"domain": [0, 1], "range": [0.45, 1]}, "legend": None}
    tips = g.tooltip(("family", "C", "N", "D", "L", "reason"), data, unit)
    place: dict[str, Any] = {"x": x, "y": y, "color": hue}
    layers = [
        g.layer("thin", "refused", **place, detail="budget", opacity={"value": 0.3}),
        g.layer("line", "parabola", **place, detail="budget", opacity=shade),
        g.layer("point", "run", **place, opacity=shade, shape=g.shape(view.families), tooltip=tips),
        g.layer("best", "minimum", **place, tooltip=tips),
        g.layer("note", "label", x=x, y=y, text="label"),
    ]
    subtitle = (
        "Points are runs, curves the parabola of ln L in ln N at one budget; a large dot is a minimum between sizes "
        f"that were run, labels give C in FLOPs.{_refused(view)}"
    )
    title = "IsoFLOP profiles: loss against size, by compute"
    alt = f"{title}. Minima of the loss: {_minima(data[data['kind'] == 'minimum'])}."
    return Figure("isoflop_profiles", title, subtitle, alt, g.faceted(layers, data), data)


def _minima(used: pd.DataFrame) -> str:
    each = [
        f"{family}, " + ", ".join(f"N {number(N)} at C {number(C)}" for C, N in zip(part["C"], part["N"], strict=True))
        for family, part in used.groupby("family")
    ]
    return "; ".join(each) or "none"


def _isoflop_profiles_data(view: View) -> pd.DataFrame:
    if not view.frontiers:
        raise Unmet(view.no_frontier or "no family has budgets")
    parts = [_of_family(view, family) for family in _budgeted(view)]
    if not parts:
        raise Unmet(f"no budget has {LEVELS} sizes")
    data = pd.concat(parts, ignore_index=True)
    if not (data["kind"] == "minimum").any() and not (view.layout and view.layout.kind == "isoflop"):
        raise Unmet(f"the runs are not laid out by budgets, and no C has a minimum: {_reasons(view).index[0]}")
    return data


def _budgeted(view: View) -> dict[str, Frontier]:
    return {name: f for name, f in view.frontiers.items() if (f.budgets["sizes"] >= LEVELS).any()}


def _of_family(view: View, family: str) -> pd.DataFrame:
    runs = view.compared(family)
    budgets = view.frontiers[family].budgets.reset_index(drop=True)
    level = level_index(runs["C"])
    shade = level / max(int(level.max()), 1)
    runs = runs.reindex(columns=["N", "D", "C", "L", "seed"]).assign(kind="run", budget=level, shade=shade)
    parts = [runs]
    enough = budgets[budgets["sizes"] >= LEVELS]
    if len(enough) > MOST_BUDGETS:
        used = enough[enough["used"].astype(bool)]
        enough = used if len(used) >= BUDGETS else enough
        enough = enough.iloc[:: -(-len(enough) // MOST_BUDGETS)]
        parts = [runs := runs[runs["budget"].isin(enough.index)]]
    means = runs.groupby(["budget", "N"], as_index=False)["L"].mean()
    levels, N_of, L_of = (means[name].to_numpy() for name in ("budget", "N", "L"))
    for i, row in enough.iterrows():
        about = {"budget": int(str(i)), "C": row["C"], "shade": int(str(i)) / max(len(budgets) - 1, 1)}
        sizes, losses = N_of[levels == i], L_of[levels == i]
        if not row["used"]:
            parts.append(pd.DataFrame({"N": sizes, "L": losses, "kind": "refused"} | about))
            continue
        least, most = (np.clip(row["N_opt"] * f, sizes.min(), sizes.max()) for f in (1 / NEAR, NEAR))
        N = np.geomspace(least, most, POINTS)
        L = row["L_opt"] * np.exp(row["bend"] * np.log(N / row["N_opt"]) ** 2)
        parts.append(pd.DataFrame({"N": N, "L": L, "kind": "parabola"} | about))
        minimum = {"N": row["N_opt"], "D": row["D_opt"], "L": row["L_opt"], "kind": "minimum", "reason": row["reason"]}
        parts.append(pd.DataFrame([about | minimum]))
    table = pd.concat(parts, ignore_index=True).assign(family=family)
    return pd.concat([table, _labels(table)], ignore_index=True)


def _labels(table: pd.DataFrame) -> pd.DataFrame:
    """Label the ends of at most MOST_LABELS parabolas with their compute."""
    ends = table[table["kind"] == "parabola"].groupby("budget").tail(1)
    if ends.empty:
        return ends
    ends = ends.iloc[np.unique(np.linspace(0, len(ends) - 1, MOST_LABELS).round().astype(int))]
    return ends.assign(kind="label", label=[number(C) for C in ends["C"]])


def _refused(view: View) -> str:
    reasons, budgets = _reasons(view), sum(len(f.budgets) for f in _budgeted(view).values())
    if reasons.empty:
        return ""
    lead = f" {int(reasons.sum())} of {budgets} levels of C {'has' if reasons.sum() == 1 else 'have'} no minimum"
    others = f"; {int(reasons.iloc[1:].sum())} for other reasons" if len(reasons) > 1 else ""
    return f"{lead}: {reasons.index[0]}{others}."


def _reasons(view: View) -> pd.Series:
    budgets = pd.concat([f.budgets for f in _budgeted(view).values()])
    return budgets.loc[~budgets["used"].astype(bool), "reason"].value_counts()


@figure(order=3, needs="isoFLOP minima at three budgets, or a law of N and D whose parameters are identified")
def allocation(view: View) -> Figure:
    """How compute should be split: N_opt, D_opt and D/N against C, by isoFLOP minima and by the law, with reference
    slopes."""
    data = _allocation_data(view)
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
    return Figure("allocation", title, subtitle, alt, g.beside(views), data)


def _allocation_data(view: View) -> pd.DataFrame:
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
        raise Unmet(view.no_frontier or "no budget has a minimum among its sizes, and no law of N and D is identified")
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
