"""The scorecard: expressivity, learnability, scalability and efficiency of each family, with intervals and a front.

There is no single number: a family is on the front of two measures where no other surely beats it in both.
"""

import json

import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.scorecard import front, scorecard
from isoflop.analysis.report.view import View

NAME = "scorecard"
ORDER = 43
NEEDS = "two or more families on the same data, with three or more C"
COSTLY = True
# the pair of measures that the title is about: what is reached at the same compute, and how it goes on from there
PAIR = ("loss_at_C", "exponent_C")
# views of a picture of readable height
MOST = 12


def draw(view: View) -> Figure:
    """A view for each measure, an interval for each family."""
    if len(view.families) < 2:
        raise Unmet("there is one family")
    card = scorecard(view.runs[view.runs.index.isin(view.rows.index)])
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
    title = _title(data)
    of = f" on {kind}" if kind else ""
    subtitle = f"Points and 95 % intervals over runs or seeds{of}; the arrow points to the better end."
    chart = g.beside(views, height=24 * len(view.families))
    return Figure(NAME, title, subtitle, f"Scorecard of families. {title}.", chart, data, 900)


def _title(card: pd.DataFrame) -> str:
    """Who is on the front of the pair of measures."""
    on = front(card, *PAIR) if set(PAIR) <= set(card["measure"]) else []
    if not on:
        return "What each family reaches, and at what price"
    return f"No family surely beats {g.some(on)} in both the loss at the same compute and how fast it falls"
