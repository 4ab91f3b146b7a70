"""Loss against compute with each family's envelope and its law beyond the runs: what a budget buys."""

from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.laws.declare import TRAIN
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import along
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.cells import cell_columns
from isoflop.analysis.runs.levels import level_index

NAME = "loss_vs_compute"
ORDER = 1
NEEDS = "finished runs with C and L at two or more C"
# how far the law is drawn beyond the largest compute, and at how many points
BEYOND, POINTS = 10.0, 20


def draw(view: View) -> Figure:
    """Draw runs as points, each family's envelope as a line, and its law, dotted, beyond the runs."""
    data = _data(view)
    families, unit, legend = view.families, view.loss_unit, len(view.families) > g.DIRECT
    params, seen = g.chosen(families)
    x, y, hue = g.log("C", data, unit=unit), g.log("L", data, unit=unit), g.hue(families, legend=legend)
    marks: dict[str, Any] = {"x": x, "y": y, "color": hue}
    shape = g.shape(families, legend=legend)
    tips = g.tooltip(("family", "N", "D", "C", "L", "seed", "rung"), data, unit)
    layers = [
        g.layer("area", "law", **marks | {"y": y | {"field": "low"}, "y2": {"field": "high"}}),
        g.layer("beyond", "law", **marks, opacity=seen),
        g.layer("line", "envelope", **marks, opacity=seen),
        g.layer("text", "label", **marks, text="label"),
        g.layer("point", "run", **marks, shape=shape, opacity=seen, tooltip=tips),
    ]
    title = "Loss against compute" + (", by family" if len(families) > 1 else "")
    alt = along(f"{title}: the lowest losses", data[data["kind"] == "envelope"], x, y)
    return Figure(NAME, title, _subtitle(view, data), alt, g.single(layers, params=params), data)


def _subtitle(view: View, data: pd.DataFrame) -> str:
    """Say how the line and the law are drawn."""
    drawn = [view.splits(str(family)) for family in data.loc[data["kind"] == "law", "family"].unique()]
    split = " at the best split of each C" if all(drawn) else ", at the best split where it has one"
    law = f" Dotted: the law{split if any(drawn) else ''}, with its 90 % band for a new run." if drawn else ""
    seeds = ", averaged over seeds" if any(noise.sd is not None for noise in view.noise.values()) else ""
    return f"Points are runs; the line joins the best runs{seeds}, each better than all with less compute.{law}"


def _data(view: View) -> pd.DataFrame:
    """Return runs, envelopes, laws beyond them, and the names at the ends."""
    if "C" not in view.rows or view.rows["C"].isna().all():
        raise Unmet("no run has a C")
    rows = view.rows[view.rows["C"].notna()]
    rows = rows.assign(level=level_index(rows["C"]), kind="run")
    if rows["level"].nunique() < 2:
        raise Unmet("all runs have the same C")
    columns = [c for c in ("kind", "family", "C", "L", "N", "D", "seed", "rung") if c in rows]
    best = _envelopes(rows, cell_columns(view.rows)).reindex(columns=columns)
    data = pd.concat([rows[columns], best, *_laws(view)], ignore_index=True)
    if 1 < len(view.families) <= g.DIRECT:
        lines = data[data["kind"].isin(["envelope", "law"])]
        ends = lines.loc[lines.groupby("family")["C"].idxmax(), ["family", "C", "L"]]
        data = pd.concat([data, g.labels(ends, "C", "L")], ignore_index=True)
    return data


def _envelopes(rows: pd.DataFrame, cell: list[str]) -> pd.DataFrame:
    """Return the best run of each family and compute that beats all with less compute.

    cell  the columns in which runs that differ only in their seed are equal, whose mean counts
    """
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
