"""Parameters shared by groups and rows weighed by seed noise: both through the one optimiser, both recovered."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Rate

from isoflop.analysis.fitting.fit import fit, fit_groups, observe
from isoflop.analysis.fitting.weights import size_noise
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


@pytest.mark.parametrize("interval", ["jackknife", "bootstrap", "mixed", "profile"])
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
    assert "3 rows are too few for A, alpha, B, beta, which are not shared" in found["few"].reason
    assert found["mlp"].status == "converged"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--share", "E"], "add --by family"),
        (["--share", "Z", "--by", "family"], "no parameter 'Z' to share"),
        (["--weights", "noisy"], "not one of none, seed, noise"),
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


def noisy(seed: int, slope: float = -0.6, seeds: int = 3) -> pd.DataFrame:
    """Six sizes by six amounts of data, some seeds of each; the noise goes as a power of the size, 3 % at the least."""
    rng = np.random.default_rng(seed)
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 10**9.5, 6), np.geomspace(1e8, 10**10.5, 6)))
    N, D = np.repeat(N, seeds), np.repeat(D, seeds)
    noise = 0.03 * (N / 1e7) ** slope
    L = get_law("chinchilla")(N, D, **TRUTH["lstm"]) * np.exp(noise * rng.normal(size=len(N)))
    return pd.DataFrame({"N": N, "D": D, "L": L, "seed": np.tile(range(seeds), len(N) // seeds)})


@pytest.mark.nightly
def test_the_noise_of_seeds_is_found_with_its_power() -> None:
    found = []
    for seed in range(20):
        prepared = observe(as_runs(noisy(seed)), get_law("chinchilla"))
        slope, error = size_noise(prepared, prepared.columns[0]).power()
        found.append((slope + 0.6) / error)
    assert np.abs(np.mean(found)) < 3 / np.sqrt(20)
    assert 0.6 < np.std(found) < 1.5


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
    with pytest.raises(FitError, match="runs that differ only in their seed at 3 or more N; there are 0"):
        fit(rows, weights="seed")
    both = pd.concat([rows.assign(family="a"), noisy(0).assign(family="b")])
    one, other = fit_groups(both, by=["family"], weights="seed", interval="none")
    assert one.objective is None
    assert other.objective is not None
