"""L(D) at several N: what more data buys at one size."""

import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.loss._panels import falls, panels, per_doubling
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import LEVELS, level_index

NAME = "loss_vs_data"
ORDER = 2
NEEDS = "finished runs with three or more D, at one N where they have an N"


def draw(view: View) -> Figure:
    """A panel for each family, a curve for each size."""
    named = [c for c in ("N", "D") if c in view.rows]
    if unknown := [c for c in named if view.rows[c].isna().all()]:
        raise Unmet(f"no finished run has {unknown[0]}")
    rows = view.rows.dropna(subset=named)
    rows = rows.assign(level=level_index(rows["N"]) if "N" in rows else 0)
    if "D" not in rows or rows.empty or rows.groupby(["family", "level"])["D"].nunique().max() < LEVELS:
        raise Unmet("no size has three different D")
    each_fall = {str(family): _falls(part) for family, part in rows.groupby("family")}
    steady, each = per_doubling(view.families, each_fall)
    levels = {
        str(family): int(level_index(part["N"]).max()) + 1 for family, part in rows.groupby("family") if "N" in part
    }
    told = all(len(fall) == levels.get(family, 1) for family, fall in each_fall.items())
    where = " at every size" if told else " at the sizes with several amounts of it"
    where = where if max(levels.values(), default=1) > 1 else ""
    title = f"Each doubling of the data lowers the loss{where}: {each} on average"
    if not each:
        title = "At no size do the data span a doubling"
    elif not steady:
        title = f"A doubling of the data changes the loss by {each} on average, and not always down"
    return panels(view, NAME, "D", "N", title, f"Loss against data{g.panelled(each_fall)}. {title}.")


def _falls(rows: pd.DataFrame) -> list[float]:
    """Fall of ln L for each doubling of D, from the least to the most data of every size."""
    rows = rows.assign(level=level_index(rows["N"]) if "N" in rows else 0)
    means = rows.groupby(["level", "D"])["L"].mean().reset_index()
    return falls(means.sort_values("D"), "D", "level", 2)
