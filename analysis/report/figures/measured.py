"""What else was measured: the profiles of probes."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import along, shortened
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.formats import read_table
from isoflop.errors import UserError
from isoflop.wording import distinct_names

# columns of a table of profiles (sweeps/collect)
NAMED, POINT = ("probe", "quantity", "axis"), ("mark", "index", "value")
PROFILE = ("run_id", *NAMED, *POINT)
# profiles that are shown, positions first, and points of one line
MOST, POINTS = 6, 120


@figure(order=42, needs="a probes.csv beside the table, as isoflop collect writes it")
def probe_profiles(view: View) -> Figure:
    """Profiles of probes: the loss by position, and other measurements along an axis (docs/probes.md)."""
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
    return Figure("probe_profiles", title, subtitle, alt, g.beside(views, height=220), data)


def _data(view: View) -> pd.DataFrame:
    """Return the mean of each profile over a family's runs, thinned along its axis."""
    try:
        profiles = read_profiles(view)
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


def read_profiles(view: View) -> pd.DataFrame:
    """Return the probes' profiles that `isoflop collect` wrote beside the table; UserError if that is no such table."""
    if not view.runs.source or "run_id" not in view.best:
        return pd.DataFrame()
    table = Path(view.runs.source)
    file = table.with_name("probes.csv" if table.name == "runs.csv" else f"{table.stem}.probes.csv")
    if not os.path.lexists(file):
        return pd.DataFrame()
    profiles = read_table(file)
    if missing := [name for name in PROFILE if name not in profiles]:
        raise UserError(f"{file} has no column {missing[0]}, so it is not a table of profiles; collect again")
    return _sound_profiles(profiles[list(PROFILE)])


def _sound_profiles(profiles: pd.DataFrame) -> pd.DataFrame:
    """Return the points of profiles that are finite numbers, with names that fit a page."""
    numbers = {name: pd.to_numeric(profiles[name], errors="coerce").astype(float) for name in POINT}
    texts = {name: profiles[name].astype(str) for name in ("run_id", *NAMED)}
    texts |= {name: texts[name].map(distinct_names(texts[name].unique())) for name in NAMED}
    profiles = profiles.assign(**numbers, **texts)
    points: pd.DataFrame = profiles.loc[np.isfinite(profiles[list(POINT)].to_numpy()).all(axis=1)]
    return points
