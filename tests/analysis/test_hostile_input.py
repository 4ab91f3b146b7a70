"""What anybody's table or claim may hold: refused in one sentence, or shown as text; never run, never a traceback."""

import csv
import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from studies import demo_study, grid_study

from isoflop.analysis.claims.claim import FOLDER, read_claim
from isoflop.analysis.claims.declare import QUANTITIES, Contrast, Sample
from isoflop.analysis.claims.judge import judge
from isoflop.analysis.fitting.result import load_fit
from isoflop.analysis.holdout.forecast import load_forecast
from isoflop.analysis.report.figures.base import (
    MOST_POINTS,
    Figure,
    _few_families,
    _json_ready,
    _thin,
    draw_all,
)
from isoflop.analysis.report.figures.measured import read_profiles
from isoflop.analysis.report.figures.style import wrap
from isoflop.analysis.report.report import write_report
from isoflop.analysis.report.view import MOST_FAMILIES, _named_for_page, look
from isoflop.analysis.runs import formats
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.runs.rows import joined
from isoflop.analysis.runs.runs import as_runs
from isoflop.analysis.verbs import main
from isoflop.errors import UserError
from isoflop.sweeps.collect import PROBES
from isoflop.sweeps.watch.progress import curve
from isoflop.wording import UNPRINTABLE, csv_text

VERBS = {
    "fit": ["--interval", "none"],
    "predict": ["--at", "C=1e15"],
    "compare": ["--laws", "chinchilla", "--holdout", "C>=3e11"],
    "frontier": [],
    "judge": ["--claims", str(FOLDER / "predictable-D.yaml")],
    "report": ["-o", "report"],
}
EVIL = "\x1b[2J\x07</script><script>alert(1)</script>" + "x" * 20_000


def table(path: Path, column: str, value: object, line: int = 5) -> Path:
    """A study with another value in one cell."""
    runs = demo_study(["lstm"], failures=False).astype({column: object})
    runs.loc[line - 2, column] = value
    runs.to_csv(path / "runs.csv", index=False)
    return path / "runs.csv"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("N", 0, "0"), ("D", -1, "-1"), ("N", "inf", "inf"), ("L", 0, "0"), ("D", "1" + "0" * 400, "inf"),
        ("L", "many", "'many'"), ("N", EVIL, r"'\x1b[2J\x07</script>"),
    ],
)  # fmt: skip
def test_a_cell_that_cannot_be_is_the_same_sentence_of_every_verb(
    verb: str, column: str, value: object, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    path = table(tmp_path, column, value)
    for by in ([], ["--by", "family"]):
        assert main([verb, str(path), *VERBS[verb], *by]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"isoflop: {path}, line 5: column {column} is {shown}")
        assert said.count("\n") == 1
        assert len(said) < len(str(path)) + 250
        assert not UNPRINTABLE.search(said)


@pytest.mark.parametrize("command", [["compare"], ["predict", "--law", "best", "--at", "C=1e15"]])
def test_laws_that_are_chosen_by_what_varies_pass_over_no_cell(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, *options = command
    path = table(tmp_path, "N", 0)
    assert main([verb, str(path), *options]) == 2
    assert capsys.readouterr().err.startswith(f"isoflop: {path}, line 5: column N is 0")
    pd.read_csv(path).assign(status="failed").to_csv(path, index=False)
    assert main([verb, str(path), *options]) == 2
    assert f"{path} has no rows to fit (left out" in capsys.readouterr().err


@pytest.mark.sample(2)
@pytest.mark.parametrize("verb", ["judge", "report", "compare", "frontier", "predict", "fit"])
def test_columns_where_and_by_mean_the_same_to_every_verb(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = demo_study(["lstm", "mlp"], failures=False)[["family", "N", "D", "C", "L"]]
    names = {"family": "arch", "N": "params", "D": "tokens", "C": "flops", "L": "val/loss"}
    runs.rename(columns=names).assign(kind="a").to_csv(tmp_path / "theirs.csv", index=False)
    named = ["--columns", "N=params,D=tokens,C=flops,L=val/loss"]
    options = [*named, "--by", "arch", *VERBS[verb]]
    assert main([verb, "theirs.csv", *options, "--where", "kind = 'a'"]) == 0
    printed = capsys.readouterr().out + (tmp_path / "report/index.html").read_text() if verb == "report" else ""
    assert not printed or ("lstm" in printed and "mlp" in printed)
    assert main([verb, "theirs.csv", *options, "--where", "kind = 'b'"]) == 2
    assert "keeps none of the" in capsys.readouterr().err
    assert main([verb, "theirs.csv", *named, *VERBS[verb], "--by", "architecture"]) == 2
    assert "no column 'architecture' to group by" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("fit {runs} --where \"family = 'lstm' or family = 'mlp'\"", "only `and` joins conditions"),
        ("fit {runs} --columns N=n_bdoy", "has no column 'n_bdoy' for N; did you mean n_body?"),
        ("judge {runs} --claims nope.yaml", "nope.yaml does not exist; give a folder of claims in yaml, one file, or"),
        ("judge {runs} --claims H3200", "H3200 does not exist; give a folder of claims in yaml, one file, or an"),
        ("predict {runs} --at N=1e6 --at N=2e6", "gives N twice; give it once"),
    ],
)
def test_a_slip_is_one_sentence_that_says_what_to_write(
    command: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo_study(failures=False).to_csv(tmp_path / "runs.csv", index=False)
    assert main(shlex.split(command.format(runs=tmp_path / "runs.csv"))) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_place_may_be_given_in_several_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo_study(["lstm"], failures=False).to_csv(tmp_path / "runs.csv", index=False)
    printed = []
    for place in (["--at", "N=1e6,D=1e8"], ["--at", "N=1e6", "--at", "D=1e8"]):
        assert main(["predict", str(tmp_path / "runs.csv"), *place, "--json"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_groups_are_judged_in_the_place_of_families(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = grid_study(["lstm"]).drop(columns="family")
    both = pd.concat([runs.assign(kind=1, run_id=runs["run_id"] + "b"), runs.assign(kind=2)])
    both.to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "claims").mkdir()
    for name in ("H1", "matched-C"):  # of groups, and of pairs of them
        shutil.copy(FOLDER / f"{name}.yaml", tmp_path / "claims")
    judging = ["judge", str(tmp_path / "runs.csv"), "--claims", str(tmp_path / "claims")]
    assert main([*judging, "--by", "kind", "--json"]) == 0
    subjects = {s["subject"] for v in json.loads(capsys.readouterr().out) for s in v["subjects"]}
    assert {"1", "2"} <= subjects


def test_a_table_without_families_is_one_group_called_by_its_file(tmp_path: Path) -> None:
    runs = demo_study(["lstm"], failures=False).drop(columns="family")
    runs.to_csv(tmp_path / "porian.csv", index=False)
    view = look(read_runs(tmp_path / "porian.csv"), [])
    assert view.families == ("porian",)


def test_a_table_without_compute_takes_it_as_6nd_and_says_so() -> None:
    runs = pd.DataFrame({"N": [1e6, 2e6], "D": [1e7, 3e7], "L": [3.0, 2.5]})
    table = as_runs(runs).with_compute
    assert table["C"].tolist() == [6e13, 36e13]
    assert table.notes == ("the table has no C: it is taken as 6 N D",)
    assert table.with_compute is table
    assert "C" not in as_runs(runs[["N", "L"]]).with_compute


def test_groups_of_infinite_or_mixed_values_have_labels_that_json_can_hold() -> None:
    runs = pd.DataFrame({"k": [float("-inf"), 1.0, float("-inf")], "L": 1.0})
    assert [label.by for label in as_runs(runs).by(["k"])] == [{"k": "-inf"}, {"k": 1.0}]
    mixed = pd.DataFrame({"k": [["a"], 1, "x", None], "L": 1.0})
    assert [label.by["k"] for label in as_runs(mixed).by(["k"])][:3] == ["1", "['a']", "x"]


def test_a_pipe_a_device_and_an_endless_line_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    monkeypatch.setattr(formats, "LONGEST_LINE", 2**20)
    (tmp_path / "long.csv").write_text("N,D,L\n1,1," + "x" * 3 * 2**20)
    for path in (tmp_path / "pipe.csv", Path("/dev/zero"), tmp_path / "long.csv"):
        with pytest.raises(UserError, match=r"is a pipe or a device|has a line of more than"):
            read_runs(path)
    run = tmp_path / "runs" / "r1"
    run.mkdir(parents=True)
    os.mkfifo(run / "records.json")
    with pytest.raises(UserError, match="is a pipe or a device"):
        read_runs(tmp_path / "runs")
    os.mkfifo(tmp_path / "claim.yaml")
    with pytest.raises(UserError, match="is not a file"):
        read_claim(tmp_path / "claim.yaml")


@pytest.mark.sample(1)
@pytest.mark.parametrize("holds", [None, "run_id,mark\nx,1\n", "run_id," + "x" * 3 * 2**20])
def test_profiles_beside_a_table_are_read_as_it_is_and_a_page_says_why_not(
    holds: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "LONGEST_LINE", 2**20)
    demo_study(["lstm"], failures=False).to_csv(tmp_path / "runs.csv", index=False)
    if holds is None:
        os.mkfifo(tmp_path / "probes.csv")
    else:
        (tmp_path / "probes.csv").write_text(holds)
    view = look(read_runs(tmp_path / "runs.csv"), [])
    with pytest.raises(UserError, match=r"is a pipe or a device|no column probe|has a line of more than"):
        read_profiles(view)
    assert "not drawn, " in dict(draw_all(view))["probe_profiles"]


def test_cells_of_profiles_that_are_no_numbers_and_hostile_names_do_no_harm(tmp_path: Path) -> None:
    runs = demo_study(["lstm"], failures=False)
    runs.to_csv(tmp_path / "runs.csv", index=False)
    points = [(runs["run_id"][0], 1, "positions", EVIL, "position", k, value) for k, value in enumerate("12x4")]
    pd.DataFrame(points, columns=PROBES[:-1]).to_csv(tmp_path / "probes.csv", index=False)
    view = look(read_runs(tmp_path / "runs.csv"), [])
    assert list(read_profiles(view)["value"]) == [1, 2, 4]
    drawn = dict(draw_all(view))["probe_profiles"]
    assert isinstance(drawn, Figure)
    assert not UNPRINTABLE.search(json.dumps(drawn.spec(), ensure_ascii=False))


def test_a_pipe_in_the_place_of_a_forecast_a_fit_or_a_curve_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "curve.csv"
    os.mkfifo(pipe)
    for load in (load_forecast, load_fit):
        with pytest.raises(UserError, match="not a regular file"):
            load(pipe)
    assert curve(pipe) == []


def test_a_yaml_that_repeats_itself_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    (tmp_path / "laughs.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match="refers to another place in itself"):
        read_claim(tmp_path / "laughs.yaml")
    (tmp_path / "large.yaml").write_text("a: " + "x" * 200_000)
    with pytest.raises(UserError, match="has more than 100 kB"):
        read_claim(tmp_path / "large.yaml")


@pytest.mark.parametrize(
    ("line", "says"),
    [('{"N": ' + "1" * 5000 + "}", "cannot be read as JSON"), ('{"N": ' + "[" * 100_000 + "}", "line 2")],
)
def test_json_beyond_all_measure_is_a_sentence(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "runs.jsonl").write_text('{"N": 1}\n' + line)
    with pytest.raises(UserError, match=says):
        read_runs(tmp_path / "runs.jsonl")


def test_a_column_of_lists_and_half_a_character_are_read_as_text(tmp_path: Path) -> None:
    rows = [{"N": 1e6, "D": 1e7, "L": 3.0, "family": ["a", 1], "tags": {"b": [None]}, "data": "\ud800"}]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = read_runs(tmp_path / "runs.jsonl").frame
    assert table.loc[1, ["family", "tags.b", "data"]].tolist() == ['["a", 1]', "[null]", "\\ud800"]
    (tmp_path / "runs.jsonl").write_text('{"L": 3, "deep": ' + '{"a": ' * 990 + "1" + "}" * 991)
    with pytest.raises(UserError, match="line 1 cannot be read as JSON"):
        read_runs(tmp_path / "runs.jsonl")


def test_names_reach_a_page_printable_short_and_still_apart() -> None:
    families = [f"{EVIL}{i}" for i in range(12)] + ["mlp", "\u05d0\u05d1"]
    named = _named_for_page(pd.DataFrame({"family": families, "reason": "r" * 5000, "N": 1.0}))
    assert named["family"].nunique() == len(families)
    assert named["family"].str.len().max() <= 60
    assert named["family"].tolist()[-2:] == ["mlp", "\u05d0\u05d1"]
    assert not UNPRINTABLE.search("".join(named["family"]))
    assert named["reason"].str.len().max() <= 300


def test_hostile_names_make_a_page_and_files_that_only_show_them(tmp_path: Path) -> None:
    runs = demo_study(["lstm", "mlp"])
    runs["family"] = EVIL + runs["family"]
    runs["reason"] = "=cmd|' /C calc'!A0 \x1b]0;owned\x07"
    runs["data"] = "javascript:alert(1)"
    text = write_report(runs, tmp_path).read_text()
    assert "<script>alert(1)" not in text
    assert "could not be drawn" not in text
    assert not UNPRINTABLE.search(text[: text.index('<script type="module"')])
    for file in (tmp_path / "figures").iterdir():
        assert file.suffix == ".png" or not UNPRINTABLE.search(file.read_text())


def test_figures_hold_few_points_families_and_lines() -> None:
    rows = [{"kind": "run", "i": i} for i in range(3 * MOST_POINTS)] + [{"kind": "law", "i": i} for i in range(500)]
    kept = _thin(rows)
    assert sum(row["kind"] == "run" for row in kept) == MOST_POINTS
    assert sum(row["kind"] == "law" for row in kept) == 500
    assert kept == _thin(rows)
    assert wrap("word " * 1000, 80)[-1].endswith("…")
    assert _json_ready({"a": ["\x00", float("nan")]}) == {"a": ["\\x00", None]}
    single = demo_study(["lstm"], failures=False)
    several = pd.concat(
        [single.assign(family=f"g{i:02}", run_id=single["run_id"] + str(i)).head(2 + i % 3) for i in range(30)]
    )
    view = look(several, [])
    assert len(view.families) == 30
    assert len(_few_families(view).families) == MOST_FAMILIES
    assert set(_few_families(view).rows["family"]) == set(_few_families(view).families)


def test_what_begins_like_a_formula_is_quoted_in_exported_tables(tmp_path: Path) -> None:
    runs = grid_study(["lstm"], noise=0.001)
    runs.to_csv(tmp_path / "runs.csv", index=False)
    points = runs.head(2).assign(note=["=1+1", "-5"], other=["@SUM(A1)", "-x"])[["N", "D", "L", "note", "other"]]
    points.to_csv(tmp_path / "points.csv", index=False)
    files = [str(tmp_path / name) for name in ("runs.csv", "points.csv", "out.csv")]
    assert main(["predict", files[0], "--points", files[1], "-o", files[2]]) == 0
    written = pd.read_csv(files[2])
    assert written["other"].tolist() == ["'@SUM(A1)", "'-x"]
    assert written["note"].tolist() == ["'=1+1", "-5"]
    assert written["N"].tolist() == points["N"].tolist()


def test_control_characters_of_a_table_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = demo_study(["lstm"])
    runs["family"] = "\x1b[31mred\x07\u202e"
    runs.to_csv(tmp_path / "runs.csv", index=False)
    for verb in ("fit", "judge"):
        assert main([verb, str(tmp_path / "runs.csv"), *(["--by", "family"] if verb == "fit" else [])]) == 0
        printed = capsys.readouterr()
        assert not UNPRINTABLE.search(printed.out + printed.err)
        assert "\\x1b[31mred" in printed.out


def test_a_cell_of_lines_in_quotes_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LONGEST_LINE", 2**12)
    rows = 'N,D,L,family\n5" pipe,2,3,"a ""b"", c"\n' + "1,2,3,x\n" * 2000
    (tmp_path / "sound.csv").write_text(rows.replace('5" pipe', "1"))
    assert read_runs(tmp_path / "sound.csv")["family"][2] == 'a "b", c'
    for ending in ('"\n', ""):  # a quote within a field opens none, and one that is not closed reaches to the end
        (tmp_path / "long.csv").write_text(rows + '1,2,3,"' + "\n" * 5000 + ending)
        with pytest.raises(UserError, match="has a cell of more than 0 MB"):
            read_runs(tmp_path / "long.csv")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.bz2", "t.csv.xz", "t.csv.zip"])
def test_a_packed_table_is_read_and_a_bomb_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LARGEST_UNPACKED", 2**16)
    table = pd.DataFrame({"N": [1.0, 2.0], "D": 2.0, "L": 3.0})
    table.to_csv(tmp_path / name, index=False)
    assert read_runs(tmp_path / name)["N"].tolist() == [1.0, 2.0]
    pd.concat([table] * 10_000).to_csv(tmp_path / name, index=False)
    with pytest.raises(UserError, match="unpacks to more than"):
        read_runs(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for damaged in (content[: len(content) // 2], b"x" * 100):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(UserError, match=r"cannot be (unpacked|read)|unpacks to more"):
            read_runs(tmp_path / name)


WORDS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\tx", "'=quoted", "''@twice", "'tis", "-1.5", "a", "'"]


def test_words_that_a_spreadsheet_would_run_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [{"family": word, "=N()": 1.0, "delta": -2.5} for word in WORDS]
    (tmp_path / "runs.csv").write_text(csv_text(["family", "=N()", "delta"], rows), newline="")
    with (tmp_path / "runs.csv").open(newline="") as file:
        header, *cells = csv.reader(file)
    assert header == ["family", "'=N()", "delta"]
    assert {row[0][0] for row in cells} <= {"'", "-", "a"}  # and -1.5 is a number
    table = read_runs(tmp_path / "runs.csv")
    assert table["family"].tolist() == WORDS
    assert table["=N()"].tolist() == [1.0] * len(WORDS)
    assert table["delta"].tolist() == [-2.5] * len(WORDS)


def test_columns_that_no_claim_reads_change_no_verdict() -> None:
    runs = demo_study(["lstm", "transformer"])
    more = runs.assign(**{f"x{i}": i for i in range(30)})
    plain, wide = ([(v.id, v.verdict, v.reason) for v in judge(table)] for table in (runs, more))
    assert plain == wide
    assert {verdict for _, verdict, _ in plain} > {"untested"}


@pytest.mark.parametrize(("combine", "region", "verdict"), [
    ("all", "{contrast: 0.02}", "untested"), ("all", "{near: 0, within: 0.1}", "refuted"),
    ("any", "{contrast: 0.02}", "supported"),
])  # fmt: skip
def test_of_more_pairs_than_can_be_fitted_those_with_the_most_runs_are_judged(
    combine: str, region: str, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def measure(sample: Sample, name: str) -> Contrast:
        measured.append(f"{sample.pair}: {name}")
        return Contrast(1.0, 0.01, 10)

    file = tmp_path / "law.yaml"
    rule = f"subject: pair\nlaw: chinchilla\nquantity: law_contrast\nof: alpha\ncombine: {combine}\nregion: {region}\n"
    file.write_text(f"id: law\nclaim: Laws differ.\nexpect: unknown\n{rule}")
    monkeypatch.setattr("isoflop.analysis.claims.subjects.MOST_FITTED_PAIRS", 2)
    monkeypatch.setitem(QUANTITIES, "law_contrast", replace(QUANTITIES["law_contrast"], measure=measure))
    runs = demo_study(["lstm", "mlp", "transformer"], failures=False)
    [judged] = judge(runs.drop(runs.index[runs["family"] == "lstm"][0]), file)
    assert len(measured) == 1
    assert "lstm" not in measured[0]
    assert judged.verdict == verdict
    assert "of 3 pairs of families" in judged.reason
    assert "those of the 2 families with the most runs are judged" in judged.reason


def test_more_families_than_can_be_fitted_are_untested_and_say_how_many_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "law.yaml"
    rule = "law: chinchilla\nquantity: law_parameter\nof: alpha\nregion: {above: 0.1}\n"
    file.write_text(f"id: law\nclaim: It falls.\nexpect: unknown\n{rule}")
    monkeypatch.setattr("isoflop.analysis.claims.subjects.MOST_FITTED_FAMILIES", 2)
    monkeypatch.setitem(
        QUANTITIES, "law_parameter", replace(QUANTITIES["law_parameter"], measure=None)
    )  # none is fitted
    [verdict] = judge(demo_study(["lstm", "mlp", "transformer"], failures=False), file)
    assert verdict.verdict == "untested"
    assert "3 families, each of which takes several fits, and at most 2 are judged" in verdict.reason


def test_a_value_that_is_missing_has_a_name_among_joined_ones() -> None:
    rows = pd.DataFrame({"a": ["x", None, "y"], "b": [1.0, 2.0, float("nan")]}, index=[3, 5, 7])
    assert joined(rows, ["a", "b"], ", ").to_dict() == {3: "x, 1.0", 5: "none, 2.0", 7: "y, none"}
    assert joined(rows, []).to_dict() == {3: "", 5: "", 7: ""}
    assert len(joined(rows[:0], ["a"])) == 0
