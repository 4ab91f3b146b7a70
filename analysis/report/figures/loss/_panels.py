"""Small multiples by family: L against one axis at several levels of another, with the fitted law; for two figures."""

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import along, shortened
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import level_index
from isoflop.wording import count, number

SOUND = "converged"
# curves of a family: of more, evenly spaced ones
MOST_CURVES = 8
# labels of a family, and the share of the axis that one takes
MOST_LABELS, NEAR = 4, 0.045
# a larger level is darker, and the curve of a law that is only a guide is dashed
SHADES: g.Spec = {"scale": {"domain": [0, 1], "range": [0.6, 1.0]}}
DASHES: g.Spec = {"scale": {"domain": ["sound", "guide"], "range": [[1, 0], [5, 4]]}}
WORDS = {"N": "size", "D": "data"}


def panels(view: View, name: str, x: str, each: str) -> Figure:
    """Draw L against `x`, a panel for each family, a curve for each level of `each`; darker is larger.

    A family is left out where none of its levels has several `x`.
    """
    runs = _points(view, each)
    several = runs.groupby(["family", "level"])[x].transform(lambda values: level_index(values).max() > 0)
    runs = runs[runs["family"].isin(runs.loc[several.astype(bool), "family"])]
    data = pd.concat([runs, _curves(view, runs, x, each), _labels(runs, x, each)], ignore_index=True)
    # room for the labels, which stand where a curve ends: there the levels lie farthest apart
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
    by = f", by {WORDS[each]}" if runs["level"].nunique() > 1 else ""
    title = f"Loss against {WORDS[x]}{by}"
    shown = set(runs["family"])
    laws = {name: law for name, law in view.laws.items() if name in shown and set(law.law.columns) <= {"N", "D"}}
    subtitle = _subtitle(laws, each if runs[each].notna().any() else "")
    return Figure(name, title, subtitle, along(title, runs, marks["x"], marks["y"]), g.faceted(layers, runs), data)


def _points(view: View, each: str) -> pd.DataFrame:
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
    """Return the law of each family along `x` at each level of `each`, over the range of that level's runs."""
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
    """Label the end of each level, at most MOST_LABELS of a family and none too close to another."""
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
    formulas = " or ".join(dict.fromkeys(fitted.law.formula for fitted in laws.values()))
    curves = formulas.replace("alpha", "α").replace("beta", "β") + (", fitted to each family" if len(laws) > 1 else "")
    doubtful = [name for name, fitted in laws.items() if fitted.status != SOUND]
    guide = f" Dashed: only a guide, since the law of {shortened(doubtful)} is not identified." if doubtful else ""
    return f"Points are runs, curves {curves}{labels}.{guide}"
