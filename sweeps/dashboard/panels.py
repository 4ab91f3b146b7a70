"""The panels: a section for each question that the columns of the runs can show something of.

sections(view)["Best rate"]      # panels of wandb-workspaces
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from isoflop import record
from isoflop.analysis.report.figures.style import PALETTE
from isoflop.analysis.report.tables import last_marks
from isoflop.analysis.report.view import REASON, View
from isoflop.wording import cut, printable

# runs that a panel draws; W&B's own limit is lower than a large sweep
MOST_RUNS = 100
# runs without a result that are named one by one
MOST_FAILURES = 50
# columns of the table of runs, in W&B's names
COLUMNS = (
    "run:displayName", "summary:status", "summary:reason", "config:family.value", "config:width.value",
    "config:depth.value", "config:N.value", "config:D.value", "config:lr.value", "summary:L",
)  # fmt: skip


def sections(view: View) -> dict[str, list[Any]]:
    """Return the panels of each section, in order; a section without any is left out."""
    import wandb_workspaces.reports.v2 as wr

    runs, unit = last_marks(view.runs), view.loss_unit
    drawn = {
        "Loss against data and compute": [*curves(unit), *scatters(runs, unit, ("D", "L", ""), ("C", "L", "N"))],
        "isoFLOP: loss against size at a compute": scatters(runs, unit, ("N", "L", "C")),
        "Best rate": scatters(runs, unit, ("lr", "L", "N"), ("batch", "L", "lr")),
        "Throughput": [*scatters(runs, unit, ("N", "targets_per_s", ""), ("C", "wall_s", ""), ("N", "mfu", ""))],
        "Failures": [wr.MarkdownPanel(markdown=failures_text(view), layout=wr.Layout(w=24, h=8))],
    }
    return {title: panels for title, wanted in drawn.items() if (panels := list(wanted))}


def curves(unit: str) -> Iterator[Any]:
    """Return the loss along the runs, a mean for each family with the range of its runs."""
    import wandb_workspaces.reports.v2 as wr

    # L_train is along the run what the record's column is at its end
    for x, y, title in (("D", "L_train", f"training loss, L_train [{unit}]"), ("C", "L", record.title("L", unit))):
        yield wr.LinePlot(
            title=f"{y} against {x}, by family",
            x=x,
            y=[y],
            title_x=record.title(x),
            title_y=title,
            log_x=True,
            log_y=True,
            groupby=wr.Config("family"),
            groupby_rangefunc="minmax",
            max_runs_to_show=MOST_RUNS,
        )


def scatters(runs: pd.DataFrame, unit: str, *axes: tuple[str, str, str]) -> Iterator[Any]:
    """Return scatter plots of runs, for columns of the record (x, y, colour) that vary and are positive."""
    import wandb_workspaces.reports.v2 as wr

    varying = {name for name in record.COLUMNS if name in runs and runs[name].nunique() > 1}
    for x, y, colour in axes:
        if {x, y} <= varying:
            shade = colour if colour in varying else None
            yield wr.ScatterPlot(
                title=f"{y} against {x}" + (f", coloured by {shade}" if shade else ""),
                x=wr.SummaryMetric(x),
                y=wr.SummaryMetric(y),
                z=wr.SummaryMetric(shade) if shade else None,
                log_x=True,
                log_y=y != "mfu",
                log_z=True if shade else None,
            )


def failures_text(view: View) -> str:
    """Return the runs that left no result, with the reason, as Markdown."""
    lost = view.unfinished
    if lost.empty:
        return "Every run of the table has a result."
    names = [name for name in ("run_id", *record.WHO, "status", "reason") if name in lost]
    rows = [[cut(str(value), REASON) for value in row] for row in lost[names].fillna("").itertuples(index=False)]
    more = f"\n\nand {len(rows) - MOST_FAILURES} more" if len(rows) > MOST_FAILURES else ""
    return table(names, rows[:MOST_FAILURES]) + more


def table(names: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown; what a cell holds is shown as text."""
    lines = [names, ["---"] * len(names), *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(value: str) -> str:
    """Escape text for Markdown."""
    safe = printable(value).replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{character}" if character in r"\`*_[]|#~" else character for character in safe)


def colours(view: View) -> dict[str, str]:
    """Return the colour of each run, that of its family in our figures."""
    by_family = {family: PALETTE[at % len(PALETTE)] for at, family in enumerate(view.families)}
    runs = last_marks(view.runs)
    pairs = zip(runs["run_id"].astype(str), runs["family"], strict=True)
    return {run_id: by_family[family] for run_id, family in pairs if family in by_family}
