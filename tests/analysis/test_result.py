"""A fit can be shown, drawn, saved and read again; what it says of itself is in fields, and no text is taken apart."""

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import grid_study

from isoflop.analysis.arguments import ARGUMENTS
from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.fit import fit, fit_groups
from isoflop.analysis.fitting.optimum import Optimum, Starts
from isoflop.analysis.fitting.result import Fit, load_fit
from isoflop.analysis.frontier.decision import Approach
from isoflop.analysis.frontier.frontier import Frontier, frontier
from isoflop.analysis.holdout.backtest import Backtest, Fold
from isoflop.analysis.holdout.compare import Comparison, compare
from isoflop.analysis.holdout.form_error import LackOfFit
from isoflop.analysis.holdout.predict import predict
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.declare import LAWS, get_law
from isoflop.analysis.runs.cells import SeedNoise
from isoflop.analysis.runs.read import read_runs
from isoflop.errors import UserError


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Runs of one family."""
    return grid_study(["lstm"])


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "options", [{}, {"loss": "l2"}, {"interval": "none"}, {"pin": {"E": 0.9}}, {"prior": {"E": (0.9, 0.05)}}]
)
def test_a_saved_fit_predicts_the_same_numbers_and_intervals(rows: pd.DataFrame, options: dict, tmp_path: Path) -> None:
    before = fit(rows, by={"family": "lstm"}, resamples=50, **options)
    before.save(tmp_path / "fit.json")
    after = load_fit(tmp_path / "fit.json")
    points = pd.DataFrame({"N": [1e6, 1e8], "D": [1e8, 1e10]})
    pd.testing.assert_frame_equal(after.predict_interval(points), before.predict_interval(points), check_exact=True)
    assert str(after) == str(before)
    assert after.to_json() == before.to_json()
    assert predict(after, {"C": 1e15}) == predict(before, {"C": 1e15})


def test_a_saved_fit_keeps_a_law_over_other_columns_and_what_is_missing(rows: pd.DataFrame, tmp_path: Path) -> None:
    few = fit_groups(rows.head(3), "power_offset(n_total)")[0]
    few.save(tmp_path / "few.json")
    after = load_fit(tmp_path / "few.json")
    assert after.law.columns == ("n_total",)
    assert str(after) == str(few)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "isoflop fit 1", "law": "chinchilla"}', "N,D\n1,2\n"])
def test_another_file_is_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(UserError, match=r"other.json is (not a fit that was saved|a saved fit that was changed)"):
        load_fit(tmp_path / "other.json")
    with pytest.raises(UserError, match=r"none.json cannot be read: No such file"):
        load_fit(tmp_path / "none.json")


def test_a_law_outside_the_catalogue_is_not_saved(rows: pd.DataFrame, tmp_path: Path) -> None:
    own = dataclasses.replace(get_law("chinchilla"), name="mine")
    with pytest.raises(UserError, match="law mine is not in the catalogue"):
        fit(rows, own, interval="none").save(tmp_path / "fit.json")
    assert not list(tmp_path.iterdir())


def test_a_notebook_shows_a_table_with_every_estimate_and_note(rows: pd.DataFrame) -> None:
    result = fit(rows.assign(data=["<text>", "copy"] * (len(rows) // 2)), interval="none")
    page = result._repr_html_()
    assert all(f"<td>{name}</td>" in page for name in (*result.params, *result.derived))
    assert "data mixes &lt;text&gt;, copy" in page
    assert "<text>" not in page


def test_a_chart_holds_the_points_the_law_and_its_band(rows: pd.DataFrame) -> None:
    result = fit(rows, resamples=50)
    spec = result.chart("D").to_dict()
    band, line, points = spec["layer"]
    data = {name: pd.DataFrame(values) for name, values in spec["datasets"].items()}
    observed, curve = data[points["data"]["name"]], data[line["data"]["name"]]
    np.testing.assert_allclose(np.sort(observed["L"]), np.sort(rows["L"]))
    np.testing.assert_allclose(curve["L"], result.predict(curve[["N", "D"]]))
    assert (curve["low"] < curve["L"]).all()
    assert (curve["L"] < curve["high"]).all()
    assert band["mark"]["type"] == "area"
    with pytest.raises(UserError, match="chinchilla has no column 'C' to draw along; choose N or D"):
        result.chart("C")


def test_a_fit_does_not_import_altair() -> None:
    code = "import sys, isoflop.analysis.fitting.fit, isoflop.analysis.fitting.result; print('altair' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_status_is_its_word_and_has_a_sentence() -> None:
    assert json.dumps(FitStatus.AT_BOUND) == '"at_bound"'
    assert f"{FitStatus.CONVERGED}" == "converged" == FitStatus.CONVERGED
    assert len({status.sentence for status in FitStatus}) == len(FitStatus)


def test_the_reason_of_the_status_stands_apart_from_the_notes_and_json_has_both(rows: pd.DataFrame) -> None:
    one_size = fit(rows[rows["N"] == rows["N"].max()])
    assert one_size.reason == "N has a single value"
    assert one_size.notes
    assert one_size.to_json()["reason"] == "; ".join([one_size.reason, *one_size.notes])
    few = fit(rows.head(5), "chinchilla_tied", loss="l2")
    assert few.no_interval.endswith("so no interval")
    assert few.no_interval in few.notes


@pytest.mark.parametrize("function", [fit, fit_groups, predict, compare, frontier, read_runs, load_fit])
def test_every_argument_of_a_public_function_is_documented(function: object) -> None:
    text = inspect.getdoc(function) or ""
    for name in inspect.signature(function).parameters:
        assert any(line.split()[:1] == [name] for line in text.splitlines()), (
            f"{function.__name__} says nothing of {name}"
        )


def test_an_option_means_the_same_in_help_and_in_the_docstring() -> None:
    text = " ".join((inspect.getdoc(fit) or "").split())
    assert ARGUMENTS["delta"] in text
    done = subprocess.run(
        [sys.executable, "-m", "isoflop.cli", "fit", "--help"],
        capture_output=True,
        text=True,
        env={"COLUMNS": "200", "PATH": ""},
    )
    assert ARGUMENTS["delta"] in done.stdout


@pytest.mark.parametrize(
    "kind", [Fit, Optimum, Starts, Estimate, Comparison, Frontier, Approach, Backtest, Fold, LackOfFit, SeedNoise]
)
def test_every_field_of_a_result_is_documented(kind: type) -> None:
    fields = getattr(kind, "_fields", None) or [field.name for field in dataclasses.fields(kind)]
    lines = (inspect.getdoc(kind) or "").splitlines()
    assert [name for name in fields if not any(line.split()[:1] == [name] for line in lines)] == []


def test_a_law_over_one_column_says_which() -> None:
    assert get_law("power_offset(D)").formula == "L(D) = E + A D^-alpha"
    assert get_law("power").formula == "L(C) = A C^-alpha"
    assert get_law("chinchilla(n_total, D)").formula == "L(n_total, D) = E + A n_total^-alpha + B D^-beta"
    assert get_law("chinchilla").formula == LAWS["chinchilla"].formula


def test_the_same_fit_asked_for_twice_has_the_rows_and_label_of_its_caller() -> None:
    runs = grid_study()
    first, again = fit(runs, by={"family": "one"}), fit(runs.assign(note="x"), by={"family": "two"})
    assert (first.by, again.by) == ({"family": "one"}, {"family": "two"})
    assert again.params == first.params
    assert "note" in again.rows
    assert len(first.rows) == len(runs)
    assert fit(runs.assign(L=runs["L"] * 1.01)).params != first.params


def test_equal_rows_of_two_tables_are_each_named_by_their_own_lines(rows: pd.DataFrame) -> None:
    rows = rows.assign(L=rows["L"].where(np.arange(len(rows)) != 4, rows["L"] * 1.2))
    other = rows.set_axis(rows.index + 100, axis=0)
    one, two = fit(rows, "chinchilla", resamples=100), fit(other, "chinchilla", resamples=100)
    assert one.params == two.params
    assert any("104" in note for note in two.notes)
    assert not any("104" in note for note in one.notes)
    two.params.clear()
    assert fit(rows, "chinchilla", resamples=100).params == one.params
