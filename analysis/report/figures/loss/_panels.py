"""Small multiples by family: L against one axis at several levels of another, with the fitted law; for two figures."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import level_index
from isoflop.wording import count, number, percent

SOUND = "converged"
# curves of a family, evenly taken of more
MOST_CURVES = 8
# labels of a family, and the share of the axis that one takes
MOST_LABELS, NEAR = 4, 0.045
# a larger level is darker, and the curve of a law that is no more than a guide is dashed
SHADES: g.Spec = {"scale": {"domain": [0, 1], "range": [0.6, 1.0]}}
DASHES: g.Spec = {"scale": {"domain": ["sound", "guide"], "range": [[1, 0], [5, 4]]}}


def falls(means: pd.DataFrame, along: str, at: str, least: int) -> list[float]:
    """Fall of ln L for each doubling of `along`, between the ends of every level of `at` that has at least so many and
    spans a doubling.

    means: a row for each `at` and `along`, sorted by the latter, with L.
    """
    # differences of logarithms do not leave the floats
    logs = pd.DataFrame({name: np.log(means[name]) for name in ("L", along)}).groupby(means[at])
    first, last = logs.first(), logs.last()
    wide = (logs.size() >= least) & (last[along] - first[along] >= np.log(2))
    first, last = first[wide], last[wide]
    fall = (first["L"] - last["L"]) / (last[along] - first[along]) * np.log(2)
    return [float(each) for each in fall]


def per_doubling(families: Sequence[str], each_fall: Mapping[str, list[float]]) -> tuple[bool, str]:
    """Whether every fall of ln L is one, and their mean for each family as a share of the loss: how much lower it gets,
    or where it also rises, by how much it changes (−5.1 %)."""
    steady = min((min(fall) for fall in each_fall.values() if fall), default=0) > 0
    changes = {name: float(np.expm1(-np.mean(fall))) for name, fall in each_fall.items() if fall}
    texts = {name: percent(-change) if steady else percent(change, signed=True) for name, change in changes.items()}
    return steady, g.of_each(families, texts)


def panels(view: View, name: str, x: str, each: str, title: str, alt_text: str) -> Figure:
    """L against `x`, a panel for each family, a curve for each level of `each`; darker is larger.

    A family is left out where none of its levels has several `x`.
    """
    runs = points_of(view, each)
    along = runs.groupby(["family", "level"])[x].transform(lambda values: level_index(values).max() > 0)
    runs = runs[runs["family"].isin(runs.loc[along.astype(bool), "family"])]
    families = [name for name in view.families if name in set(runs["family"])]
    data = pd.concat([runs, _curves(view, runs, x, each), _labels(runs, x, each)], ignore_index=True)
    # air for the labels, which stand where a curve ends: there the levels lie farthest apart
    labelled = 0.3 if data["kind"].eq("label").any() else 0.0
    room = float(np.exp(labelled * np.ptp(np.log(data[x].to_numpy(float)))))
    marks: g.Spec = {
        "x": g.log(x, data, unit=view.loss_unit, pad=room),
        "y": g.log("L", data, unit=view.loss_unit),
        "color": g.hue(view.families),
        "opacity": {"field": "shade", "type": "quantitative", "legend": None} | SHADES,
    }
    dash = {"field": "fit", "type": "nominal", "legend": None} | DASHES
    tips = g.tooltip(("family", "N", "D", "C", "L", "seed"), runs, view.loss_unit)
    layers = [
        g.layer("line", "law", detail="level", strokeDash=dash, **marks),
        # the run of a label is drawn whichever others are left out of many
        g.layer("point", ["run", "label"], shape=g.shape(view.families), tooltip=tips, **marks),
        g.layer("end", "label", text="label", **marks),
    ]
    layers[0]["mark"]["strokeWidth"] = 1.8
    chart = g.faceted(layers, panels=len(families))
    laws = {name: law for name, law in view.laws.items() if name in families and set(law.law.columns) <= {"N", "D"}}
    subtitle = _subtitle(laws, each if runs[each].notna().any() else "")
    return Figure(name, title, subtitle, alt_text, chart, data, width=g.panel_width(len(families)))


def points_of(view: View, each: str) -> pd.DataFrame:
    """The finished runs, their level of `each` within the family, and its shade from 0 (smallest) to 1; all are of one
    level where the table has no such column."""
    parts = []
    rows = view.rows if each not in view.rows else view.rows[view.rows[each].notna()]
    for _, part in rows.groupby("family"):
        level = level_index(part[each]) if each in part else np.zeros(len(part), dtype=int)
        parts.append(part.assign(level=level, shade=level / max(int(level.max()), 1)))
    if not parts:
        raise Unmet(f"no finished run has {each}")
    columns = ["family", "N", "D", "C", "L", "seed", "level", "shade"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns).assign(kind="run")


def _curves(view: View, runs: pd.DataFrame, x: str, each: str) -> pd.DataFrame:
    """The law of each family along `x`, at each level of `each`, over the range of that level's runs."""
    parts = []
    for family, fitted in view.laws.items():
        rows = runs[runs["family"] == family]
        if rows.empty:
            continue
        levels = np.unique(rows["level"])
        shown = levels[np.unique(np.linspace(0, len(levels) - 1, MOST_CURVES).round().astype(int))]
        curves = [
            pd.DataFrame({x: np.geomspace(part[x].min(), part[x].max(), 20), each: part[each].mean()}).assign(
                level=level, shade=part["shade"].iloc[0]
            )
            for level, part in rows[rows["level"].isin(shown)].groupby("level")
            if part[x].nunique() > 1 and set(fitted.law.columns) <= {"N", "D"}
        ]
        if curves:
            frame = pd.concat(curves, ignore_index=True)
            sound = "sound" if fitted.status == SOUND else "guide"
            parts.append(frame.assign(L=fitted.predict(frame), family=family, kind="law", fit=sound))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _labels(runs: pd.DataFrame, x: str, each: str) -> pd.DataFrame:
    """What stands at the end of each level, of a family at most four that do not run into each other."""
    if runs[each].isna().all():
        return pd.DataFrame()
    several = runs.groupby(["family", "level"])[x].transform("nunique") > 1
    runs = runs[several] if several.any() else runs  # a level of one point has no curve
    by_level = runs.groupby(["family", "level"])[x]
    ends: pd.DataFrame = runs.loc[by_level.idxmax()].sort_values(["family", "level"], ascending=[True, False])
    apart = NEAR * float(np.ptp(np.log(runs["L"].to_numpy(float))))
    shown = list[int]()
    for _, part in ends.groupby("family"):
        heights, step = np.log(part["L"].to_numpy(float)), -(-len(part) // MOST_LABELS)
        written = list[int]()
        for i in range(0, len(part), step):
            if all(abs(heights[i] - heights[j]) >= apart for j in written):
                written.append(i)
        shown += [int(label) for label in part.index[written]]
    ends = ends.loc[shown]
    words = [count(v) if each == "N" else number(v) for v in ends[each]]
    labelled: pd.DataFrame = ends.assign(kind="label", label=words)
    return labelled


def _subtitle(laws: dict[str, Fit], each: str) -> str:
    labels = f"; labels give {each}" if each else ""
    if not laws:
        return f"Points are runs{labels}; no law of N or D could be fitted."
    formulas = dict.fromkeys(fitted.law.formula for fitted in laws.values())
    formula = " or ".join(formulas).replace("alpha", "α").replace("beta", "β")
    doubtful = [name for name, fitted in laws.items() if fitted.status != SOUND]
    guide = f" Dashed: a guide only, since the fit of {g.some(doubtful)} did not determine the law." if doubtful else ""
    whose = ", fitted to each family" if len(laws) > 1 else ""
    return f"Points are runs, curves {formula}{whose}{labels}.{guide}"
