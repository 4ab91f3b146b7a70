"""The scorecard: expressivity, learnability, scalability and efficiency of each family, with intervals."""

import json

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import values
from isoflop.analysis.report.scorecard import scorecard
from isoflop.analysis.report.view import View

NAME = "scorecard"
ORDER = 43
NEEDS = "two or more families on the same data, with three or more C"
COSTLY = True
# views of a picture of readable height
MOST = 12


def draw(view: View) -> Figure:
    """Draw a view for each measure, an interval for each family."""
    if len(view.families) < 2:
        raise Unmet("there is only one family")
    card = scorecard(view.runs.take(view.runs.frame.index.isin(view.rows.index)), view.fits)
    card = card[card["value"].notna()]
    if card.empty:
        raise Unmet("no family has a measure")
    kind = card["data"].value_counts().index[0]
    data = card[card["data"] == kind].assign(kind="measure").reset_index(drop=True)
    names = list(dict.fromkeys(data["measure"]))[:MOST]
    data = data[data["measure"].isin(names)]
    hue, y = g.hue(view.families), g.text("family", sort=list(view.families))
    views = []
    for name in names:
        rows, here = data[data["measure"] == name], f"datum.measure === {json.dumps(name)}"
        better = "←" if rows["better"].iloc[0] == "lower" else "→"
        x = g.linear("value", f"{rows['title'].iloc[0]} ({better} better)")
        bounds, tips = x | {"field": "low"}, g.tooltip(("family", "value", "low", "high", "runs", "reason"), rows)
        known, high = f"{here} && isValid(datum.low)", {"field": "high"}
        bar = g.layer("bar", "measure", where=known, x=bounds, x2=high, y=y, color=hue)
        views.append([bar, g.layer("best", "measure", where=here, x=x, y=y, color=hue, tooltip=tips)])
    title = f"Scorecard of families{f' on {kind}' if kind else ''}"
    subtitle = "Points and 95 % intervals over runs or seeds; the arrow points to the better end."
    alt = values(title, data, ["title", "family"])
    return Figure(NAME, title, subtitle, alt, g.beside(views, height=24 * len(view.families)), data)
