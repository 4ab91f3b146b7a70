"""L(N) at several D: what a larger model buys at one amount of data."""

from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.loss._panels import panels
from isoflop.analysis.report.view import View
from isoflop.analysis.runs.levels import LEVELS, level_index

NAME = "loss_vs_size"
ORDER = 5
NEEDS = "finished runs at three or more N, which share a D where they have a D"
# sizes of an amount of data must span a factor of 2, or its curve shows nothing
SPAN = 2.0


def draw(view: View) -> Figure:
    """Draw a panel for each family, a curve for each amount of data."""
    named = [c for c in ("N", "D") if c in view.rows]
    if "N" not in named or view.rows[named].isna().any().any():
        raise Unmet("some runs lack N or D")
    if view.layout and view.layout.kind == "isoflop":
        raise Unmet("the runs share budgets and not amounts of data: see the isoFLOP profiles")
    rows = view.rows.assign(level=level_index(view.rows["D"]) if "D" in named else 0)
    sizes = rows.groupby(["family", "level"])["N"].agg(["nunique", "min", "max"])
    if not ((sizes["nunique"] >= LEVELS) & (sizes["max"] >= SPAN * sizes["min"])).any():
        raise Unmet("no amount of data has three N that span a factor of 2")
    return panels(view, NAME, "N", "D")
