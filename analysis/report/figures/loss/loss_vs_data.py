"""L(D) at several N: what more data buys at one size."""

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.loss._panels import falls, panels
from isoflop.analysis.report.view import View
from isoflop.analysis.tables.levels import LEVELS, level_index
from isoflop.wording import percent

NAME = "loss_vs_data"
ORDER = 2
NEEDS = "finished runs with three or more D, at one N where they have an N"


def draw(view: View) -> Figure:
    """A panel for each family, a curve for each size."""
    rows = view.rows.dropna(subset=[c for c in ("N", "D") if c in view.rows])
    rows = rows.assign(level=level_index(rows["N"]) if "N" in rows else 0)
    if "D" not in rows or rows.empty or rows.groupby(["family", "level"])["D"].nunique().max() < LEVELS:
        raise Unmet("no size has three different D")
    each_fall = {str(family): _falls(part) for family, part in rows.groupby("family")}
    each = g.of_each(
        view.families, {name: percent(-np.expm1(-np.mean(fall))) for name, fall in each_fall.items() if fall}
    )
    steady = min((min(fall) for fall in each_fall.values() if fall), default=0) > 0
    where = " at every size" if rows["level"].nunique() > 1 else ""
    title = f"Each doubling of the data lowers the loss{where}: {each} on average"
    if not steady:
        title = f"A doubling of the data changes the loss by {each} on average, and not always down"
    return panels(view, NAME, "D", "N", title, f"Loss against data{g.panelled(each_fall)}. {title}.")


def _falls(rows: pd.DataFrame) -> list[float]:
    """Fall of ln L for each doubling of D, from the least to the most data of every size."""
    means = rows.groupby(["level", "D"])["L"].mean().reset_index()
    return falls(means.sort_values("D"), "D", "level", 2)
