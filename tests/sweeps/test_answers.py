"""The answers: the committed tables give the committed verdicts, and these the committed page."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import answers
import pytest
import yaml
from answers_picture import bar_of
from studies import demo_study

from isoflop.analysis.claims.claim import load_claims
from isoflop.analysis.claims.judge import judge
from isoflop.analysis.claims.region import Region
from isoflop.analysis.report.sentences import verdict_table
from isoflop.analysis.runs.read import read_runs
from isoflop.errors import UserError
from isoflop.sweeps import study

REPOSITORY = Path(__file__).resolve().parents[2]
ROOM = REPOSITORY / "studies"
MADE = sorted(file.parent.relative_to(ROOM).as_posix() for file in ROOM.glob("**/verdicts.json"))


# a few of the smallest in the suite; the largest, of 998 runs of 11 families, takes longer than all others
SMALLEST = sorted(MADE, key=lambda name: (ROOM / name / "runs.csv").stat().st_size)[:4]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.nightly] * (name not in SMALLEST)) for name in MADE]
)
def test_the_committed_tables_give_the_committed_verdicts(name: str) -> None:
    document = json.loads((ROOM / name / "verdicts.json").read_text(encoding="utf-8"))
    claims = study.read(document["study"]).load_claims()
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
    known = {"runs.csv", "probes.csv", "verdicts.json", "forecast.json", "forecast_2.json", "forecast_2_runs.csv"}
    assert {path.name for path in files} <= known
    # the largest has twenty marks of 120 networks, in a hundred columns
    assert sum(path.stat().st_size for path in files) < 2_000_000
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


# the part of the scorecard of these studies takes longer to make than all else, and is of the fits that judging repeats
@pytest.mark.parametrize("left_out", [("scaling", "laws", "two_texts"), pytest.param((), marks=pytest.mark.nightly)])
def test_the_pages_are_those_of_the_committed_answers(
    left_out: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SCORED", tuple(name for name in answers.SCORED if name not in left_out))
    now = answers.pages(ROOM)
    committed = {name: (REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in now}
    scores = {
        side: pages.pop("answers/scorecard.md").partition("## Scorecard")
        for side, pages in (("now", now), ("committed", committed))
    }
    assert now == committed
    assert scores["now"][0] == scores["committed"][0]
    lines = scores["now"][2].splitlines()
    assert len(lines) > 50
    # the order of the axes is that in which studies bring them
    assert Counter(lines) <= Counter(scores["committed"][2].splitlines())


def test_the_page_is_read_in_a_minute_and_a_claim_takes_forty_lines_at_most() -> None:
    head = (REPOSITORY / "docs" / "answers.md").read_text(encoding="utf-8").partition("## Every claim")[0]
    assert len(head.split()) < 600
    for page in (REPOSITORY / "docs" / "answers").glob("*.md"):
        if page.name != "scorecard.md":
            sections = page.read_text(encoding="utf-8").split("\n## ")[1:]
            assert max(len(section.splitlines()) for section in sections) <= 40, page


@pytest.fixture(scope="module")
def read() -> list[answers.Answer]:
    """The committed answers."""
    return list(answers.read(ROOM))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda themes: themes["scalability"].update(text="H5 (refuted)"), "scalability: H5 is supported"),
        (lambda themes: themes["scalability"].update(text="Nothing."), "does not cite H1, H3-local"),
        (lambda themes: themes["scalability"]["claims"].remove("H1"), "H1 must each be a claim of exactly one theme"),
        (lambda themes: themes["efficiency"]["claims"].append("H1"), "H1 must each be a claim of exactly one theme"),
    ],
)
def test_a_theme_that_says_another_verdict_is_refused(
    change: Callable[[Any], None], sentence: str, read: list[answers.Answer], tmp_path: Path
) -> None:
    document = yaml.safe_load((ROOM / answers.THEMES).read_text(encoding="utf-8"))
    change(document["themes"])
    (tmp_path / answers.THEMES).write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        answers.themes(tmp_path, read)


def test_a_bar_is_the_distance_from_the_border_in_half_widths() -> None:
    rule = next(claim for claim in load_claims() if claim.id == "H12").rules[0]
    below = replace(rule, region=Region(below=1.0), negated=False)
    subject = {"verdict": "refuted", "low": 2.0, "statistic": 3.0, "high": 4.0, "limit": None}
    bar = bar_of(below, subject, "H12")
    assert bar is not None
    assert (bar.low, bar.middle, bar.high) == (-3.0, -2.0, -1.0)
    near = bar_of(replace(below, region=Region(near=3.0, within=2.0)), subject, "H12")
    assert near is not None
    assert (near.low, near.middle, near.high) == (1.0, 2.0, 2.0)
    assert bar_of(below, subject | {"high": None}, "H12") is None


def test_every_claim_that_can_be_tested_has_a_study() -> None:
    asked = {claim for one in study.studies() for claim in one.claims}
    lacking = [claim.id for claim in load_claims() if claim.id not in asked and not claim.untestable]
    assert lacking == []


def test_a_claim_without_an_answer_names_the_command_that_would_test_it(tmp_path: Path) -> None:
    text = answers.pages(tmp_path)["answers/all.md"]
    assert "- It would be tested by: `isoflop study exact`" in text
    assert "## H25" in text


def test_an_untested_verdict_ends_with_the_command_that_would_test_it() -> None:
    claims = [claim for claim in load_claims() if claim.id == "H19"]
    text = verdict_table(judge(demo_study(), claims))
    assert text.rstrip().endswith("test it  isoflop study exact")


def test_a_withdrawn_verdict_is_listed_with_its_reason_and_not_counted_among_the_decided(
    read: list[answers.Answer],
) -> None:
    reasons = answers.superseded(ROOM)
    assert {"H2", "H3", "H24", "H37", "matched-C"} <= set(reasons)
    entries = {entry.claim.id: entry for entry in read}
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
