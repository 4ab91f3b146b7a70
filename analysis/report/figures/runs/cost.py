"""Loss against time, memory and parameters, with the Pareto front of runs."""

import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import shortened
from isoflop.analysis.report.view import View
from isoflop.wording import listed

NAME = "cost"
ORDER = 41
NEEDS = "wall_s, peak_memory or n_total of three or more runs"
COSTS = {
    "wall_s": "time of training and evaluation [s]",
    "peak_memory": "largest memory held [bytes]",
    "n_total": "all parameters, n_total",
}
WORDS = {"wall_s": "time", "peak_memory": "memory", "n_total": "parameters"}


def draw(view: View) -> Figure:
    """Draw a view for each cost; the line is the Pareto front over all families."""
    known = {c: measured(view.rows[c]) for c in COSTS if c in view.rows}
    costs = [c for c, values in known.items() if values.count() >= 3 and values.nunique() >= 3]
    if not costs:
        raise Unmet("the runs have neither time nor memory")
    rows = view.rows[[c for c in ("family", "N", "D", "C", "L", "device", *costs) if c in view.rows]]
    rows = rows.assign(**{c: known[c] for c in costs})
    fronts = {c: front(rows, c) for c in costs}
    lines = [table.assign(kind=f"front {c}") for c, table in fronts.items()]
    data = pd.concat([rows.assign(kind="run"), *lines], ignore_index=True)
    hue, shape = g.hue(view.families, legend=True), g.shape(view.families, legend=True)
    views = []
    for c in costs:
        x, y = g.log(c, rows, COSTS[c]), g.log("L", rows, unit=view.loss_unit)
        tips = g.tooltip(("family", "N", "D", c, "L", "device"), rows, view.loss_unit)
        views.append([
            g.layer("guide", f"front {c}", x=x, y=y),
            g.layer("point", "run", x=x, y=y, color=hue, shape=shape, tooltip=tips),
        ])  # fmt: skip
    several = "device" in rows and rows["device"].nunique() > 1
    devices = " Runs used several devices, whose times are not comparable." if several else ""
    title = f"Loss against {listed([WORDS[c] for c in costs])}"
    subtitle = f"Dashed: the front, the runs for which no other has both a lower cost and a lower loss.{devices}"
    counts = [f"{name} {n}" for name, n in fronts[costs[0]]["family"].value_counts().items()]
    alt = f"{title}. Runs on the front of loss against {WORDS[costs[0]]}: {shortened(counts)}."
    return Figure(NAME, title, subtitle, alt, g.beside(views), data)


def measured(column: pd.Series) -> pd.Series:
    """Return a column's positive numbers; everything else, text included, is missing."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    return numbers.where((numbers > 0) & (numbers < float("inf")))


def front(rows: pd.DataFrame, cost: str) -> pd.DataFrame:
    """Return the runs that no other beats in both cost and loss, cheapest first."""
    ordered = rows[rows[cost].notna()].sort_values([cost, "L"])
    return ordered[ordered["L"] < ordered["L"].cummin().shift(fill_value=float("inf"))]
