"""A forecast is written once, before the runs, and scored by those that were made since."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from studies import grid_study

import isoflop as iso
from isoflop.analysis import options as o
from isoflop.analysis.claims.forecasts import _interval_score, judge_forecast, score_forecast
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.holdout.forecast import Forecast, digest, forecast, load_forecast
from isoflop.analysis.verbs import main
from isoflop.errors import FitError, UserError

LARGEST = {"N": 1e7, "D": 1e8}


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return grid_study(("lstm", "mlp"))


@pytest.fixture(scope="module")
def small(runs: pd.DataFrame) -> pd.DataFrame:
    """All but the runs of the three largest budgets."""
    return runs[runs["C"] < np.sort(runs["C"].unique())[-3]]


@pytest.fixture(scope="module")
def dated(small: pd.DataFrame) -> Forecast:
    return forecast(small, [LARGEST, {"C": 6e15}], by=["family"], loss="l2")


def test_it_predicts_what_predict_predicts(dated: Forecast, small: pd.DataFrame) -> None:
    lstm = fit(small[small["family"] == "lstm"], loss="l2")
    first = dated.points[0]
    estimate = iso.predict(lstm, LARGEST)["L"]
    assert first["by"] == {"family": "lstm"}
    assert first["L"] == pytest.approx(vars(estimate))
    assert len(dated.to_frame()) == 4


def test_a_point_may_be_of_one_group_alone(small: pd.DataFrame) -> None:
    dated = forecast(small, [LARGEST | {"family": "mlp"}, {"C": 6e15}], by=["family"], loss="l2")
    assert [(p["by"]["family"], *p["place"]) for p in dated.points] == [("lstm", "C"), ("mlp", "N", "D"), ("mlp", "C")]
    with pytest.raises(FitError, match="a point of the forecast is of gru, which has no runs"):
        forecast(small, [LARGEST | {"family": "gru"}], by=["family"], loss="l2")


def test_the_average_of_laws_forecasts_too(small: pd.DataFrame, runs: pd.DataFrame) -> None:
    lstm = small[small["family"] == "lstm"]
    dated = forecast(lstm, [LARGEST], "best")
    (point,) = dated.points
    assert point["L"]["low"] < point["L"]["value"] < point["L"]["high"]
    assert point["band"] == "noise + parameters + form"
    assert score_forecast(dated, runs[runs["family"] == "lstm"]).rows["inside"].all()


def test_it_is_scored_beside_naive_lines(dated: Forecast, small: pd.DataFrame, runs: pd.DataFrame) -> None:
    score = score_forecast(dated, runs)
    assert (len(score.rows), score.seen, score.open) == (12, 72, ())
    assert score.summary["rmsle"] < 0.005
    assert score.summary["rmsle"] < 0.1 * score.summary["rmsle_line"]
    assert score.summary["rmsle_line"] < score.summary["rmsle_last"]
    assert 0.5 <= (score.summary["coverage"] or 0) <= 1
    assert score.rows["times"].to_numpy(float) == pytest.approx(score.runs["C"].to_numpy(float) / small["C"].max())
    assert "straight line" in str(score)


def test_rivals_stand_in_the_file_and_are_scored_with_the_law(small: pd.DataFrame, runs: pd.DataFrame) -> None:
    dated = forecast(small, [LARGEST], by=["family"], loss="l2", rivals=["kaplan", "best"], pin={"E": 1.5})
    lstm = small[small["family"] == "lstm"]
    kaplan = iso.predict(fit(lstm, "kaplan", loss="l2"), LARGEST)["L"].value
    assert dated.points[0]["naive"]["kaplan"] == pytest.approx(kaplan, rel=1e-9)
    score = score_forecast(dated, runs)
    first = score.rows.iloc[0]
    assert first["error_kaplan"] == pytest.approx(np.log(kaplan / first["observed"]), abs=1e-9)
    assert {"rmsle_kaplan", "rmsle_best"} <= set(score.summary)
    assert "best: RMSLE" in str(score)


def test_a_cell_is_the_mean_of_its_seeds_beside_what_they_leave(dated: Forecast, runs: pd.DataFrame) -> None:
    at = runs[np.isclose(runs["N"], LARGEST["N"]) & np.isclose(runs["D"], LARGEST["D"])]
    predicted = {p["by"]["family"]: p["L"]["value"] for p in dated.points if "N" in p["place"]}
    lstm = at[at["family"] == "lstm"].assign(L=predicted["lstm"] * np.exp([0.01, 0.02, 0.03]))
    mlp = at[at["family"] == "mlp"].assign(L=predicted["mlp"] * np.exp([-0.02, 0.0, 0.02]))
    score = score_forecast(dated, pd.concat([lstm, mlp]))
    cells = score.cells[score.cells["at"].str.startswith("N=")]
    assert cells["error"].tolist() == pytest.approx([-0.02, 0.0], abs=1e-6)
    # over both cells, which stand in the table by size and by compute: sqrt((2e-4 + 8e-4) / 4), of three runs
    floor = stats.norm.ppf(0.75) * np.sqrt(1e-3 / 4) / np.sqrt(3)
    assert cells["floor"].tolist() == pytest.approx([floor] * 2, rel=1e-4)
    assert "times what the noise of seeds leaves" in str(score)
    alone = score_forecast(dated, lstm.iloc[:1])
    assert alone.cells["times"].isna().all()  # the table lacks the rows that were fitted
    assert alone.cells["floor"].isna().all()
    assert alone.summary["cell_error_by_floor"] is None
    assert "cells" not in str(alone)


def test_two_seeds_that_agree_by_luck_are_no_floor(dated: Forecast, small: pd.DataFrame, runs: pd.DataFrame) -> None:
    at = runs[np.isclose(runs["N"], LARGEST["N"]) & np.isclose(runs["D"], LARGEST["D"])].iloc[:1]
    twins = pd.concat([at, at.assign(seed=99, run_id="twin")])
    z = np.random.default_rng(0).normal(0, 0.01, len(small))
    again = small.assign(seed=small["seed"] + 50, run_id=small["run_id"] + "b", L=small["L"] * np.exp(z))
    floor = score_forecast(dated, pd.concat([small, again, twins])).cells["floor"].to_numpy(float)
    assert (floor > 0.001).all()


def test_each_group_has_the_floor_of_its_own_noise() -> None:
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e6, 1e8, 6), np.geomspace(1e7, 1e9, 6)))
    parts = []
    for family, sd in (("calm", 0.001), ("loud", 0.02)):
        for seed in range(3):
            L = (1.5 + 400 * N**-0.34 + 400 * D**-0.3) * np.exp(np.random.default_rng(seed).normal(0, sd, len(N)))
            parts.append(pd.DataFrame({"family": family, "seed": seed, "N": N, "D": D, "L": L}))
    rows = pd.concat(parts, ignore_index=True)
    larger = rows["N"] * rows["D"] > 5e16
    dated = forecast(rows[~larger], [{"N": 1e8, "D": 1e9}], by=["family"], loss="l2")
    floors = score_forecast(dated, rows).cells.set_index("family")["floor"]
    expected = {"calm": 0.001, "loud": 0.02}
    for family, sd in expected.items():
        assert floors[family] == pytest.approx(stats.norm.ppf(0.75) * sd / np.sqrt(3), rel=0.4)


def test_the_rows_that_were_fitted_are_no_outcome(small: pd.DataFrame) -> None:
    place = {"N": float(small["N"].iloc[-1]), "D": float(small["D"].iloc[-1])}
    dated = forecast(small, [place], by=["family"], loss="l2")
    with pytest.raises(FitError, match=r"no new run lies at a point .*; 72 rows were part of its own fit"):
        score_forecast(dated, small)
    # a run that was fitted is not new for having been measured again
    with pytest.raises(FitError, match="no new run"):
        score_forecast(dated, small.assign(L=small["L"] * 1.001))
    # ... and a table without names of runs is known by its numbers
    nameless = small.drop(columns="run_id")
    with pytest.raises(FitError, match="no new run"):
        score_forecast(forecast(nameless, [place], by=["family"], loss="l2"), nameless)


def test_a_run_near_a_point_is_set_against_the_law_where_it_stands() -> None:
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e6, 1e8, 6), np.geomspace(1e7, 1e9, 6)))

    def loss(n: float, d: float) -> float:
        return float(1.6 + 400 * n**-0.31 + 400 * d**-0.29)

    table = pd.DataFrame({"N": N, "D": D, "L": [loss(*x) for x in zip(N, D, strict=True)]})
    dated = forecast(table, [{"N": 1e9, "D": 1e10}], loss="l2")
    here = pd.DataFrame({"N": [1.05e9], "D": [0.95e10], "L": [loss(1.05e9, 0.95e10)]})
    assert score_forecast(dated, here).rows["error"][0] == pytest.approx(0, abs=1e-4)
    with pytest.raises(FitError, match="no new run"):
        score_forecast(dated, here.assign(N=1.2e9))


def test_at_a_compute_the_best_size_counts_with_all_its_seeds(dated: Forecast, runs: pd.DataFrame) -> None:
    lstm = runs[(runs["family"] == "lstm") & (runs["C"] == runs["C"].max())]
    worse = lstm.assign(N=lstm["N"] * 2, D=lstm["D"] / 2, L=lstm["L"] * 1.1, run_id=lstm["run_id"] + "w")
    rows = score_forecast(dated, pd.concat([lstm, worse])).rows
    at_compute = rows[rows["at"].str.startswith("C=")]
    assert sorted(at_compute["observed"]) == pytest.approx(sorted(lstm["L"]))


def test_a_group_without_a_fit_keeps_its_place_and_the_reason(small: pd.DataFrame, runs: pd.DataFrame) -> None:
    few = pd.concat([small[small["family"] == "lstm"], small[small["family"] == "mlp"].iloc[:3]])
    dated = forecast(few, [LARGEST], by=["family"], loss="l2")
    lstm, mlp = dated.points
    assert mlp["L"] is None
    assert "3 rows are too few" in mlp["reason"]
    assert score_forecast(dated, runs).open == ("mlp, N=10⁷, D=10⁸",)
    assert lstm["L"]["value"] > 0


def test_a_bound_that_does_not_exist_is_a_dash(small: pd.DataFrame) -> None:
    lines = str(forecast(small.drop_duplicates("D").head(3), [{"D": 1e12}], law="power_offset(D)")).splitlines()
    assert lines[2].split()[2:4] == ["-", "-"], lines


def test_a_file_is_strict_json_that_reads_back_and_is_written_once(dated: Forecast, tmp_path: Path) -> None:
    path = dated.save(tmp_path / "forecast.json")
    document = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert document["format"] == "isoflop forecast 1"
    assert document["digest"] == dated.digest == digest({k: v for k, v in document.items() if k != "digest"})
    assert load_forecast(path).to_json() == dated.to_json()
    assert document["rows"]["count"] == len(document["rows"]["points"]) == 72
    with pytest.raises(UserError, match="exists, and a forecast is written once"):
        dated.save(path)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda text: text.replace('"level": 0.9', '"level": 0.5'), "was changed after it was written"),
        (lambda text: text[: len(text) // 2], "is not a forecast, or was cut"),
        (lambda text: text.replace("forecast 1", "forecast 9"), "is of the format 'isoflop forecast 9'"),
        (lambda text: "[1, 2]", "is not a forecast, or was cut"),
        (lambda text: "[" * 100_000, "is not a forecast, or was cut"),
        (lambda text: json.dumps({"format": "isoflop forecast 1", "digest": ""}), "was changed after it was written"),
    ],
    ids=["edited", "cut", "another format", "no mapping", "nested", "empty"],
)
def test_a_damaged_file_is_one_sentence(
    damage: object,
    sentence: str,
    dated: Forecast,
    runs: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = dated.save(tmp_path / "forecast.json")
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    runs.to_csv(tmp_path / "runs.csv", index=False)
    assert main(["judge", str(tmp_path / "runs.csv"), "--forecast", str(path)]) == 2
    stderr = capsys.readouterr().err
    assert sentence in stderr
    assert stderr.count("\n") == 1


def test_git_tells_whether_a_forecast_came_first(dated: Forecast, runs: pd.DataFrame, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@x.x"]
        done = subprocess.run(["git", *who, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "before")
    before = git("rev-parse", "HEAD")
    path = dated.save(tmp_path / "forecast.json")
    assert "not committed as it is now" in judge_forecast(path, runs).provenance
    git("add", ".")
    git("commit", "-qm", "forecast")
    made = judge_forecast(path, runs.assign(git=git("rev-parse", "HEAD")))
    assert made.first is True
    assert "this forecast is unchanged since the commit of its runs; it is committed in" in made.provenance
    assert judge_forecast(path, runs.assign(git=before)).first is False
    # only the runs that it is scored by count: those that it was fitted to are earlier
    mixed = runs.assign(git=np.where(runs["C"] < runs["C"].max() / 3, before, git("rev-parse", "HEAD")))
    assert judge_forecast(path, mixed).first is True
    assert judge_forecast(path, runs.drop(columns="git")).first is None


def test_forecast_and_judge_are_two_commands(
    small: pd.DataFrame, runs: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"N": "params", "D": "tokens", "L": "loss"}
    for name, table in (("before.csv", small), ("after.csv", runs)):
        table[["family", *names]].rename(columns=names).to_csv(tmp_path / name, index=False)
    before, after, out = (str(tmp_path / name) for name in ("before.csv", "after.csv", "f.json"))
    mapping = ",".join(f"{ours}={theirs}" for ours, theirs in names.items())
    words = ["--at", "N=1e7,D=1e8", "--by", "family", "--columns", mapping, "--loss", "l2", "-o", out]
    assert main(["forecast", before, *words]) == 0
    assert "commit it before the runs are made" in capsys.readouterr().out
    # the columns of the foreign table are known from the forecast
    assert main(["judge", after, "--forecast", out, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["summary"]["coverage"] > 0
    assert document["first"] is None
    assert document["fitted_rows_left_out"] == 72
    assert main(["judge", before, "--forecast", out]) == 2
    assert "no new run lies at a point" in capsys.readouterr().err
    assert main(["forecast", before, *words]) == 2
    assert "written once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("texts", "points"),
    [
        (["C=1e13,1e14"], [{"C": 1e13}, {"C": 1e14}]),
        (["N=1e9,D=2e10"], [{"N": 1e9, "D": 2e10}]),
        (["N=1e9,2e9,D=2e10", "C=1e13"], [{"N": 1e9, "D": 2e10}, {"N": 2e9, "D": 2e10}, {"C": 1e13}]),
    ],
)
def test_points_are_written_as_lists_of_values(texts: list[str], points: list[dict[str, float]]) -> None:
    assert o.places(texts) == points


def test_a_point_may_name_its_group() -> None:
    points = [{"family": "cnn", "C": 1e13}, {"family": "cnn", "C": 1e14}, {"width": 16, "C": 1e13}]
    assert o.places(["family=cnn,C=1e13,1e14", "width=16,C=1e13"], by=["family", "width"]) == points
    with pytest.raises(UserError, match=r"--at family=cnn.* give --by family if that names a group"):
        o.places(["family=cnn"])


@pytest.mark.parametrize("text", ["1e13", "C=1e13,many", "C="])
def test_a_point_that_is_none_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match="--at"):
        o.places([text])


@pytest.mark.parametrize("x", [-1.0, 0.3, 2.5])
def test_the_interval_score_is_that_of_gneiting_and_raftery(x: float) -> None:
    centre, sd = np.array([0.2]), 0.7
    half = sd * stats.norm.ppf(0.95)
    low, high, at = centre - half, centre + half, np.array([x])
    expected = (high - low) + 20 * (max(low[0] - x, 0) + max(x - high[0], 0))
    assert _interval_score(at, low, high, 0.9) == pytest.approx(expected)
