"""The dashboard: a report that the library's own schema accepts, with what the table holds as text."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from conftest import Isoflop

import isoflop
from isoflop import record
from isoflop.analysis.report.view import View, look
from isoflop.errors import UserError
from isoflop.sweeps.importing.importing import import_logs
from isoflop.sweeps.watch.dashboard import Dashboard, _failures_text, build, save

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "studies/widths/runs.csv"
HOSTILE = "a | b <script>alert(1)</script> *x* [y](javascript:z)\nend"

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("wandb_workspaces") is None, reason="wandb-workspaces is not installed"
)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def view() -> View:
    """Runs of two families at several rates, one of which failed."""
    runs = isoflop.read_runs(RUNS).frame
    runs["lr"] = 1 / runs["width"]
    lost = runs.head(1).assign(run_id="lost", status="failed", reason=HOSTILE)
    runs = pd.concat([runs.assign(reason=""), lost], ignore_index=True)
    runs["sweep"] = "a sweep"
    return look(runs, ROOT / "conf/claims/H30.yaml")


@pytest.fixture(scope="module")
def dashboard(view: View) -> Dashboard:
    return build(view, "me", "isoflop")


def titles(panels: list[dict[str, Any]]) -> list[str]:
    return [panel["config"].get("chartTitle", "") for panel in panels]


def bare(spec: Any) -> Any:
    """The same without the empty list of comments that the library adds to a text that it reads."""
    if isinstance(spec, dict):
        return {key: bare(value) for key, value in spec.items() if key != "inlineComments" or value}
    return [bare(value) for value in spec] if isinstance(spec, list) else spec


@needs_library
def test_what_would_be_saved_is_what_the_library_reads(dashboard: Dashboard) -> None:
    from wandb_workspaces.reports.v2.internal import Spec

    saved = json.loads(json.dumps(dashboard.as_json(), allow_nan=False))
    read = Spec.model_validate(saved["report"]["spec"])
    assert bare(json.loads(read.model_dump_json(by_alias=True, exclude_none=True))) == bare(saved["report"]["spec"])
    assert "unknown" not in str([type(block) for block in read.blocks]).lower()
    assert (saved["entity"], saved["project"]) == ("me", "isoflop")


@needs_library
def test_the_report_shows_the_runs_of_the_table_by_family(dashboard: Dashboard, view: View) -> None:
    blocks = dashboard.as_json()["report"]["spec"]["blocks"]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"][1:]
    shown = [titles(grid["panelBankSectionConfig"]["panels"]) for grid in grids]
    assert shown[0] == ["L_train against D, by family", "L against C, by family", "L against C, coloured by N"]
    assert shown[1] == ["L against N, coloured by C"]
    assert shown[2] == ["L against lr, coloured by N"]
    assert "targets_per_s against N" in shown[3]
    (runset,) = grids[0]["runSets"]
    (condition,) = runset["filters"]["filters"]
    assert (condition["key"]["name"], condition["op"], condition["value"]) == ("group", "IN", ["a sweep"])
    families, colours = view.runs.frame.set_index("run_id")["family"], grids[0]["customRunColors"]
    assert {colours[run_id] for run_id in families.index[families == "lstm"]} == {"#0072B2"}


@needs_library
def test_the_report_has_verdicts_laws_and_figures_as_media(dashboard: Dashboard) -> None:
    saved = dashboard.as_json()
    blocks = saved["report"]["spec"]["blocks"]
    texts = [block["content"] for block in blocks if block["type"] == "markdown-block"]
    assert "| H30 |" in texts[0]
    assert "| family | E | A | alpha |" in texts[1]
    media = [p for b in blocks if b["type"] == "panel-grid" for p in b["metadata"]["panelBankSectionConfig"]["panels"]]
    (browser,) = [panel for panel in media if panel["viewType"] == "Media Browser"]
    assert browser["config"]["mediaKeys"] == list(saved["media"]["figures"])
    assert "loss_vs_compute" in saved["media"]["figures"]


@needs_library
def test_saving_sends_the_figures_once_and_returns_the_address(
    dashboard: Dashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb_workspaces.reports.v2 import Report

    given: dict[str, Any] = {}
    run = SimpleNamespace(log=given.update, finish=lambda: None)
    monkeypatch.setattr("wandb.init", lambda **settings: given.update(settings) or run)
    monkeypatch.setattr("isoflop.scaling.loop.wandb.is_online", lambda: True)
    monkeypatch.setattr("isoflop.scaling.loop.wandb.login_problem", lambda *_: "")
    monkeypatch.setattr(Report, "save", lambda self: SimpleNamespace(url="the report"))
    assert save(dashboard) == "the report"
    assert (given["id"], given["job_type"], given["config"]) == (
        dashboard.media_run,
        "report",
        {record.REPORT_MARK: True},
    )
    assert given["loss_vs_compute"].format == "png"
    # and the run that carries them is no run of a sweep
    runs = [SimpleNamespace(id="x", name="x", state="finished", config={record.REPORT_MARK: True}, summary={"a": 1})]
    monkeypatch.setattr("wandb.Api", lambda **_: SimpleNamespace(runs=lambda path: runs))
    with pytest.raises(UserError, match="has no run that can be read"):
        import_logs("me/isoflop", tmp_path / "runs.csv")


def test_what_a_table_holds_is_shown_as_text(view: View) -> None:
    text = _failures_text(view)
    assert len(text.splitlines()) == 3
    assert "a \\| b &lt;script>alert(1)&lt;/script> \\*x\\* \\[y\\](javascript:z) end" in text
    assert _failures_text(look(isoflop.read_runs(RUNS), [])) == "Every run of the table has a result."


@needs_library
def test_a_table_of_others_is_refused() -> None:
    runs = pd.DataFrame({"family": ["a"] * 3, "N": [1e3, 1e4, 1e5], "D": [1e6] * 3, "L": [3.0, 2.0, 1.5]})
    with pytest.raises(UserError, match="no column run_id, by which W&B knows a run"):
        build(look(runs, []), "me", "isoflop")


@pytest.mark.parametrize("project", ["me", "/isoflop", "me/", "a/b/c"])
def test_a_project_is_named_with_its_entity(isoflop: Isoflop, project: str) -> None:
    done = isoflop("dashboard", RUNS, "--project", project)
    assert done.returncode == 2
    assert "is not ENTITY/PROJECT; write --project me/isoflop" in done.stderr


def test_without_a_login_or_the_library_it_is_one_sentence(isoflop: Isoflop, tmp_path: Path) -> None:
    done = isoflop("dashboard", RUNS, "--project", "me/isoflop", "--claims", ROOT / "conf/claims/H30.yaml")
    assert done.returncode == 2
    library = importlib.util.find_spec("wandb_workspaces") is not None
    assert ("login" if library else "pip install 'isoflop[dashboard]'") in done.stderr
    assert len(done.stderr.splitlines()) == 1
