"""A plan says what its runs could tell before they are paid for, and the real fits of such runs bear it out."""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from isoflop.analysis.design.assumed_law import NOISE, Truth, errors, planned
from isoflop.analysis.design.ensemble import believe
from isoflop.analysis.design.sequence import improve, improve_table
from isoflop.analysis.design.simulate import resolve
from isoflop.analysis.design.warnings import warnings
from isoflop.analysis.fitting.fit import fit, fit_groups
from isoflop.analysis.laws.declare import get_law
from isoflop.errors import UserError

TRUTH = Truth.given("E=1.6,A=400,alpha=.31,B=400,beta=.29")


def runs(N: Sequence[float], D: Sequence[float], seeds: int = 1, marks: bool = False, tag: str = "") -> pd.DataFrame:
    """Every N with every D: each a run of its own, or the marks of one run for each N and seed."""
    rows = [
        {"N": n, "D": d, "C": 6 * n * d, "seed": s, "run_id": f"{tag}{i}-{s}" if marks else f"{tag}{i}-{j}-{s}"}
        for i, n in enumerate(N)
        for j, d in enumerate(D)
        for s in range(seeds)
    ]
    return pd.DataFrame(rows)


def grid(decades: float, seeds: int = 1, marks: bool = False) -> pd.DataFrame:
    """Six sizes by six amounts of data, of so many decades each."""
    return runs(np.geomspace(1e7, 10 ** (7 + decades), 6), np.geomspace(1e8, 10 ** (8 + decades), 6), seeds, marks)


def budgets(sizes: Sequence[float], seeds: int = 1) -> pd.DataFrame:
    """Five budgets of C, each at sizes that are so many times the best one of Truth.given."""
    rows = []
    for C in np.geomspace(1e17, 1e20, 5):
        best = float(TRUTH.form.curve("N_opt", C, TRUTH.params))
        rows += [
            {"N": best * s, "D": C / 6 / best / s, "C": C, "seed": k, "run_id": f"{C:g} {s:g} {k}"}
            for s in sizes
            for k in range(seeds)
        ]
    return pd.DataFrame(rows)


# --- what a design resolves


@pytest.mark.sample(1)
@pytest.mark.parametrize(("decades", "known"), [(1.5, 0.022), (2.5, 0.008)])
def test_a_grid_of_six_by_six_tells_alpha_as_well_as_is_known(decades: float, known: float) -> None:
    rows, studies = grid(decades), 24
    truth = Truth.assumed(rows)
    # the number known is itself that of simulated studies, to one digit or two
    assert errors(rows, truth, loss="l2")["alpha"] == pytest.approx(known, rel=0.1)
    found = resolve(rows, truth, studies=studies, seconds=np.inf, loss="l2", interval="none")
    # three standard errors of a standard deviation from so many studies
    assert found.quantities["alpha"].sd == pytest.approx(known, rel=3 / np.sqrt(2 * studies))


def test_two_hundredths_of_alpha_take_two_and_a_half_decades_and_three_seeds() -> None:
    def told(decades: float, seeds: int) -> float:
        rows = grid(decades, seeds)
        error = errors(rows, Truth.assumed(rows), loss="l2")["alpha"]
        return float((1.959964 + 0.841621) * np.sqrt(2) * error)

    assert told(2.5, 3) < 0.02 < min(told(2.5, 1), told(1.5, 3))


@pytest.mark.nightly
def test_the_expected_half_width_is_that_of_real_studies() -> None:
    rows = grid(2.5)
    found = resolve(rows, TRUTH, studies=20, seconds=np.inf, loss="l2")
    halves = []
    for seed in range(16):
        rng = np.random.default_rng([99, seed])
        L = TRUTH.loss(rows) * np.exp(rng.normal(0, TRUTH.noise, len(rows)))
        alpha = fit(rows.assign(L=L), loss="l2").params["alpha"]
        halves.append((alpha.high - alpha.low) / 2)
    alpha = found.quantities["alpha"]
    # one jackknife of 36 runs scatters by about a seventh: three standard errors of the gap of two such medians
    assert alpha.half_width == pytest.approx(np.median(halves), rel=0.2)
    # the interval is t times the sd, and wider by up to a fifth; a sd of 20 studies is known to 16 %
    assert 0.75 < alpha.half_width / (2.03 * alpha.sd) < 1.6
    assert found.delta_alpha == pytest.approx((1.959964 + 0.841621) * np.sqrt(2) * alpha.sd, rel=1e-6)
    assert (alpha.intervals, found.statuses) == (20, {"converged": 20})


@pytest.mark.sample(1)
@pytest.mark.parametrize("settings", [{"loss": "l2"}, {}])
@pytest.mark.parametrize("marks", [False, True])
def test_the_delta_method_agrees_with_the_spread_of_real_fits(settings: dict[str, str], marks: bool) -> None:
    rows, studies = grid(2.5, seeds=2, marks=marks), 24
    found = resolve(rows, TRUTH, studies=studies, seconds=np.inf, interval="none", **settings)
    expected = errors(rows, TRUTH, **settings)
    for name in ("E", "alpha", "beta"):
        # three standard errors of a standard deviation from so many studies
        assert found.quantities[name].sd == pytest.approx(expected[name], rel=3 / np.sqrt(2 * studies)), name


def test_marks_of_one_run_tell_less_of_alpha_than_runs_of_their_own() -> None:
    alone, along = (errors(grid(2.5, marks=marks), TRUTH)["alpha"] for marks in (False, True))
    assert along > 1.5 * alone


def test_a_budget_is_answered_with_its_loss_and_split() -> None:
    near, far = (resolve(grid(2.5), TRUTH, target_C=C, studies=12, loss="l2").quantities for C in (1e19, 1e23))
    assert near["L_opt"].truth == pytest.approx(TRUTH.form(near["N_opt"].truth, near["D_opt"].truth, **TRUTH.params))
    assert 6 * near["N_opt"].truth * near["D_opt"].truth == pytest.approx(1e19)
    assert near["L_opt"].relative
    assert near["L_opt"].half_width < far["L_opt"].half_width < 0.1
    with pytest.raises(UserError, match=r"power_offset\(D\) has no best split of target_C=1e\+20; leave it out"):
        resolve(grid(2.5), Truth.assumed(grid(2.5), "power_offset(D)"), target_C=1e20)


def test_the_order_of_the_rows_and_the_clock_change_nothing() -> None:
    rows = grid(2.5, marks=True)
    once = resolve(rows, TRUTH, studies=3, seconds=np.inf, seed=5)
    again = resolve(rows.sample(frac=1, random_state=1), TRUTH, studies=3, seconds=np.inf, seed=5)
    assert once.quantities == again.quantities
    assert once.quantities != resolve(rows, TRUTH, studies=3, seconds=np.inf, seed=6).quantities


def test_time_is_kept_and_said() -> None:
    found = resolve(grid(2.5), TRUTH, seconds=0.0, loss="l2")
    assert found.studies == 12
    assert "12 simulations" in str(found)
    assert "36 rows of 36 runs" in str(found)
    json.dumps(found.to_json(), allow_nan=False)
    assert set(found.quantities) == {"E", "A", "alpha", "B", "beta", "a", "b"}


def test_too_few_runs_resolve_nothing_and_the_reason_says_so() -> None:
    found = resolve(grid(2.5).head(3), TRUTH)
    assert found.reason.startswith("3 rows are planned: chinchilla has 5 parameters and needs at least as many rows")
    assert (found.studies, found.delta_alpha, dict(found.quantities)) == (0, None, {})
    assert "0 rows are planned" in resolve(pd.DataFrame(), TRUTH).reason
    six = resolve(runs([1e7, 1e8, 1e9], [1e9, 1e10]), TRUTH, studies=3, loss="l2")
    assert "no interval" in six.reason
    assert six.quantities["alpha"].half_width is None
    assert six.delta_alpha is None


def test_settings_are_those_of_the_fit() -> None:
    rows = grid(2.5)
    pinned = resolve(rows, TRUTH, studies=3, loss="l2", pin={"E": 1.6})
    free = resolve(rows, TRUTH, studies=3, loss="l2")
    assert pinned.quantities["alpha"].half_width < free.quantities["alpha"].half_width
    with pytest.raises(UserError, match="loss 'huge' is not one of huber"):
        resolve(rows, TRUTH, loss="huge")


def test_one_size_resolves_nothing() -> None:
    found = resolve(runs([1e8], np.geomspace(1e8, 1e10, 8)), TRUTH, studies=3, loss="l2")
    assert found.statuses == {"not_identified": 3}
    assert found.reason.endswith("N has a single value")
    json.dumps(found.to_json(), allow_nan=False)


# --- truths


def test_what_is_assumed_is_centred_on_the_design_and_said() -> None:
    rows = grid(2.5)
    truth = Truth.assumed(rows)
    terms = [truth.params["A"] * 10 ** (-8.25 * 0.34), truth.params["B"] * 10 ** (-9.25 * 0.37)]
    assert np.array([truth.params["E"], *terms]) / 3 == pytest.approx([0.6, 0.2, 0.2])
    assert "alpha 0.34 and beta 0.37" in truth.source
    assert "E is 60 % of the loss and each term 20 %; noise 0.50 %" in truth.source
    assert Truth.assumed(rows, "power_offset(C)").params["alpha"] == pytest.approx(0.34 * 0.37 / 0.71)
    with pytest.raises(UserError, match="no default parameters for bnsl"):
        Truth.assumed(rows, "bnsl(C)")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("E=1.6,A=400", "lacks alpha, B, beta; give E=1.6,A=400,alpha=.31,B=400,beta=.29"),
        ("E=1.6,A=x", "'A=x' is not a number"),
        ("E=1.6,gamma=2", "'gamma=2' is not a name=value of this law"),
        ("E=1.6,E=1.7", "'E=1.7' is given twice"),
        ("E", "'E' is not a name=value of this law"),
        ("E=1.6,A=-400,alpha=.31,B=400,beta=.29", "A=-400 is invalid for chinchilla: give a number above 0"),
        ("E=1.6,A=400,alpha=.31,B=400,beta=nan", "beta=nan is invalid for chinchilla"),
        ("E=1.6,A=400,alpha=.31,B=400,beta=29", "beta=29 is invalid for chinchilla: .*at most 10"),
        ("E=1.6,A=400,alpha=.31,B=400,beta=.29,noise=5", "noise=5 is not between 0 and 1"),
    ],
)
def test_a_bad_truth_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        Truth.given(text)
    assert "\n" not in str(caught.value)


def test_a_truth_is_taken_from_runs_with_their_noise() -> None:
    rows = planned(grid(2.5, seeds=3, marks=True), TRUTH.form)
    answer = fit(rows.assign(L=TRUTH.draw(rows, np.random.default_rng(3))), loss="l2", interval="none")
    truth = Truth.fitted(answer)
    assert truth.params == answer.values
    # a standard deviation from 18 runs has a standard error of a sixth: three of them
    assert truth.noise == pytest.approx(0.005, rel=0.5)
    # of the share of 18 runs: three standard errors of (1 - share) are half of it
    assert 0.6 < truth.shared < 0.9
    assert truth.source.startswith("fitted to 18 runs: E ")
    (empty,) = fit_groups(rows.head(3).assign(L=2.0, family="mlp"), by=["family"])
    with pytest.raises(UserError, match="no parameters can be taken from 3 rows"):
        Truth.fitted(empty)


# --- warnings


def test_a_good_design_is_not_warned_of() -> None:
    assert warnings(grid(2.5, seeds=3), TRUTH) == []
    assert warnings(grid(2.5, seeds=3, marks=True), TRUTH) == []
    assert warnings(budgets([0.2, 0.4, 0.7, 1, 1.5, 2.5, 5], seeds=3), TRUTH) == []


def test_a_short_axis_is_warned_of_with_what_to_do() -> None:
    (said,) = warnings(runs(np.geomspace(1e7, 1e8, 6), np.geomspace(1e8, 1e10, 6), 3), TRUTH)
    assert said == "N spans 1.0 decades (10M to 100M) and its exponent needs 1.5 decades: add smaller or larger sizes"


def test_budgets_with_their_best_size_at_an_edge_are_named() -> None:
    rows = budgets([1, 1.5, 2.5, 5], seeds=3)
    rows = rows[(rows["C"] < 1e20) | (rows["N"] < rows.loc[rows["C"] == 1e20, "N"].max())]
    edge, thin = warnings(rows, TRUTH)
    assert edge.startswith("at C=10¹⁷, 5.6·10¹⁷, 3.2·10¹⁸, 1.8·10¹⁹ and 10²⁰ the best size by the stated law (N=")
    assert "is at or below the smallest that is planned: add smaller sizes there" in edge
    assert thin.startswith("at C=10²⁰ there are fewer than 4 sizes")
    (above,) = warnings(budgets([0.1, 0.2, 0.3, 0.4], seeds=3), TRUTH)
    assert "at or above the largest" in above


def test_one_seed_is_warned_of_and_some_seeds_too() -> None:
    (one,) = warnings(grid(2.5), TRUTH)
    assert one.startswith("every run has one seed, so the noise between seeds cannot be estimated: claims need 3 seeds")
    rows = grid(2.5, seeds=3)
    (some,) = warnings(rows[(rows["seed"] == 0) | (rows["N"] == 1e7)], TRUTH)
    assert some.startswith("there are 3 seeds at 1 of 3 N (4 runs missing)")


def test_few_runs_and_an_offset_that_cannot_be_told_are_warned_of() -> None:
    said = warnings(grid(2.5).iloc[[0, 5, 14, 21, 30, 35]], TRUTH)
    assert any(s.startswith("6 runs are planned and an interval needs 7, two more than the 5 parameters") for s in said)
    noisy = Truth.given("E=.1,A=400,alpha=.31,B=400,beta=.29,noise=.02")
    assert any(
        s.startswith("E, 0.1 by the stated law, cannot be distinguished from 0") for s in warnings(grid(1.5, 3), noisy)
    )
    assert warnings(pd.DataFrame(), TRUTH) == ["no runs are planned"]


def test_a_plan_that_lacks_a_column_is_one_sentence() -> None:
    for ask in (warnings, resolve):
        with pytest.raises(UserError, match="chinchilla needs the columns N, D; the plan has no D"):
            ask(grid(2.5)[["N"]], TRUTH)
        with pytest.raises(UserError, match=r"a planned row has N=0\.0, D="):
            ask(grid(2.5).assign(N=0.0), TRUTH)


# --- what to run next

HAVE = runs(np.geomspace(1e7, 1e8, 4), np.geomspace(1e8, 1e9, 4), tag="have ")
CANDIDATES = runs(np.geomspace(1e7, 1e9, 9), np.geomspace(1e8, 1e10, 9), tag="next ")
TARGET = 1e21


def spread(extra: pd.DataFrame) -> float:
    """How the loss at the target scatters over real fits of what is there and `extra`."""
    rows = pd.concat([HAVE, extra])
    found = resolve(rows, TRUTH, target_C=TARGET, studies=16, seconds=np.inf, loss="l2", interval="none")
    return float(found.quantities["L_opt"].sd or np.inf)


def test_the_picked_runs_beat_others_of_the_same_cost() -> None:
    picked = improve(HAVE, CANDIDATES, TRUTH, target_C=TARGET, n=5, loss="l2")
    cost = picked["cost"].sum()
    C = np.array([cost])
    N = TRUTH.form.curve("N_opt", C, TRUTH.params)
    others = {"one run at the best split": pd.DataFrame({"N": N, "D": C / 6 / N, "C": C, "run_id": "best"})}
    drawn = CANDIDATES[cost >= CANDIDATES["C"]].sample(frac=1, random_state=0)
    others["runs drawn at random"] = drawn[drawn["C"].cumsum() <= cost]
    mine = spread(picked)
    for name, extra in others.items():
        # a standard deviation of 16 studies has a standard error of 18 %, and the picks promise half
        assert mine < 0.75 * spread(extra), name


def test_each_pick_says_what_it_gains() -> None:
    picked = improve(HAVE, CANDIDATES, TRUTH, target_C=TARGET, n=4)
    assert list(picked) == ["run_id", "N", "D", "C", "cost", "before", "after", "gain_per_FLOP"]
    assert picked["run_id"].is_unique
    assert (picked["after"] < picked["before"]).all()
    assert picked["after"].to_list()[:-1] == picked["before"].to_list()[1:]
    assert picked["gain_per_FLOP"].to_numpy() == pytest.approx((picked["before"] - picked["after"]) / picked["C"])
    shuffled = improve(HAVE, CANDIDATES.sample(frac=1, random_state=2), TRUTH, target_C=TARGET, n=4)
    pd.testing.assert_frame_equal(picked, shuffled)
    made = pd.concat([HAVE, CANDIDATES[CANDIDATES["run_id"] == picked["run_id"][0]]])
    after = improve(made, CANDIDATES, TRUTH, target_C=TARGET, n=3)
    pd.testing.assert_frame_equal(picked.iloc[1:].reset_index(drop=True), after)


def test_a_start_without_runs_picks_what_tells_the_parameters_apart() -> None:
    picked = improve(pd.DataFrame(), CANDIDATES, TRUTH, n=7)
    assert (picked["N"].nunique(), picked["D"].nunique()) >= (3, 3)
    assert picked["after"].iloc[-1] < 0.2 * picked["after"].iloc[0]
    nameless = improve(pd.DataFrame(), CANDIDATES.drop(columns="run_id"), TRUTH, n=2)
    assert CANDIDATES.loc[nameless["run_id"], "N"].to_list() == nameless["N"].to_list()


def test_a_run_with_marks_is_taken_whole_and_costs_its_trunk_and_cooldowns() -> None:
    trunks = runs([1e7, 1e9], [1e9, 1e10], marks=True, tag="trunk ")
    picked = improve(HAVE, trunks, TRUTH, target_C=TARGET, n=5).set_index("run_id")
    assert set(picked.index) == {"trunk 0-0", "trunk 1-0"}
    assert picked["D"].to_list() == [1e10, 1e10]
    assert picked.loc["trunk 0-0", "cost"] == pytest.approx(0.8 * 6e17 + 0.2 * 6.6e17)
    spent = improve(HAVE, trunks.assign(C_spent=7e17), TRUTH, target_C=TARGET, n=1)
    assert spent["cost"].to_list() == [7e17]


def test_runs_that_failed_tell_nothing_and_nothing_to_choose_from_is_one_sentence() -> None:
    lost = HAVE.assign(status="failed")
    pd.testing.assert_frame_equal(
        improve(lost, CANDIDATES, TRUTH, n=2), improve(pd.DataFrame(), CANDIDATES, TRUTH, n=2)
    )
    for rows, sentence in (
        (CANDIDATES.head(0), "there are no candidates"),
        (HAVE, "every candidate is there already"),
        (CANDIDATES.drop(columns="C"), "candidates need the column C, or C_spent"),
        (CANDIDATES.assign(run_id=None), "a candidate has no run_id"),
    ):
        with pytest.raises(UserError, match=sentence):
            improve(HAVE, rows, TRUTH)


def test_runs_chosen_one_after_another_narrow_the_target_and_cost_little() -> None:
    rng = np.random.default_rng(0)
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e10, 7), np.geomspace(1e8, 1e11, 7)))
    grid = pd.DataFrame({"N": N, "D": D, "C": 6 * N * D})
    grid["L"] = (1.7 + 400 * N**-0.34 + 410 * D**-0.28) * np.exp(0.002 * rng.standard_normal(len(N)))
    have, rest = grid[grid["C"] < 1e17], grid[grid["C"] >= 1e17]
    law = get_law("chinchilla")
    picks = improve_table(have, rest.drop(columns="L"), law, n=3)
    assert (picks["after"] < picks["before"]).all()
    assert (picks["before"].iloc[1:].to_numpy() == picks["after"].iloc[:-1].to_numpy()).all()
    dearest = rest["C"].max()
    assert picks["C"].sum() < dearest
    # what was promised is what the runs bring, when they are made
    made = pd.concat([have, rest.merge(picks[["N", "D"]], on=["N", "D"])])
    target = rest[rest["C"] >= rest["C"].quantile(0.9)]
    before, after = (np.abs(believe(rows, law, target).mean - np.log(target["L"])).mean() for rows in (have, made))
    assert after < before
    # no place twice, and none where a run is already
    again = pd.concat([rest, have, rest]).drop(columns="L")
    pd.testing.assert_frame_equal(
        improve_table(have, again, law, n=3, targets=target),
        improve_table(have, rest.drop(columns="L"), law, n=3, targets=target),
    )
    with pytest.raises(UserError, match="every candidate is there already, by its N, D"):
        improve_table(have, have.drop(columns="L"), law)
    with pytest.raises(UserError, match="no column C"):
        improve_table(have, rest.drop(columns=["C", "L"]), law)
    with pytest.raises(UserError, match="too few to fit"):
        improve_table(have.head(3), rest, law)


def test_what_is_known_beforehand_takes_nothing_off_the_residuals_that_tell_the_noise() -> None:
    law = get_law("chinchilla")
    rows = pd.DataFrame({"N": [1e7, 1e8, 1e9, 1e7, 1e9], "D": [1e9, 1e9, 1e9, 1e11, 1e11]})
    rows["L"] = law(rows["N"].to_numpy(), rows["D"].to_numpy(), E=1.6, A=400.0, alpha=0.31, B=400.0, beta=0.29)
    # five rows that fit exactly, five parameters, and two of these known before: the noise is less than was expected
    assert believe(rows, law, rows).noise.max() < 0.95 * NOISE
