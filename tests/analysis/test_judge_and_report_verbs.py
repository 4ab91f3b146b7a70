"""`judge` and `report` as commands: what they print, where, and with which exit code."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
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
    assert not any(line.startswith("UNTESTED") for line in lines)
    assert sum("what this table lacks (probes " in line and "--all lists them" in line for line in lines) == 1
    assert main(["judge", str(runs), "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("UNTESTED") for line in lines) > 30
    assert not any("untested (untested" in line or "lists them" in line for line in lines)


def test_of_a_foreign_table_the_verbs_say_what_they_do_not_test_and_what_it_mixes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    noise = np.random.default_rng(26).normal(size=(2, 25))
    parts = [
        pd.DataFrame({"arch": arch, "params": N, "tokens": D, "loss": (c * N**-0.1 + D**-0.1) * np.exp(0.002 * e)})
        for arch, c, e in zip(("gqa", "mha"), (9.0, 10.0), noise, strict=True)
    ]
    pd.concat(parts).to_csv(tmp_path / "theirs.csv", index=False)
    for verb in ("judge", "fit"):
        assert main([verb, str(tmp_path / "theirs.csv")]) == 0
        said = capsys.readouterr().out
        assert "arch mixes gqa, mha at one size: --by arch separates them" in said
        assert len(said.splitlines()) < 40
    head = "id: mine\nclaim: The slopes differ.\nregion: {contrast: 0.005}\nsubject: pair\n"
    (tmp_path / "mine.yaml").write_text(head + "quantity: law_contrast\nof: alpha\nlaw: power(N)\n")
    arguments = [str(tmp_path / "theirs.csv"), "--claims", str(tmp_path / "mine.yaml")]
    assert main(["judge", *arguments, "--by", "arch", "--json"]) == 0
    (verdict,) = json.loads(capsys.readouterr().out)  # of runs without seed and rung the two are independent
    assert verdict["low"] < verdict["statistic"] < verdict["high"]
    lacks = "quantity: loss_contrast\nneeds: {families: 3, grid: {C: 60}, columns: [rung, lr]}\n"
    (tmp_path / "mine.yaml").write_text(head + lacks)
    assert main(["judge", *arguments, "--by", "arch"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "needs 3 families, and the runs have 2: gqa, mha. gqa and mha each have no values in the columns lr, " in said
    )
    assert " of 60 C (" in said


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
    assert "no_loss.csv has no L: name it, as in --columns L=its_name" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_sentence(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    assert main(["report", str(runs), "-o", str(tmp_path / "taken")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["judge", "report"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("run_id,status,family,N,D,C,L\na,ok,mlp,1e4,1e5,1e10,\n", "column L is empty"),
        ("run_id,status,family,N,D,C,L\n", "has a header and no rows"),
        ("", "is empty"),
        ("run_id,status,family,N,D,C,L\na,ok,mlp,small,1e5,1e10,2.0\n", "line 2: column N is 'small', not a number"),
        ("run_id,status,family,N,D,C,L\na,ok,mlp,1e4,1e5,1e10,0\n", "column L is 0"),
    ],
)  # fmt: skip
def test_a_table_of_no_use_is_one_sentence(
    verb: str, content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(content)
    out = ["-o", str(tmp_path / "r")] if verb == "report" else []
    assert main([verb, str(path), *out]) == 2
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert f"{path}" in sentence
    assert says in sentence


def test_a_sweep_of_which_no_run_finished_is_a_sentence_of_judge_and_a_page_of_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("run_id,status,reason,family,N,D,C,L\na,failed,out of memory,mlp,1e4,1e5,1e10,\n")
    assert main(["judge", str(path)]) == 2
    assert f"{path} has no rows to fit (left out 1: status is failed)" in capsys.readouterr().err
    assert main(["report", str(path), "-o", str(tmp_path / "r")]) == 0
    page = (tmp_path / "r/index.html").read_text()
    for words in ("No run finished; 1 row of runs that failed", "out of memory", "not drawn, no run finished"):
        assert words in page


@pytest.mark.sample(2)
@pytest.mark.parametrize("content", [
    "run_id,status,family,N,D,C,L\na,ok,mlp,1e4,1e5,1e10,2.0\n",
    "N,D,L\n1e4,1e5,2.0\n",
    "D,L\n1e4,3.0\n2e4,2.5\n4e4,2.2\n8e4,2.0\n",
    "status,family,N,D,C,L\n,mlp,1e4,1e5,1e10,2.0\nok,mlp,2e4,1e5,2e10,1.9\n",
    "family,N,D,C,L\n,1e4,1e5,1e10,2.0\n,2e4,1e5,2e10,1.9\n",
    "run_id,status,family,N,D,C,L\na,ok,1,1e4,1e5,1e10,2.0\nb,ok,2,1e4,1e5,1e10,2.1\n",
], ids=["one run", "one row", "no family", "blank status", "blank family", "families are numbers"])  # fmt: skip
def test_a_small_table_is_judged_and_reported(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(content)
    assert main(["judge", str(path), "--json"]) == 0
    verdicts = json.loads(capsys.readouterr().out)
    assert {v["verdict"] for v in verdicts} == {"untested"}
    assert all(v["reason"] for v in verdicts)
    assert main(["report", str(path), "-o", str(tmp_path / "r")]) == 0


def test_the_quantities_are_listed_without_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "--quantities"]) == 0
    assert "holdout_error: largest" in capsys.readouterr().out
