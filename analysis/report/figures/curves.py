"""The loss against size, data and compute."""

from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.laws.declare import TRAIN
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import along, shortened
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.cells import cell_columns
from isoflop.analysis.runs.levels import LEVELS, level_index
from isoflop.wording import count, number

# how far the law is drawn beyond the largest compute, and at how many points
BEYOND, POINTS = 10.0, 20
# sizes of an amount of data must span a factor of 2, or its curve shows nothing
SPAN = 2.0
SOUND = "converged"
# curves of a family: of more, evenly spaced ones
MOST_CURVES = 8
# labels of a family, and the share of the axis that one takes
MOST_LABELS, NEAR = 4, 0.045
# a larger level is darker, and the curve of a law that is only a guide is dashed
SHADES: g.Spec = {"scale": {"domain": [0, 1], "range": [0.6, 1.0]}}
DASHES: g.Spec = {"scale": {"domain": ["sound", "guide"], "range": [[1, 0], [5, 4]]}}
WORDS = {"N": "size", "D": "data"}


@figure(order=1, needs="finished runs with C and L at two or more C")
def loss_vs_compute(view: View) -> Figure:
    """Loss against compute with each family's envelope and its law beyond the runs: what a budget buys."""
    data = _data(view)
    families, unit, legend = view.families, view.loss_unit, len(view.families) > g.DIRECT
    params, seen = g.chosen(families)
    x, y, hue = g.log("C", data, unit=unit), g.log("L", data, unit=unit), g.hue(families, legend=legend)
    room = 0
    if 1 < len(families) <= g.DIRECT:  # names stand in the margin, where no line is
        lines = data[data["kind"].isin(["envelope", "law"])]
        ends = lines.loc[lines.groupby("family")["C"].idxmax(), ["family", "C", "L"]]
        data = pd.concat([data, names := g.labels(ends, y)], ignore_index=True)
        room = g.LETTER * int(names["label"].str.len().max())
    marks: dict[str, Any] = {"x": x, "y": y, "color": hue}
    shape = g.shape(families, legend=legend)
    tips = g.tooltip(("family", "N", "D", "C", "L", "seed", "rung"), data, unit)
    layers = [
        g.layer("area", "law", **marks | {"y": y | {"field": "low"}, "y2": {"field": "high"}}),
        g.layer("beyond", "law", **marks, opacity=seen),
        g.layer("line", "envelope", **marks, opacity=seen),
        g.layer("text", "label", **marks | {"x": {"value": "width"}}, text="label"),
        g.layer("point", "run", **marks, shape=shape, opacity=seen, tooltip=tips),
    ]
    title = "Loss against compute" + (", by family" if len(families) > 1 else "")
    alt = along(f"{title}: the lowest losses", data[data["kind"] == "envelope"], x, y)
    chart = g.single(layers, width=680 - room, params=params)
    return Figure("loss_vs_compute", title, _loss_vs_compute_subtitle(view, data), alt, chart, data)


def _loss_vs_compute_subtitle(view: View, data: pd.DataFrame) -> str:
    drawn = [view.splits(str(family)) for family in data.loc[data["kind"] == "law", "family"].unique()]
    split = " at the best split of each C" if all(drawn) else ", at the best split where it has one"
    law = f" Dotted: the law{split if any(drawn) else ''}, with its 90 % band for a new run." if drawn else ""
    seeds = ", averaged over seeds" if any(noise.sd is not None for noise in view.noise.values()) else ""
    return f"Points are runs; the line joins the best runs{seeds}, each better than all with less compute.{law}"


def _data(view: View) -> pd.DataFrame:
    """Return runs, envelopes, and laws beyond them."""
    if "C" not in view.rows or view.rows["C"].isna().all():
        raise Unmet("no run has a C")
    rows = view.rows[view.rows["C"].notna()]
    rows = rows.assign(level=level_index(rows["C"]), kind="run")
    if rows["level"].nunique() < 2:
        raise Unmet("all runs have the same C")
    columns = [c for c in ("kind", "family", "C", "L", "N", "D", "seed", "rung") if c in rows]
    best = _envelopes(rows, cell_columns(view.rows)).reindex(columns=columns)
    return pd.concat([rows[columns], best, *_laws(view)], ignore_index=True)


def _envelopes(rows: pd.DataFrame, cell: list[str]) -> pd.DataFrame:
    """Return the best run of each family and compute that beats all of less; means count of equal `cell`."""
    choices = [c for c in cell if c not in ("family", "C", "D")]
    means = rows.groupby(["family", "level", *choices], dropna=False)[["C", "L"]].mean().reset_index()
    best = means.loc[means.groupby(["family", "level"])["L"].idxmin()].assign(kind="envelope")
    beaten = best.groupby("family")["L"].transform(lambda L: L.cummin().shift(fill_value=np.inf)) <= best["L"]
    return best[~beaten]


def _laws(view: View) -> list[pd.DataFrame]:
    """Return the loss of each identified law of compute, or at its best split, up to BEYOND times the largest C."""
    parts = []
    for family, fit in view.laws.items():
        if not (view.splits(family) or fit.law.columns == ("C",)) or fit.status != "converged":
            continue
        C = view.compared(family)["C"]
        points = pd.DataFrame({"C": np.geomspace(C.min(), BEYOND * C.max(), POINTS)})
        if view.splits(family):
            N = np.array([float(fit.law.curve("N_opt", c, fit.values)) for c in points["C"]])
            points = points.assign(N=N, D=points["C"] / TRAIN / N)[np.isfinite(N) & (N > 0)]
        band = fit.predict_interval(points)
        law = {"family": family, "kind": "law", "C": points["C"], "L": band["value"]}
        parts.append(pd.DataFrame(law | {"low": band["low"], "high": band["high"]}))
    return parts


@figure(order=2, needs="finished runs with three or more D, at one N where they have an N")
def loss_vs_data(view: View) -> Figure:
    """L(D) at several N: what more data buys at one size."""
    named = [c for c in ("N", "D") if c in view.rows]
    if unknown := [c for c in named if view.rows[c].isna().all()]:
        raise Unmet(f"no finished run has {unknown[0]}")
    rows = view.rows.dropna(subset=named)
    rows = rows.assign(level=level_index(rows["N"]) if "N" in rows else 0)
    if "D" not in rows or rows.empty or rows.groupby(["family", "level"])["D"].nunique().max() < LEVELS:
        raise Unmet("no size has three different D")
    return _panels(view, "loss_vs_data", "D", "N")


@figure(order=5, needs="finished runs at three or more N, which share a D where they have a D")
def loss_vs_size(view: View) -> Figure:
    """L(N) at several D: what a larger model buys at one amount of data."""
    named = [c for c in ("N", "D") if c in view.rows]
    if "N" not in named or view.rows[named].isna().any().any():
        raise Unmet("some runs lack N or D")
    if view.layout and view.layout.kind == "isoflop":
        raise Unmet("the runs share budgets and not amounts of data: see the isoFLOP profiles")
    rows = view.rows.assign(level=level_index(view.rows["D"]) if "D" in named else 0)
    sizes = rows.groupby(["family", "level"])["N"].agg(["nunique", "min", "max"])
    if not ((sizes["nunique"] >= LEVELS) & (sizes["max"] >= SPAN * sizes["min"])).any():
        raise Unmet("no amount of data has three N that span a factor of 2")
    return _panels(view, "loss_vs_size", "N", "D")


def _panels(view: View, name: str, x: str, each: str) -> Figure:
    """Draw L against `x`, a panel for each family with several, a curve for each level of `each`; darker is larger."""
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
    subtitle = __panels_subtitle(laws, each if runs[each].notna().any() else "")
    return Figure(name, title, subtitle, along(title, runs, marks["x"], marks["y"]), g.faceted(layers, runs), data)


def _points(view: View, each: str) -> pd.DataFrame:
    """The finished runs, their level of `each` in the family, and its shade from 0 (smallest) to 1."""
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


def __panels_subtitle(laws: dict[str, Fit], each: str) -> str:
    labels = f"; labels give {each}" if each else ""
    if not laws:
        return f"Points are runs{labels}; no law of N or D could be fitted."
    formulas = " or ".join(dict.fromkeys(fitted.law.formula for fitted in laws.values()))
    curves = formulas.replace("alpha", "α").replace("beta", "β") + (", fitted to each family" if len(laws) > 1 else "")
    doubtful = [name for name, fitted in laws.items() if fitted.status != SOUND]
    guide = f" Dashed: only a guide, since the law of {shortened(doubtful)} is not identified." if doubtful else ""
    return f"Points are runs, curves {curves}{labels}.{guide}"
