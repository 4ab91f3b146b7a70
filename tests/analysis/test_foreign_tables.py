"""Foreign tables: Parquet, public tables known by their columns, units and mixtures noted."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_laws import seeded

from isoflop import record
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.options import names, pairs, place
from isoflop.analysis.runs.foreign import completed
from isoflop.analysis.runs.names import NAMES, by_usual_names
from isoflop.analysis.runs.observations import units
from isoflop.analysis.runs.quality import check
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.runs.runs import as_runs, select
from isoflop.analysis.verbs import main
from isoflop.errors import UserError

FOLDER = os.environ.get("ISOFLOP_REFERENCE_DATA", "")


def test_parquet_is_read_as_the_same_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    rows = seeded("chinchilla")
    rows.to_parquet(tmp_path / "runs.parquet")
    assert fit(read_runs(tmp_path / "runs.parquet"), interval="none").objective == fit(rows, interval="none").objective
    rows.assign(L=rows["L"].where(rows.index != 4, -1)).to_parquet(tmp_path / "bad.parquet")
    assert main(["fit", str(tmp_path / "bad.parquet")]) == 2
    assert "row 5: column L is -1" in capsys.readouterr().err
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    assert main(["fit", str(tmp_path / "torn.parquet")]) == 2
    assert "is not sound Parquet" in capsys.readouterr().err


def test_parquet_without_pyarrow_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["fit", str(tmp_path / "runs.parquet")]) == 2
    assert "pip install 'isoflop[parquet]'" in capsys.readouterr().err


@pytest.mark.parametrize("preset", NAMES.tables, ids=lambda p: p.what[:30])
def test_a_public_table_is_known_by_its_columns(tmp_path: Path, preset: Any) -> None:
    names = {*preset.columns.values(), *preset.also, *preset.ours}
    pd.DataFrame({name: [1e6, 2e6] for name in names}).to_csv(tmp_path / "theirs.csv", index=False)
    table = read_runs(tmp_path / "theirs.csv")
    assert set(preset.columns) <= set(table.frame.columns)
    assert f"columns as in {preset.what}" in select(table, "L > 0").notes[0]


def test_what_was_recognised_is_said_and_what_is_named_wins(tmp_path: Path) -> None:
    rows = seeded("chinchilla")
    theirs = pd.DataFrame({"Model Size": rows["N"], "Training FLOP": 6 * rows["N"] * rows["D"], "loss": rows["L"]})
    theirs.to_csv(tmp_path / "theirs.csv", index=False)
    answer = fit(read_runs(tmp_path / "theirs.csv"), interval="none")
    assert answer.objective == pytest.approx(fit(rows, interval="none").objective)
    assert "N=Model Size, C=Training FLOP, L=loss, D=C/(6 N)" in answer.explanation
    named = read_runs(tmp_path / "theirs.csv", columns={"N": "Model Size", "D": "Training FLOP", "L": "loss"})
    assert not named.notes


@pytest.mark.parametrize(
    ("columns", "note", "values"),
    [
        (["params", "tokens", "final_loss"], "N=params, D=tokens, L=final_loss", (2.0, 2.0, None, 2.0)),
        (
            ["params (M)", "Tokens [B]", "flops_1e18", "loss (bits)"],
            "N=1e+06 params (M), D=1e+09 Tokens [B], C=1e+18 flops_1e18, L=loss (bits)",
            (2e6, 2e9, 2e18, 2.0),
        ),
        (["params_in_millions", "loss", "val_loss"], "N=1e+06 params_in_millions, L=val_loss", (2e6, None, None, 2.0)),
        (["N", "D", "loss", "params"], "L=loss", (2.0, 2.0, None, 2.0)),
        # two sizes, a unit that nobody knows: not taken, and a law that needs them says so
        (["params", "num_params", "tokens", "loss"], "D=tokens, L=loss", (None, 2.0, None, 2.0)),
        (["params (dozens)", "tokens", "loss"], "D=tokens, L=loss", (None, 2.0, None, 2.0)),
        # the plain name before one of a part; a letter with a letter beside it is no unit
        (
            ["params", "non_embedding_params", "tokens", "samples", "loss"],
            "N=params, D=tokens, L=loss",
            (2.0, 2.0, None, 2.0),
        ),
        (["params", "D_m", "tokens", "loss"], "N=params, D=tokens, L=loss", (2.0, 2.0, None, 2.0)),
        # what is called a loss and is none of the model's on text, or a logarithm of unknown base
        (
            ["params", "tokens", "train_loss", "load_balancing_loss", "kl_loss"],
            "N=params, D=tokens, L=train_loss",
            (2.0, 2.0, None, 2.0),
        ),
        (["params", "tokens", "log_perplexity"], "N=params, D=tokens", (2.0, 2.0, None, None)),
        (["params", "tokens", "log10(val_loss)"], "N=params, D=tokens, L=10^log10(val_loss)", (2.0, 2.0, None, 100.0)),
        # columns of other scores for each size or length beside the size itself
        (
            ["params", "tokens", "val_loss", "ppl_1k", "ppl_2k", "ppl_4k"],
            "N=params, D=tokens, L=val_loss",
            (2.0, 2.0, None, 2.0),
        ),
        (["tokens", "train_loss"], "D=tokens, L=train_loss", (None, 2.0, None, 2.0)),
        (["N", "D", "C", "L", "params", "loss"], "", (2.0, 2.0, 2.0, 2.0)),
    ],
)
def test_usual_names_are_taken_in_their_units_and_said(
    columns: list[str], note: str, values: tuple[float | None, ...], tmp_path: Path
) -> None:
    pd.DataFrame([[2.0] * len(columns)], columns=columns).to_csv(tmp_path / "theirs.csv", index=False)
    table = read_runs(tmp_path / "theirs.csv")
    assert [table[c].iloc[0] if c in table else None for c in "NDCL"] == list(values)
    expected = [f"columns by their usual names: {note}; --columns takes others"] if note else []
    assert list(table.notes) == expected
    # what the user names wins, and is nothing else
    named = read_runs(
        tmp_path / "theirs.csv", columns={"N": columns[0], "D": columns[0], "C": columns[0], "L": columns[-1]}
    )
    assert not any("usual names" in note for note in named.notes)


@pytest.mark.parametrize(
    ("columns", "named", "values"),
    [
        (["params (M)", "tokens (B)"], "N=params (M),D=tokens (B)", (2e6, 2e9)),
        # the form that notes print; a factor that is given is all of the unit
        (["params (M)", "tokens (B)"], "N=1e+06 params (M),D=1*tokens (B)", (2e6, 2.0)),
        (["params", "tokens"], "N=1e6*params,D=1e9 * tokens", (2e6, 2e9)),
        (["Modellgröße (Mio.)", "Daten [Mrd.]"], "N=Modellgröße (Mio.),D=Daten [Mrd.]", (2e6, 2e9)),
        (["Paramètres (millions)", "Jetons (milliards)"], "D=Jetons (milliards)", (2e6, 2e9)),
        (["params", "seen (in B)"], "N=params*1e6,D=seen (in B)", (2e6, 2e9)),
        (["Modellgröße (Mio. Parameter)", "seen"], "N=Modellgröße (Mio. Parameter),D=seen", (2e6, 2.0)),
        (["Parameter (Bio.)", "size_millions"], "D=size_millions", (2e12, 2e6)),
        (["Parameter (Mio.)", "Token (Mrd.)"], "L=loss", (2e6, 2e9)),
        (["log10_n", "D_m"], "N=log10_n,D=D_m", (100.0, 2.0)),
        (["n", "tokens"], "N=10^n", (100.0, 2.0)),
    ],
)
def test_a_column_that_is_named_is_read_in_the_unit_of_its_name(
    columns: list[str], named: str, values: tuple[float, float], tmp_path: Path
) -> None:
    pd.DataFrame([[2.0, 2.0, 3.0]], columns=[*columns, "loss"]).to_csv(tmp_path / "theirs.csv", index=False)
    table = read_runs(tmp_path / "theirs.csv", columns=pairs(named))
    assert (table["N"].iloc[0], table["D"].iloc[0], table["L"].iloc[0]) == (*values, 3.0)
    assert not any("no unit" in note for note in table.notes)
    implied = [f"{ours}=" for ours, name in pairs(named).items() if name in columns and table[ours].iloc[0] != 2]
    assert all(any(ours in note for note in table.notes) for ours in implied)


def test_units_in_cells_are_read_and_other_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").write_text("params,unit_of_data,loss\n4.2B,300 Mrd.,2.5\n70M,1e9,3.0\n")
    table = read_runs(tmp_path / "theirs.csv", columns={"D": "unit_of_data"})
    assert list(table["N"]) == [4.2e9, 7e7]
    assert list(table["D"]) == [3e11, 1e9]
    (tmp_path / "theirs.csv").write_text("params,tokens,loss\n4.2X,1e9,2.5\n70M,1e9,3.0\n")
    with pytest.raises(UserError, match=r"line 2: column N is '4\.2X', not a number"):
        read_runs(tmp_path / "theirs.csv")


def test_every_verb_asks_about_units_as_check_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = seeded("chinchilla")
    path = tmp_path / "theirs.csv"
    rows.assign(N=rows["N"] / 1e6, D=rows["D"] / 1e9).to_csv(path, index=False)
    verbs = (["check"], ["fit", "--interval", "none"], ["predict", "--at", "C=1e13"],
             ["compare", "--laws", "power", "--holdout", "D>=3"], ["frontier"], ["judge"],
             ["plot", "-o", str(tmp_path / "a.svg")])  # fmt: skip
    for verb in verbs:
        main([verb[0], str(path), *verb[1:]])
        assert "N and D below 10000 in every row: in millions or billions?" in capsys.readouterr().out, verb
    rows.assign(D=rows["D"] / 1e9).to_csv(path, index=False)
    for verb in (["predict", "--at", "C=1e13"], ["frontier", "--target-C", "1e13"]):
        main([verb[0], str(path), *verb[1:]])
        assert "at the best split: are both in units" in capsys.readouterr().out, verb


DISGUISES = {
    "logarithms": (lambda t: {"log10_params": np.log10(t["N"]), "log10(D)": np.log10(t["D"]), "loss": t["L"]}, ""),
    "steps": (
        lambda t: {"params_b": t["N"] / 1e9, "step": t["D"] / 2**19, "batch_size": 256, "seq_len": 2048, "bpb": t["L"]},
        "D is step x batch_size x seq_len",
    ),
    "targets of a step": (
        lambda t: {"params": t["N"], "iteration": t["D"] / 2**19, "tokens_per_batch": 2**19, "eval/nll": t["L"]},
        "D is iteration x tokens_per_batch",
    ),
    "a ratio": (
        lambda t: {"N (millions)": t["N"] / 1e6, "Tokens per parameter": t["D"] / t["N"], "C4 val loss": t["L"]},
        "D is Tokens per parameter x N",
    ),
    "compute": (
        lambda t: {"n_active": t["N"], "compute_exaflops": 6e-18 * t["N"] * t["D"], "validation/loss": t["L"]},
        "D is C/(6 N)",
    ),
    "no size": (
        lambda t: {"tokens (B)": t["D"] / 1e9, "flops": 6 * t["N"] * t["D"], "perplexity": np.exp(t["L"])},
        "N is C/(6 D)",
    ),
    "names of models": (
        lambda t: {"model": [f"gpt-{n / 1e6!r}M-v2" for n in t["N"]], "trainTokens": t["D"], "test_loss": t["L"]},
        "N is what the names in model say",
    ),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_table_gives_the_same_fit_under_other_names(disguise: str, tmp_path: Path) -> None:
    rows, (theirs, note) = seeded("chinchilla"), DISGUISES[disguise]
    pd.DataFrame(theirs(rows)).to_csv(tmp_path / "theirs.csv", index=False)
    disguised, plain = fit(read_runs(tmp_path / "theirs.csv"), interval="none"), fit(rows, interval="none")
    assert disguised.objective == pytest.approx(plain.objective, rel=1e-6)
    assert disguised.derived["a"].value == pytest.approx(plain.derived["a"].value, rel=1e-6)
    assert note in disguised.explanation


def test_options_take_sizes_as_they_are_spoken_of_and_names_once() -> None:
    assert place("N=7B,D=1.5T") == {"N": 7e9, "D": 1.5e12}
    assert names("model, model,data") == ["model", "data"]
    with pytest.raises(UserError, match="no number"):
        place("N=B")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("N,D,L,L\n1e6,1e9,3.1,2.9\n")
    with pytest.raises(UserError, match="has two columns called 'L'; rename or remove one"):
        read_runs(tmp_path / "a.csv")


def test_no_compute_follows_from_data_that_are_counted_in_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = seeded("chinchilla")[["N", "D", "L"]].rename(columns={"N": "params", "D": "samples", "L": "loss"})
    rows.to_csv(tmp_path / "a.csv", index=False)
    assert main(["frontier", str(tmp_path / "a.csv"), "--target-C", "1e21"]) == 2
    assert "D is samples, counted in samples: give the targets of one" in capsys.readouterr().err


def test_no_compute_follows_from_data_that_are_counted_in_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = seeded("chinchilla")
    path = tmp_path / "history.csv"
    rows = rows.assign(Step=rows["D"] / 2**19, params=rows["N"], loss=rows["L"])
    rows[["params", "Step", "loss"]].to_csv(path, index=False)
    for verb in (["predict", "--at", "C=1e21"], ["frontier", "--target-C", "1e21"], ["frontier"]):
        assert main([verb[0], str(path), *verb[1:]]) == 2  # a size of terabytes for a step taken for a target
        said = capsys.readouterr().err
        assert "D is Step, counted in steps: no column gives the batch; give the targets of a step" in said
    assert main(["frontier", str(path), "--target-C", "1e13", "--columns", "D=524288*Step"]) == 0
    wide = rows.assign(N=rows["N"].map("{:.4g}".format).astype(float)).pivot_table(
        index="Step", columns="N", values="L"
    )
    wide.columns = [f"loss_{n / 1e6:g}M" for n in wide.columns]
    wide.reset_index().to_csv(path, index=False)
    table = read_runs(path, columns={"D": "524288*Step"})
    assert (table["D"] == 2**19 * table["Step"]).all()
    assert {"N", "L"} <= set(table.frame)


@pytest.mark.parametrize(
    ("name", "ended", "other"), [("State", "finished", "crashed"), ("Status", "FINISHED", "KILLED")]
)
def test_runs_that_another_tool_calls_unfinished_are_left_out(
    name: str, ended: str, other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = seeded("chinchilla")[["N", "D", "L"]]
    state = [ended] * (len(rows) - 1) + [other]
    rows.assign(**{name: state}, L=rows["L"].where(rows.index != len(rows) - 1, 9.0)).to_csv(tmp_path / "a.csv")
    expected = fit(rows[:-1], interval="none").objective
    answer = fit(read_runs(tmp_path / "a.csv"), interval="none")
    assert answer.objective == pytest.approx(expected)
    assert f"1 of {len(rows)} rows left out: status is {other.lower()}" in str(answer)
    assert f"status is {name}" in answer.explanation
    # a word that is not known does not let the others in
    rows.assign(**{name: ["weird", other, *state[2:]]}).to_csv(tmp_path / "a.csv")
    odd = read_runs(tmp_path / "a.csv")
    assert len(odd.usable) == len(rows) - 3
    assert "no known word: weird" in str(odd.notes)
    assert "1 of 36 rows left out: status is weird" in str(odd.left_out)
    rows.assign(state="texas").to_csv(tmp_path / "a.csv")  # another state
    assert "status" not in read_runs(tmp_path / "a.csv")


def test_a_loss_that_is_not_known_is_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = seeded("chinchilla")
    rows.assign(L=rows["L"].where(rows.index != 3, 1e300)).to_csv(tmp_path / "a.csv", index=False)
    main(["frontier", str(tmp_path / "a.csv"), "--target-C", "1e16"])
    assert len(capsys.readouterr().out.splitlines()[0]) < 400  # no bound of a hundred digits
    rows.assign(L=np.nan).to_csv(tmp_path / "a.csv", index=False)
    assert main(["check", str(tmp_path / "a.csv")]) == 2
    assert "no number above 0 of N or D or L" in capsys.readouterr().err
    assert main(["fit", str(tmp_path / "a.csv"), "--pin", "E=-1"]) == 2


def test_a_page_does_not_say_of_a_training_loss_that_it_is_held_out(tmp_path: Path) -> None:
    rows = seeded("chinchilla").rename(columns={"L": "train_loss"})
    rows.to_csv(tmp_path / "a.csv", index=False)
    assert main(["report", str(tmp_path / "a.csv"), "-o", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "index.html").read_text()
    assert "The loss is measured in nats per target; lower is better" in page


def test_a_header_that_comes_twice_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("params (M),tokens (B),loss\n20,0.5,4.5\n30,2,4.2\nparams (M),tokens (B),loss\n50,3,3.9\n")
    with pytest.raises(UserError, match=r"line 4: column N is 'params \(M\)', not a number"):
        read_runs(path)


def test_a_column_of_losses_for_each_size_is_a_row_for_each_loss(tmp_path: Path) -> None:
    rows = seeded("chinchilla")
    rows["N"] = rows["N"].map("{:.3g}".format).astype(float)
    wide = rows.pivot_table(index="D", columns="N", values="L")
    wide.columns = [f"loss_{n / 1e6:g}M" for n in wide.columns]
    wide.reset_index(names="tokens").to_csv(tmp_path / "wide.csv", index=False)
    table = read_runs(tmp_path / "wide.csv")
    expected = rows.groupby(["N", "D"])["L"].mean()
    assert table.frame.set_index(["N", "D"])["L"].sort_index().to_numpy() == pytest.approx(expected.to_numpy())
    assert "hold the losses of the sizes in their names" in table.notes[0]
    # columns of one size each that are no losses, for a loss is there
    other = pd.DataFrame({"N": [1e6], "D": [1e8], "L": [3.0], "gpus_1M": 1.0, "gpus_2M": 2.0, "gpus_3M": 3.0})
    other.to_csv(tmp_path / "other.csv", index=False)
    assert len(read_runs(tmp_path / "other.csv")) == 1


def test_semicolons_tabs_and_decimal_commas_are_read(tmp_path: Path) -> None:
    rows = seeded("chinchilla")[["N", "D", "L"]]
    rows.to_csv(tmp_path / "semicolons.csv", index=False, sep=";", decimal=",")
    rows.to_csv(tmp_path / "tabs.tsv", index=False, sep="\t")
    for name in ("semicolons.csv", "tabs.tsv"):
        assert read_runs(tmp_path / name).frame.to_numpy() == pytest.approx(rows.to_numpy())


@pytest.mark.parametrize(
    ("columns", "loss"),
    [
        (["loss", "smooth loss", "val_loss_se"], "loss"),
        (["train/loss", "final_loss", "eval/loss/c4"], "eval/loss/c4"),
        (["val_bpb", "val_loss"], None),  # as good as each other: nobody can say which
        (["aux_loss", "loss_std", "loss_unit"], None),
        (["log10(loss)"], "10^log10(loss)"),
        (["perplexity", "train_loss"], "train_loss"),
        (["val_ppl"], "ln val_ppl"),
    ],
)
def test_of_several_losses_the_surest_is_taken(columns: list[str], loss: str | None) -> None:
    table, notes = by_usual_names(pd.DataFrame([[1e6, *([2.0] * len(columns))]], columns=["params", *columns]))
    assert ("L" in table) == (loss is not None)
    assert loss is None or f"L={loss};" in notes[0]


def test_text_in_a_column_of_a_usual_name_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").write_text("params,tokens,loss\n1e6,1e8,3.1\n2e6,many,3.0\n")
    with pytest.raises(UserError, match="line 3: column D is 'many', not a number"):
        read_runs(tmp_path / "theirs.csv")


@pytest.mark.parametrize("loss", ["val loss", "ppl"])
@pytest.mark.parametrize("options", [[], ["--columns", "L={loss}"]])
@pytest.mark.parametrize("verb", ["fit", "check"])
def test_one_word_in_a_loss_of_a_usual_name_is_the_error_of_one_that_is_named(
    loss: str, options: list[str], verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text(f"params (M),tokens (B),{loss}\n20,0.5,4.5\n20,1.2,n.a. (oom)\n50,3,3.9\n50,8,3.6\n")
    code = main([verb, str(path), *(option.format(loss=loss) for option in options)])
    said = capsys.readouterr()
    if verb == "fit":
        assert code == 2
        assert "line 3: column L is 'n.a. (oom)', not a number" in said.err
    else:  # which lists what is wrong, whatever it is
        assert code == 0
        assert "line 3: L is n.a. (oom)" in said.out


@pytest.mark.parametrize("options", [["check"], ["fit"], ["fit", "--by", "kind"], ["fit", "--run", "kind"]])
def test_an_error_lists_the_columns_of_the_file_alone(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "theirs.csv").write_text("params (M),tokens (B),quality\n20,0.5,4.5\n20,1.2,4\n50,3,3.9\n")
    assert main([options[0], str(tmp_path / "theirs.csv"), *options[1:]]) == 2
    assert re.search(r"(it has|there are) params \(M\), tokens \(B\), quality\b(?!,)", capsys.readouterr().err)


def test_words_about_a_loss_are_no_loss(tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").write_text("params,tokens,loss,score\n1e6,1e8,mse,3.1\n2e6,1e8,nll,3.0\n3e6,1e8,4,2\n")
    assert "L" not in read_runs(tmp_path / "theirs.csv")
    (tmp_path / "theirs.csv").write_text("params,tokens,loss,train_loss\n1e6,1e8,3.2,3.1\n2e6,1e8,3.1,3\n3e6,1e8,?,2\n")
    assert "L=train_loss" in read_runs(tmp_path / "theirs.csv").notes[0]


@pytest.mark.skipif(not Path(FOLDER or "missing").is_dir(), reason="ISOFLOP_REFERENCE_DATA names no folder")
@pytest.mark.parametrize(
    ("path", "columns"),
    [
        ("epoch-research__analyzing-chinchilla/svg_extracted_data.csv", "NDCL"),
        ("formll__resolving-scaling-law-discrepancies/isoflop_points.csv", "NDCL"),
        ("mcleish7__gemstone-scaling-laws/wandb_dfs/wandb_df_for_fitting_hot_100b+.jsonl", "NDL"),
        ("huggingface__datablations/parametric_fit_all.csv", "NDL"),
        ("ethancaballero__broken_neural_scaling_laws/four_digit_addition.csv", "DL"),
        ("google-deepmind__scaling_laws_for_routing/curves.csv.gz", "NL"),
        ("mlfoundations__scaling/loss_evals.csv", "NDL"),
        ("step-law__steplaw/dense_lr_bs_loss.csv", "NDL"),
        ("step-law__steplaw/moe_lr_bs_loss.csv", "NDL"),
        ("formll__resolving-scaling-law-discrepancies/optimal_pairs.csv", "NDCL"),
        ("PlanarG__active-sl/farseer_train.csv", "NDL"),
        ("PlanarG__active-sl/data_constrained_train.csv", "NDL"),
        ("PlanarG__active-sl/lr_bsz_train.csv", "NDL"),
        ("PlanarG__active-sl/parallel_train.csv", "NL"),
        ("PlanarG__active-sl/sparsity_train.csv", "L"),
        ("thu-yao-01-luo__MultiPowerLaw/csv_25/wsdcon_9.csv", "L"),
    ],
)
def test_the_published_files_are_known(path: str, columns: str) -> None:
    table = read_runs(Path(FOLDER) / path)
    assert set(columns) <= set(table.frame.columns)
    assert table.notes


def test_a_table_in_another_unit_is_read_in_ours(tmp_path: Path) -> None:
    theirs = pd.DataFrame({"P": [7.0], "N_active": [0.4], "N_dense": [0.2], "D1": [2.3], "D2": [1.2], "loss": [2.7]})
    theirs.to_csv(tmp_path / "theirs.csv", index=False)
    table = read_runs(tmp_path / "theirs.csv")
    assert table["n_active"].tolist() == [4e8]
    assert "n_active=1e+09 N_active" in table.notes[0]


def test_a_curve_with_more_columns_is_not_taken_for_a_published_one(tmp_path: Path) -> None:
    theirs = pd.DataFrame({"step": [1.0], "lr": [0.1], "loss": [2.7], "epoch": [1]})
    theirs.to_csv(tmp_path / "theirs.csv", index=False)
    assert not any("columns as in" in note for note in read_runs(tmp_path / "theirs.csv").notes)


def test_units_and_mixtures_are_noted() -> None:
    rows = seeded("chinchilla").assign(C=lambda r: 6 * r["N"] * r["D"])
    assert "such as N or D in millions" in fit(rows.assign(N=rows["N"] / 1e6), interval="none").explanation
    both = rows.assign(N=rows["N"] / 1e6, D=rows["D"] / 1e9)
    assert "such as N in millions and D in billions" in fit(both, interval="none").explanation
    assert "another unit" not in fit(rows, interval="none").explanation
    for name in ("data", "dataset", "tokenizer"):
        mixed = rows.assign(**{name: ["a", "b"] * 18})
        assert f"{name} mixes a, b: group by it" in fit(mixed, interval="none").explanation


def test_data_that_are_seen_again_and_again_are_noted_where_the_law_takes_them_for_new() -> None:
    rows = pd.DataFrame({"N": 1e8, "D": np.geomspace(1e8, 1e11, 8), "D_unique": 1e9})
    rows["L"] = 2 + 1000 * rows["D"] ** -0.3
    note = "in 4 of 8 rows targets are seen more than 4 times, up to 100: "
    assert any(text.startswith(note) for text in fit(rows, "power_offset(D)", interval="none").notes)
    assert any(finding.sentence.startswith(note) for finding in check(rows).findings)
    unseen = rows.assign(D_unique=rows["D"])
    assert not any("are seen" in text for text in fit(unseen, "power_offset(D)", interval="none").notes)


def test_a_tables_thousands_are_no_decimals_and_text_stays_as_it_is(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.csv"
    theirs.write_text("params\ttokens\tloss\n70,000\t1e6\t3.2\n160,000\t1e6\t3.1\n")
    with pytest.raises(UserError, match="line 2: column N is '70,000', not a number"):
        read_runs(theirs)
    theirs.write_text('params;tokens;loss;tag\n70;1e6;3,214;"1,2"\n160;1e6;3,125;x\n')
    table = read_runs(theirs)
    assert table["L"].tolist() == [3.214, 3.125]
    assert table["tag"].tolist() == ["1,2", "x"]


def test_sizes_are_read_from_names_of_models_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.csv"
    theirs.write_text("tokenizer,model,tokens,loss\nbpe-32k,pythia-70m,1e9,3\nbpe-50k,pythia-160m,2e9,2.8\n")
    assert read_runs(theirs)["N"].tolist() == [7e7, 1.6e8]


def test_of_two_batches_steps_alone_tell_no_amount_of_data() -> None:
    columns = {"params": [1.0, 2.0], "step": [3.0, 4.0], "batch_size": [5.0, 6.0], "global_batch_size": [7.0, 8.0]}
    table, notes = completed(by_usual_names(pd.DataFrame(columns | {"loss": [2.0, 1.9]}))[0])
    assert "D" not in table
    assert not notes


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("val_bpb", "bits per byte"),
        ("Bits per character", "bits per character"),
        ("loss (bits)", "bits per target"),
        ("accuracy", "units of accuracy"),
        ("val/loss", "nats per target"),
        ("perplexity", "nats per target"),
    ],
)
def test_a_loss_is_shown_in_the_unit_that_its_name_states(column: str, unit: str, tmp_path: Path) -> None:
    pd.DataFrame([[2.0, 2.0, 2.0]], columns=["params", "tokens", column]).to_csv(tmp_path / "theirs.csv", index=False)
    if column != "accuracy":
        assert read_runs(tmp_path / "theirs.csv").loss_unit == unit
    if column != "perplexity":
        assert read_runs(tmp_path / "theirs.csv", columns={"L": column}).loss_unit == unit


def test_records_of_our_own_state_their_units_and_are_not_asked_for_them() -> None:
    rows = seeded("chinchilla")
    small = rows.assign(N=rows["N"] / 1e6, C=6e4 * rows["N"] * rows["D"])
    assert len(units(small)) == 2
    assert units(small.assign(**dict.fromkeys(record.IDENTITY - set(small.columns), "x"))) == []


def _cells(times: int, scatter: float, **more: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    N, D = (x.ravel() for x in np.meshgrid(np.logspace(7, 9.5, 6), np.logspace(8.5, 11, 6)))
    L = (1.69 + 406.4 * N**-0.34 + 410.7 * D**-0.28) * np.exp(0.005 * rng.normal(size=36))
    L = np.tile(L, times) * np.exp(scatter * rng.normal(size=36 * times))
    return pd.DataFrame({"N": np.tile(N, times), "D": np.tile(D, times), "L": L, **more})


def test_rows_equal_but_for_their_loss_are_evaluations_of_one_run_and_seeds_are_runs() -> None:
    number = np.repeat(range(5), 36)
    five = as_runs(_cells(5, 1e-4, eval_seed=number))
    assert five.count == 36
    assert "equal but for their loss" in five.recognised.note
    assert as_runs(_cells(5, 1e-4, seed=number)).count == 180
    assert as_runs(_cells(5, 2e-3, eval_seed=number)).count == 180
    one, all_five = (fit(t, resamples=100).params["alpha"] for t in (_cells(1, 0.0), five))
    assert all_five.high - all_five.low > 0.7 * (one.high - one.low)


@pytest.mark.parametrize("name", ["current_steps", "checkpoint", "tokens_seen", "ckpt_step"])
def test_a_column_that_grows_along_a_run_makes_its_rows_one_run(name: str) -> None:
    N, step = (x.ravel() for x in np.meshgrid([1e7, 1e8, 1e9], np.arange(1, 8) ** 2 * 1000.0))
    table = pd.DataFrame({"N": N, "D": step * 512, "L": 3 + 1 / step, name: step.astype(int)})
    assert as_runs(table).count == 3
    table[name] = [f"step{int(x)}" for x in step]
    assert as_runs(table).count == 3


def test_the_tokens_of_an_epoch_are_the_unique_ones(tmp_path: Path) -> None:
    path = tmp_path / "epochs.csv"
    path.write_text("params,tokens,epochs,loss\n1e8,1e9,2,3.0\n1e8,4e9,8,2.9\n2e8,4e9,4,2.8\n")
    assert read_runs(path).frame["D_unique"].tolist() == [5e8, 5e8, 1e9]
    path.write_text("params,tokens,tokens_per_epoch,loss\n1e8,1e9,5e8,3.0\n1e8,4e9,5e8,2.9\n2e8,4e9,1e9,2.8\n")
    assert read_runs(path).frame["D_unique"].tolist() == [5e8, 5e8, 1e9]


KINDS = {
    "corpus": (["pile", "c4"], "corpus mixes pile, c4 at one size: --by corpus separates them"),
    "loss_unit": (["nats per byte", "bits per byte"], "loss_unit mixes nats per byte, bits per byte: group by it"),
}  # fmt: skip


@pytest.mark.parametrize("column", KINDS)
@pytest.mark.parametrize("verb", ["check", "fit", "predict", "compare", "frontier", "judge", "report"])
def test_every_verb_says_the_same_of_kinds_that_are_mixed(
    verb: str, column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds, said = KINDS[column]
    _cells(2, 0.0, family="gpt", **{column: np.repeat(kinds, 36)}).to_csv(tmp_path / "runs.csv", index=False)
    more = {"fit": ["--interval", "none"], "predict": ["--at", "N=1e9,D=1e10"], "report": ["-o", str(tmp_path / "r")]}
    assert main([verb, str(tmp_path / "runs.csv"), *more.get(verb, [])]) == 0
    page = (tmp_path / "r" / "index.html").read_text(encoding="utf-8") if verb == "report" else capsys.readouterr().out
    assert said.lower() in page.lower()


def _in_words(value: float) -> str:
    return f"{value / 1e9:.6g}B" if value >= 1e9 else f"{value / 1e6:.6g}M"


def test_a_unit_that_is_not_known_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").write_text("params (milj),tokens,loss\n2,3e9,3\n")
    table = read_runs(tmp_path / "theirs.csv", columns={"N": "params (milj)"})
    assert "no unit that is known: params (milj), taken as it is; --columns N=1e6*its_name" in table.notes[0]


def _comma(values: Any) -> list[str]:
    return [f"{value:.8g}".replace(".", ",") for value in values]


# a table of others in its own spelling: ending, columns, and what has to be said of it
FOREIGN: dict[str, tuple[str, Any, list[str]]] = {
    "plain": (".csv", lambda t: {"params": t["N"], "tokens": t["D"], "loss": t["L"]}, []),
    "units in names": (".csv", lambda t: {"params (M)": t["N"] / 1e6, "tokens (B)": t["D"] / 1e9, "loss": t["L"]}, []),
    "units, named": (
        ".csv", lambda t: {"size (M)": t["N"] / 1e6, "seen (B)": t["D"] / 1e9, "err": t["L"]},
        ["--columns", "N=size (M),D=seen (B),L=err"],
    ),
    "factors": (
        ".csv", lambda t: {"size": t["N"] / 1e6, "seen": t["D"] / 1e9, "err": t["L"]},
        ["--columns", "N=1e6*size,D=1e9*seen,L=err"],
    ),
    "a German sheet": (
        ".csv;", lambda t: {"Parameter (Mio.)": _comma(t["N"] / 1e6), "Tokens (Mrd.)": _comma(t["D"] / 1e9),
                            "loss": _comma(t["L"])}, [],
    ),
    "a French sheet": (
        ".csv;", lambda t: {"taille (millions)": _comma(t["N"] / 1e6), "jetons (milliards)": _comma(t["D"] / 1e9),
                            "perte": _comma(t["L"])}, ["--columns", "N=taille (millions),D=jetons (milliards),L=perte"],
    ),
    "W&B's page": (
        ".csv", lambda t: {"Name": [f"run-{i}" for i in range(len(t))], "State": "finished", "params": t["N"],
                           "tokens": t["D"], "eval/loss": t["L"], "Runtime": 3600.0}, [],
    ),
    "W&B's history": (
        ".csv", lambda t: {"run_name": [f"run-{i}" for i in range(len(t))], "_step": t["D"] / 2**19,
                           "tokens_per_batch": 2**19, "n_params": t["N"], "train/loss": 1.01 * t["L"],
                           "eval/loss": t["L"]}, [],
    ),
    "Lightning": (
        ".csv", lambda t: {"step": t["D"] / 2**19, "batch_size": 256, "seq_len": 2048, "num_params": t["N"],
                           "train_loss": 1.01 * t["L"], "val_loss": t["L"]}, [],
    ),
    "budgets": (".csv", lambda t: {"flops": t["C"], "n_params": t["N"], "val_loss": t["L"]}, []),
    "logarithms": (
        ".csv", lambda t: {"log10_params": np.log10(t["N"]), "log10_tokens": np.log10(t["D"]), "loss": t["L"]}, [],
    ),
    "sizes in words": (
        ".jsonl", lambda t: {"params": map(_in_words, t["N"]), "tokens": map(_in_words, t["D"]), "loss": t["L"]}, [],
    ),
}  # fmt: skip


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", FOREIGN)
def test_of_twelve_foreign_tables_the_best_size_is_found_by_one_command(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, C = np.random.default_rng(26), np.repeat(np.geomspace(1e18, 1e20, 5), 7)
    N = 0.1 * np.sqrt(C) * 4 ** np.tile(np.linspace(-1, 1, 7), 5)
    rows = pd.DataFrame({"N": N, "D": C / 6 / N, "C": C})
    E, A, alpha, B, beta = 1.69, 406.4, 0.34, 410.7, 0.28
    rows["L"] = (E + A * rows["N"] ** -alpha + B * rows["D"] ** -beta) * np.exp(0.003 * rng.normal(size=len(rows)))
    ending, theirs, said = FOREIGN[name]
    path, table = tmp_path / f"theirs{ending.rstrip(';')}", pd.DataFrame(theirs(rows))
    if ending == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False, sep=";" if ending.endswith(";") else ",")
    assert main(["frontier", str(path), "--target-C", "1e21", "--json", *said]) == 0
    found = json.loads(capsys.readouterr().out)["decisions"][0]
    best = (alpha * A / beta / B) ** (1 / (alpha + beta)) * (1e21 / 6) ** (beta / (alpha + beta))
    assert found["N"]["low"] < best < found["N"]["high"]
    assert found["N"]["high"] / found["N"]["low"] < 10


def test_a_whole_number_beyond_every_float_is_refused_with_its_line(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    table.write_text(f"N,D,L\n1e8,1e9,3.0\n{'9' * 400},1e9,2.9\n")
    with pytest.raises(UserError, match="line 3: column N is inf"):
        read_runs(table).usable.numbers("N")


class Grouped(float):
    """A number whose thousands stand apart by the sign that its format names."""

    def __format__(self, sign: str) -> str:
        signs = {"spaces": "\u202f", "dots": ".", "swiss": "'"}
        return f"{float(self):,.0f}".replace(",", signs[sign]) if sign in signs else float(self).__format__(sign)


def comma(number: float) -> str:
    return f"{number:.6f}".replace(".", ",")


SPELLED: dict[str, tuple[str, str, Any]] = {
    "words after units": ("model,params,tok,loss", "m,{n:.6f} M params,{d:.6f}B tok,{l:.6f}", (1e6, 1e9)),
    "dots between thousands": ("Parameter;Token;Verlust", "{n:dots};{d:dots};{l_}", (1, 1)),
    "Swiss thousands": ("Parameter;Token;Verlust", "{n:swiss};{d:swiss};{l:.6f}", (1, 1)),
    "UTF-16 with thin spaces": ("Paramètres;Jetons;Perte", "{n:spaces};{d:spaces};{l_}", (1, 1)),
    "a comment above": ("# nats\n# by me\nparams,tokens,loss", "{n},{d},{l:.6f}", (1, 1)),
    "a header that is a comment": ("#params,tokens,loss", "{n},{d},{l:.6f}", (1, 1)),
    "a budget in FLOPs": ("compute_budget_flops,params,loss", "{c},{n},{l:.6f}", (1, 1)),
    "a unit of FLOPs in cells": ("compute,params,loss", "{c:.6e} FLOPs,{n},{l:.6f}", (1, 1)),
}


@pytest.mark.parametrize("spelling", SPELLED)
def test_a_table_in_its_own_spelling_is_read_as_its_numbers(spelling: str, tmp_path: Path) -> None:
    rows = seeded("chinchilla")
    header, line, (n, d) = SPELLED[spelling]
    lines = [
        line.format(n=Grouped(N / n), d=Grouped(D / d), l=L, c=6 * N * D, l_=comma(L))
        for N, D, L in zip(rows["N"], rows["D"], rows["L"], strict=True)
    ]
    text = "\n".join([header, *lines])
    (tmp_path / "theirs.csv").write_bytes(text.encode("utf-16" if "UTF-16" in spelling else "utf-8"))
    table = read_runs(tmp_path / "theirs.csv")
    for name in ("N", "D", "L"):
        np.testing.assert_allclose(table.frame[name], rows[name], rtol=1e-5)
    assert table.where_is(table.frame.index[0]).endswith(f"line {header.count(chr(10)) + 2}")


def test_nested_records_are_columns_with_dots(tmp_path: Path) -> None:
    rows = seeded("chinchilla")
    records = [
        {"config": {"n_params": N, "data": {"tokens": D}}, "eval": {"val": {"loss": L}}}
        for N, D, L in zip(rows["N"], rows["D"], rows["L"], strict=True)
    ]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, records)))
    table = read_runs(tmp_path / "runs.jsonl", columns={"D": "config.data.tokens"})
    for name in ("N", "D", "L"):
        np.testing.assert_allclose(table.frame[name], rows[name])
