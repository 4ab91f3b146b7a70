"""L(D) at several N: what more data buys at one size."""

from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.loss._panels import panels
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import LEVELS, level_index

NAME = "loss_vs_data"
ORDER = 2
NEEDS = "finished runs with three or more D, at one N where they have an N"


def draw(view: View) -> Figure:
    """Draw a panel for each family, a curve for each size."""
    named = [c for c in ("N", "D") if c in view.rows]
    if unknown := [c for c in named if view.rows[c].isna().all()]:
        raise Unmet(f"no finished run has {unknown[0]}")
    rows = view.rows.dropna(subset=named)
    rows = rows.assign(level=level_index(rows["N"]) if "N" in rows else 0)
    if "D" not in rows or rows.empty or rows.groupby(["family", "level"])["D"].nunique().max() < LEVELS:
        raise Unmet("no size has three different D")
    return panels(view, NAME, "D", "N")
