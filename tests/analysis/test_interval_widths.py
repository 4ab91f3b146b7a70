"""Intervals as wide as they need to be, inside what a quantity can be, and refused for the true reason only."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.frontier.frontier import frontier
from isoflop.analysis.frontier.isoflop_minima import Power, influence, isoflop, power_through, spare_rows
from isoflop.analysis.intervals import resampling
from isoflop.analysis.intervals.estimate import Scale, Spread, bounded
from isoflop.analysis.intervals.resampling import bootstrap
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.levels import level_index, stand_apart
from isoflop.analysis.solving.descent import MAX_STEPS, minimise
from isoflop.analysis.solving.problem import Objective, Problem
from isoflop.errors import FitError


def loss(N: np.ndarray, D: np.ndarray) -> np.ndarray:
    return 1.6 + 400 * N**-0.34 + 400 * D**-0.28


def budgets(noise: float, seed: int, sizes: int = 7) -> pd.DataFrame:
    """Six budgets of `sizes` sizes about the optimum of each."""
    C, off = (x.ravel() for x in np.meshgrid(np.geomspace(1e17, 1e20, 6), np.geomspace(1 / 5, 5, sizes)))
    N = 0.35 * C**0.45 * off
    D = C / 6 / N
    L = loss(N, D) * np.exp(np.random.default_rng(seed).normal(0, noise, len(N)))
    return pd.DataFrame({"N": N, "D": D, "C": C, "L": L})


def power_of(rows: pd.DataFrame) -> Power:
    """The power through the minima of the budgets."""
    table = rows.assign(edges=0, unit=range(len(rows)), budget=level_index(rows["C"]))
    parts, minima = [part for _, part in table.groupby("budget")], isoflop(table)
    assert minima["used"].all()
    power = power_through(minima, [influence(part) for part in parts], sum(map(spare_rows, parts)), 0.95)
    assert power is not None
    return power


def eight_runs(seed: int) -> Problem:
    D = np.geomspace(1e7, 1e11, 8)
    L = (4.3 + 400 * D**-0.29) * np.exp(np.random.default_rng(seed).normal(0, 0.005, 8))
    return Problem(get_law("power_offset(D)"), (D,), L, Objective("huber", 1e-3))


def test_few_runs_give_no_interval_twice_too_wide() -> None:
    start = np.array([[4.3, np.log(400), 0.29]])
    values, errors = [], []
    for seed in range(60):
        problem = eight_runs(seed)
        u = minimise(problem, start).u[0]
        spread = bootstrap(problem, u, np.arange(8), 100, seed)
        values.append(u[2])
        errors.append(float(spread.error(spread.draws[:, 2])))
    # runs drawn with replacement gave 1.9
    assert 0.8 < np.median(errors) / np.std(values) < 1.4


def test_a_share_has_its_interval_inside_0_and_1() -> None:
    drawn = np.array([0.2, 0.5, 0.7, 0.9, 0.97, 0.99])
    spread = Spread("jackknife", drawn[:, None], 5, 6)
    estimate, why = bounded(0.8, drawn, spread, 0.95, Scale(share=True))
    assert why == ""
    assert 0 < estimate.low < 0.8 < estimate.high < 1
    assert bounded(0.8, drawn, spread, 0.95)[0].high > 1
    near = np.array([0.79, 0.8, 0.81, 0.8, 0.79, 0.81])
    estimate, why = bounded(0.8, near, spread, 0.95, Scale(share=True), elsewhere=np.array([0.1]))
    assert (estimate.low, estimate.high, why) == (None, None, "noise allows 0.1 as well")


def test_a_resample_that_is_slow_goes_on_and_is_no_reason_against_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = eight_runs(0)
    u = minimise(problem, np.array([[4.3, np.log(400), 0.29]])).u[0]
    draws = bootstrap(problem, u, np.arange(8), 40, 0).draws

    def slow(problem: Any, u: Any, weights: Any, pace: Any) -> Any:
        return minimise(problem, u, weights, pace._replace(steps=4) if pace.steps == MAX_STEPS else pace)

    monkeypatch.setattr(resampling, "minimise", slow)
    again = bootstrap(problem, u, np.arange(8), 40, 0).draws
    assert np.isfinite(again).all()
    assert np.abs(again - draws).max() < 0.1 * draws.std(0).max()


def test_marks_along_six_runs_tell_what_they_tell() -> None:
    # between six runs there are three degrees of freedom, for only E, A and alpha need them; with one, all was flat
    rng, run = np.random.default_rng(3), np.repeat(np.arange(6), 20)
    N, D = np.geomspace(1e7, 3e9, 6)[run], np.tile(np.geomspace(1e8, 3e10, 20), 6)
    L = loss(N, D) * np.exp(rng.normal(0, 0.003, 6)[run] + rng.normal(0, 0.001, 120))
    result = fit(pd.DataFrame({"N": N, "D": D, "L": L, "run_id": run}), loss="l2")
    assert result.status == "converged"
    assert result.params["alpha"].low < 0.34 < result.params["alpha"].high


def test_no_level_is_wider_than_the_tolerance_to_either_side() -> None:
    x = 10 ** np.random.default_rng(0).uniform(18, 20, 300)
    index = level_index(x)
    widest = pd.Series(x).groupby(index).agg(lambda part: part.max() / part.min()).max()
    assert widest <= 1.1**2 * (1 + 1e-9)
    assert not stand_apart(x).any()
    assert (np.diff(index[np.argsort(x)]) >= 0).all()
    assert stand_apart([1e18, 1.05e18, 3e18]).all()


def test_runs_crowd_at_a_budget_among_others_that_have_none() -> None:
    # digitised points: budgets scatter by some per cent, and curves of other lengths lie between them
    rng = np.random.default_rng(0)
    budgets = np.geomspace(1e18, 1e21, 7)
    C = np.concatenate([np.repeat(budgets, 16) * np.exp(rng.normal(0, 0.02, 112)), 10 ** rng.uniform(18, 21, 100)])
    N = np.sqrt(C / 120) * np.exp(rng.uniform(-1.5, 1.5, len(C)))
    D = C / 6 / N
    rows = pd.DataFrame({"N": N, "D": D, "C": C, "L": loss(N, D) * np.exp(rng.normal(0, 0.002, len(C)))})
    apart = stand_apart(C, N)
    assert apart[:112].mean() > 0.9
    assert apart[112:].mean() < 0.7
    a = frontier(rows, interval="none").approaches["isoflop"].a.value
    assert a == pytest.approx(0.46, abs=0.08)
    # five runs of each of many places, seeds of one setting, are no crowd
    places = np.tile(10 ** np.random.default_rng(0).uniform(18, 20, 300), 5)
    assert not stand_apart(places, places).any()


def test_random_runs_have_no_budgets() -> None:
    rng = np.random.default_rng(0)
    N, C = 10 ** rng.uniform(7, 9, 100), 10 ** rng.uniform(18, 19, 100)
    D = C / 6 / N
    rows = pd.DataFrame({"N": N, "D": D, "C": C, "L": loss(N, D) * np.exp(rng.normal(0, 0.002, 100))})
    result = frontier(rows, interval="none")
    assert not result.budgets["used"].any()
    assert set(result.budgets["reason"]) == {"C runs on to its neighbours without a gap: no budget"}
    assert result.approaches["isoflop"].a.value is None


def test_the_interval_of_isoflop_minima_is_as_wide_as_they_scatter() -> None:
    powers = [power_of(budgets(0.003, seed)) for seed in range(60)]
    a, half = (np.array([getattr(power, name) for power in powers]) for name in ("a", "half_a"))
    assert 0.8 < np.median(half) / 1.96 / a.std() < 1.5
    assert np.mean(np.abs(a - 0.28 / (0.34 + 0.28)) < half) > 0.86


def test_the_bias_of_the_parabola_is_printed_beside_its_column() -> None:
    off_centre = budgets(1e-5, 0)
    off_centre = off_centre[off_centre["N"] > 0.2 * 0.35 * off_centre["C"] ** 0.45 * 1.5]
    result = frontier(off_centre, loss="l2", interval="none")
    N_opt = (0.34 / 0.28) ** (1 / 0.62) * (result.budgets["C"] / 6) ** (0.28 / 0.62)
    assert result.budgets["bias"].to_numpy() == pytest.approx(result.budgets["N_opt"] / N_opt - 1, abs=0.01)
    assert (result.budgets["bias"].abs() > 0.005).any()
    assert "its a is off by" in str(result)


def test_a_budget_that_is_not_six_N_D_is_a_sentence() -> None:
    from isoflop.analysis.holdout.predict import predict

    result = fit(budgets(0.001, 0), interval="none")
    with pytest.raises(FitError, match=r"C=1e\+21 is not 6 N D = 6e\+19 at that N and D; give two of the three"):
        predict(result, {"C": 1e21, "N": 1e9, "D": 1e10})
    assert predict(result, {"C": 6.1e19, "N": 1e9, "D": 1e10})["L"].value > 1.6
