"""Every law of the catalogue: exact derivatives, recovery from noiseless rows, one answer whatever the units of the
objective."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_laws import noiseless, seeded

from isoflop.analysis.fitting.diagnose import at_optimum
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.holdout.compare import compare
from isoflop.analysis.laws.declare import LAWS, get_law
from isoflop.analysis.laws.one_axis import _way
from isoflop.analysis.solving.descent import expand, minimise
from isoflop.analysis.solving.problem import Objective, Problem
from isoflop.analysis.solving.starts import search, starts
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


def test_derived_quantities_follow_from_the_parameters() -> None:
    answer = fit(seeded("chinchilla"), "chinchilla", interval="none")
    a, b = (answer.derived[k].value for k in "ab")
    assert a == pytest.approx(answer.values["beta"] / (answer.values["alpha"] + answer.values["beta"]))
    assert a + b == pytest.approx(1)
    optimum = answer.curve("N_opt", [1e18])["value"][0]
    losses = [answer.law(N, 1e18 / 6 / N, **answer.values) for N in (0.99 * optimum, optimum, 1.01 * optimum)]
    assert losses[1] == min(losses)


STRAIGHT = sorted(name for name, law in LAWS.items() if law.straight)


@pytest.mark.parametrize("name", STRAIGHT)
def test_straight_coordinates_are_another_name_of_the_same_places(name: str) -> None:
    problem, u = problem_of(name, Objective("l2"))
    places = u + 0.1 * np.random.default_rng(0).normal(size=(20, len(u)))
    there = problem.coordinates(places)
    assert problem.straightened is not None
    np.testing.assert_allclose(problem.straightened.predict(there), problem.predict(places), rtol=1e-9)
    np.testing.assert_allclose(problem.coordinates(there, back=True), places, rtol=1e-8, atol=1e-8)


def test_searches_along_straight_coordinates_agree_where_those_along_the_parameters_do_not() -> None:
    problem, _ = problem_of("farseer", Objective("huber"))
    noisy = problem.target * np.exp(0.01 * np.random.default_rng(0).normal(size=len(problem.target)))
    problem = replace(problem, target=noisy)
    u0 = starts(problem, 24)
    straight, bent = (
        search(one, u0).objective for one in (problem, replace(problem, law=replace(problem.law, straight=None)))
    )
    assert straight.min() <= bent.min() * (1 + 1e-9)
    assert at_optimum(straight, len(noisy)) >= 6 > at_optimum(bent, len(noisy))


def test_a_share_of_the_way_is_where_its_equation_holds() -> None:
    alpha = np.array([0.0, 0.01, 0.5, 1.0, 3.0, 10.0])[:, None]
    k = np.linspace(-20, 20, 81) + np.zeros((6, 1))
    k[0] = -np.abs(k[0]) - 1e-3  # without a bend there is no share above one
    share = _way(k, alpha)
    inside = (share > 1e-9) & (share < 1 - 1e-9)
    assert inside.mean() > 0.5
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose((np.log(share) - alpha * np.log1p(-share))[inside], k[inside], atol=1e-5)


@pytest.mark.parametrize("scale", [False, True])
def test_rows_of_one_place_count_as_if_each_stood_alone(scale: bool) -> None:
    rng = np.random.default_rng(0)
    N, D = rng.choice([1e6, 1e7, 1e8], 60), rng.choice([1e8, 1e9], 60)
    L = (1.7 + 400 * N**-0.34 + 410 * D**-0.28) * np.exp(0.01 * rng.normal(size=60))
    noise = rng.uniform(0.5, 2, 60) if scale else None
    problem = Problem(get_law("chinchilla"), (N, D), L, Objective("huber", 0.01), scale=noise)
    assert problem.by_place is not None
    placed, order = problem.by_place
    u, weights = starts(problem, 5), rng.exponential(size=(5, 60))
    assert len(placed.slopes(u)[0][0]) == 6
    for one, two in zip(expand(problem, u, weights), expand(placed, u, weights[:, order]), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-12)


def test_a_start_up_is_found_where_runs_have_one_and_compare_judges_it() -> None:
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e4, 1e6, 5), np.geomspace(6e4, 4e6, 7)))
    law = get_law("chinchilla_startup")
    truth = {"E": 1.2, "A": 20.0, "alpha": 0.35, "B": 30.0, "beta": 0.3, "D0": 3e5, "q": 0.4}
    noise = 0.002 * np.random.default_rng(0).normal(size=len(N))
    rows = pd.DataFrame({"N": N, "D": D, "L": law(N, D, **truth) * np.exp(noise)})
    answer = fit(rows, law, loss="l2", interval="jackknife")
    for name in ("D0", "q", "beta"):
        estimate = answer.params[name]
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < truth[name] < estimate.high
    table = compare(rows, ["chinchilla", "chinchilla_startup"], axis="D", loss="l2").table
    assert table["law"].iloc[0] == "chinchilla_startup"
    assert table["predicts"].iloc[0] == "yes"
