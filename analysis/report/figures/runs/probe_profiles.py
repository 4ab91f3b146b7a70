"""Profiles of probes: the loss by position, and other measurements along an axis (docs/probes.md)."""

import json

import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import along, shortened
from isoflop.analysis.report.view import View
from isoflop.errors import UserError

NAME = "probe_profiles"
ORDER = 42
NEEDS = "a probes.csv beside the table, as isoflop collect writes it"
# profiles that are shown, positions first, and points of one line
MOST, POINTS = 6, 120


def draw(view: View) -> Figure:
    """Draw a view for each profile: the mean over the runs of a family at their last mark."""
    data = _data(view)
    names, hue = list(dict.fromkeys(data["profile"])), g.hue(view.families, legend=True)
    views = []
    for name in names:
        rows, here = data[data["profile"] == name], f"datum.profile === {json.dumps(name)}"
        axis = str(rows["axis"].iloc[0])
        x = g.log("index", rows, axis) if (rows["index"] > 0).all() else g.linear("index", axis)
        y, tips = g.linear("value", name), g.tooltip(("family", "index", "value"), rows)
        views.append([
            g.layer("line", "mean", where=here, x=x, y=y, color=hue),
            g.layer("point", "mean", where=here, x=x, y=y, color=hue, tooltip=tips),
        ])  # fmt: skip
    title = f"Profiles of probes: {shortened(names, MOST)}"
    subtitle = "Mean over the runs of a family at their last mark."
    first = data[data["profile"] == names[0]]
    alt = along(title, first, {"field": "index", "title": first["axis"].iloc[0]}, {"field": "value", "title": names[0]})
    return Figure(NAME, title, subtitle, alt, g.beside(views, height=220), data)


def _data(view: View) -> pd.DataFrame:
    """Return the mean of each profile over a family's runs, thinned along its axis."""
    try:
        profiles = view.profiles
    except UserError as error:
        raise Unmet(str(error)) from None
    if profiles.empty:
        raise Unmet("there is no probes.csv beside the table")
    names = view.rows[["run_id", "family"]].astype({"run_id": str}).drop_duplicates("run_id")
    rows = profiles.merge(names, on="run_id")
    if rows.empty:
        raise Unmet("the profiles beside the table are of other runs")
    rows = rows[rows["mark"] == rows.groupby("run_id")["mark"].transform("max")]
    rows = rows.assign(profile=rows["probe"] + ", " + rows["quantity"])
    order = sorted(rows["profile"].unique(), key=lambda name: (not name.startswith("positions"), name))[:MOST]
    means = (
        rows[rows["profile"].isin(order)].groupby(["profile", "axis", "family", "index"])["value"].mean().reset_index()
    )
    position = means.groupby(["profile", "family"]).cumcount()
    size = means.groupby(["profile", "family"])["index"].transform("size")
    means = means[position % (size // POINTS + 1) == 0]
    means["profile"] = pd.Categorical(means["profile"], order, ordered=True)
    means = means.sort_values(["profile", "family", "index"]).astype({"profile": str})
    return means.assign(kind="mean").reset_index(drop=True)
