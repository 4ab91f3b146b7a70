"""`judge` and `report` as commands: what they print, where, and with which exit code."""

import json
from pathlib import Path

import pytest
from studies import demo_study

from isoflop.analysis.verbs import main


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    demo_study().to_csv(path, index=False)
    return path


def test_judge_prints_one_json_document_and_is_content_whatever_the_verdicts(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", str(runs), "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert {"H1", "H3"} <= {v["id"] for v in out if v["verdict"] == "untested"}


def test_judge_prints_a_table_that_leads_with_the_verdict(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] in ("SUPPORTED", "REFUTED")
    assert any(line.startswith("UNTESTED") for line in lines)


def test_report_names_the_page_it_wrote(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(runs), "-o", str(tmp_path / "r")]) == 0
    assert str(tmp_path / "r" / "index.html") in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["judge", "report"])
def test_bad_input_is_one_sentence_and_exit_code_2(
    verb: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "claims"
    bad.mkdir()
    (bad / "x.yaml").write_text("id: x\n")
    out = [] if verb == "judge" else ["-o", str(tmp_path / "r")]
    for arguments in ([str(tmp_path / "none.csv"), *out], [str(runs), "--claims", str(bad), *out]):
        assert main([verb, *arguments]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "Traceback" not in said
    no_loss = tmp_path / "no_loss.csv"
    demo_study().drop(columns="L").to_csv(no_loss, index=False)
    assert main([verb, str(no_loss), *out]) == 2
    assert "no column L" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_sentence(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    assert main(["report", str(runs), "-o", str(tmp_path / "taken")]) == 2
    assert "cannot be written" in capsys.readouterr().err
