"""IsoFLOP profiles: L against N at each budget of compute, with the parabola's minimum, or why there is none.

The budgets, parabolas and minima are those of `isoflop frontier` (Hoffmann et al. 2022, arXiv:2203.15556, approach 2).
"""

from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.frontier.frontier import Frontier
from isoflop.analysis.frontier.isoflop_minima import BUDGETS, NEAR, SIZES
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import LEVELS, level_index
from isoflop.wording import number

NAME = "isoflop_profiles"
ORDER = 2
NEEDS = f"budgets of compute with {LEVELS} sizes each, {SIZES} for a minimum"
# budgets that are named beside their minima, and points of a parabola
MOST_LABELS, POINTS = 6, 15
# budgets of a family that are drawn: of more, those with a minimum, evenly spaced
MOST_BUDGETS = 12


def draw(view: View) -> Figure:
    """Draw a panel for each family, a parabola for each budget; darker is more compute."""
    data = _data(view)
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
    return Figure(NAME, title, subtitle, alt, g.faceted(layers, data), data)


def _minima(used: pd.DataFrame) -> str:
    """Say where each family's minima are."""
    each = [
        f"{family}, " + ", ".join(f"N {number(N)} at C {number(C)}" for C, N in zip(part["C"], part["N"], strict=True))
        for family, part in used.groupby("family")
    ]
    return "; ".join(each) or "none"


def _data(view: View) -> pd.DataFrame:
    """Return runs, parabolas, minima, and the labels of budgets."""
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
    """Return the families that have a budget of several sizes."""
    return {name: f for name, f in view.frontiers.items() if (f.budgets["sizes"] >= LEVELS).any()}


def _of_family(view: View, family: str) -> pd.DataFrame:
    """Return the rows of one panel."""
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
    """Say how many budgets have no minimum, and the most frequent reason."""
    reasons, budgets = _reasons(view), sum(len(f.budgets) for f in _budgeted(view).values())
    if reasons.empty:
        return ""
    lead = f" {int(reasons.sum())} of {budgets} levels of C {'has' if reasons.sum() == 1 else 'have'} no minimum"
    others = f"; {int(reasons.iloc[1:].sum())} for other reasons" if len(reasons) > 1 else ""
    return f"{lead}: {reasons.index[0]}{others}."


def _reasons(view: View) -> pd.Series:
    """Count the budgets without a minimum by reason, the most frequent first."""
    budgets = pd.concat([f.budgets for f in _budgeted(view).values()])
    return budgets.loc[~budgets["used"].astype(bool), "reason"].value_counts()
