"""A table of points in, the same rows with predictions out; scored where the outcome is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Isoflop

from isoflop import FitError, fit_groups
from isoflop.analysis.holdout.predict import predict_points, score
from isoflop.analysis.verbs import main


def runs(seed: int = 0) -> pd.DataFrame:
    """Two families on a grid, from known laws with .3 % noise."""
    rng = np.random.default_rng(seed)
    N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 6)))
    tables = []
    for family, E in (("a", 1.5), ("b", 1.8)):
        L = (E + 400 * N**-0.34 + 900 * D**-0.33) * np.exp(0.003 * rng.standard_normal(len(N)))
        tables.append(pd.DataFrame({"family": family, "N": N, "D": D, "L": L}))
    return pd.concat(tables, ignore_index=True)


def test_every_point_is_predicted_by_the_law_of_its_group() -> None:
    fits = fit_groups(runs(), "chinchilla", by=["family"])
    points = pd.DataFrame({"family": ["b", "a", "c", "a"], "N": [2e9, 2e9, 2e9, -1.0], "D": 2e11})
    table = predict_points(fits, points, by=["family"])
    assert list(table["family"]) == ["b", "a", "c", "a"]
    assert table["value"][0] == pytest.approx(1.8 + 400 * 2e9**-0.34 + 900 * 2e11**-0.33, rel=0.01)
    assert table["value"][1] == pytest.approx(1.5 + 400 * 2e9**-0.34 + 900 * 2e11**-0.33, rel=0.01)
    assert (table["low"][:2] < table["value"][:2]).all()
    assert np.isnan(table["value"][2])
    assert table["reason"][2] == "no runs of this group were fitted"
    assert np.isnan(table["value"][3])
    assert table["reason"][3] == "N, D must be numbers above 0"
    assert list(table["predicts"][:2]) == ["yes", "yes"]
    assert table["predicts"][3] == ""


def test_a_missing_column_is_one_sentence() -> None:
    fits = fit_groups(runs(), "chinchilla", by=["family"], interval="none")
    with pytest.raises(FitError, match="predicts from N, D, family; there is no D"):
        predict_points(fits, pd.DataFrame({"family": ["a"], "N": [1e9]}), by=["family"])


def test_the_score_is_that_of_the_points_whose_outcome_is_known() -> None:
    table = pd.DataFrame({"L": [2.0, 2.0, np.nan], "value": [2.0, 2.0 * np.e**0.02, 3.0], "low": 1.9, "high": 2.01})
    result = score(table, "L", 0.9)
    assert result is not None
    assert (result.rows, result.banded, result.coverage) == (2, 2, 1.0)
    assert result.rmsle == pytest.approx(0.02 / 2**0.5)
    assert score(table.drop(columns="L"), "L", 0.9) is None


def test_predict_writes_the_table_and_says_how_good_it_was(isoflop: Isoflop, tmp_path: Path) -> None:
    table = runs().rename(columns={"L": "loss"})
    small = table["N"] < 5e8
    table[small].to_csv(tmp_path / "small.csv", index=False)
    table[~small].to_csv(tmp_path / "large.csv", index=False)
    table[~small].drop(columns="loss").to_csv(tmp_path / "unknown.csv", index=False)
    options = ["--columns", "L=loss", "--by", "family"]
    out = tmp_path / "predictions.csv"
    done = isoflop("predict", tmp_path / "small.csv", "--points", tmp_path / "large.csv", *options, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "RMSLE" in done.stdout
    predictions = pd.read_csv(out)
    assert len(predictions) == (~small).sum()
    assert np.abs(np.log(predictions["value"] / predictions["loss"])).max() < 0.03
    blind = isoflop("predict", tmp_path / "small.csv", "--points", tmp_path / "unknown.csv", *options, "--json")
    assert blind.returncode == 0, blind.stderr
    document = json.loads(blind.stdout)
    assert document["score"] is None
    assert document["predictions"][0]["value"] == pytest.approx(predictions["value"][0])


def test_settings_of_points_that_the_law_does_not_know_are_named_and_amounts_under_other_names_are_not(
    isoflop: Isoflop, tmp_path: Path
) -> None:
    runs()[lambda t: t["family"] == "a"].drop(columns="family").to_csv(tmp_path / "runs.csv", index=False)
    points = {"params": ["10B", "10B", "30B", "30B"], "tokens_B": [100, 300, 100, 300], "lr": [1e-3, 1e-3, 2e-3, 2e-3]}
    pd.DataFrame(points | {"corpus": ["c4", "pile"] * 2, "kind": "x"}).to_csv(tmp_path / "points.csv", index=False)
    done = isoflop("predict", tmp_path / "runs.csv", "--points", tmp_path / "points.csv", "--json")
    assert done.returncode == 0, done.stderr
    notes = json.loads(done.stdout)["notes"]
    assert "N=params" in notes[0]
    assert notes[1:] == ["the points differ in lr, corpus, which the law does not know"]


def test_one_place_or_a_table_of_them(isoflop: Isoflop, tmp_path: Path) -> None:
    runs().to_csv(tmp_path / "runs.csv", index=False)
    for options in ([], ["--at", "C=1e21", "--points", tmp_path / "runs.csv"]):
        done = isoflop("predict", tmp_path / "runs.csv", *options)
        assert done.returncode == 2
        assert "give --at for one place" in done.stderr


@pytest.mark.parametrize("names", [["params", "tokens"], ["N", "D"]])
def test_points_may_bear_the_names_of_the_runs_or_ours(names: list[str], tmp_path: Path) -> None:
    foreign = {"N": "params", "D": "tokens", "L": "loss"}
    runs().rename(columns=foreign).to_csv(tmp_path / "runs.csv", index=False)
    pd.DataFrame([[1e10, 2e11]], columns=names).to_csv(tmp_path / "points.csv", index=False)
    columns = ",".join(f"{ours}={theirs}" for ours, theirs in foreign.items())
    arguments = ["--columns", columns, "--where", "family = 'a'", "--points", str(tmp_path / "points.csv"), "--json"]
    assert main(["predict", str(tmp_path / "runs.csv"), *arguments]) == 0


def test_points_that_lack_a_column_under_either_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs().rename(columns={"N": "params"}).to_csv(tmp_path / "runs.csv", index=False)
    pd.DataFrame({"D": [2e11]}).to_csv(tmp_path / "points.csv", index=False)
    arguments = ["--columns", "N=params", "--points", str(tmp_path / "points.csv")]
    assert main(["predict", str(tmp_path / "runs.csv"), *arguments]) == 2
    assert "no column 'params' for N" in capsys.readouterr().err
