"""Tables with blanks and words: what can be used is used, and what was left out is said by every verb."""

import html
from pathlib import Path

import numpy as np
import pytest
from synthetic_laws import seeded

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.frontier.frontier import frontier
from isoflop.analysis.runs.quality import check
from isoflop.analysis.verbs import main
from isoflop.errors import CellError, FitError


@pytest.mark.sample(3)
@pytest.mark.parametrize("verb", ["check", "fit", "predict", "compare", "frontier", "judge", "report", "plot"])
def test_rows_without_a_loss_are_counted_and_left_out(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = seeded("chinchilla")
    options = {"fit": ["--interval", "none"], "predict": ["--at", "C=1e13"],
               "compare": ["--laws", "power", "--holdout", "D>=3e9"],
               "report": ["-o", str(tmp_path / "report")], "plot": ["-o", str(tmp_path / "a.svg")]}  # fmt: skip
    rows.assign(L=rows["L"].mask(rows.index.isin([3, 17]))).to_csv(tmp_path / "runs.csv", index=False)
    assert main([verb, str(tmp_path / "runs.csv"), *options.get(verb, [])]) == 0
    said = capsys.readouterr().out
    if verb == "report":
        page = (tmp_path / "report/index.html").read_text()
        assert f"runs, {len(rows) - 2} runs" in page  # the title counts what was used
        assert f"2 of {len(rows)} rows left out: no value of L" in page
    if verb == "check":
        assert f"{len(rows) - 2} of {len(rows)} rows usable" in said
        assert "L is empty and 1 more" in said
    else:
        assert f"2 of {len(rows)} rows left out: no value of L" in said


def test_a_blank_loss_changes_nothing_about_the_other_rows() -> None:
    rows = seeded("chinchilla")
    blank = fit(rows.assign(L=rows["L"].mask(rows.index == 3)), interval="none")
    assert blank.values == fit(rows.drop(index=3), interval="none").values
    with pytest.raises(CellError, match="column L is empty"):
        fit(rows.assign(L=np.nan), interval="none")


def test_a_column_that_could_be_the_size_is_asked_for_by_its_name() -> None:
    rows = seeded("chinchilla")
    foreign = rows.rename(columns={"N": "weights"}).assign(d_model=rows["N"] ** 0.9, other_loss=rows["L"] * 2e4)
    for verb in (fit, frontier):
        with pytest.raises(FitError, match="as in --columns N=weights "):
            verb(foreign)
    assert any("if it is weights, say so" in f.sentence for f in check(foreign).findings)


@pytest.mark.sample(1)
@pytest.mark.parametrize(("knob", "word"), [("depth", "failed"), ("width", "=1+1")])
def test_a_word_in_a_column_of_a_knob_is_a_note_of_judge_and_report(
    knob: str, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = seeded("chinchilla").assign(family="a", depth=2, width=64)
    cells = [word if i == 23 else 2 + i % 4 for i in range(len(rows))]
    rows.assign(**{knob: cells}).to_csv(tmp_path / "runs.csv", index=False)
    assert main(["judge", str(tmp_path / "runs.csv")]) == 0
    said = f"line 25: {knob} is '{word}', not a number, and taken as blank"
    assert said in capsys.readouterr().out
    assert main(["report", str(tmp_path / "runs.csv"), "-o", str(tmp_path / "report")]) == 0
    assert said in html.unescape((tmp_path / "report/index.html").read_text())


def test_a_blank_among_names_of_models_is_a_row_without_a_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["model,tokens,loss", "pythia-160m,1e10,3.1", ",1e10,3.0", "pythia-410m,1e10,2.8"]
    (tmp_path / "runs.csv").write_text("\n".join(lines))
    assert main(["check", str(tmp_path / "runs.csv")]) == 0
    assert "line 3: N is empty" in capsys.readouterr().out
