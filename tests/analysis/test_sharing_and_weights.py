"""Parameters shared by groups and rows weighed by seed noise: both through the one optimiser, both recovered."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Rate

from isoflop.analysis.fitting.fit import fit, fit_groups, observe
from isoflop.analysis.fitting.noise_trend import NoiseTrend, noise_trend
from isoflop.analysis.holdout.average import average_laws
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.runs import as_runs
from isoflop.analysis.verbs import main
from isoflop.errors import FitError

TRUTH = {
    "lstm": {"E": 1.6, "A": 500.0, "alpha": 0.33, "B": 420.0, "beta": 0.30},
    "mlp": {"E": 1.6, "A": 350.0, "alpha": 0.28, "B": 500.0, "beta": 0.31},
    "ssm": {"E": 1.6, "A": 420.0, "alpha": 0.35, "B": 300.0, "beta": 0.27},
}


def families(noise: float = 0.0, seed: int = 0, E: float | None = None) -> pd.DataFrame:
    """Three families of 36 runs with one irreducible loss."""
    rng = np.random.default_rng(seed)
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 10**9.5, 6), np.geomspace(1e8, 10**10.5, 6)))
    law, tables = get_law("chinchilla"), []
    for family, truth in TRUTH.items():
        L = law(N, D, **(truth | ({} if E is None else {"E": E}))) * np.exp(noise * rng.normal(size=36))
        tables.append(pd.DataFrame({"family": family, "N": N, "D": D, "L": L}))
    return pd.concat(tables, ignore_index=True).assign(run_id=range(108))


@pytest.mark.sample(2)
@pytest.mark.parametrize("loss", ["huber", "l1", "l2"])
@pytest.mark.parametrize("share", [["E"], ["E", "beta"]])
def test_shared_parameters_are_recovered_from_noiseless_rows(loss: str, share: list[str]) -> None:
    rows = families()
    if "beta" in share:
        rows["L"] = np.concatenate(
            [get_law("chinchilla")(r["N"], r["D"], **(TRUTH[f] | {"beta": 0.3})) for f, r in rows.groupby("family")]
        )
    fits = fit_groups(rows, by=["family"], share=share, loss=loss, interval="none")
    for found in fits:
        truth = TRUTH[found.by["family"]] | ({"beta": 0.3} if "beta" in share else {})
        assert found.values == pytest.approx(truth, rel=1e-6)
        assert found.status == "converged", found.reason


def test_one_E_for_all_is_the_same_in_every_group_and_better_known() -> None:
    rows = families(noise=0.005)
    alone, shared = (fit_groups(rows, by=["family"], share=s, loss="l2") for s in ([], ["E"]))
    assert len({(f.params["E"].value, f.params["E"].low, f.params["E"].high) for f in shared}) == 1
    assert len({f.params["alpha"].value for f in shared}) == 3
    widths = [[f.params["E"].high - f.params["E"].low for f in fits] for fits in (alone, shared)]
    assert max(widths[1]) < min(widths[0])
    assert all("E shared by 3 groups" in f.explanation for f in shared)
    assert sum(f.objective for f in shared) > sum(f.objective for f in alone)
    assert all(f.derived["a"].low < f.derived["a"].value < f.derived["a"].high for f in shared)
    band = shared[0].predict_interval(rows.head(2))
    assert (band["low"] < band["high"]).all()


def test_groups_that_differ_are_said_to() -> None:
    differ = families(noise=0.005)
    differ.loc[differ["family"] == "mlp", "L"] += 0.3
    assert "E may not be one for all" in fit_groups(differ, by=["family"], share=["E"], interval="none")[0].explanation
    same = fit_groups(families(noise=0.005), by=["family"], share=["E"], interval="none")[0]
    assert "may not" not in same.explanation


@pytest.mark.nightly
def test_groups_that_are_alike_are_seldom_said_to_differ(rate: Rate) -> None:
    same = [families(noise=0.005, seed=s) for s in range(12)]
    said = ["may not" in fit_groups(f, by=["family"], share=["E"], interval="none")[0].explanation for f in same]
    rate("like groups that are said to differ in E, at 1 %", sum(said) / 12, 12)
    assert sum(said) <= 1  # 1 % of 12 give more with a chance of 1 in 160, 15 % with 56 %


@pytest.mark.nightly
def test_the_interval_of_a_shared_parameter_covers(rate: Rate) -> None:
    held = []
    for seed in range(28):
        found = fit_groups(families(noise=0.005, seed=seed), by=["family"], share=["E"], loss="l2")[0].params["E"]
        held.append(found.low <= 1.6 <= found.high)
    rate("95 % intervals of a shared E that hold it", float(np.mean(held)), len(held))
    # three binomial standard errors below 95 %, as sure as four of 40 studies
    assert np.mean(held) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / len(held))


@pytest.mark.parametrize("interval", ["jackknife", "bootstrap"])
def test_every_method_has_intervals_for_shared_parameters(interval: str) -> None:
    fits = fit_groups(families(noise=0.005), by=["family"], share=["E"], loss="l2", interval=interval, resamples=100)
    assert {f.interval for f in fits} == {interval}
    for found in fits:
        assert found.params["E"].low < found.params["E"].value < found.params["E"].high


def test_a_pin_and_a_prior_hold_for_every_group() -> None:
    rows = families(noise=0.005)
    pinned = fit_groups(rows, by=["family"], share=["beta"], loss="l2", pin={"E": 1.6}, interval="none")
    assert {f.values["E"] for f in pinned} == {1.6}
    tight = fit_groups(rows, by=["family"], share=["E"], loss="l2", prior={"E": (1.5, 1e-4)}, interval="none")
    assert tight[0].values["E"] == pytest.approx(1.5, abs=1e-3)


def test_a_group_of_too_few_rows_does_not_spoil_the_others() -> None:
    rows = pd.concat([families(noise=0.005), families().head(3).assign(family="few")])
    found = {f.by["family"]: f for f in fit_groups(rows, by=["family"], share=["E"], loss="l2", interval="none")}
    assert list(found) == ["few", "lstm", "mlp", "ssm"]
    assert "3 rows are too few for A, alpha, B, beta; add runs" in found["few"].reason
    assert found["mlp"].status == "converged"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--share", "E"], "add --by family"),
        (["--share", "Z", "--by", "family"], "no parameter 'Z' to share"),
        (["--weights", "noisy"], "not one of none, seed, auto, noise"),
    ],
)
def test_bad_usage_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    families().to_csv(tmp_path / "runs.csv", index=False)
    assert main(["fit", str(tmp_path / "runs.csv"), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_json_has_the_shared_value_in_every_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    families(noise=0.005).to_csv(tmp_path / "runs.csv", index=False)
    assert main(["fit", str(tmp_path / "runs.csv"), "--by", "family", "--share", "E", "--loss", "l2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["shared"] == ["E"]
    assert len({json.dumps(f["params"]["E"]) for f in document["fits"]}) == 1
    assert len(document["fits"]) == 3


def noisy(seed: int, slope: float = -0.6, seeds: int = 3, by_D: float = 0.0) -> pd.DataFrame:
    """Six sizes by six amounts of data, some seeds of each; the noise is 3 % at the smallest, a power of N and of D."""
    rng = np.random.default_rng(seed)
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 10**9.5, 6), np.geomspace(1e8, 10**10.5, 6)))
    N, D = np.repeat(N, seeds), np.repeat(D, seeds)
    noise = 0.03 * (N / 1e7) ** slope * (D / 1e8) ** by_D
    L = get_law("chinchilla")(N, D, **TRUTH["lstm"]) * np.exp(noise * rng.normal(size=len(N)))
    return pd.DataFrame({"N": N, "D": D, "L": L, "noise": noise, "seed": np.tile(range(seeds), len(N) // seeds)})


def of_groups(*tables: pd.DataFrame) -> NoiseTrend:
    law = get_law("chinchilla")
    trend = noise_trend([observe(as_runs(table.drop(columns="noise")), law) for table in tables], law.columns)
    assert trend is not None
    return trend


def test_variances_of_three_pairs_tell_the_exponent_that_their_likelihood_has() -> None:
    # three D of one size, two runs of each: variances 4, 1 and 16 (1e-4), one degree of freedom each
    D = np.geomspace(1e8, 4e8, 3).repeat(2)
    L = 2 * np.exp(np.repeat([2.0, 1.0, 4.0], 2) / 100 * np.tile([1, -1], 3) / np.sqrt(2))
    trend = of_groups(pd.DataFrame({"N": 1e7, "D": D, "L": L, "seed": [0, 1] * 3, "noise": 0.0}))
    # gamma errors at x = -1, 0, 1 in units of ln 2: the ends fit alike, 4 r = 16 / r, so r = 2: variance as D
    assert trend.names == ("D",)
    assert trend.pooled == pytest.approx([0.5])
    assert trend.error == pytest.approx([0.5 / np.log(2)])  # the information on ln sigma^2 is sum x^2 / 2
    assert trend.dof == pytest.approx(3)
    assert not trend.told
    assert not trend.exponents.any()


@pytest.mark.parametrize(("slope", "by_D"), [(-0.6, 0.0), (0.0, -0.24), (-0.12, -0.12)])
def test_noise_is_learnt_with_N_and_with_D(slope: float, by_D: float) -> None:
    trend = of_groups(noisy(1, slope, by_D=by_D))
    assert trend.told
    assert np.abs((trend.exponents[0] - [slope, by_D]) / trend.error).max() < 3


def test_groups_of_few_seeds_learn_from_one_another() -> None:
    tables = [noisy(k, by_D=-0.2).query("D < 3e8 and N < 3e8") for k in range(6)]
    alone, together = of_groups(tables[0]), of_groups(*tables)
    assert not of_groups(noisy(0, 0.0)).told
    assert (together.error < alone.error / 2).all()
    assert np.abs(together.exponents - [-0.6, -0.2]).max() < 0.4
    # groups alike share their exponents but for chance, others do not
    apart = of_groups(noisy(1), noisy(2, slope=0.0))
    assert apart.exponents[:, 0] == pytest.approx([-0.6, 0.0], abs=0.15)


def test_marks_of_a_run_that_move_together_count_once() -> None:
    rows = noisy(0, seeds=3)
    # every D of a run has the same deviation: the noise of one mark is that of all
    shift = np.random.default_rng(0).normal(size=18)
    of_run = (np.log(rows["N"]).rank(method="dense").astype(int) - 1) * 3 + rows["seed"]
    exact = get_law("chinchilla")(rows["N"], rows["D"], **TRUTH["lstm"])
    rows = rows.assign(L=exact * np.exp(rows["noise"] * shift[of_run]), run_id=of_run.map("r{}".format))
    trend = of_groups(rows)
    assert trend.dof == pytest.approx(12, rel=0.05)
    assert trend.error[0] > 2 * of_groups(noisy(0)).error[0]
    assert trend.exponents[0] == pytest.approx([-0.6, 0.0], abs=0.3)


def test_hold_outs_and_the_average_of_laws_weigh_rows_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = noisy(3, slope=0.0, by_D=-0.5).drop(columns="noise")
    rows.query("D < 5e9").to_csv(tmp_path / "runs.csv", index=False)
    found = {}
    for weights in ("none", "auto"):
        options = ["--laws", "chinchilla,best", "--axis", "D", "--weights", weights, "--json"]
        assert main(["compare", str(tmp_path / "runs.csv"), *options]) == 0
        document = json.loads(capsys.readouterr().out)
        found[weights] = {row["law"]: row["rmsle"] for row in document["laws"]}
    assert found["auto"]["line without E (N,D)"] == found["none"]["line without E (N,D)"]
    for law in ("chinchilla", "best(N,D)"):
        assert found["auto"][law] != found["none"][law]
    made = average_laws(rows, weights="seed")
    assert any("rows weigh by it" in note for note in made.notes)


@pytest.mark.nightly
def test_the_noise_of_seeds_is_found_with_its_power(rate: Rate) -> None:
    trends = [of_groups(noisy(seed)) for seed in range(200)]
    found = np.array([(trend.pooled - [-0.6, 0]) / trend.error for trend in trends])
    assert np.abs(found.mean(0)).max() < 3 / np.sqrt(200)
    assert found.std(0) == pytest.approx([1.0, 1.0], abs=0.2)
    false = float(np.mean([of_groups(noisy(seed, slope=0.0)).told for seed in range(200)]))
    rate("noise trends told where there is none", false, 200)
    assert false < 0.1


def ahead(rows: pd.DataFrame, seed: int, slope: float, by_D: float) -> tuple[pd.DataFrame, float, float]:
    """Return a place of eight times the compute, ln of its loss, and ln of the loss of a run there."""
    place = pd.DataFrame({c: [rows[c].max() * np.sqrt(8)] for c in "ND"})
    exact = float(np.log(get_law("chinchilla")(place["N"], place["D"], **TRUTH["lstm"]))[0])
    noise = 0.03 * (place["N"][0] / 1e7) ** slope * (place["D"][0] / 1e8) ** by_D
    return place, exact, exact + noise * np.random.default_rng(10**6 + seed).normal()


# sigma falls by 4 over the range of D, or of N and of D together; or does not
FALLS = (0.0, -0.24), (-0.12, -0.12), (0.0, 0.0)


@pytest.mark.nightly
@pytest.mark.timeout(1800)  # three minutes on an idle machine
@pytest.mark.parametrize(("slope", "by_D"), FALLS)
def test_predictions_are_nearly_as_good_as_with_the_true_noise_and_bands_cover(
    rate: Rate, slope: float, by_D: float
) -> None:
    errors: dict[str, list[float]] = {"none": [], "seed": [], "noise": []}
    inside, studies = [], 400
    for seed in range(studies):
        rows = noisy(seed, slope, by_D=by_D)
        place, exact, new = ahead(rows, seed, slope, by_D)
        for weights, mine in errors.items():
            interval = "jackknife" if weights == "seed" else "none"
            made = fit(
                rows.drop(columns="noise") if weights == "seed" else rows, loss="l2", weights=weights, interval=interval
            )
            value = made.predict(place)
            mine.append(float(np.log(value)[0]) - exact)
            if weights == "seed":
                assert made.optimum is not None
                low, high = made.optimum.band(value, [place["N"].to_numpy(), place["D"].to_numpy()], 0.95, by_run=True)
                inside.append(low[0] <= np.exp(new) <= high[0])
    size = {k: float(np.sqrt(np.mean(np.square(v)))) for k, v in errors.items()}
    name = f"noise as N^{slope:g} D^{by_D:g}"
    rate(f"{name}: error at 8x to that of true weights", size["seed"] / size["noise"], studies)
    rate(f"{name}: coverage of 95 % at 8x", float(np.mean(inside)), studies)
    assert size["seed"] < (1.15 if slope or by_D else 1.03) * size["noise"], size
    assert 0.93 <= np.mean(inside) <= 0.97


@pytest.mark.nightly
def test_rows_weighed_by_their_noise_give_a_better_estimate() -> None:
    gaps: dict[str, list[float]] = {"none": [], "seed": []}
    for seed in range(25):
        for weights, mine in gaps.items():
            found = fit(noisy(seed), loss="l2", weights=weights, interval="none")
            mine.append(found.values["alpha"] - TRUTH["lstm"]["alpha"])
    sizes = {k: float(np.sqrt(np.mean(np.square(v)))) for k, v in gaps.items()}
    assert sizes["seed"] < 0.75 * sizes["none"], sizes


def test_weighed_noiseless_rows_give_the_truth_and_even_noise_no_weights() -> None:
    rows = noisy(0)
    exact = rows.assign(L=get_law("chinchilla")(rows["N"], rows["D"], **TRUTH["lstm"]))
    # a noise far below the digits asked for, since rows that repeat exactly show none
    exact["L"] *= np.exp(1e-9 * (rows["N"] / 1e7) ** -0.6 * np.random.default_rng(0).normal(size=len(rows)))
    answer = fit(exact, weights="seed", interval="none")
    assert "rows weigh by it: seed noise goes as N^-0.6" in answer.explanation
    assert answer.values == pytest.approx(TRUTH["lstm"], rel=1e-5)
    even = fit(noisy(0, slope=0.0), weights="seed", interval="none")
    assert "rows weigh alike" in even.explanation
    assert even.objective == fit(noisy(0, slope=0.0), interval="none").objective


def test_weights_without_seeds_are_refused_for_one_and_an_answer_in_a_group() -> None:
    rows = noisy(0, seeds=1)
    with pytest.raises(FitError, match="need runs that differ only in their seed at 3 or more N or D: add seeds"):
        fit(rows, weights="seed")
    alike = fit(rows, weights="auto", interval="none")
    assert "rows weigh alike: there are no runs that differ only in their seed" in alike.explanation
    assert alike.values == fit(rows, interval="none").values
    # a group without seeds is weighed by the noise of the others
    both = pd.concat([rows.assign(family="a"), noisy(0).assign(family="b")])
    one, other = fit_groups(both, by=["family"], weights="seed", interval="none")
    assert one.optimum is not None
    assert other.optimum is not None
    assert one.optimum.noise.told
    assert one.optimum.noise.slopes == pytest.approx(other.optimum.noise.slopes, rel=0.2, abs=0.05)
