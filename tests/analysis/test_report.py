"""The page needs no network, escapes what it is given, shows verdicts first and failures always."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from studies import TRUTH, demo_study, grid_study

from isoflop.analysis.claims.claim import Claim
from isoflop.analysis.claims.declare import QUANTITIES, Contrast, Quantity, Sample
from isoflop.analysis.claims.region import UNITS, Region
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.holdout.forecast import forecast
from isoflop.analysis.report import report as report_module
from isoflop.analysis.report.figures.base import Figure, _csv_of, draw_all
from isoflop.analysis.report.figures.style import _nice_ticks, log_axis
from isoflop.analysis.report.report import write_report
from isoflop.analysis.report.sentences import summary
from isoflop.analysis.report.tables import _folder_of
from isoflop.analysis.report.view import look
from isoflop.analysis.runs.read import read_runs
from isoflop.folder import RunFolder
from isoflop.wording import number

EVIL = "<script>alert('x')</script>"


class Page(HTMLParser):
    """What a page loads and holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.bare: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.loads += [v for k, v in given.items() if k in ("src", "srcset") and v] + (
            [given["href"] or ""] if tag == "link" else []
        )
        if (tag == "img" and not given.get("alt")) or (given.get("role") == "img" and not given.get("aria-label")):
            self.bare.append(tag)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = demo_study()
    runs.loc[runs["status"] != "ok", "reason"] = EVIL
    return write_report(runs, tmp_path_factory.mktemp("report")).parent


def test_the_page_loads_nothing_from_elsewhere(report: Path) -> None:
    page = Page((report / "index.html").read_text())
    assert all(not re.match(r"(https?:)?//", load) for load in page.loads)
    assert all((report / load).exists() for load in page.loads)
    assert page.bare == []


def test_the_page_goes_from_question_and_finding_to_one_figure_verdicts_and_the_other_figures(report: Path) -> None:
    text = (report / "index.html").read_text()
    order = [
        "<h1>",
        'id="finding"',
        "<figure",
        "<caption>What was predicted",
        'id="figures-h"',
        'id="laws-h"',
        'id="ledger-h"',
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.index('id="figures-h"') - text[: text.index('id="figures-h"')].rindex("<figure") > 0
    assert text.count("<figure", 0, places[3]) == 1
    assert text.count("what this table lacks (probes") == 1
    assert "At the same training compute" in text
    assert "Size, data and compute give predictable gains" not in text  # nothing foreign but that line


def test_what_a_table_holds_cannot_become_markup(report: Path) -> None:
    text = (report / "index.html").read_text()
    assert EVIL not in text
    assert "&lt;script&gt;alert" in text


def test_a_family_that_is_called_like_markup_stays_text(tmp_path: Path) -> None:
    truth = {EVIL: (0.9, 15.0, 0.3, 60.0, 0.33)}
    page = write_report(demo_study([EVIL], truth=truth, failures=False), tmp_path, [])
    assert EVIL not in page.read_text()


def test_every_figure_is_a_spec_and_its_data(report: Path) -> None:
    names = {f.stem for f in (report / "figures").iterdir()}
    assert {"loss_vs_compute", "loss_vs_data", "isoflop_profiles", "observed_vs_predicted", "contrasts"} <= names
    assert {f.suffix for f in (report / "figures").iterdir()} == {".csv", ".json"}
    for name in names:
        assert len(pd.read_csv(report / "figures" / f"{name}.csv")) > 0
        spec = json.loads((report / "figures" / f"{name}.json").read_text())
        assert spec["title"]["text"]


def test_pictures_are_written_where_they_are_asked_for_and_none_of_an_earlier_page_stays(tmp_path: Path) -> None:
    figure = next(f for _, f in draw_all(look(demo_study(["lstm"]), [])) if isinstance(f, Figure))
    figure.save(tmp_path, pictures=True)
    assert (tmp_path / f"{figure.name}.svg").read_text().startswith("<svg")
    assert (tmp_path / f"{figure.name}.png").read_bytes().startswith(b"\x89PNG")
    figure.save(tmp_path, pictures=False)
    assert {f.suffix for f in tmp_path.iterdir()} == {".csv", ".json"}


def test_the_ledger_holds_the_runs_that_failed(report: Path) -> None:
    text = (report / "index.html").read_text()
    ledger = text[text.index('id="ledger-h"') :]
    assert "diverged" in ledger
    assert "1 not finished" in ledger


def test_a_figure_whose_needs_are_unmet_is_a_line_that_says_what_is_missing(tmp_path: Path) -> None:
    runs = grid_study(["lstm"])[["run_id", "seed", "status", "family", "D", "L"]]
    drawn = dict(draw_all(look(runs, [])))
    lacking = {name: said for name, said in drawn.items() if isinstance(said, str)}
    assert "no run has a C" in lacking["loss_vs_compute"]
    text = write_report(runs, tmp_path, []).read_text()
    assert "no run has a C" in text


def test_numbers_and_ticks_read_as_in_print() -> None:
    assert [number(x) for x in (1e10, 2e10, 3.2e11, 2.5, 1e-5)] == ["10¹⁰", "2·10¹⁰", "3.2·10¹¹", "2.5", "10⁻⁵"]
    assert _nice_ticks(1e8, 1e12) == [1e8, 1e9, 1e10, 1e11, 1e12]
    assert _nice_ticks(9e9, 4e11) == [1e10, 2e10, 5e10, 1e11, 2e11]
    assert _nice_ticks(1.96, 2.24) == [2.0, 2.05, 2.1, 2.15, 2.2]


def test_a_law_that_is_not_identified_is_flagged_and_not_sold(tmp_path: Path) -> None:
    flat = {"lstm": (2.0, 0.0, 0.3, 0.05, 0.3)}
    text = write_report(demo_study(["lstm"], truth=flat, failures=False), tmp_path, []).read_text()
    assert "lstm: not identified." in text
    assert "Do not read its numbers as estimates" in text


def test_the_page_leads_with_what_is_identified_where_the_parameters_are_not(tmp_path: Path) -> None:
    flat = {"lstm": (2.5, 2.0, 0.3, 60.0, 0.33), "mlp": TRUTH["mlp"]}
    runs = demo_study(["lstm", "mlp"], truth=flat, failures=False)
    view = look(runs, [])
    assert view.laws["lstm"].unidentified
    assert not view.laws["mlp"].unidentified
    (sentence,) = [s for s in summary(view) if "do not identify the parameters" in s]
    assert re.search(
        r"runs of lstm .* at N=.* the loss falls by \d\.\d+ % \(.* to .*\) for each doubling of N", sentence
    )
    page = write_report(runs, tmp_path, []).read_text()
    assert page.index("at a point among the runs, which may") < page.index("Intervals are over runs, at 95 %")


def test_a_forecast_is_on_the_page_with_its_outcome_and_its_date(tmp_path: Path) -> None:
    runs = grid_study(["lstm"])
    early = runs[runs["C"] < runs["C"].max()]
    path = forecast(early, [{"N": 1e7, "D": 1e8}], by=["family"], loss="l2").save(tmp_path / "forecast.json")
    page = write_report(runs, tmp_path / "report", [], path).read_text()
    assert "A forecast that may or may not have been made before these runs was off by" in page
    assert "not committed as it is now" in page
    assert "N=10⁷, D=10⁸" in page


def test_looking_at_runs_imports_no_drawing_library() -> None:
    import subprocess
    import sys

    code = "import sys, isoflop.analysis.claims.judge, isoflop.analysis.report.report; print('altair' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_axes_take_title_and_unit_from_the_record_and_from_the_loss_of_the_runs(tmp_path: Path) -> None:
    assert log_axis("wall_s", [1.0, 10.0])["title"] == "time of training and evaluation, wall_s [s]"
    assert log_axis("probe.slope", [1.0, 10.0])["title"] == "probe.slope"
    runs = demo_study(["lstm"], failures=False).assign(loss_unit="squared error")
    drawn = dict(draw_all(look(runs, [])))
    texts = [json.dumps(figure.spec()) for figure in drawn.values() if isinstance(figure, Figure)]
    assert len(texts) >= 3
    assert any("held-out loss, L [squared error]" in text for text in texts)
    page = write_report(runs, tmp_path, []).read_text()
    assert "in squared error; lower is better" in page
    assert "nats" not in "".join([*texts, page[: page.index("<script")]])


def test_the_reason_of_an_untested_claim_is_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "id: mine\nclaim: It falls.\nquantity: run_mean\nof: probe.slope\nregion: {below: 0}\n"
    )
    runs = demo_study(["lstm"], failures=False).rename(columns={"torch": "probe.slop"})
    page = write_report(runs, tmp_path / "r", tmp_path).read_text()
    assert "the runs have no column probe.slope; did you mean probe.slop?" in page


def test_a_quantity_is_worded_by_its_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    def slope_contrast(sample: Sample, name: str) -> Contrast:
        """difference of a slope"""
        return Contrast(-0.25, 0.01, 10, reason="made up")

    declared = Quantity(
        "slope_contrast",
        slope_contrast,
        ("of",),
        "pair",
        "column",
        UNITS[""],
        "{of} is {amount} lower for {lower} than for {higher}",
    )
    monkeypatch.setitem(QUANTITIES, "slope_contrast", declared)
    rule = Rule("slope_contrast", Region(contrast=0.1), combine="any", of=("wall_s",))
    claim = Claim("x", "Slopes differ.", rule=rule)
    # a family may be called as a pair is written
    view = look(demo_study(["a − b", "lstm"], truth={"a − b": TRUTH["mlp"], **TRUTH}, failures=False), [claim])
    assert any(
        ": wall_s is 0.25 lower for a − b than for lstm (a − b − lstm: " in sentence for sentence in summary(view)
    )
    figure = dict(draw_all(view))["contrasts"]
    assert isinstance(figure, Figure)
    assert figure.data["lower"].tolist() == ["a − b"]
    assert '"title": "difference"' in json.dumps(figure.spec())


def test_no_sentence_and_no_figure_knows_a_quantity_by_name() -> None:
    folder = Path(report_module.__file__).parent
    for file in [*folder.rglob("*.py"), *folder.rglob("*.html")]:
        if file.parent == folder and file.stem == "scorecard":  # which is a choice of quantities
            continue
        text = file.read_text()
        # a name of one word, such as difference, is a word of the language too
        assert not [name for name in QUANTITIES if "_" in name and name in text], file


def test_the_ledger_leads_to_the_folder_and_the_mirror_of_a_run(tmp_path: Path) -> None:
    ids = [f"a{n:011x}" for n in range(4)]
    for run_id in ids[:2]:
        folder = RunFolder(tmp_path / "runs/a sweep" / run_id)
        folder.path.mkdir(parents=True)
        folder.write_config({"family": "lstm"})
    folder.write_mirror("https://wandb.ai/me/isoflop/runs/1")
    runs = pd.DataFrame(
        {"run_id": ids, "family": "lstm", "N": 1e4, "D": [1e5, 2e5, 3e5, 4e5], "L": [3.0, 2.8, 2.7, 2.6]}
    )
    runs = runs.assign(sweep="a sweep", url=[None, None, "https://my.lab/3", "javascript:alert(1)"])
    runs.to_csv(tmp_path / "runs.csv", index=False)
    page = write_report(read_runs(tmp_path / "runs.csv"), tmp_path / "out/report", [])
    hrefs = re.findall(r'<a href="([^"]*)">(folder|W&amp;B|online)</a>', page.read_text())
    folders = [f"../../runs/a%20sweep/{run_id}/" for run_id in ids[:2]]
    mirror = ("https://wandb.ai/me/isoflop/runs/1", "W&amp;B")
    assert hrefs == [(folders[0], "folder"), (folders[1], "folder"), mirror, ("https://my.lab/3", "online")]
    assert (page.parent / hrefs[0][0].replace("%20", " ")).is_dir()
    assert _folder_of({"run_id": "../../etc", "sweep": ".."}, tmp_path / "runs.csv") is None


def test_the_data_of_a_figure_may_lack_words() -> None:
    rows = pd.DataFrame({"family": ["=1+1", None, float("nan")], "L": [1.0, 2.0, 3.0]})
    assert _csv_of(rows) == "family,L\n'=1+1,1.0\n,2.0\n,3.0\n"
