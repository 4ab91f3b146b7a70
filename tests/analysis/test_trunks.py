"""Cooled marks and the trunks that they were cut from, fitted together."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isoflop import record
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.trunks import add_trunks, fit_trunks, on_trunks
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.verbs import main
from isoflop.errors import UserError

TRUTH = {"E": 1.2, "A": 30.0, "alpha": 0.4, "B": 60.0, "beta": 0.4}
SIZES, MARKS, LAST = np.round(np.geomspace(1e3, 1e5, 6)), (1e5, 1e6, 4e6), 4e6


def loss(N: float, D: np.ndarray) -> np.ndarray:
    """Of a cooled model."""
    return np.asarray(get_law("chinchilla")(np.full(len(D), N), D, **TRUTH))


def curve(N: float, rng: np.random.Generator) -> pd.DataFrame:
    """The curve of a trunk that rises over the first tenth, holds its rate, and cools at the last fifth."""
    D = np.round(np.geomspace(1e3, LAST, 60))
    middle = (D + np.concatenate([[0.0], D[:-1]])) / 2
    L = (loss(N, middle) + 0.3 * middle**-0.1) * np.exp(0.002 * rng.normal(size=len(D)))
    lr = 0.02 * np.minimum(1, D / 1e4) * np.where(D > 0.8 * LAST, 0.3, 1.0)
    return pd.DataFrame({"step": D / 1e3, "D": D, "C": 6 * N * D, "lr": lr, "L_train": L})


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of six sizes with three marks each, whose losses are known but for .2 % of noise."""
    rng = np.random.default_rng(4)
    for number, N in enumerate(SIZES):
        run_id, D = f"{number:012x}", np.array(MARKS)
        folder, L = tmp_path / "sweep" / run_id, loss(N, D) * np.exp(0.002 * rng.normal(size=len(D)))
        folder.mkdir(parents=True)
        rows = [
            record.row(run_id=run_id, mark=k + 1, seed=0, status="ok", family="mlp", N=N, D=d, D_unique=d)
            | {"C": 6 * N * d, "L": float(L[k]), "L_train": float(L[k])}
            for k, d in enumerate(D)
        ]
        record.write(folder, rows)
        curve(N, rng).to_csv(folder / "curve.csv", index=False)
    return tmp_path / "sweep"


def test_without_heat_the_law_on_trunks_is_the_law_itself() -> None:
    N, D = np.array([1e4, 1e5]), np.array([1e6, 1e7])
    cooled, law = get_law("chinchilla"), on_trunks(get_law("chinchilla"))
    params = TRUTH | {"gap": 0.3, "gap_D": -0.1}
    assert (law(N, D, **params) == cooled(N, D, **TRUTH)).all()
    assert law(N, D, np.ones(2), **params) == pytest.approx(cooled(N, D, **TRUTH) + 0.3 * D**-0.1)


def test_trunk_rows_are_those_of_the_constant_rate_from_the_first_mark_on(sweep: Path) -> None:
    rows = add_trunks(read_runs(sweep), sweep).frame
    trunk = rows[rows["heat"] == 1]
    assert trunk["D"].min() >= MARKS[0]
    assert trunk["D"].max() <= 0.8 * LAST
    assert set(trunk["run_id"]) == {f"{k:012x}" for k in range(len(SIZES))}
    assert len(rows) - len(trunk) == len(SIZES) * len(MARKS)
    assert trunk["C"].to_numpy() == pytest.approx((6 * trunk["N"] * trunk["D"]).to_numpy(float))


def test_trunks_narrow_what_few_marks_leave_open(sweep: Path) -> None:
    runs = read_runs(sweep)
    marks, both = fit(runs, "chinchilla"), fit_trunks(add_trunks(runs, sweep), "chinchilla")[0]
    assert both.law.columns == ("N", "D")
    assert both.n_runs == marks.n_runs == len(SIZES)
    for name in ("E", "beta"):
        wide, narrow = marks.params[name], both.params[name]
        assert narrow.low is not None
        assert narrow.high is not None
        assert narrow.low < TRUTH[name] < narrow.high
        assert wide.low is None or narrow.high - narrow.low < 0.75 * (wide.high - wide.low)  # type: ignore[operator]


def test_weights_that_differ_along_a_run_add_no_degrees_of_freedom(sweep: Path) -> None:
    both = fit_trunks(add_trunks(read_runs(sweep), sweep), "chinchilla")[0]
    assert both.optimum is not None
    assert both.optimum.problem.scale is not None
    assert np.ptp(both.optimum.problem.scale) > 0
    # six runs, of which E, A and alpha take three, whatever the marks and the trunks weigh
    assert both.optimum.spread is not None
    assert both.optimum.spread.dof == 3


def test_a_fit_of_trunks_predicts_cooled_models(sweep: Path) -> None:
    both = fit_trunks(add_trunks(read_runs(sweep), sweep), "chinchilla")[0]
    places = pd.DataFrame({"N": [1e5, 1e6], "D": [1e7, 1e8]})
    truth = get_law("chinchilla")(places["N"].to_numpy(), places["D"].to_numpy(), **TRUTH)
    assert both.predict(places) == pytest.approx(truth, rel=0.01)


def test_runs_whose_rate_is_never_constant_are_refused(sweep: Path) -> None:
    for path in sweep.glob("*/curve.csv"):
        table = pd.read_csv(path)
        table.assign(lr=np.linspace(0.02, 0.001, len(table))).to_csv(path, index=False)
    with pytest.raises(UserError, match="constant rate"):
        add_trunks(read_runs(sweep), sweep)


def test_targets_seen_again_are_no_new_measurement(sweep: Path) -> None:
    runs = read_runs(sweep).frame
    runs["D_unique"] = runs["D"].clip(upper=1e6)
    rows = add_trunks(runs, sweep).frame
    assert rows.loc[rows["heat"] == 1, "D"].max() <= 1e6


def test_the_verb_reads_curves_of_a_folder_alone(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(sweep), "--curves", "--interval", "none"]) == 0
    assert "on a trunk + gap D^gap_D" in capsys.readouterr().out
    assert main(["fit", str(sweep), "--curves", "--interval", "none", "--where", "D <= 1e6", "--json"]) == 0
    (some,) = json.loads(capsys.readouterr().out)["fits"]
    trunk = add_trunks(read_runs(sweep), sweep)
    assert some["n_rows"] == (trunk["D"] <= 1e6).sum()
    read_runs(sweep).frame.to_csv(tmp_path / "runs.csv", index=False)
    assert main(["fit", str(tmp_path / "runs.csv"), "--curves"]) == 2
    assert "give the folder" in capsys.readouterr().err
