"""The answers: the committed tables give the committed verdicts, and these the committed page."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from studies import demo_study

from isoflop.analysis.claims.claim import load_claims
from isoflop.analysis.claims.judge import judge
from isoflop.analysis.report.sentences import verdict_table
from isoflop.analysis.runs.read import read_runs
from isoflop.errors import UserError
from isoflop.sweeps import study

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))
import answers  # noqa: E402

ROOM = REPOSITORY / "studies"
MADE = sorted(file.parent.relative_to(ROOM).as_posix() for file in ROOM.glob("**/verdicts.json"))


# of 998 runs of 11 families: as long as all others together
NIGHTLY = {"scaling": [pytest.mark.nightly]}


@pytest.mark.parametrize("name", [pytest.param(name, marks=NIGHTLY.get(name, [])) for name in MADE])
def test_the_committed_tables_give_the_committed_verdicts(name: str) -> None:
    document = json.loads((ROOM / name / "verdicts.json").read_text(encoding="utf-8"))
    claims = study.read(name.partition("/")[0]).load_claims()
    assert [v["id"] for v in document["verdicts"]] == [claim.id for claim in claims]
    again = judge(read_runs(ROOM / name / "runs.csv"), claims)
    for was, now in zip(document["verdicts"], again, strict=True):
        assert now.verdict.value == was["verdict"], was["id"]
        statistic = was["statistic"]
        expected = None if statistic is None else pytest.approx(statistic, rel=1e-3, abs=1e-6)
        assert now.statistic == expected, was["id"]
        assert now.to_json()["sha256"] == was["sha256"], f"the rule of {was['id']} is not the one that was judged"


@pytest.mark.parametrize("name", MADE)
def test_committed_tables_are_small_and_name_no_machine(name: str) -> None:
    files = [path for path in (ROOM / name).rglob("*") if path.is_file()]
    assert {path.name for path in files} <= {"runs.csv", "probes.csv", "verdicts.json", "forecast.json"}
    # the largest study has a thousand rows of a hundred columns, and 55 pairs of families in its verdicts
    assert sum(path.stat().st_size for path in files) < 1_500_000
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not any(root in text for root in ("/home/", "/root", "/tmp", "/work", "/Users/")), path


@pytest.mark.parametrize("name", [name for name in MADE if "/" in name])
def test_a_decided_verdict_is_not_the_opposite_with_other_seeds(name: str) -> None:
    first, again = (read_runs(ROOM / folder / "runs.csv") for folder in (name.partition("/")[0], name))
    assert not {*first["seed"]} & {*again["seed"]}
    claims = study.read(name.partition("/")[0]).load_claims()
    for one, two in zip(judge(first, claims), judge(again, claims), strict=True):
        assert two.verdict.value != answers.OPPOSITE.get(one.verdict.value), one.id


# studies whose part of the scorecard takes longer to make than all others' and is of the fits that judging them repeats
LONG = ("scaling", "laws")


def test_the_page_is_that_of_the_committed_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SCORED", tuple(name for name in answers.SCORED if name not in LONG))
    committed, now = (
        text.partition("## Scorecard")
        for text in ((REPOSITORY / "docs" / "answers.md").read_text(encoding="utf-8"), answers.page(ROOM))
    )
    assert now[0] == committed[0]
    scores = now[2].splitlines()
    assert len(scores) > 50
    # the order of the axes is that in which studies bring them
    assert Counter(scores) <= Counter(committed[2].splitlines())


def test_every_claim_that_can_be_tested_has_a_study() -> None:
    asked = {claim for one in study.studies() for claim in one.claims}
    lacking = [claim.id for claim in load_claims() if claim.id not in asked and not claim.untestable]
    assert lacking == []


def test_a_claim_without_an_answer_names_the_command_that_would_test_it(tmp_path: Path) -> None:
    text = answers.page(tmp_path)
    assert "- It would be tested by: `isoflop study exact`" in text
    assert "## H25" in text


def test_an_untested_verdict_ends_with_the_command_that_would_test_it() -> None:
    claims = [claim for claim in load_claims() if claim.id == "H19"]
    text = verdict_table(judge(demo_study(), claims))
    assert text.rstrip().endswith("test it  isoflop study exact")


def test_a_withdrawn_verdict_is_listed_with_its_reason_and_not_counted_among_the_decided() -> None:
    reasons = answers.superseded(ROOM)
    assert {"H2", "H3", "H24", "H37", "matched-C"} <= set(reasons)
    entries = {entry.claim.id: entry for entry in answers.read(ROOM)}
    for name, reason in reasons.items():
        assert entries[name].word == "withdrawn"
        assert entries[name].judged in answers.OPPOSITE
        assert entries[name].withdrawn == reason
    assert entries["H3-local"].word == "supported"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("H99: no such claim", "unknown claim 'H99'; choose one of H1"), ("H3: ''", "H3 gives no reason")],
)
def test_an_unknown_claim_or_a_missing_reason_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / answers.SUPERSEDED).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(sentence)):
        answers.superseded(tmp_path)
