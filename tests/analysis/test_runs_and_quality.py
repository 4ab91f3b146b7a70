"""Rows that no column assigns to runs, searched knobs, outliers, and the report on the quality of a table."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isoflop.analysis.fitting.fit import fit, observe
from isoflop.analysis.intervals.residuals import RARE, moran
from isoflop.analysis.runs.cells import searched_notes
from isoflop.analysis.runs.levels import layout
from isoflop.analysis.runs.quality import check
from isoflop.analysis.runs.recognise import equal_knobs, recognise_runs
from isoflop.analysis.runs.rows import split_usable
from isoflop.analysis.runs.runs import as_runs
from isoflop.analysis.verbs import main
from isoflop.errors import FitError, UserError

SIZES = np.geomspace(1e7, 3e9, 6)
HELD_OUT = ["compare", "--laws", "power,chinchilla", "--holdout", "C>=1e20"]
VERBS = [["fit"], ["predict", "--at", "C=1e21"], HELD_OUT, ["frontier"]]


def loss(N: np.ndarray, D: np.ndarray) -> np.ndarray:
    return 1.6 + 400 * N**-0.31 + 400 * D**-0.29


def grid(points: int = 6, *, shared: float = 0.0, noise: float = 0.002, seed: int = 0) -> pd.DataFrame:
    """Six sizes by `points` amounts of data; `shared` is the sd of what the rows of a size have in common."""
    rng = np.random.default_rng(seed)
    N, D = np.repeat(SIZES, points), np.tile(np.geomspace(1e8, 3e10, points), 6)
    common = np.repeat(rng.normal(0, shared, 6), points)
    L = loss(N, D) * np.exp(common + rng.normal(0, noise, len(N)))
    return pd.DataFrame({"N": N, "D": D, "C": 6 * N * D, "L": L})


def searched(best: float = 3e-3) -> pd.DataFrame:
    """Seven learning rates at each of 6 x 6 places, the loss least at `best`."""
    rows = grid(noise=0.0005)
    rates = (1e-3, 1.5e-3, 2e-3, 3e-3, 4.5e-3, 6e-3, 9e-3)
    parts = [rows.assign(lr=lr, L=rows["L"] * (1 + 0.02 * np.log(lr / best) ** 2)) for lr in rates]
    return pd.concat(parts, ignore_index=True)


def test_points_of_curves_are_no_runs_though_no_column_says_so() -> None:
    rows = grid(40, shared=0.004)
    result = fit(rows, loss="l2")
    named = fit(rows.assign(run_id=np.repeat(np.arange(6), 40)), loss="l2")
    assert result.params == named.params
    assert result.params["alpha"].low < 0.31 < result.params["alpha"].high
    assert any("the rows of each of 6 sets of equal knobs are one unit" in note for note in result.notes)


def test_two_seeds_of_a_curve_without_a_column_for_them_are_no_independent_rows_either() -> None:
    rows = pd.concat([grid(20, shared=0.004, seed=s) for s in (1, 2)], ignore_index=True)
    assert any("6 sets of equal knobs are one unit" in note for note in fit(rows, loss="l2").notes)
    named = pd.concat([grid(20, shared=0.004, seed=s).assign(seed=s) for s in (1, 2)], ignore_index=True)
    assert any("12 sets of equal knobs are one unit" in note for note in fit(named, loss="l2").notes)


def test_separate_runs_of_a_grid_stay_separate() -> None:
    for seed in range(5):
        rows = grid(seed=seed)
        result = fit(rows, loss="l2")
        assert result.params == fit(rows.assign(run_id=range(36)), loss="l2").params
        assert not any("equal knobs" in note for note in result.notes)


def test_one_curve_has_blocks_for_units_and_a_wider_interval() -> None:
    rng, D = np.random.default_rng(0), np.geomspace(1e6, 1e10, 60)
    walk = np.zeros(60)
    for i in range(1, 60):
        walk[i] = 0.8 * walk[i - 1] + rng.normal(0, 0.003)
    rows = pd.DataFrame({"D": D, "L": (1.6 + 60 * D**-0.25) * np.exp(walk)})
    joined, separate = (fit(r, "power_offset(D)", loss="l2") for r in (rows, rows.assign(run_id=range(60))))
    widths = [f.params["alpha"].high - f.params["alpha"].low for f in (joined, separate)]
    assert widths[0] > 1.3 * widths[1]
    assert any("blocks of rows along D" in note for note in joined.notes)


def test_moran_counts_independent_residuals_as_dependent_as_rarely_as_it_says() -> None:
    rng, sets, along = np.random.default_rng(0), np.repeat(np.arange(6), 8), np.tile(np.arange(8.0), 6)
    jacobian = np.stack([np.ones(48), np.repeat(np.arange(6.0), 8), along])
    z = np.array([moran(rng.standard_t(3, 48), jacobian, sets, along)[0] for _ in range(400)])
    assert abs(z.mean()) < 0.15
    assert abs(z.std() - 1) < 0.15
    assert (z > RARE).mean() < 0.02


@pytest.mark.parametrize(
    ("column", "values", "what"),
    [
        ("run_name", [f"run {i}" for i in range(6) for _ in range(5)], "rows of equal run_name"),
        ("model", [f"70M-s{i}-step{k}000" for i in range(6) for k in range(5)], "rows whose model differs in the step"),
    ],
)
def test_a_column_that_names_runs_is_recognised_and_said(column: str, values: list[str], what: str) -> None:
    rows = grid(5).assign(**{column: values})
    prepared = observe(as_runs(rows), fit(grid(), interval="none").law)
    assert prepared.n_runs == 6
    assert sum(what in note for note in prepared.notes) == 1


def test_points_at_equal_intervals_are_a_curve_and_a_name_of_a_size_is_no_run() -> None:
    D = np.tile(np.arange(1, 11) * 1e9, 6)
    rows = pd.DataFrame({"N": np.repeat(SIZES, 10), "D": D, "epoch": D / 1e9})
    assert recognise_runs(rows).count == 6
    assert "equal intervals of D" in recognise_runs(rows).note
    assert recognise_runs(grid().assign(family="mlp", steps=lambda t: t["D"] / 1e6)).count == 36
    # names under which sizes differ, or one amount of data comes twice, are no runs
    assert recognise_runs(grid().assign(experiment=["a", "b"] * 18)).note == ""


def test_a_repeat_that_differs_in_its_time_alone_is_one_run() -> None:
    rows = grid().assign(timestamp=range(36), wall_s=1.0)
    again = rows.assign(timestamp=lambda t: t["timestamp"] + 100, wall_s=1.1)
    usable, excluded = split_usable(pd.concat([rows, again], ignore_index=True))
    assert len(usable) == 36
    assert excluded == [("repeats another row exactly", 36)]
    assert len(split_usable(pd.concat([rows, again.assign(L=again["L"] * 1.001)]))[0]) == 72


def test_a_row_exported_twice_is_one_run_and_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = grid().assign(seed=0, State="finished", ID=[f"a{i}" for i in range(36)])
    copies = rows.iloc[[4, 7, 9]].assign(ID=["b", "c", "d"])
    crashed = rows.iloc[:6].assign(L=np.nan, State="crashed", ID=list("efghij"), seed=1)
    pd.concat([rows, copies, crashed]).to_csv(tmp_path / "twice.csv", index=False)
    said = f"repeats another row under another ID (the first: {tmp_path / 'twice.csv'}, line 38)"
    assert main(["check", str(tmp_path / "twice.csv")]) == 0
    assert f"duplicates: 3 rows left out: {said}" in capsys.readouterr().out
    for verb in (["fit", "--run", "ID", "--interval", "none"], ["predict", "--at", "C=1e21"], ["frontier"]):
        assert main([verb[0], str(tmp_path / "twice.csv"), *verb[1:]]) == 0
        out = capsys.readouterr().out
        assert f"3 of 45 rows left out: {said}" in out
        assert "6 of 45 rows left out: status is crashed" in out
        assert "State mixes" not in out  # what crashed has no loss
    # another seed, loss or knob makes another run; of unknown seeds a tie may be one
    for other in ({"seed": 1}, {"L": copies["L"] + 1e-4}, {"lr": 0.1}):
        assert len(split_usable(pd.concat([rows.assign(lr=0.2), copies.assign(lr=0.2).assign(**other)]))[0]) == 39
    assert len(split_usable(pd.concat([rows, copies]).assign(seed=np.nan))[0]) == 39
    assert len(split_usable(pd.concat([rows, copies]).drop(columns="seed"))[0]) == 39


def test_a_searched_knob_is_said_and_tune_takes_its_best() -> None:
    rows = searched()
    takes_best = ["lr takes up to 7 values at one N and D: --tune lr takes the best of each"]
    assert searched_notes(as_runs(rows).searched) == takes_best
    assert searched_notes(as_runs(grid().assign(lr=np.tile(np.geomspace(1e-3, 6e-3, 6), 6))).searched) == []
    assert any("--tune lr" in note for note in fit(rows, interval="none").notes)
    best = as_runs(rows).tuned(["lr"])
    assert set(best["lr"]) == {3e-3}
    assert len(best) == 36
    assert best.notes == ("the best lr of each of 36 cells (36 searched): 36 rows",)
    assert fit(best, interval="none").params["alpha"].value == pytest.approx(0.31, abs=0.01)


def test_the_best_is_that_of_each_group() -> None:
    worse = searched(best=6e-3).assign(model="cnn", L=lambda t: 1.5 * t["L"])
    rows = pd.concat([searched().assign(model="lstm"), worse], ignore_index=True)
    best = as_runs(rows).tuned(["lr"], by=["model"]).frame
    assert best.groupby("model")["lr"].unique().map(list).to_dict() == {"cnn": [6e-3], "lstm": [3e-3]}


def test_a_best_value_on_the_edge_is_flagged() -> None:
    notes = as_runs(searched(best=1e-4)).tuned(["lr"]).notes
    assert "in 36 of 36 searched cells the best lies on the edge" in notes[1]
    assert "N=1e+07, D=1e+08: lr" in notes[1]


def test_tune_of_what_was_not_searched_is_a_sentence() -> None:
    with pytest.raises(UserError, match="no N at one D has several"):
        as_runs(grid().assign(lr=3e-3)).tuned(["lr"])
    with pytest.raises(UserError, match="--tune rate: no such column"):
        as_runs(grid()).tuned(["rate"])


@pytest.mark.sample(2)
@pytest.mark.parametrize("verb", VERBS, ids=lambda v: v[0])
def test_every_verb_takes_the_best_of_each_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    rows = searched()
    rows.to_csv(tmp_path / "all.csv", index=False)
    rows[rows["lr"] == 3e-3].to_csv(tmp_path / "best.csv", index=False)
    name, *options = verb
    outputs = []
    for file, tune in (("all.csv", ["--tune", "lr"]), ("best.csv", [])):
        assert main([name, str(tmp_path / file), *options, *tune, "--json"]) == 0
        outputs.append(json.loads(capsys.readouterr().out))
    numbers = [json.dumps(_numbers(document)) for document in outputs]
    assert numbers[0] == numbers[1]


def _numbers(document: object) -> object:
    """The document without its words, and without what only the search itself says."""
    if isinstance(document, dict):
        words = ("notes", "reason", "cells")
        return {k: _numbers(v) for k, v in document.items() if k not in words and not isinstance(v, str)}
    return [_numbers(v) for v in document] if isinstance(document, list) else document


def test_judge_and_report_take_the_best_of_each_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searched().assign(family="mlp", data="text").to_csv(tmp_path / "runs.csv", index=False)
    for verb in ("judge", "report"):
        assert main([verb, str(tmp_path / "runs.csv"), "--tune", "rate"]) == 2
        assert "--tune rate: no such column" in capsys.readouterr().err
    assert main(["judge", str(tmp_path / "runs.csv"), "--tune", "lr"]) == 0


def test_one_outlier_is_named_by_its_row_and_none_in_sound_runs() -> None:
    rows = grid()
    assert not any("lies" in note for note in fit(rows, loss="l2").notes)
    rows.loc[5, "L"] *= 1.03
    (note,) = [note for note in fit(rows, loss="l2").notes if "sd above the law" in note]
    assert note.startswith("row 5 lies ")
    assert "moves" in note
    assert "leave it out with --where" in note


def test_a_sound_table_has_nothing_odd() -> None:
    quality = check(grid())
    assert quality.findings == ()
    assert (quality.n_rows, quality.n_usable, quality.n_runs) == (36, 36, 36)
    assert str(quality).endswith("nothing odd")


def test_what_is_odd_about_a_table_is_said_with_its_rows() -> None:
    rows = pd.concat([grid(), grid().iloc[[0]]], ignore_index=True).assign(tokenizer=["a"] * 20 + ["b"] * 17)
    rows.loc[7, "L"] *= 1.2
    rows.loc[12, "C"] *= 10
    rows.loc[20, "L"] = -1
    rows.loc[36, "tokenizer"] = "a"
    findings = {f.kind: f for f in check(rows).findings}
    assert set(findings) == {"duplicates", "numbers", "mixture", "compute", "outlier"}
    assert findings["outlier"].rows == (7,)
    assert findings["compute"].rows == (12,)
    assert findings["numbers"].rows == (20,)
    assert "L is -1" in findings["numbers"].sentence
    assert "tokenizer mixes a, b" in findings["mixture"].sentence


def test_an_outlier_is_seen_among_its_own_kind() -> None:
    one, other = grid(seed=1).assign(model="lstm"), grid(seed=2).assign(model="cnn", L=lambda t: 2 * t["L"])
    rows = pd.concat([one, other], ignore_index=True)
    rows.loc[40, "L"] *= 1.1
    findings = {f.kind: f for f in check(rows).findings}
    assert set(findings) == {"mixture", "outlier"}
    assert "model mixes lstm, cnn at one size" in findings["mixture"].sentence
    assert findings["outlier"].rows == (40,)


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (grid(), "grid"),
        (pd.DataFrame({"N": SIZES, "D": 20 * SIZES}), "ladder"),
        (pd.DataFrame({"N": 1e8, "D": SIZES}), "axis"),
        (pd.DataFrame({"C": SIZES}), "axis"),
        (pd.DataFrame({"N": [1e8] * 3, "D": [1e9] * 3}), "single"),
        (pd.DataFrame({"N": SIZES, "D": SIZES[[3, 0, 5, 1, 4, 2]] * 20}), "scattered"),
    ],
)
def test_layouts_are_recognised(rows: pd.DataFrame, kind: str) -> None:
    assert layout(rows).kind == kind


def test_budgets_and_curves_are_recognised_as_layouts() -> None:
    C, off = (x.ravel() for x in np.meshgrid(np.geomspace(1e17, 1e20, 5), np.geomspace(1 / 5, 5, 7)))
    N = 0.1 * C**0.48 * off
    assert layout(pd.DataFrame({"N": N, "D": C / 6 / N, "C": C})).kind == "isoflop"
    assert layout(pd.DataFrame({"N": N, "C": C})).kind == "isoflop"
    assert layout(grid(), np.repeat(np.arange(6), 6)).kind == "marks"


def test_distinct_data_are_a_knob_where_they_do_not_grow_with_the_data() -> None:
    N, D = (x.ravel() for x in np.meshgrid([1e7, 1e8, 1e9], 1e9 * 2.0 ** np.arange(6)))
    rows = pd.DataFrame({"N": N, "D": D})
    both = pd.concat([rows.assign(D_unique=1e8), rows.assign(D_unique=1e9)], ignore_index=True)
    assert equal_knobs(both).max() + 1 == 6
    assert equal_knobs(rows.assign(D_unique=rows["D"])).max() + 1 == 3


def test_places_all_over_the_plane_are_no_grid() -> None:
    rng = np.random.default_rng(0)
    N, D = np.exp(rng.uniform(np.log(1e7), np.log(1e9), 60)), np.exp(rng.uniform(np.log(2e8), np.log(2e10), 60))
    assert layout(pd.DataFrame({"N": N, "D": D})).kind == "scattered"
    # sizes of several families differ, their amounts of data are the same
    sizes, data = (x.ravel() for x in np.meshgrid(N[:20], 2e8 * 4.0 ** np.arange(4)))
    assert layout(pd.DataFrame({"N": sizes, "D": data})).kind == "grid"


def test_check_exits_0_with_notes_and_2_where_no_row_can_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "theirs.csv"
    grid().assign(lr=1e-3).to_csv(path, index=False)
    assert main(["check", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["layout"]["kind"] == "grid"
    assert document["usable"] == 36
    grid().assign(status="failed").to_csv(path, index=False)
    assert main(["check", str(path)]) == 2
    assert "has no rows to fit" in capsys.readouterr().err
    grid().drop(columns="L").to_csv(path, index=False)
    assert main(["check", str(path)]) == 2
    assert "needs a loss L" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            ["size", "loss_at_1e8", "loss_at_1e9", "loss_at_1e10"],
            "where loss_at_1e8 and the 2 columns like it are losses",
        ),
        (["step", "lr", "L"], "needs one of N, D and C; it has step, lr, L"),
        (
            ["N", "D", "score"],
            "needs a loss L; it has N, D, score: name them, as in --columns N=params,D=tokens,L=loss$",
        ),
    ],
)
def test_a_table_that_lacks_a_loss_or_a_size_is_told_which(columns: list[str], sentence: str) -> None:
    with pytest.raises(FitError, match=sentence):
        check(pd.DataFrame([[1.0] * len(columns)] * 2, columns=columns))


def test_neighbouring_points_of_a_curve_are_no_repeats_and_seeds_are() -> None:
    curves = grid(20).assign(D=np.tile(np.arange(1, 21) * 1e9, 6), step=np.tile(np.arange(1, 21) * 500, 6))
    curves["L"] = loss(curves["N"].to_numpy(), curves["D"].to_numpy())  # the last points lie less than 10 % apart
    curves = curves.drop(columns="C")
    assert "repeats" not in {f.kind for f in check(curves).findings}
    seeds = pd.concat([curves.assign(seed=0), curves.assign(seed=1, L=curves["L"] * 1.01)], ignore_index=True)
    repeats = [f.sentence for f in check(seeds).findings if f.kind == "repeats"]
    # two runs 1 % apart, whatever the points that they share a cell with
    assert len(repeats) == 1
    assert repeats[0].endswith(f"whose losses differ by {np.log(1.01) / np.sqrt(2):.2%} (sd)")


def test_units_that_explain_the_compute_are_said_once() -> None:
    rows = grid().assign(C=lambda t: 6 * t["N"] * t["D"] / 1e18)
    kinds = [finding.kind for finding in check(rows).findings]
    assert kinds.count("units") == 1
    assert "compute" not in kinds


def test_points_at_growing_steps_are_a_curve_where_a_column_counts_the_steps() -> None:
    D = np.tile(np.geomspace(1e8, 3e10, 6), 6)
    rows = pd.DataFrame(
        {"N": np.repeat(SIZES, 6), "D": D, "global_step": D / 1e6, "lr": np.tile([1, 2, 3, 2, 1, 3], 6)}
    )
    assert recognise_runs(rows).count == 36  # a knob that changes along D makes separate runs
    curves = recognise_runs(rows.drop(columns="lr"))
    assert curves.count == 6
    assert "at several values of global_step" in curves.note
    # the steps that runs of one batch took in all, and of other batches
    assert recognise_runs(rows.drop(columns="lr").rename(columns={"global_step": "train_steps"})).count == 36
    assert recognise_runs(rows.assign(lr=1.0, global_step=1000)).count == 36


def test_the_beginning_of_a_curve_is_no_outlier_where_all_of_it_lies_off_a_quadratic() -> None:
    D = np.geomspace(1e6, 1e10, 200)
    rows = pd.DataFrame({"N": 1e8, "D": D, "L": 1.0 + 4e5 * D**-1.0 + 2e-4 * np.sin(np.arange(200.0))})
    assert not [f for f in check(rows).findings if f.kind == "outlier"]
    rows.loc[90, "L"] *= 1.5
    assert [f.rows for f in check(rows).findings if f.kind == "outlier"] == [(90,)]


def test_a_table_without_a_size_is_asked_for_it() -> None:
    rows = grid().drop(columns="C").rename(columns={"N": "hidden"}).assign(tokens_b=lambda t: t["D"] / 1e9)
    sentences = [f.sentence for f in check(rows).findings]
    assert "no column is taken for N, the size: if it is hidden, say so, as in --columns N=hidden" in sentences
    assert not any("no column" in f.sentence for f in check(grid()).findings)


@pytest.mark.parametrize(
    "verb", [["fit", "--interval", "none"], ["predict", "--at", "C=1e21"], ["compare"], ["frontier"]]
)
def test_each_verb_says_which_rows_it_leaves_out(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = grid().assign(status=["failed", "failed", *["ok"] * 34])
    pd.concat([rows, rows.tail(3)]).to_csv(tmp_path / "a.csv", index=False)
    assert main([verb[0], str(tmp_path / "a.csv"), *verb[1:]]) == 0
    out = capsys.readouterr().out
    assert "2 of 39 rows left out: status is failed" in out
    assert "3 of 39 rows left out: repeats another row exactly" in out


def test_a_size_that_is_blank_in_few_rows_is_no_reason_for_another_law(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid().assign(N=lambda rows: rows["N"].where(rows.index > 2)).to_csv(tmp_path / "a.csv", index=False)
    assert main(["compare", str(tmp_path / "a.csv")]) == 2
    assert "a.csv, line 2: column N is empty (and 2 more)" in capsys.readouterr().err
