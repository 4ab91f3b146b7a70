"""The verb `fit`: its JSON, its exit codes, one sentence for what a user can mend, quick enough to be used without
thinking."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from synthetic_laws import seeded

from isoflop import record
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.runs.runs import select
from isoflop.analysis.verbs import main
from isoflop.errors import UserError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A foreign table of 72 runs in two families."""
    rows = seeded("chinchilla").rename(columns={"N": "params", "D": "tokens", "L": "val/loss"})
    both = pd.concat([rows.assign(family="ssm"), rows.assign(family="mlp")])
    both.to_csv(tmp_path / "foreign.csv", index=False)
    return tmp_path / "foreign.csv"


COLUMNS = ["--columns", "N=params,D=tokens,L=val/loss"]


def test_json_is_one_document_of_the_agreed_shape(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(table), *COLUMNS, "--by", "family", "--json"]) == 0
    out = capsys.readouterr()
    document = json.loads(out.out)
    assert out.err == ""
    assert {k: document[k] for k in ("law", "loss", "delta")} == {"law": "chinchilla", "loss": "huber", "delta": 0.001}
    assert [f["by"] for f in document["fits"]] == [{"family": "mlp"}, {"family": "ssm"}]
    one = document["fits"][0]
    assert set(one["params"]) == {"E", "A", "alpha", "B", "beta"}
    assert set(one["params"]["E"]) == {"value", "low", "high"}
    assert set(one["derived"]) == {"a", "b"}
    assert (one["status"], one["n_rows"], one["n_runs"], one["excluded"]) == ("converged", 36, 36, [])
    assert one["starts"] == {"tried": 64, "at_optimum": 64}
    assert one["objective"] == pytest.approx(8.93645241e-05, rel=1e-8)


def test_the_same_command_prints_the_same_answer(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for _ in range(2):
        assert main(["fit", str(table), *COLUMNS, "--where", "family = 'mlp'", "--resamples", "50"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
    assert "alpha" in answers[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", "missing.csv"], "missing.csv does not exist"),
        (["fit", "{unnamed}"], "has no N and no D and no L"),
        (["fit", "{table}", "--columns", "N=parms"], "no column 'parms' for N"),
        (["fit", "{table}", "--columns", "N"], "is not name=name"),
        (["fit", "{table}", *COLUMNS, "--where", "N>1e20"], "keeps none"),
        (["fit", "{table}", *COLUMNS, "--where", "__import__('os')"], "is not a condition"),
        (["fit", "{table}", *COLUMNS, "--by", "famly"], "no column 'famly' to group by"),
        (["fit", "{table}", *COLUMNS, "--pin", "E=one"], "holds no number"),
        (["fit", "{table}", *COLUMNS, "--law", "chinchila"], "choose one of"),
        (["fit", "{table}", *COLUMNS, "--resamples", "many"], "--resamples"),
        (
            ["fit", "{table}", *COLUMNS, "--seed", "-1", "--interval", "none"],
            "seed=-1 is not a whole number of 0 or more",
        ),
        (["fit", "{table}", *COLUMNS, "--delta", "inf"], "delta=inf is not above 0, or not finite"),
        (["fit", "{table}", *COLUMNS, "--pin", "E=1", "--pin", "E=2"], "--pin 'E=1,E=2' gives E twice; give it once"),
        (["fit", "{table}", *COLUMNS, "--pin", "E=1", "--prior", "E=2:.1"], "E has a pin and a prior"),
        (["fit", "{table}", *COLUMNS, "--law", "chinchilla(N,N)"], "takes one column twice; give each its own"),
        (["fit", "{table}", *COLUMNS, "--level", "0.0095"], "level=0.0095 is not between 0.01 and 1"),
        (["fitt", "{table}"], "fit"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(
    table: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    unnamed = table.with_name("unnamed.csv")
    unnamed.write_text("a,b\n1,2\n3,4\n")
    assert main([a.format(table=table, unnamed=unnamed) for a in arguments]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert sentence in out.err
    assert len(out.err.strip().splitlines()) == 1


def test_no_group_that_can_be_fitted_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seeded("chinchilla").head(3).assign(group="a").to_csv(tmp_path / "few.csv", index=False)
    assert main(["fit", str(tmp_path / "few.csv"), "--by", "group", "--json"]) == 1
    out = capsys.readouterr()
    assert json.loads(out.out)["fits"][0]["params"]["E"] == {"value": None, "low": None, "high": None}
    assert "3 rows are too few" in out.err
    for verb in (["fit"], ["fit", "--json"], ["predict", "--at", "N=1e9,D=1e10"]):  # bad input where nothing is grouped
        assert main([*verb, str(tmp_path / "few.csv")]) == 2
        out = capsys.readouterr()
        assert (out.out, out.err.count("\n")) == ("", 1)
        assert "3 rows are too few" in out.err


def test_text_among_the_losses_stops_only_who_asks_for_the_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = seeded("power_offset(D)").assign(score=lambda table: table["L"] / 2)
    rows.assign(L=["failed", *rows["L"][1:]]).to_csv(tmp_path / "runs.csv", index=False)
    line = ["fit", str(tmp_path / "runs.csv"), "--law", "power_offset(D)", "--interval", "none"]
    assert main([*line, "--target", "score"]) == 0
    assert f"rows       {len(rows)};" in capsys.readouterr().out
    for verb in (line, ["judge", line[1]], ["report", line[1], "-o", str(tmp_path / "page")]):
        assert main(verb) == 2
        assert "line 2: column L is 'failed', not a number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("N,D,L\n", "a header and no rows"),
        ("N,D,L\n1e6,1e7,2.0\n1e6,2e7,-1\n", "line 3: column L is -1"),
        ("N,D,L\n1e6,1e7,0\n", "line 2: column L is 0"),
        ("N;D;L\n1e6;1e7;2,5\n1e6;2e7;1.00,5\n", "line 3: column L is '1.00,5', not a number"),
        ("N\tD\tL\n1e6\t1e7\t0\n", "line 2: column L is 0"),
        ("N,D,L\n1e6,1e7,nan\n", "line 2: column L is empty"),
        ("N,D,L\n1e6,,2\n", "line 2: column D is empty"),
        ("N,D,L\n1e6,1e7,inf\n", "line 2: column L is inf"),
        ("N,D,L\n1e6,1e7,two\n", "line 2: column L is 'two', not a number"),
        ("N,D,L\n\n1e6,1e7,2\n1e6,1e7,0\n", "line 4: column L is 0"),
        ("N,D,L\n1,2,3,4\n", "more fields than its header"),
        ("N,D,L\n1,2,3\n1,2,3,4,5\n", "line 3"),
    ],
)
def test_a_bad_table_names_its_line_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert main(["fit", str(path)]) == 2
    assert sentence in capsys.readouterr().err


def test_another_encoding_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "latin.csv").write_bytes("N,D,L,größe\n1,2,3,ä\n".encode("latin-1"))
    assert main(["fit", str(tmp_path / "latin.csv")]) == 2
    assert "not UTF-8" in capsys.readouterr().err
    (tmp_path / "marked.csv").write_bytes(b"\xef\xbb\xbf" + seeded("chinchilla").to_csv(index=False).encode())
    assert main(["fit", str(tmp_path / "marked.csv"), "--interval", "none"]) == 0


CELL = st.one_of(
    st.floats(width=32).map(str), st.sampled_from(["", "nan", "-1", "0", "1e6", "1e400", "x", '"', "2.5", "1e-300"])
)


# a failing table is small already; to make it smaller takes minutes
FUZZ = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
    "phases": [Phase.explicit, Phase.reuse, Phase.generate],
}


@settings(max_examples=75, **FUZZ)
@given(
    rows=st.lists(st.lists(CELL, min_size=1, max_size=5), max_size=12),
    law=st.sampled_from(["power(N)", "power_offset(D)", "chinchilla"]),
    loss=st.sampled_from(["huber", "l1", "l2"]),
)
@example(rows=[["4.8e16"], ["4.8e16"]], law="power(N)", loss="huber")  # no row has a loss
def test_no_table_makes_a_traceback(tmp_path: Path, rows: list[list[str]], law: str, loss: str) -> None:
    path = tmp_path / "fuzz.csv"
    path.write_text("N,D,L\n" + "\n".join(",".join(r) for r in rows) + "\n")
    arguments = ["fit", str(path), "--law", law, "--loss", loss, "--resamples", "20", "--json"]
    assert main(arguments) in (0, 1, 2)


POSITIVE = st.floats(min_value=1e-6, max_value=1e15)


@settings(max_examples=15, **FUZZ)
@given(rows=st.lists(st.tuples(POSITIVE, POSITIVE, POSITIVE), min_size=5, max_size=14))
def test_any_positive_numbers_have_an_answer(tmp_path: Path, rows: list[tuple[float, float, float]]) -> None:
    path = tmp_path / "positive.csv"
    pd.DataFrame(rows, columns=["N", "D", "L"]).to_csv(path, index=False)
    assert main(["fit", str(path), "--resamples", "20", "--json"]) in (0, 2)  # 2: too few differ


def test_a_folder_of_runs_and_json_lines_are_tables_too(tmp_path: Path) -> None:
    rows = seeded("chinchilla").round({"N": 0, "D": 0}).astype({"N": int, "D": int}).drop(columns="C", errors="ignore")
    for i, row in rows.iterrows():
        record.write(tmp_path / f"runs/{i}", [record.row(run_id=str(i), status="ok", **row)])
    folder = read_runs(tmp_path / "runs")
    assert sorted(folder["L"]) == pytest.approx(sorted(rows["L"]))
    (tmp_path / "runs.jsonl").write_text(rows.to_json(orient="records", lines=True, double_precision=15))
    assert list(read_runs(tmp_path / "runs.jsonl")["L"]) == pytest.approx(list(rows["L"]))
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"holds no records\.json"):
        read_runs(tmp_path / "none")
    (tmp_path / "torn.jsonl").write_text('{"N": 1}\n{"N": \n')
    with pytest.raises(UserError, match="line 2 is not JSON"):
        read_runs(tmp_path / "torn.jsonl")


def test_where_is_read_and_never_evaluated(table: Path) -> None:
    runs = read_runs(table, columns={"N": "params", "D": "tokens", "L": "val/loss"})
    rows = select(runs, "family = 'mlp' and N<1e8 AND D >= 1e9")
    assert set(rows["family"]) == {"mlp"}
    assert rows["N"].max() < 1e8
    assert rows["D"].min() >= 1e9
    assert len(select(runs, "family != 'mlp'")) == 36
    spaced = runs.with_columns(**{"val loss": runs["L"], "set (and split)": "a and b"})
    limit = float(runs["L"].median())
    assert list(select(spaced, f"`val loss`<={limit} and `N` < 1e8").frame.index) == list(
        select(runs, f"L <= {limit} and N < 1e8").frame.index
    )
    assert len(select(spaced, "`set (and split)` = 'a and b'")) == len(runs)
    for text, sentence in {
        "N < 'big'": "holds numbers",
        "family > 3": "holds text",
        "size > 3": "no column 'size'",
        "`val size` > 3": "no column 'val size'",
        "val size > 3": "a column's name with spaces in backticks",
        "N > 1 or N < 2": "only `and` joins conditions",
        "": "is not a condition",
    }.items():
        with pytest.raises(UserError, match=sentence):
            select(runs, text)
