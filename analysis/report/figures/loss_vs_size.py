"""L(N) at several D where sizes share data, else at several C: isoFLOP profiles; says whether the minima lie inside."""

from isoflop.analysis.report.figures._panels import panels
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View
from isoflop.analysis.tables.replicates import level_index
from isoflop.wording import count

NAME = "loss_vs_size"
ORDER = 3
NEEDS = "finished runs at three or more N that share a D or a C"


def draw(view: View) -> Figure:
    """A panel for each family, a curve for each level of D or C."""
    each = next((c for c in ("D", "C") if _shared(view, c)), None)
    if each is None:
        raise Unmet("no three N share a D or a C")
    best, edges = {}, []
    for family, part in view.rows.groupby("family"):
        level = level_index(part[each])
        top = part[level == level.max()].groupby("N")["L"].mean()
        best[str(family)] = count(float(top.idxmin()))
        if top.idxmin() in (top.index.min(), top.index.max()):
            edges.append(str(family))
    sizes = ", ".join(f"{name} N = {size}" for name, size in best.items())
    title = f"At the largest {each} the lowest loss is at {sizes}"
    if edges and len(edges) == len(best):
        title += ": the edge of the sizes tried, so the optimum may lie beyond"
    elif edges:
        title += f" (the edge of the sizes tried for {', '.join(edges)}, whose optimum may lie beyond)"
    return panels(view, NAME, "N", each, title, f"Loss against size, a panel for each family. {title}.")


def _shared(view: View, column: str) -> bool:
    """Whether some level of the column is shared by three sizes of one family."""
    if not {"N", "D", column} <= set(view.rows) or view.rows[column].isna().any():
        return False
    return any(
        part.groupby(level_index(part[column]))["N"].nunique().max() >= 3 for _, part in view.rows.groupby("family")
    )
