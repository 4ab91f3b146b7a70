"""What a loss costs beside FLOPs: time and memory against the loss, with the front of runs that nothing beats."""

import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View

NAME = "cost"
ORDER = 41
NEEDS = "wall_s, peak_memory or n_total of three or more runs"
COSTS = {
    "wall_s": "time of training and evaluation [s]",
    "peak_memory": "largest memory held [bytes]",
    "n_total": "all parameters, n_total",
}


def draw(view: View) -> Figure:
    """A view for each cost; the line is the Pareto front over all families."""
    known = {c: measured(view.rows[c]) for c in COSTS if c in view.rows}
    costs = [c for c, values in known.items() if values.count() >= 3 and values.nunique() >= 3]
    if not costs:
        raise Unmet("the runs have neither time nor memory")
    rows = view.rows[[c for c in ("family", "N", "D", "C", "L", "device", *costs) if c in view.rows]]
    rows = rows.assign(**{c: known[c] for c in costs})
    fronts = {c: front(rows, c) for c in costs}
    lines = [table.assign(kind=f"front {c}") for c, table in fronts.items()]
    data = pd.concat([rows.assign(kind="run"), *lines], ignore_index=True)
    hue = g.hue(view.families, legend=len(view.families) > 1)
    views = []
    for c in costs:
        x, y = g.log(c, rows, COSTS[c]), g.log("L", rows, unit=view.loss_unit)
        tips = g.tooltip(("family", "N", "D", c, "L", "device"), rows, view.loss_unit)
        shape = g.shape(view.families, legend=len(view.families) > 1)
        views.append([
            g.layer("guide", f"front {c}", x=x, y=y),
            g.layer("point", "run", x=x, y=y, color=hue, shape=shape, tooltip=tips),
        ])  # fmt: skip
    on = fronts[costs[0]]["family"].value_counts()
    cost = COSTS[costs[0]].partition(" [")[0].partition(",")[0]
    title = f"On the front of loss against {cost}: {g.some([f'{name} ({n})' for name, n in on.items()])}"
    several = rows["device"].nunique() > 1 if "device" in rows else False
    devices = " Runs are of several devices, whose times do not compare." if several else ""
    subtitle = f"A run is on the front, dashed, where none costs less at a lower loss.{devices}"
    return Figure(NAME, title, subtitle, f"Loss against cost. {title}.", g.beside(views), data, 900)


def measured(column: pd.Series) -> pd.Series:
    """A column's positive numbers; what else stands there, a foreign table's text too, is missing."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    return numbers.where((numbers > 0) & (numbers < float("inf")))


def front(rows: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The runs that none beats in both cost and loss, cheapest first."""
    ordered = rows[rows[cost].notna()].sort_values([cost, "L"])
    return ordered[ordered["L"] < ordered["L"].cummin().shift(fill_value=float("inf"))]
