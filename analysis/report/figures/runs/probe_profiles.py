"""Profiles of probes: the loss by position and whatever else was measured along an axis (docs/probes.md)."""

import json

import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View
from isoflop.errors import UserError

NAME = "probe_profiles"
ORDER = 42
NEEDS = "a probes.csv beside the table, as isoflop collect writes it"
# profiles that are shown, positions first, and points of one line
MOST, POINTS = 6, 120


def draw(view: View) -> Figure:
    """A view for each profile: the mean over the runs of a family at their last mark."""
    data = _data(view)
    names = list(dict.fromkeys(data["profile"]))
    hue = g.hue(view.families, legend=len(view.families) > 1)
    views = []
    for name in names:
        rows, here = data[data["profile"] == name], f"datum.profile === {json.dumps(name)}"
        axis = str(rows["axis"].iloc[0])
        positive = bool((rows["index"] > 0).all())
        x = g.log("index", rows, axis) if positive else g.linear("index", axis)
        y = g.linear("value", name)
        tips = g.tooltip(("family", "index", "value"), rows)
        views.append(
            [
                g.layer("line", "mean", where=here, x=x, y=y, color=hue),
                g.layer("point", "mean", where=here, x=x, y=y, color=hue, tooltip=tips),
            ]
        )
    title = f"Measured along the models: {g.some(names, MOST)}"
    subtitle = "Mean over the runs of a family at their last mark."
    return Figure(NAME, title, subtitle, f"Profiles of probes. {title}.", g.beside(views, height=220), data, 900)


def _data(view: View) -> pd.DataFrame:
    """Mean of each profile over a family's runs, thinned along its axis."""
    try:
        profiles = view.profiles
    except UserError as error:
        raise Unmet(str(error)) from None
    if profiles.empty:
        raise Unmet("no profiles lie beside the table")
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
    place = means.groupby(["profile", "family"]).cumcount()
    size = means.groupby(["profile", "family"])["index"].transform("size")
    means = means[place % (size // POINTS + 1) == 0]
    means["profile"] = pd.Categorical(means["profile"], order, ordered=True)
    return (
        means.sort_values(["profile", "family", "index"])
        .astype({"profile": str})
        .assign(kind="mean")
        .reset_index(drop=True)
    )
