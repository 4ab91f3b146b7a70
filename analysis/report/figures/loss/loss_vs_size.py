"""L(N) at several D: what a larger model buys at one amount of data."""

import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.loss._panels import falls, panels, per_doubling
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import LEVELS, level_index

NAME = "loss_vs_size"
ORDER = 5
NEEDS = "finished runs at three or more N, which share a D where they have a D"


def draw(view: View) -> Figure:
    """A panel for each family, a curve for each level of D."""
    named = [c for c in ("N", "D") if c in view.rows]
    if "N" not in named or view.rows[named].isna().any().any():
        raise Unmet("not every run has an N and a D")
    if view.layout and view.layout.kind == "isoflop":
        raise Unmet("the runs share budgets and not amounts of data: see the isoFLOP profiles")
    each_fall = {str(family): _falls(part) for family, part in view.rows.groupby("family")}
    each_fall = {name: fall for name, fall in each_fall.items() if fall}
    if not each_fall:
        raise Unmet("no three N that share a D span a doubling")
    steady, each = per_doubling(view.families, each_fall)
    where = " at the same data" if "D" in named else ""
    title = f"Each doubling of the size lowers the loss{where}: {each} on average"
    if not steady:
        title = f"A doubling of the size changes the loss by {each} on average, and not always down"
    return panels(view, NAME, "N", "D", title, f"Loss against size{g.panelled(each_fall)}. {title}.")


def _falls(rows: pd.DataFrame) -> list[float]:
    """Fall of ln L for each doubling of N, from the smallest to the largest size of every amount of data."""
    rows = rows.assign(level=level_index(rows["D"]) if "D" in rows else 0)
    means = rows.groupby(["level", "N"])["L"].mean().reset_index()
    return falls(means, "N", "level", LEVELS)
