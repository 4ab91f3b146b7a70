"""Studies: a question, runs and claims by one name; each is checked before it runs, and answered in its folder."""

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import Isoflop
from hydra.core.override_parser.overrides_parser import OverridesParser

from isoflop.analysis.runs.read import read_runs
from isoflop.errors import UserError
from isoflop.sweeps import study, study_run
from isoflop.sweeps.compose import expanded
from isoflop.sweeps.plan.plan import composed


@pytest.mark.parametrize("name", study.names())
def test_every_study_asks_a_question_and_names_claims_that_exist(name: str) -> None:
    found = study.read(name)
    assert found.question.endswith("?")
    assert found.minutes > 0
    assert [claim.id for claim in found.load_claims()] == list(found.claims)


def test_studies_are_listed_with_their_last_verdicts(isoflop: Isoflop, tmp_path: Path) -> None:
    (tmp_path / "known").mkdir()
    answer = {"verdicts": [{"id": "known-exponent", "verdict": "not_identified"}]}
    (tmp_path / "known" / "verdicts.json").write_text(json.dumps(answer))
    lines = isoflop("study", "--out", str(tmp_path)).stdout.splitlines()
    assert all(any(line.startswith(name) for line in lines) for name in study.names())
    assert "known-exponent not identified" in next(line for line in lines if line.startswith("known"))


def test_a_study_that_is_none_is_one_sentence(isoflop: Isoflop) -> None:
    done = isoflop("study", "knwon")
    assert done.returncode == 2
    assert "'knwon' is not a study; did you mean known?" in done.stderr


def test_a_study_of_an_unknown_claim_is_refused_before_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extension = tmp_path / "my_lab"
    (extension / "conf" / "study").mkdir(parents=True)
    yaml = "# @package _global_\nstudy:\n  question: Why?\n  claims: [H99]\n  minutes: 1\n"
    (extension / "conf" / "study" / "mine.yaml").write_text(yaml)
    monkeypatch.setenv("ISOFLOP_EXTENSIONS", str(extension))
    assert "mine" in study.names()
    with pytest.raises(UserError, match="claims: H99 is not a claim"):
        study_run.run("mine", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_study_trains_judges_and_reports_in_its_folder(isoflop: Isoflop, tmp_path: Path) -> None:
    out = tmp_path / "known"
    small = ["seed=0,1", "budget.D=[1e3,2e3,4e3]", "data.eval_size=4096", "data.vocab_size=500", "family.width=500"]
    done = isoflop("study", "known", "--out", str(out), *small)
    assert done.returncode == 0, done.stderr
    answer = json.loads((out / "verdicts.json").read_text())
    assert [v["id"] for v in answer["verdicts"]] == ["known-exponent"]
    assert answer["verdicts"][0]["verdict"] == "untested"  # three amounts of data, and six are needed
    assert "untested" in done.stdout.lower()
    assert len((out / "runs.csv").read_text().splitlines()) == 1 + 2 * 3
    page = (out / "report" / "index.html").read_text()
    assert "the slope of theory, −0.5" in page
    assert "0 to make" in isoflop("study", "known", "--out", str(out), *small).stderr


def test_a_demo_ends_on_what_it_found_identified_predicted_and_refused(tmp_path: Path) -> None:
    room = Path(__file__).parents[2] / "studies"
    shutil.copytree(room / "demo", tmp_path, dirs_exist_ok=True)
    shutil.copytree(room / "known", tmp_path / "known")
    said = study_run.in_short(tmp_path)
    assert re.search(r"found +the exponent of Zipfian facts is 0.5\d* where theory gives 0.5: supported", said)
    assert re.search(r"identified +the loss of \w+ of width \d+ is [\d.]+ \+ A D\^-0", said)
    assert "of lstm from half the data: supported, 0.25 % off" in said
    assert "of cnn from half the data: refuted" in said
    assert re.search(r"refused +a law of size and data for cnn: N has a single value", said)


def test_the_listing_counts_the_runs_of_a_study() -> None:
    assert study.read("known").runs == 12
    assert study.read("demo").runs == 2 * 5 + 3 + 4  # the amounts of data are marks of one run


def test_a_remark_on_a_claim_that_a_study_has_not_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extension = tmp_path / "my_lab"
    (extension / "conf" / "study").mkdir(parents=True)
    yaml = "# @package _global_\nstudy:\n  question: Why?\n  claims: [H1]\n  remarks: {H2: Because.}\n"
    (extension / "conf" / "study" / "mine.yaml").write_text(yaml)
    monkeypatch.setenv("ISOFLOP_EXTENSIONS", str(extension))
    with pytest.raises(UserError, match=r"study\.remarks=.* must give a sentence for claims among its own"):
        study.read("mine")


LARGER = """# @package _global_
study:
  question: What do larger runs give?
  claims: []
  forecast: chinchilla
family: {depth: 1}
data: {eval_size: 4096, seq_len: 16}
budget: {D: [1e3, 2e3, 4e3]}
hydra:
  sweeper:
    grids:
      - family: mlp,lstm
        family.width: 4,8
    larger:
      - family: mlp,lstm
        family.width: 16
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_larger_runs_are_forecast_before_they_are_made_and_then_scored(
    isoflop: Isoflop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "my_lab"
    (lab / "conf" / "study").mkdir(parents=True)
    (lab / "conf" / "study" / "mine.yaml").write_text(LARGER)
    monkeypatch.setenv("ISOFLOP_EXTENSIONS", str(lab))
    out = tmp_path / "mine"
    command = ("study", "mine", "--out", str(out), "family=mlp")
    paused = isoflop(*command, "--pause")
    assert paused.returncode == 0, paused.stderr
    assert "commit" in paused.stdout
    assert read_runs(out / "runs.csv")["width"].max() == 8
    written = (out / "forecast.json").read_text()
    without = isoflop(*command, study.SMALLER)
    assert without.returncode == 0, without.stderr
    assert "forecast.json is not scored: no new run lies at a point of the forecast" in without.stdout
    (out / "verdicts.json").unlink()
    assert [point["by"]["family"] for point in json.loads(written)["points"]] == ["mlp"] * 3
    assert not (out / "verdicts.json").exists()

    whole = isoflop(*command)
    assert whole.returncode == 0, whole.stderr
    assert (out / "forecast.json").read_text() == written
    score = json.loads((out / "verdicts.json").read_text())["forecast"]
    assert len(score["rows"]) == 3
    assert score["open"] == []
    assert score["fitted_rows_left_out"] == 2 * 3

    # a forecast that was made by hand is scored too where it lies in the folder of a study
    by_hand = LARGER.replace("  forecast: chinchilla\n", "").replace("    larger:\n", "")
    (lab / "conf" / "study" / "mine.yaml").write_text(by_hand)
    again = isoflop(*command)
    assert again.returncode == 0, again.stderr
    assert json.loads((out / "verdicts.json").read_text())["forecast"]["rows"] == score["rows"]


def test_other_runs_than_its_own_go_to_a_folder_of_their_own() -> None:
    assert study.folder("laws", []) == Path("studies/laws")
    assert study.folder("laws", ["hydra.launcher.n_jobs=2"]) == Path("studies/laws")
    assert study.folder("laws", ["family=lstm", "seed=0,1"]) == Path("studies/laws/family=lstm,seed=0,1")
    with pytest.raises(UserError, match="name one with --out"):
        study.folder("laws", ["seed=" + ",".join(map(str, range(99)))])


def test_a_forecast_and_the_larger_runs_belong_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = tmp_path / "my_lab"
    (lab / "conf" / "study").mkdir(parents=True)
    (lab / "conf" / "study" / "mine.yaml").write_text(LARGER.replace("  forecast: chinchilla\n", ""))
    monkeypatch.setenv("ISOFLOP_EXTENSIONS", str(lab))
    with pytest.raises(UserError, match=r"study\.forecast='' must be a law where hydra\.sweeper\.larger has runs"):
        study.read("mine")


def test_a_family_on_the_command_line_chooses_among_the_grids_of_a_study() -> None:
    widths = {c.family["width"] for c in composed(["study=scaling", "family=lstm", study.SMALLER]).configs}
    assert widths == {8, 16, 24, 40, 56}
    two = {
        (c.names.family, c.family["width"]) for c in composed(["study=scaling", "family=lstm,s4d", "seed=0"]).configs
    }
    assert two == {("lstm", w) for w in (8, 16, 24, 40, 56, 80, 96)} | {("s4d", w) for w in (8, 16, 32, 56, 88, 136)}
    # a grid that says nothing of the data is of that which is asked for
    grids = [{"family": "mlp", "data": "hmm,zipf"}, {"family": "lstm"}]
    parser = OverridesParser.create()
    assert expanded(parser, grids, ["data=zipf"]) == [["family=mlp", "data=zipf"], ["family=lstm", "data=zipf"]]
    # one that no grid has takes the place of them all
    assert len(expanded(parser, grids, ["data=zipf,text"])) == 2 * 2
    assert {c.names.family for c in composed(["study=collapse", "family=lstm"]).configs} == {"lstm"}


def test_there_is_nothing_to_pause_for_without_a_forecast(isoflop: Isoflop) -> None:
    done = isoflop("study", "known", "--pause")
    assert done.returncode == 2
    assert "study=known forecasts no larger runs, so there is nothing to pause for; leave out --pause" in done.stderr
