"""Published data give published numbers, and where the published fit is not its own optimum, the better one.

The data are read where ISOFLOP_REFERENCE_DATA names their folder and are not part of this project.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.frontier.frontier import frontier
from isoflop.analysis.runs.read import read_runs

FOLDER = os.environ.get("ISOFLOP_REFERENCE_DATA", "")
pytestmark = pytest.mark.skipif(
    not Path(FOLDER or "missing").is_dir(), reason="ISOFLOP_REFERENCE_DATA names no folder of reference data"
)


def chinchilla(keep: bool = True) -> pd.DataFrame:
    """The points digitised from Hoffmann et al. 2022, figure 4 (Besiroglu et al. 2024); `keep`: their 240 of 245."""
    path = Path(FOLDER) / "epoch-research__analyzing-chinchilla" / "svg_extracted_data.csv"
    runs = read_runs(path, columns={"N": "Model Size", "C": "Training FLOP", "L": "loss"}).frame
    runs["D"] = runs["C"] / (6 * runs["N"])
    return runs[runs["L"] < np.sort(runs["L"])[-5]] if keep else runs


def near(answer: Fit, **digits: str) -> None:
    """Parameters agree with printed values to the digits printed."""
    for name, text in digits.items():
        half = 0.5 * 10.0 ** -len(text.partition(".")[2])
        assert answer.params[name].value == pytest.approx(float(text), abs=half * 1.0001), name


def test_chinchilla_huber_reaches_the_optimum_of_the_sum() -> None:
    answer = fit(chinchilla())
    near(answer, A="477.826", B="2143.417", E="1.817218", alpha=".347310", beta=".367172")
    assert answer.objective <= 0.00101827402
    assert answer.starts.at_optimum >= 0.99 * answer.starts.tried
    assert (answer.status, answer.n_rows) == ("converged", 240)


def test_chinchilla_intervals_agree_with_the_published_ones() -> None:
    answer = fit(chinchilla())
    # Besiroglu et al. 2024, by 4,000 bootstrap resamples
    published = {"E": (1.769, 1.871), "alpha": (0.317, 0.373), "beta": (0.331, 0.415)}
    for name, ends in published.items():
        found, width = answer.params[name], ends[1] - ends[0]
        assert (found.low, found.high) == pytest.approx(ends, abs=0.12 * width), name


def test_chinchilla_under_least_absolute_deviations_is_the_published_row() -> None:
    answer = fit(chinchilla(), loss="l1", interval="none")
    # the corner itself, by a sequence of linear programs on these rows
    corner = {"A": 482.0060548, "B": 2085.4362455, "E": 1.8168641329, "alpha": 0.3478130701, "beta": 0.3658541643}
    assert answer.values == pytest.approx(corner, rel=1e-6)
    assert answer.objective == pytest.approx(1.1294946536, rel=1e-9)
    near(answer, A="482.01", B="2085.4", E="1.81686", alpha=".34781", beta=".36585")


def test_chinchilla_under_least_squares() -> None:
    answer = fit(chinchilla(), loss="l2", interval="none")
    near(answer, A="593.32", B="4875.6", E="1.86455", alpha=".36025", beta=".40588")
    assert answer.objective == pytest.approx(0.005730943, rel=1e-6)


def test_chinchilla_with_all_points() -> None:
    answer = fit(chinchilla(keep=False), interval="none")
    near(answer, A="495.73", B="12845.6", E="1.89134", alpha=".34931", beta=".45305")
    assert answer.objective == pytest.approx(0.001826010523, rel=1e-9)


def test_chinchilla_has_the_isoflop_minima_of_its_budgets() -> None:
    # nine budgets, among curves of other lengths; the published power of N by isoFLOP profiles is .49 (.462 to .534)
    result = frontier(chinchilla(keep=False))
    used = result.budgets[result.budgets["used"].astype(bool)]
    for budget in (6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21):
        assert np.abs(np.log(used["C"] / budget)).min() < 0.1
    a = result.approaches["isoflop"].a
    assert a.low < 0.49 < a.high
    assert a.high - a.low < 0.15


def test_chinchilla_predicts_the_larger_runs_better_than_least_squares() -> None:
    runs = chinchilla()
    small, large = runs[runs["C"] < 1e20], runs[runs["C"] >= 1e20]
    assert (len(small), len(large)) == (136, 104)
    errors, covered = {}, {}
    for loss in ("huber", "l2"):
        answer = fit(small, loss=loss)
        errors[loss] = np.sqrt((np.log(answer.predict(large) / large["L"]) ** 2).mean())
        band = answer.predict_interval(large, level=0.9)
        covered[loss] = ((band["low"] <= large["L"]) & (large["L"] <= band["high"])).mean()
    assert errors["huber"] == pytest.approx(0.01144, abs=5e-6)
    assert errors["l2"] == pytest.approx(0.01420, abs=5e-6)
    # 104 runs up to 30 times the fitted compute, 90 % bands
    assert covered["huber"] >= 0.85


def test_repeated_data_do_not_identify_the_rates_of_repetition() -> None:
    path = Path(FOLDER) / "huggingface__datablations" / "parametric_fit_outliers_removed_182.csv"
    columns = {"N": "params", "D": "tokens", "D_unique": "unique_tokens", "L": "loss"}
    # the notebook's fit of the other parameters
    pin = {"A": np.exp(6.255414), "B": np.exp(7.3049974), "E": np.exp(0.6254804), "alpha": 0.3526596, "beta": 0.3526596}
    answer = fit(read_runs(path, columns=columns), "data_constrained", pin=pin, resamples=200)
    assert answer.status == "not_identified"
    assert "R_D" in answer.explanation
    assert "R_N" in answer.explanation
    assert answer.params["R_D"].high is None
    problem = answer.optimum.problem
    assert problem is not None
    published = problem.objective.total(problem.residuals(np.log([[15.387756, 5.309743]])))[0]
    assert published == pytest.approx(0.0158259353, rel=1e-6)
    assert answer.objective is not None
    assert answer.objective <= 0.0158047


GEMSTONES = "mcleish7__gemstone-scaling-laws/wandb_dfs/wandb_df_for_fitting_hot_"


def gemstones(part: str) -> pd.DataFrame:
    """Runs of McLeish et al. 2025."""
    return read_runs(
        f"{FOLDER}/{GEMSTONES}{part}.jsonl", columns={"N": "params_active_precise", "D": "tokens", "L": "final_loss"}
    ).frame


def test_gemstones_over_size_and_data() -> None:
    answer = fit(gemstones("100b+"), delta=1e-4, run="run_name", resamples=200)
    near(answer, alpha=".2577", beta=".5895")
    assert answer.objective is not None
    assert answer.objective <= 0.00069233
    assert answer.n_runs < answer.n_rows
    few = fit(gemstones("sampled_like_chinchilla"), delta=1e-4, run="run_name", interval="none")
    assert few.objective == pytest.approx(2.2573e-5, rel=1e-4)


def test_gemstones_over_shape_stand_on_the_bound_of_E() -> None:
    answer = fit(gemstones("100b+"), "shape", delta=1e-4, run="run_name", interval="none")
    assert answer.status == "at_bound"
    assert "E stands on its bound 0" in answer.reason
    near(answer, alpha=".2608", gamma=".1418", beta=".542")
    assert answer.objective == pytest.approx(4.1995e-4, rel=1e-4)


OVERTRAINED = {
    "c4_original": ("1.50826", "113.693", "189.516", "-.242472"),
    "rpj": ("1.83665", "166.211", "366.687", "-.272851"),
    "rw_original": ("1.73446", "125.096", "246.207", "-.254395"),
}


@pytest.mark.parametrize("data", sorted(OVERTRAINED))
def test_overtraining_law_of_five_points(data: str) -> None:
    columns = {"N": "params", "D": "tokens", "L": "loss"}
    runs = read_runs(f"{FOLDER}/mlfoundations__scaling/loss_evals.csv", columns=columns).frame
    runs = runs[(runs["dataset"] == data) & (runs["val_dataset"] == "c4_val")]
    # Gadre et al. 2024: four sizes at M = 20, the smallest also at M = 320
    small = np.isclose(runs["chinchilla_multiplier"], 1) & (runs["N"] < 5e8)
    long = np.isclose(runs["chinchilla_multiplier"], 16) & (runs["N"] < 2e7)
    answer = fit(runs[small | long], "overtraining", loss="raw_l2", interval="none")
    value = answer.values
    # their beta multiplies 6^(b/2) D^b
    theirs = (value["E"], value["A"], value["B"] * 6 ** (value["alpha"] / 2), -value["alpha"])
    for found, text in zip(theirs, OVERTRAINED[data], strict=True):
        assert found == pytest.approx(float(text), abs=0.50001 * 10.0 ** -len(text.partition(".")[2]))


ROUTED = {
    "S-Base": (58, {"a": "-.0830", "b": "-.1180", "c": ".0099", "d": "1.1136"}),
    "RL-R": (59, {"a": "-.0827", "b": "-.1234", "c": ".0112", "d": "1.107", "E_start": "1.72", "E_max": "470.1"}),
    "Hash": (56, {"a": "-.0874", "b": "-.1384", "c": ".0126", "d": "1.1595", "E_start": "4.27", "E_max": "427.3"}),
}


@pytest.mark.parametrize("router", sorted(ROUTED))
def test_routed_law_of_each_router(router: str) -> None:
    curves = pd.read_csv(f"{FOLDER}/google-deepmind__scaling_laws_for_routing/curves.csv.gz")
    curves = curves[(curves["routing_frequency"] == 0.5) & (curves["k"] == 1) & (curves["seed"] == 42)]
    cell = ["router_type", "num_experts", "dense_parameter_count", "d_model", "num_blocks"]
    last = curves.loc[curves.groupby(cell)["step"].idxmax()]
    last = last[last["router_type"].isin(["Dense", router])]
    runs = last.assign(N=last["dense_parameter_count"], n_experts=last["num_experts"], L=last["loss_validation"])
    rows, digits = ROUTED[router]
    answer = fit(runs, "routed", loss="l2", interval="none")
    assert answer.n_rows == rows
    near(answer, **digits)


PORIAN = {
    ("rw", "base", "long", "kaplan", "kaplan", "train"): ".8338",
    ("rw", "base", "long", "kaplan", "standard", "val"): ".7009",
    ("rw", "base", "short", "kaplan", "standard", "val"): ".6035",
    ("rw", "base", "short", "chinchilla", "standard", "val"): ".5714",
    ("rw", "tuned", "short", "const", "standard", "val"): ".4970",
    ("owt2", "base", "long", "kaplan", "kaplan", "train"): ".8700",
    ("owt2", "base", "long", "kaplan", "standard", "val"): ".7000",
    ("owt2", "base", "short", "kaplan", "standard", "val"): ".6016",
    ("owt2", "base", "short", "chinchilla", "standard", "val"): ".5689",
    ("owt2", "tuned", "short", "const", "standard", "val"): ".5184",
}


@pytest.mark.parametrize("which", sorted(PORIAN))
def test_exponents_of_the_optimal_size_along_the_chain_of_conventions(which: tuple[str, ...]) -> None:
    pairs = pd.read_csv(f"{FOLDER}/formll__resolving-scaling-law-discrepancies/optimal_pairs.csv")
    for name, value in zip(("dataset", "hparams", "warmup", "decay", "param_count", "val"), which, strict=True):
        pairs = pairs[pairs[name] == value]
    pairs = pairs[pairs["file"].isin(["summary_df", "summary_df_owt2"])].dropna(subset="n")
    answer = fit(pairs.assign(C=pairs["flops"], N_opt=pairs["n"]), "allocation", loss="l2", interval="none")
    near(answer, a=PORIAN[which])


def test_raw_points_give_the_tuned_exponent_within_its_interval() -> None:
    columns = {"N": "params", "D": "tokens", "C": "flops", "L": "loss"}
    runs = read_runs(f"{FOLDER}/formll__resolving-scaling-law-discrepancies/isoflop_points.csv", columns=columns).frame
    which = ("rw", "tuned", "short", "const", "standard", "val")
    for name, value in zip(("dataset", "hparams", "warmup", "decay", "param_count", "val"), which, strict=True):
        runs = runs[runs[name] == value]
    found = frontier(runs[runs["file"] == "summary_df"])
    assert found.budgets["used"].sum() == 12
    isoflop = found.approaches["isoflop"].a
    # theirs interpolates between the points and is .497; a parabola through sizes within a factor of four is .508
    assert isoflop.value == pytest.approx(0.5082, abs=5e-5)
    assert isoflop.low < 0.497 < isoflop.high


def test_one_break_series_is_fitted_and_extrapolated() -> None:
    table = pd.read_csv(f"{FOLDER}/ethancaballero__broken_neural_scaling_laws/four_digit_addition.csv")
    # their objective is the square of log(y + 1)
    rows = pd.DataFrame({"D": table["dataset_size"], "L": table["test_cross_entropy"] + 1})
    seen = table["split"] == "fit"
    answer = fit(rows[seen], "bnsl(D)", loss="l2", interval="none")
    # their optimiser stops a millionth short of the optimum
    theirs = {"a": 1.41388503, "b": 2.27727173, "c0": 0.05507736, "c1": 5.66290875, "d1": 612.58365, "f1": 0.05919305}
    assert answer.values == pytest.approx(theirs, rel=2e-6)
    predicted = np.log(answer.law(rows["D"][seen].to_numpy(), **theirs))
    assert answer.objective <= 0.5 * ((predicted - np.log(rows["L"][seen])) ** 2).sum()
    error = np.log((answer.predict(rows) - 1) / table["test_cross_entropy"])
    assert np.sqrt((error[seen] ** 2).mean()) == pytest.approx(0.00059849, rel=1e-3)
    assert np.sqrt((error[~seen] ** 2).mean()) == pytest.approx(0.01091574, rel=1e-3)


def test_rules_for_rate_and_batch_are_the_mean_of_their_bootstrap() -> None:
    path = f"{FOLDER}/step-law__steplaw/1004_fitted_lr_bs_scaling_model_parameters.csv"
    drawn = pd.read_csv(path).mean()
    c, p, q = np.exp(drawn["lr_intercept"]), drawn["lr_coefN"], drawn["lr_coefD"]
    assert (c, p, q) == pytest.approx((1.79, -0.713, 0.307), abs=0.01)
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(6e7, 1e9, 5), np.geomspace(2e9, 1e11, 5)))
    answer = fit(pd.DataFrame({"N": N, "D": D, "lr": c * N**p * D**q}), "lr_rule", interval="none")
    assert tuple(answer.values.values()) == pytest.approx((c, p, q), rel=1e-9)
