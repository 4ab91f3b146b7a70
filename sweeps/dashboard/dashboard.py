"""The workspace and the report as objects of wandb-workspaces, what they are as JSON, and saving them."""

import hashlib
import importlib.util
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isoflop import record
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.report.figures.base import Figure, draw_all
from isoflop.analysis.report.finding import finding, question
from isoflop.analysis.report.report import verdict_row
from isoflop.analysis.report.sentences import decided_first
from isoflop.analysis.report.tables import count_runs, parameters
from isoflop.analysis.report.view import View
from isoflop.errors import UserError
from isoflop.sweeps.dashboard import panels
from isoflop.wording import cut, printable

# columns of the verdicts, as verdict_row names them
VERDICTS = ("id", "word", "claim", "statistic", "interval", "limit", "rule", "reason")
# W&B's limit on a title
LONGEST_TITLE = 128


@dataclass(frozen=True)
class Dashboard:
    """What is to be saved."""

    workspace: Any
    """A wandb_workspaces.workspaces.Workspace."""
    report: Any
    """A wandb_workspaces.reports.v2.Report."""
    figures: tuple[Figure, ...]
    """Our figures, which go into a run of their own as media."""
    media_run: str
    """The id of that run."""

    def as_json(self) -> dict[str, Any]:
        """Return what would be saved as plain data; the figures by name and title."""
        view, report = self.workspace._to_model(), self.report._to_model()
        return {
            "entity": self.workspace.entity,
            "project": self.workspace.project,
            "workspace": {"name": view.display_name, "spec": _spec(view)},
            "report": {"title": report.display_name, "description": report.description, "spec": _spec(report)},
            "media": {"run_id": self.media_run, "figures": {figure.name: figure.title for figure in self.figures}},
        }


def _spec(model: Any) -> Any:
    return json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))


def refuse_library() -> None:
    """Refuse to go on without wandb-workspaces."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("isoflop dashboard needs wandb-workspaces: pip install 'isoflop[dashboard]'")


def build(view: View, entity: str, project: str) -> Dashboard:
    """Build the workspace and the report of the runs of a view; UserError if none of them was mirrored."""
    refuse_library()
    if "run_id" not in view.runs:
        raise UserError("the table has no column run_id, by which W&B knows a run; give one that isoflop collect made")
    ids = sorted(view.runs["run_id"].astype(str).unique())
    media_run = f"report-{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:12]}"
    figures = tuple(drawn for _, drawn in draw_all(view) if isinstance(drawn, Figure))
    name = _name(view)
    return Dashboard(
        _workspace(view, entity, project, name), _report(view, entity, project, name, figures, media_run),
        figures, media_run,
    )  # fmt: skip


def _name(view: View) -> str:
    """Return the name of the table."""
    source = Path(view.runs.source).name or "runs"
    return cut(printable(f"{source}: {count_runs(view.runs)} runs"), LONGEST_TITLE)


def _filters(view: View) -> list[Any]:
    """Return the filter of runs to show: those of the table's sweeps, if it names them."""
    from wandb_workspaces.expr import Metric

    sweeps = sorted(view.runs["sweep"].dropna().astype(str).unique()) if "sweep" in view.runs else []
    # the library writes names between quotes as they are
    sound = sweeps and not any(character in name for name in sweeps for character in "'\"\\")
    return [Metric("Group").isin(sweeps)] if sound else []


def _workspace(view: View, entity: str, project: str, name: str) -> Any:
    import wandb_workspaces.workspaces as ws

    sections = [ws.Section(name=title, panels=some, is_open=True) for title, some in panels.sections(view).items()]
    colours = {run_id: ws.RunSettings(color=colour) for run_id, colour in panels.colours(view).items()}
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=sections,
        settings=ws.WorkspaceSettings(max_runs=panels.MOST_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=_filters(view), run_settings=colours, pinned_columns=list(panels.COLUMNS)
        ),
    )


def _report(view: View, entity: str, project: str, name: str, figures: tuple[Figure, ...], media_run: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    blocks = [wr.H1(question(view)), wr.P(finding(view)), wr.H2("Verdicts"), wr.MarkdownBlock(_verdicts(view))]
    blocks += [wr.H2("Laws"), wr.MarkdownBlock(_laws(view))]
    if figures:
        blocks += [wr.H2("Figures"), _media(figures, media_run)]
    colours = {run_id: wr.RunSettings(color=colour) for run_id, colour in panels.colours(view).items()}
    for title, some in panels.sections(view).items():
        shown = wr.Runset(filters=_filters(view), run_settings=colours)
        blocks += [wr.H2(title), wr.PanelGrid(runsets=[shown], panels=some)]
    return wr.Report(
        entity=entity, project=project, title=name, description="made by isoflop dashboard", blocks=blocks,
        width="fluid",
    )  # fmt: skip


def _verdicts(view: View) -> str:
    """Return the claims that the runs test, with what came of each; how many they do not test."""
    tested = [v for v in decided_first(view.verdicts) if v.verdict is not VerdictKind.UNTESTED]
    rows = [[str(row[name]) for name in VERDICTS] for row in (verdict_row(view, verdict) for verdict in tested)]
    untested = len(view.verdicts) - len(tested)
    rest = f"{untested} claim{'s' * (untested != 1)} that these runs do not test: isoflop report says what is missing."
    return "\n\n".join([*([panels.table(list(VERDICTS), rows)] if rows else []), *([rest] if untested else [])])


def _laws(view: View) -> str:
    """Return the parameters of each family with their intervals, and why a family has none."""
    fitted = parameters(view)
    names = fitted["names"]
    rows = []
    for row in fitted["rows"]:
        cells = [f"{value} ({interval})" for value, interval in (row["cells"].get(n, ("–", "")) for n in names)]
        rows.append([row["family"], *(cell.removesuffix(" ()") for cell in cells), row["status"]])
    refused = [f"{panels.text(family)}: {panels.text(reason)}" for family, reason in view.refused.items()]
    return "\n\n".join([*([panels.table(["family", *names, "status"], rows)] if rows else []), *refused]) or "None."


def _media(figures: tuple[Figure, ...], media_run: str) -> Any:
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces.expr import Metric

    keys = [figure.name for figure in figures]
    browser = wr.MediaBrowser(media_keys=keys, num_columns=2, layout=wr.Layout(w=24, h=8 * -(-len(keys) // 2)))
    return wr.PanelGrid(runsets=[wr.Runset(filters=[Metric("ID").isin([media_run])])], panels=[browser])


def save(dashboard: Dashboard) -> list[str]:
    """Send the figures, save the workspace and the report, and return their addresses; UserError without a login."""
    from isoflop.scaling.loop.wandb import is_online, login_problem

    if not is_online():
        raise UserError("W&B is set to stay offline here (WANDB_MODE, or `wandb offline`); --dry-run prints the JSON")
    if problem := login_problem("isoflop dashboard", "--dry-run"):
        raise UserError(problem)
    _send(dashboard)
    return [dashboard.workspace.save().url, dashboard.report.save().url]


def _send(dashboard: Dashboard) -> None:
    """Put our figures as pictures into a run of their own, the same for the same runs."""
    import wandb

    with tempfile.TemporaryDirectory() as folder:
        run = wandb.init(
            entity=dashboard.workspace.entity,
            project=dashboard.workspace.project,
            id=dashboard.media_run,
            resume="allow",
            name=dashboard.workspace.name,
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
