"""A W&B report of mirrored runs, made by code: what `isoflop report` says, where the runs are shown.

dashboard = build(look(read_runs("runs.csv")), "me", "isoflop")
dashboard.as_json()     # what would be saved
save(dashboard)         # the address of the report
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from isoflop import record
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.report.figures.base import Figure, draw_all
from isoflop.analysis.report.figures.style import PALETTE
from isoflop.analysis.report.finding import finding, question
from isoflop.analysis.report.report import verdict_row
from isoflop.analysis.report.sentences import decided_first
from isoflop.analysis.report.tables import last_marks, parameters
from isoflop.analysis.report.view import REASON, View
from isoflop.errors import UserError
from isoflop.wording import cut, printable

# columns of the verdicts, as verdict_row names them
_VERDICTS = ("id", "word", "claim", "statistic", "interval", "limit", "rule", "reason")
# W&B's limit on a title
_LONGEST_TITLE = 128
# runs that a panel draws; W&B's own limit is lower than a large sweep
_MOST_RUNS = 100
# runs without a result that are named one by one
_MOST_FAILURES = 50


@dataclass(frozen=True)
class Dashboard:
    report: Any
    """A wandb_workspaces.reports.v2.Report."""
    figures: tuple[Figure, ...]
    """Our figures, which go into a run of their own as media."""
    media_run: str
    """The id of that run."""

    def as_json(self) -> dict[str, Any]:
        """Return what would be saved as plain data; the figures by name and title."""
        report = self.report._to_model()
        spec = json.loads(report.spec.model_dump_json(by_alias=True, exclude_none=True))
        return {
            "entity": self.report.entity,
            "project": self.report.project,
            "report": {"title": report.display_name, "description": report.description, "spec": spec},
            "media": {"run_id": self.media_run, "figures": {figure.name: figure.title for figure in self.figures}},
        }


def build(view: View, entity: str, project: str) -> Dashboard:
    """Build the report of the runs of a view; UserError if none of them was mirrored."""
    if "run_id" not in view.runs:
        raise UserError("the table has no column run_id, by which W&B knows a run; give one that isoflop collect made")
    ids = sorted(view.runs["run_id"].astype(str).unique())
    media_run = f"report-{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:12]}"
    figures = tuple(drawn for _, drawn in draw_all(view) if isinstance(drawn, Figure))
    table = f"{Path(view.runs.source).name or 'runs'}: {len(last_marks(view.runs))} runs"
    name = {"entity": entity, "project": project, "title": cut(printable(table), _LONGEST_TITLE)}
    return Dashboard(_report(view, name, figures, media_run), figures, media_run)


def _filters(view: View) -> list[Any]:
    from wandb_workspaces.expr import Metric

    sweeps = sorted(view.runs["sweep"].dropna().astype(str).unique()) if "sweep" in view.runs else []
    # the library writes names between quotes as they are
    sound = sweeps and not any(character in name for name in sweeps for character in "'\"\\")
    return [Metric("Group").isin(sweeps)] if sound else []


def _report(view: View, name: dict[str, str], figures: tuple[Figure, ...], media_run: str) -> Any:
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces.expr import Metric

    blocks = [wr.H1(question(view)), wr.P(finding(view)), wr.H2("Verdicts"), wr.MarkdownBlock(_verdicts(view))]
    blocks += [wr.H2("Laws"), wr.MarkdownBlock(_laws(view))]
    if figures:
        keys = [figure.name for figure in figures]
        browser = wr.MediaBrowser(media_keys=keys, num_columns=2, layout=wr.Layout(w=24, h=8 * -(-len(keys) // 2)))
        media = wr.Runset(filters=[Metric("ID").isin([media_run])])
        blocks += [wr.H2("Figures"), wr.PanelGrid(runsets=[media], panels=[browser])]
    colours = {run_id: wr.RunSettings(color=colour) for run_id, colour in _colours(view).items()}
    for title, some in _sections(view).items():
        shown = wr.Runset(filters=_filters(view), run_settings=colours)
        blocks += [wr.H2(title), wr.PanelGrid(runsets=[shown], panels=some)]
    return wr.Report(**name, description="made by isoflop dashboard", blocks=blocks, width="fluid")


def _verdicts(view: View) -> str:
    tested = [v for v in decided_first(view.verdicts) if v.verdict is not VerdictKind.UNTESTED]
    rows = [[str(row[name]) for name in _VERDICTS] for row in (verdict_row(view, verdict) for verdict in tested)]
    untested = len(view.verdicts) - len(tested)
    rest = f"{untested} claim{'s' * (untested != 1)} that these runs do not test: isoflop report says what is missing."
    return "\n\n".join([*([_table(list(_VERDICTS), rows)] if rows else []), *([rest] if untested else [])])


def _laws(view: View) -> str:
    fitted = parameters(view)
    names = fitted["names"]
    rows = []
    for row in fitted["rows"]:
        cells = [f"{value} ({interval})" for value, interval in (row["cells"].get(n, ("–", "")) for n in names)]
        rows.append([row["family"], *(cell.removesuffix(" ()") for cell in cells), row["status"]])
    refused = [f"{_text(family)}: {_text(reason)}" for family, reason in view.refused.items()]
    return "\n\n".join([*([_table(["family", *names, "status"], rows)] if rows else []), *refused]) or "None."


def _sections(view: View) -> dict[str, list[Any]]:
    """Return the panels of each section, in order; a section without any is left out."""
    import wandb_workspaces.reports.v2 as wr

    runs, unit = last_marks(view.runs), view.loss_unit
    drawn = {
        "Loss against data and compute": [*_curves(unit), *_scatters(runs, unit, ("D", "L", ""), ("C", "L", "N"))],
        "isoFLOP: loss against size at a compute": _scatters(runs, unit, ("N", "L", "C")),
        "Best rate": _scatters(runs, unit, ("lr", "L", "N"), ("batch", "L", "lr")),
        "Throughput": [*_scatters(runs, unit, ("N", "targets_per_s", ""), ("C", "wall_s", ""), ("N", "mfu", ""))],
        "Failures": [wr.MarkdownPanel(markdown=_failures_text(view), layout=wr.Layout(w=24, h=8))],
    }
    return {title: panels for title, wanted in drawn.items() if (panels := list(wanted))}


def _curves(unit: str) -> Iterator[Any]:
    import wandb_workspaces.reports.v2 as wr

    # L_train is along the run what the record's column is at its end
    for x, y, title in (("D", "L_train", f"training loss, L_train [{unit}]"), ("C", "L", record.title("L", unit))):
        yield wr.LinePlot(
            title=f"{y} against {x}, by family", x=x, y=[y], title_x=record.title(x), title_y=title, log_x=True,
            log_y=True, groupby=wr.Config("family"), groupby_rangefunc="minmax", max_runs_to_show=_MOST_RUNS,
        )  # fmt: skip


def _scatters(runs: pd.DataFrame, unit: str, *axes: tuple[str, str, str]) -> Iterator[Any]:
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


def _failures_text(view: View) -> str:
    lost = view.runs.unfinished.frame
    if lost.empty:
        return "Every run of the table has a result."
    names = [name for name in ("run_id", *record.WHO, "status", "reason") if name in lost]
    rows = [[cut(str(value), REASON) for value in row] for row in lost[names].fillna("").itertuples(index=False)]
    more = f"\n\nand {len(rows) - _MOST_FAILURES} more" if len(rows) > _MOST_FAILURES else ""
    return _table(names, rows[:_MOST_FAILURES]) + more


def _table(names: list[str], rows: list[list[str]]) -> str:
    lines = [names, ["---"] * len(names), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: str) -> str:
    safe = printable(value).replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{character}" if character in r"\`*_[]|#~" else character for character in safe)


def _colours(view: View) -> dict[str, str]:
    by_family = {family: PALETTE[at % len(PALETTE)] for at, family in enumerate(view.families)}
    runs = last_marks(view.runs)
    pairs = zip(runs["run_id"].astype(str), runs["family"], strict=True)
    return {run_id: by_family[family] for run_id, family in pairs if family in by_family}


def save(dashboard: Dashboard) -> str:
    """Send the figures, save the report, and return its address; UserError without a login."""
    from isoflop.scaling.loop.wandb import is_online, login_problem

    if not is_online():
        raise UserError("W&B is set to stay offline here (WANDB_MODE, or `wandb offline`); --dry-run prints the JSON")
    if problem := login_problem("isoflop dashboard", "--dry-run"):
        raise UserError(problem)
    import wandb

    # our figures as pictures in a run of their own, the same for the same runs
    with tempfile.TemporaryDirectory() as folder:
        run = wandb.init(
            entity=dashboard.report.entity,
            project=dashboard.report.project,
            id=dashboard.media_run,
            resume="allow",
            name=dashboard.report.title,
            job_type="report",
            config={record.REPORT_MARK: True},
            dir=folder,
            settings=wandb.Settings(silent=True, console="off"),
        )
        pictures = {}
        for figure in dashboard.figures:
            picture = Path(folder) / f"{figure.name}.png"
            figure.write(picture)
            pictures[figure.name] = wandb.Image(os.fspath(picture), caption=figure.title)
        run.log(pictures)
        run.finish()
    return str(dashboard.report.save().url)
