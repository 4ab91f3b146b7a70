"""Every law of the catalogue: exact derivatives, recovery from noiseless rows, one answer whatever the units of the
objective."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_laws import noiseless, seeded

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.laws.catalogue import LAWS, get_law
from isoflop.analysis.laws.listing import page
from isoflop.analysis.solving.descent import Objective, Problem, minimise, search
from isoflop.analysis.solving.starts import starts
from isoflop.analysis.verbs import main
from isoflop.errors import UserError


def problem_of(name: str, objective: Objective) -> tuple[Problem, np.ndarray]:
    """A problem on noiseless rows and its solution u."""
    law = LAWS[name]
    rows, truth = noiseless(law)
    columns = tuple(rows[c].to_numpy() for c in law.columns)
    problem = Problem(law, columns, rows[law.target].to_numpy(), objective)
    values = np.array([truth[name] for name in problem.free])
    return problem, np.where(problem.logs, np.log(np.where(problem.logs, values, 1.0)), values)


# laws of many local minima, of which fewer than half of the starts reach the best
RUGGED = {"bnsl", "farseer", "kaplan", "m4"}


@pytest.mark.parametrize("name", sorted(LAWS))
def test_a_law_is_recovered_from_noiseless_rows(name: str) -> None:
    rows, truth = noiseless(LAWS[name])
    answer = fit(rows, LAWS[name], interval="none")
    assert answer.status == "converged", answer.reason
    assert answer.starts.at_optimum >= answer.starts.tried / 2 or name in RUGGED
    for parameter, value in truth.items():
        assert answer.params[parameter].value == pytest.approx(value, rel=1e-6), parameter


@pytest.mark.parametrize("name", sorted(LAWS))
def test_the_jacobian_is_the_derivative_of_the_law(name: str) -> None:
    problem, u = problem_of(name, Objective("l2"))
    _, jacobian = problem.linearise(u[None])
    for i in range(len(u)):
        step = np.zeros_like(u)
        step[i] = 1e-4
        ends = [problem.residuals((u + k * step)[None])[0] for k in (-2, -1, 1, 2)]
        slope = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step[i])
        np.testing.assert_allclose(jacobian[0, i], slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_a_law_says_what_it_is(name: str) -> None:
    law = LAWS[name]
    assert law.formula
    assert law.source
    assert not set(law.columns) & set(law.params)


@pytest.mark.parametrize("loss", ["huber", "l2"])
def test_sum_and_mean_of_the_objective_have_one_optimum(loss: str) -> None:
    rows = seeded("chinchilla")
    columns = (rows["N"].to_numpy(), rows["D"].to_numpy())
    problem = Problem(get_law("chinchilla"), columns, rows["L"].to_numpy(), Objective(loss))
    u0 = starts(problem, 16)
    total = search(problem, u0)
    mean = minimise(problem, u0, np.full((1, len(rows)), 1 / len(rows)))
    best = total.u[total.objective.argmin()]
    np.testing.assert_allclose(mean.u[mean.objective.argmin()], best, rtol=1e-6)
    assert mean.objective.min() * len(rows) == pytest.approx(total.objective.min(), rel=1e-12)


# optima found by Nelder-Mead from another start on the same rows
SEEDED = {
    ("chinchilla", "huber"): (8.93645241e-05, {"E": 1.5466817, "alpha": 0.31895302, "beta": 0.26441956}),
    ("chinchilla", "l2"): (2.74300555e-04, {"E": 1.5689516, "alpha": 0.31952763, "beta": 0.26805136}),
    ("power_offset(D)", "huber"): (1.16685076e-04, {"E": 1.1799191, "A": 54.623886, "alpha": 0.24282699}),
    ("power_offset(D)", "l2"): (3.87989915e-04, {"E": 1.1860807, "A": 55.870353, "alpha": 0.24467678}),
}


@pytest.mark.parametrize(("name", "loss"), sorted(SEEDED))
def test_a_seeded_study_has_its_stored_optimum(name: str, loss: str) -> None:
    objective, params = SEEDED[name, loss]
    answer = fit(seeded(name), name, loss=loss, interval="none")
    assert answer.objective == pytest.approx(objective, rel=1e-8)
    for parameter, value in params.items():
        assert answer.params[parameter].value == pytest.approx(value, rel=5e-8)


def test_a_law_can_stand_over_other_columns() -> None:
    assert get_law("power_offset(D)").columns == ("D",)
    assert get_law("power").columns == ("C",)
    assert get_law("chinchilla(n_total, D)").columns == ("n_total", "D")
    with pytest.raises(UserError, match=r"choose one of .*chinchilla"):
        get_law("chinchila")
    with pytest.raises(UserError, match=r"takes 2 column"):
        get_law("chinchilla(D)")


def test_any_column_can_be_the_target() -> None:
    law = get_law("chinchilla", "accuracy")
    assert (law.target, law.formula) == ("accuracy", "accuracy(N, D) = E + A N^-alpha + B D^-beta")
    assert get_law("sigmoid").target == "accuracy"
    assert get_law("m4(D)", "val/loss").formula == "(val/loss - E) / (L0 - val/loss)^alpha = beta x^-c"
    rows = seeded("chinchilla").rename(columns={"L": "val/loss"})
    assert fit(rows, get_law("chinchilla", "val/loss"), interval="none").objective == pytest.approx(
        fit(seeded("chinchilla"), interval="none").objective
    )
    with pytest.raises(UserError, match=r"chinchilla predicts from N, D; choose a target that is not one of them"):
        get_law("chinchilla", "N")


def test_target_names_the_column_that_a_law_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = seeded("chinchilla").rename(columns={"L": "val/loss"})
    rows.to_csv(tmp_path / "runs.csv", index=False)
    path = str(tmp_path / "runs.csv")
    assert main(["fit", path, "--target", "val/loss", "--interval", "none"]) == 0
    assert "val/loss(N, D) = E + A N^-alpha + B D^-beta" in capsys.readouterr().out
    assert main(["predict", path, "--target", "val/loss", "--at", "N=1e9,D=1e10", "--json"]) == 0
    (prediction,) = json.loads(capsys.readouterr().out)["predictions"]
    assert prediction["val/loss"]["low"] < 1.6 + 400 * 1e9**-0.31 + 400 * 1e10**-0.29 < prediction["val/loss"]["high"]
    assert main(["fit", path, "--target", "score"]) == 2
    assert "has no score: name it, as in --columns score=its_name" in capsys.readouterr().err


def test_the_page_of_laws_is_written_from_the_catalogue() -> None:
    text = (Path(__file__).parents[2] / "docs/laws.md").read_text()
    assert text == page(), "write it again: python -m isoflop.analysis.laws.listing > docs/laws.md"
    assert set(re.findall(r"^\| `(\w+)\(", text, re.MULTILINE)) == set(LAWS)


@pytest.mark.parametrize("name", ["power(C)", "chinchilla(n_total,D)", "val/loss ~ sigmoid(L)", "a b ~ m4(D)"])
def test_the_name_of_a_law_names_it(name: str) -> None:
    assert get_law(name).name == name
    assert get_law(get_law(name).name) == get_law(name)


def test_two_names_of_one_law_are_listed_once() -> None:
    assert "overtraining" not in LAWS
    law = get_law("overtraining(n_total, D)")
    assert law.name == "chinchilla_tied(n_total,D)"
    N, D, E, A, B, eta = 1e8, 4e9, 1.7, 20.0, 30.0, 0.12
    # Gadre et al. 2024, arXiv:2403.08540, eq. 4
    theirs = E + (A * (D / N) ** eta + B * (D / N) ** -eta) * (6 * N * D) ** -eta
    assert law(N, D, E=E, A=A / 6**eta, B=B / 6**eta, alpha=2 * eta) == pytest.approx(theirs)


def test_the_best_split_under_equal_exponents_is_a_minimum() -> None:
    law, params = get_law("chinchilla_tied"), {"E": 1.7, "A": 300.0, "B": 500.0, "alpha": 0.3}
    N, D = law.curve("N_opt", 1e20, params), law.curve("D_opt", 1e20, params)
    assert pytest.approx(1e20) == 6 * N * D
    best, *others = (law(k * N, D / k, **params) for k in (1, 0.99, 1.01))
    assert best < min(others)


def test_a_formula_of_two_lines_is_whole() -> None:
    assert LAWS["routed"].formula.endswith("1/E' = 1/(E - 1 + 1/(1/E_start - 1/E_max)) + 1/E_max")


BELOW_ONE_EPOCH = {"N": np.geomspace(1e7, 1e9, 6), "D": np.geomspace(1e8, 1e10, 6)}


@pytest.mark.parametrize("epochs", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("name", ["data_constrained", "repetition_penalty"])
def test_less_than_one_epoch_is_the_law_of_fresh_data(name: str, epochs: float) -> None:
    N, D = (x.ravel() for x in np.meshgrid(*BELOW_ONE_EPOCH.values()))
    params = {"E": 1.6, "A": 400.0, "alpha": 0.34, "B": 400.0, "beta": 0.28}
    # excess parameters that never lose their worth; the penalty of repetitions is nothing without any
    more = {"R_D": 15.0, "R_N": 1e9} if name == "data_constrained" else {"K": 0.1, "delta": 0.4, "kappa": 0.7}
    fresh = LAWS["chinchilla"](N, D, **params)
    np.testing.assert_allclose(LAWS[name](N, D, D / epochs, **params, **more), fresh, rtol=1e-7)


def test_runs_below_one_epoch_give_the_exponent_of_the_data() -> None:
    N, D = (x.ravel() for x in np.meshgrid(*BELOW_ONE_EPOCH.values()))
    noise = 0.002 * np.random.default_rng(0).normal(size=N.size)
    L = LAWS["chinchilla"](N, D, E=1.6, A=400.0, alpha=0.34, B=400.0, beta=0.28) * np.exp(noise)
    law = fit(pd.DataFrame({"N": N, "D": D, "D_unique": 100 * D, "L": L}), "data_constrained", interval="none")
    assert law.params["beta"].value == pytest.approx(0.28, abs=0.01)
    assert law.status == "not_identified"
    assert "R_D has no effect" in law.reason


def test_a_task_is_predicted_in_two_steps() -> None:
    rows = seeded("chinchilla")
    score = LAWS["sigmoid"](rows["L"].to_numpy(), floor=0.25, gain=0.6, k=2.0, middle=3.5)
    rows["task"] = score * np.exp(0.002 * np.random.default_rng(0).normal(size=len(rows)))
    second = fit(rows, "task ~ sigmoid(L)", pin={"floor": 0.25}, interval="none")
    assert second.values == pytest.approx({"floor": 0.25, "gain": 0.6, "k": 2.0, "middle": 3.5}, rel=0.03)
    assert second.derived["ceiling"].value == pytest.approx(0.85, rel=0.01)
    far = pd.DataFrame({"N": [1e10], "D": [1e11]})
    far["L"] = fit(rows, "chinchilla", interval="none").predict(far)
    truth = LAWS["chinchilla"](1e10, 1e11, E=1.6, A=400.0, alpha=0.31, B=400.0, beta=0.29)
    expected = LAWS["sigmoid"](truth, floor=0.25, gain=0.6, k=2.0, middle=3.5)
    assert float(second.predict(far)[0]) == pytest.approx(expected, rel=0.01)


def test_derived_quantities_follow_from_the_parameters() -> None:
    answer = fit(seeded("chinchilla"), "chinchilla", interval="none")
    a, b = (answer.derived[k].value for k in "ab")
    assert a == pytest.approx(answer.values["beta"] / (answer.values["alpha"] + answer.values["beta"]))
    assert a + b == pytest.approx(1)
    optimum = answer.curve("N_opt", [1e18])["value"][0]
    losses = [answer.law(N, 1e18 / 6 / N, **answer.values) for N in (0.99 * optimum, optimum, 1.01 * optimum)]
    assert losses[1] == min(losses)
