"""A band holds the error of the form; whether a law predicts is told by its hold-outs and not by its parameters."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Isoflop

from isoflop.analysis.fitting.diagnose import FitStatus, Predicts
from isoflop.analysis.fitting.fit import fit, fit_groups
from isoflop.analysis.holdout.average import average_groups, average_laws, default_laws
from isoflop.analysis.holdout.bands import bands, look_back
from isoflop.analysis.holdout.compare import compare
from isoflop.analysis.holdout.cuts import Fold, distance, roll
from isoflop.analysis.holdout.form_error import form_error
from isoflop.analysis.holdout.predict import as_text, predict, predict_points, to_json
from isoflop.analysis.holdout.predictability import LAST, LINE, judge, lean, predictability
from isoflop.errors import FitError, UserError

# a law that chinchilla is not: both terms under one power
TRUTH = {"E": 1.7, "K": 9.0, "alpha": 0.39, "ratio": 7.5, "beta": 0.42, "gamma": 0.47}


def loss(N: np.ndarray, D: np.ndarray) -> np.ndarray:
    t = TRUTH
    return t["E"] + t["K"] * (N ** -t["alpha"] + t["ratio"] * D ** -t["beta"]) ** t["gamma"] * 10


def study(seed: int = 0, noise: float = 0.002, sizes: int = 8) -> pd.DataFrame:
    """A grid of sizes and data under the multiplicative law; each row is a run, whatever its residuals look like."""
    rng = np.random.default_rng(seed)
    N, D = (g.ravel() for g in np.meshgrid(np.geomspace(1e6, 1e9, sizes), np.geomspace(1e8, 1e11, sizes)))
    rows = {"run_id": [f"r{i}" for i in range(len(N))], "N": N, "D": D, "C": 6 * N * D}
    return pd.DataFrame(rows | {"L": loss(N, D) * np.exp(noise * rng.standard_normal(len(N)))})


def curve(points: int = 20, noise: float = 0.002, seed: int = 0) -> pd.DataFrame:
    """A loss whose local exponent falls along D: no power law with an offset of one piece."""
    x = np.geomspace(1e6, 1e9, points)
    L = 1 + 30 * x**-0.25 * (1 + (x / 3e8) ** 2) ** 0.05
    L = L * np.exp(noise * np.random.default_rng(seed).standard_normal(points))
    return pd.DataFrame({"run_id": [f"r{i}" for i in range(points)], "D": x, "L": L})


def test_a_band_of_a_wrong_form_covers_what_noise_and_parameters_do_not() -> None:
    inside = {"before": 0, "after": 0}
    beyond = pd.DataFrame({"N": [2e9, 4e9, 4e9, 1e9], "D": [2e11, 1e11, 4e11, 8e11]})
    truth = loss(beyond["N"].to_numpy(), beyond["D"].to_numpy())
    for seed in range(3):
        law = fit(study(seed), "chinchilla", resamples=100)
        for side, band in (("before", law.predict_interval(beyond)), ("after", bands(law, beyond))):
            inside[side] += int(((band["low"] < truth) & (truth < band["high"])).sum())
    assert inside["before"] < inside["after"] == 12


def test_a_band_of_the_right_form_stays_within_a_few_times_its_noise() -> None:
    law = fit(study(), "multiplicative", resamples=100)
    band = bands(law, pd.DataFrame({"N": [2e9], "D": [2e11]}))
    assert np.log(band["high"] / band["low"])[0] / 2 < 8 * 0.002
    assert band["band"][0] == "noise + parameters + form"


def iso(seed: int, noise: float = 0.002) -> pd.DataFrame:
    """Five budgets of seven sizes each, under Chinchilla's law."""
    C = np.repeat(np.geomspace(1e18, 1e20, 5), 7)
    N = 0.1 * np.sqrt(C) * 4 ** np.tile(np.linspace(-1, 1, 7), 5)
    L = chinchilla(N, C / 6 / N) * np.exp(noise * np.random.default_rng(seed).standard_normal(35))
    return pd.DataFrame({"N": N, "D": C / 6 / N, "C": C, "L": L})


def chinchilla(N: np.ndarray, D: np.ndarray) -> np.ndarray:
    return 1.69 + 406.4 * N**-0.34 + 410.7 * D**-0.28


def test_a_refit_counts_only_where_its_rows_identify_what_the_others_ask() -> None:
    N = 0.1 * np.sqrt(4e20)
    beyond, errors, halves = pd.DataFrame({"N": [N], "D": [4e20 / 6 / N]}), [], []
    for seed in range(4):
        law = fit(iso(seed), "chinchilla", resamples=100)
        folds = look_back(law).folds
        assert "add a second budget" in folds[0].reason
        assert [fold.counts for fold in folds] == [False, True, True, True]
        assert predictability(law).predicts == "yes"
        band = bands(law, beyond)
        halves.append(np.log(band["high"] / band["low"])[0] / 2)
        errors.append(abs(np.log(band["value"] / chinchilla(beyond["N"], beyond["D"]))[0]))
    assert max(errors) < np.median(halves) < 5 * 0.002
    # a size that hardly varies below the cut says nothing of others
    flat = iso(0).assign(N=lambda r: np.where(r["C"] < 5e19, 1e9 * 1.1 ** (r.index % 7), r["N"]))
    reasons = [fold.reason for fold in look_back(fit(flat, "chinchilla", resamples=50)).folds]
    assert any("N spans a factor of 1.8, too little" in reason for reason in reasons)


def test_a_verdict_speaks_of_the_reach_that_is_asked_for() -> None:
    law = fit(iso(0), "chinchilla", resamples=50)
    assert predict(law, {"C": 4e20})["predicts"] == "yes"
    far = predict(law, {"C": 1e24})
    assert far["predicts"] == "unknown"
    assert "no hold-out more than" in far["why"]


def test_the_error_of_the_form_grows_with_the_distance_and_is_none_inside() -> None:
    law = fit(curve(), "power_offset(D)", resamples=100)
    band = bands(law, pd.DataFrame({"D": [5e8, 2e9, 8e9, 32e9]}), rivals=False)
    half = np.log(band["high"] / band["low"]).to_numpy() / 2
    assert (np.diff(half) > 0).all()
    # inside the rows it is 1.64 times the scatter of a row, which holds what the form is off there, and Student's t
    assert half[0] < 2 * 0.002 * 2.5


def test_few_rows_do_not_shrink_a_band() -> None:
    halves = {}
    for points in (6, 24):
        x, several = np.geomspace(1e6, 1e9, points), []
        for seed in range(5):
            noise = 0.002 * np.random.default_rng(seed).standard_normal(points)
            law = fit(pd.DataFrame({"D": x, "L": (1 + 30 * x**-0.25) * np.exp(noise)}), "power_offset(D)", resamples=50)
            band = bands(law, pd.DataFrame({"D": [4e9]}), rivals=False)
            several.append(float(np.log(band["high"] / band["low"])[0]))
        halves[points] = np.median(several)
    assert halves[6] > 1.5 * halves[24]


def test_where_no_row_can_be_held_out_the_band_says_what_it_lacks_and_predicts_is_unknown() -> None:
    # four sizes at one amount of data, and nothing below them: every cut leaves fewer places than a fit needs
    law = fit(curve(4), "power(D)", resamples=100)
    prediction = predict(law, {"D": 4e9})
    assert prediction["band"] == "noise + parameters"
    assert prediction["predicts"] == "unknown"
    assert "not the error of the form" in as_text(law, prediction, 0.9)


def test_what_lies_beyond_in_a_column_that_no_hold_out_leaves_has_no_form() -> None:
    one_size = study()[lambda r: np.isclose(r["N"], 1e9)]
    law = fit(one_size, "chinchilla", resamples=50)
    band = bands(law, pd.DataFrame({"N": [1e10], "D": [1e11]}))
    assert "form" not in band["band"][0]


def test_parameters_that_nothing_identifies_may_predict_and_a_converged_law_may_not() -> None:
    N, rng = np.geomspace(1e7, 1e10, 24), np.random.default_rng(0)
    ladder = pd.DataFrame({"N": N, "D": 20 * N, "L": loss(N, 20 * N) * np.exp(0.002 * rng.standard_normal(24))})
    flat = fit(ladder, "chinchilla", resamples=50)
    assert flat.status == "not_identified"
    assert predictability(flat).predicts == "yes"
    wrong = fit(curve(40, noise=0.0003), "power(D)", resamples=50)
    assert wrong.status == "converged"
    verdict = predictability(wrong)
    assert verdict.predicts == "no"
    assert "hold-outs, each weighing alike, it errs by" in verdict.reason


def test_a_verdict_is_by_hold_outs_of_larger_runs_as_a_comparison_is() -> None:
    # budgets of like sizes, whose cuts along the scale leave no size: the columns have cuts of their own for the band
    C = np.repeat(np.geomspace(1e16, 1e19, 7), 7)
    N = np.tile(np.geomspace(1e7, 1e9, 7), 7)
    D = C / 6 / N
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(len(C)))
    rows = pd.DataFrame({"run_id": range(len(C)), "N": N, "D": D, "C": C, "L": loss(N, D) * noise})
    law = fit(rows, "chinchilla", interval="none")
    cuts = look_back(law).cuts
    assert len(cuts) > cuts.scale >= 2
    assert predictability(law).cuts == cuts.scale
    table = compare(rows, ["chinchilla", "multiplicative"], interval="none").table.set_index("law")
    assert table.loc["chinchilla", "predicts"] == predictability(law).predicts == "rivalled"


def test_a_curve_that_leaves_its_law_to_one_side_says_so_and_is_not_a_yes() -> None:
    x = np.geomspace(1e6, 1e9, 30)
    noise = np.exp(0.001 * np.random.default_rng(2).standard_normal(30))
    bent = pd.DataFrame({"D": x, "L": (1 + 30 * x**-0.25 * (1 + (x / 3e7) ** 2) ** 0.05) * noise})
    verdict = predictability(fit(bent, "power_offset(D)", interval="none"))
    assert verdict.predicts != "yes"
    found = lean(look_back(fit(bent, "power_offset(D)", interval="none")).folds, 0.001)
    assert found.startswith("its last 3 hold-outs are all too high, by 0.")
    straight = fit(bent.assign(L=(1 + 30 * x**-0.25) * noise), "power_offset(D)", interval="none")
    assert predictability(straight).predicts == "yes"


def test_every_verdict_has_its_sentence() -> None:
    assert all(member.sentence for member in Predicts)
    squares = np.full(6, 0.01**2)
    naive = {LAST: np.full(6, 0.1**2), LINE: squares}
    assert judge(squares, {}, naive, 0.01).predicts == "yes"
    assert judge(squares[:1], {}, {k: v[:1] for k, v in naive.items()}, 0.01).predicts == "unknown"
    nearer = judge(squares, {"other": squares / 25}, {LAST: 2 * squares, LINE: squares}, 0.01)
    assert nearer.predicts == "rivalled"
    assert "other by 0.20 %" in nearer.reason
    assert judge(25 * squares, {}, {LAST: 20 * squares, LINE: 25 * squares}, 0.01).predicts == "no"
    # the last value is nearer by less than the scatter of rows makes it
    assert judge(25 * squares, {}, {LAST: 20 * squares, LINE: 25 * squares}, 0.05).predicts == "unknown"
    assert judge(25 * squares, {}, {LAST: 50 * squares, LINE: 25 * squares}, 0.01).predicts == "unknown"
    assert judge(squares, {}, {LAST: squares, LINE: squares}, 0.01).predicts == "unknown"
    assert judge(squares, {}, {LAST: 100 * squares, LINE: squares / 25}, 0.01).predicts == "rivalled"


def test_a_slope_is_learnt_from_errors_that_grow() -> None:
    x = np.geomspace(1.0, 100.0, 30)
    cuts = roll([x], [True])
    assert 3 <= len(cuts) <= 6
    assert (cuts.distance[cuts.fitted] == 0).all()
    errors = np.where(cuts.fitted, np.nan, 0.02 * cuts.distance)
    sides = list(zip(cuts.fitted, cuts.distance, errors, strict=True))
    form = form_error([Fold(*at, FitStatus.CONVERGED, "", off, 0 * off, 1e-4) for *at, off in sides], noise=1e-4)
    # edge and slope share it, since they are averaged over their likelihood
    assert np.sqrt(form.variance(np.array([1.0, 2.5]))) == pytest.approx([0.02, 0.05], rel=0.25)
    assert form.slope > 2 * form.edge
    assert form.variance(np.array([0.0, 2.0]))[0] == 0
    none = [Fold(*at, FitStatus.REFUSED, "too few", off + np.nan, off + np.nan, 1e-4) for *at, off in sides]
    assert form_error(none, 1e-4).cuts == 0
    # what a refit misses since it saw few rows is no error of the form
    own = [Fold(*at, FitStatus.CONVERGED, "", off, off**2, 1e-4) for *at, off in sides]
    assert form_error(own, 1e-4).slope < form.slope / 5


def test_distance_is_beyond_the_rows_in_scale_or_in_any_column_and_below_them_too() -> None:
    rows = [np.array([1.0, 10.0]), np.array([10.0, 10.0])]
    there = [np.array([10.0, 40.0, 1.0]), np.array([10.0, 1.0, 40.0])]
    assert np.exp(distance(there, rows, [True, True])) == pytest.approx([1, 4, 4])
    assert np.exp(distance([np.array([0.5]), np.array([10.0])], rows, [True, True], -1)) == pytest.approx([2])


def test_the_average_leans_on_the_law_that_predicted_and_errs_no_more_than_it() -> None:
    rows = study(noise=0.001, sizes=10)
    average = average_laws(rows, "best")
    weights = average.stack.weights
    assert weights["multiplicative"] + weights.get("farseer", 0) > 0.7
    assert sum(weights.values()) == pytest.approx(1)
    beyond = pd.DataFrame({"N": [3e9], "D": [3e11]})
    assert np.abs(np.log(average.predict(beyond) / loss(3e9, 3e11)))[0] < 0.01
    band = bands(average, beyond)
    assert band["low"][0] < loss(np.array([3e9]), np.array([3e11]))[0] < band["high"][0]
    best = predict(average, {"C": 1e21})
    assert 6 * best["N_opt"].value * best["D_opt"].value == pytest.approx(1e21)
    assert best["N_opt"].low is None
    assert predict(average, {"C": 1e21, "N": best["N_opt"].value * 10})["excess"].value > 0


def test_the_average_is_the_same_twice_and_in_another_order_of_rows() -> None:
    rows, far = curve(), pd.DataFrame({"D": [4e9]})
    one, two = (bands(average_laws(r), far) for r in (rows, rows.sample(frac=1, random_state=0)))
    # refits end where a step would gain a few thousandths of a standard error, which is .002 here
    assert one["value"][0] == pytest.approx(two["value"][0], rel=1e-5)
    assert one["high"][0] == pytest.approx(two["high"][0], rel=1e-3)


def test_a_law_that_takes_repeated_data_for_new_does_not_predict() -> None:
    rows = iso(0)
    assert predictability(fit(rows.assign(D_unique=rows["D"]), "chinchilla")).predicts == "yes"
    blind = predictability(fit(rows.assign(D_unique=rows["D"].min()), "chinchilla"))
    assert blind.predicts == "unknown"
    assert "without D_unique takes them for new ones" in blind.reason


def test_the_columns_of_the_average_follow_what_varies() -> None:
    assert average_laws(curve()).law.columns == ("D",)
    assert average_laws(study()).law.columns == ("N", "D")
    assert average_laws(study(), "best(N)").law.columns == ("N",)
    repeated = study().assign(D_unique=1e9)
    assert average_laws(repeated).law.columns == ("N", "D", "D_unique")
    assert "overfit_penalty" in average_laws(repeated).stack.weights
    with pytest.raises(UserError, match="best takes one to three columns"):
        average_laws(study(), "best(N,D,C,L)")
    with pytest.raises(FitError, match="takes no --pin"):
        average_laws(study(), pin={"E": 1.0})
    with pytest.raises(UserError, match="has no parameters of its own"):
        fit(study(), "best")


def test_the_default_comparison_names_each_law_once_and_holds_the_average() -> None:
    assert default_laws(study()) == ["chinchilla", "kaplan", "multiplicative", "chinchilla_tied", "best(N,D)"]
    assert default_laws(curve()) == ["power(D)", "power_offset(D)", "m4(D)", "bnsl(D)", "best(D)"]
    assert "farseer" in default_laws(study(sizes=10))
    table = compare(study(sizes=6), ["chinchilla_tied", "overtraining", "best"], folds=2).table
    assert list(table["law"]).count("chinchilla_tied") == 1
    assert set(table["predicts"]) <= {"yes", "rivalled", "no", "unknown", "-"}


def test_a_group_that_cannot_be_fitted_has_empty_cells_and_a_reason() -> None:
    rows = pd.concat([study().assign(family="many"), study().head(1).assign(family="one")])
    table = predict_points(fit_groups(rows, "chinchilla", by=["family"]), rows.tail(2), by=["family"])
    few = table[table["family"] == "one"].iloc[0]
    assert np.isnan(few["value"])
    assert few["band"] == ""
    assert few["predicts"] == "unknown"
    assert "too few" in few["reason"]
    assert (table[table["family"] == "many"]["band"] == "noise + parameters + form").all()


def test_a_group_of_the_average_that_cannot_be_read_leaves_the_others_alone() -> None:
    rows = pd.concat([curve().assign(family="a"), curve().assign(family="b", L=0.0)])
    one, two = average_groups(rows, "best(D)", by=["family"])
    assert one.stack is not None
    table = predict_points([one, two], rows.assign(L=np.nan), by=["family"])
    other = table[table["family"] == "b"]
    assert other["value"].isna().all()
    assert (other["status"] == "refused").all()
    assert "a law needs a number above 0" in other["reason"].iloc[0]


def test_predict_says_what_the_band_holds_and_how_far_it_reaches_below_too() -> None:
    law = fit(study(), "multiplicative", resamples=50)
    below = predict(law, {"N": 5e5, "D": 1e10})
    assert below["below"]["N"] == pytest.approx(2)
    text = as_text(law, below, 0.9)
    assert "N is 2 times below the smallest fitted" in text
    assert "90%: noise + parameters + form" in text
    document = json.loads(json.dumps(to_json(law, below)))
    assert document["predicts"] in ("yes", "rivalled", "no", "unknown")
    assert document["band"] == "noise + parameters + form"


def test_the_verb_predicts_by_the_average_of_laws(isoflop: Isoflop, tmp_path: Path) -> None:
    rows = study()
    small = rows["C"] < 1e20
    rows[small].to_csv(tmp_path / "small.csv", index=False)
    rows[~small].to_csv(tmp_path / "large.csv", index=False)
    out = tmp_path / "predictions.csv"
    done = isoflop("predict", tmp_path / "small.csv", "--points", tmp_path / "large.csv", "--law", "best", "-o", out)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(out)
    assert {"value", "low", "high", "band", "predicts", "status"} <= set(table.columns)
    assert np.abs(np.log(table["value"] / table["L"])).max() < 0.02
    refused = isoflop("fit", tmp_path / "small.csv", "--law", "best")
    assert refused.returncode == 2
    assert "best is an average of laws" in refused.stderr


def test_a_fit_of_repeated_questions_is_held_out_once() -> None:
    law = fit(curve(), "power_offset(D)", resamples=50)
    assert look_back(law) is look_back(law)
