"""`predict`, `compare`, `frontier`: what they answer, and that they refuse where they should."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import grid_study

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.frontier.frontier import frontier
from isoflop.analysis.holdout.average import average_laws
from isoflop.analysis.holdout.compare import compare
from isoflop.analysis.holdout.predict import predict
from isoflop.analysis.intervals.residuals import scatter
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.verbs import main
from isoflop.errors import FitError

TRUTH = {"E": 1.6, "A": 400.0, "alpha": 0.34, "B": 400.0, "beta": 0.28}


def study(noise: float = 1e-3, seed: int = 0) -> pd.DataFrame:
    """Seven budgets of nine sizes about the optimum of each, that is an isoFLOP design."""
    rng = np.random.default_rng(seed)
    a = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
    G = (TRUTH["alpha"] * TRUTH["A"] / (TRUTH["beta"] * TRUTH["B"])) ** (1 / (TRUTH["alpha"] + TRUTH["beta"]))
    rows = []
    for C in np.geomspace(1e17, 1e20, 7):
        for off in np.geomspace(1 / 6, 6, 9):
            N = G * (C / 6) ** a * off
            D = C / 6 / N
            rows.append({"N": N, "D": D, "C": C, "L": 1.6 + 400 * N**-0.34 + 400 * D**-0.28})
    frame = pd.DataFrame(rows)
    return frame.assign(L=frame["L"] * np.exp(rng.normal(0, noise, len(frame))))


@pytest.fixture
def table(tmp_path: Path) -> str:
    study().to_csv(tmp_path / "runs.csv", index=False)
    return str(tmp_path / "runs.csv")


def test_a_budget_is_split_at_the_optimum_and_another_size_costs_more() -> None:
    answer = fit(study(), loss="l2")
    said = predict(answer, {"C": 1e21})
    best = answer.predict(pd.DataFrame({"N": [said["N_opt"].value], "D": [said["D_opt"].value]}))[0]
    assert said["L"].value == pytest.approx(best)
    assert said["L"].low < best < said["L"].high
    assert 6 * said["N_opt"].value * said["D_opt"].value == pytest.approx(1e21)
    assert said["reach"]["D"] == pytest.approx(said["D_opt"].value / study()["D"].max())
    dear = predict(answer, {"C": 1e21, "N": said["N_opt"].value / 10})
    assert dear["excess"].value > 0
    assert dear["L"].value == pytest.approx(best * (1 + dear["excess"].value))


def test_three_approaches_find_the_exponents_of_the_frontier() -> None:
    found = frontier(study(noise=1e-4), loss="l2")
    truth = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
    assert found.budgets["used"].all()
    for name, near in (("isoflop", 0.01), ("parametric", 0.01), ("envelope", 0.1)):
        approach = found.approaches[name]
        assert approach.a.value == pytest.approx(truth, abs=near), name
        assert approach.a.low < approach.a.value < approach.a.high
        assert approach.a.value + approach.b.value == pytest.approx(1, abs=0.01)
    C = 1e22
    sizes = [x.N_opt(C) for x in found.approaches.values()]
    assert max(sizes) / min(sizes) < 3


def test_a_minimum_at_the_edge_or_of_a_concave_profile_is_refused_and_kept() -> None:
    runs = study(noise=0)
    low, high, few = sorted(runs["C"].unique())[:3]
    optimum = runs.loc[runs[runs["C"] == low]["L"].idxmin(), "N"]
    runs = runs[(runs["C"] != low) | (runs["N"] > 1.5 * optimum)]
    runs.loc[runs["C"] == high, "L"] = 10 - runs.loc[runs["C"] == high, "L"]
    keep = runs[runs["C"] == few].index[3:]
    found = frontier(runs.drop(index=keep), loss="l2").budgets
    assert list(found["reason"][:3]) == [
        "the minimum is smaller than the smallest size that was run",
        "the parabola opens downward: no minimum",
        "3 sizes, a parabola needs 4",
    ]
    assert not found["used"][:3].any()
    assert found["used"][3:].all()


def searched(best: float = 3e-3) -> pd.DataFrame:
    """The same design with five learning rates in each cell, the best one 3e-3; a smaller size wants a larger rate."""
    rates = np.array([3e-4, 1e-3, 3e-3, 1e-2, 3e-2])
    runs = study(noise=1e-4)
    wide = runs.loc[runs.index.repeat(5)].reset_index(drop=True).assign(lr=np.tile(rates, len(runs)))
    off = np.log(wide["lr"] / best)
    return wide.assign(L=wide["L"] * np.exp(0.01 * off**2))


def test_the_best_rate_of_each_cell_counts_and_an_edge_is_refused() -> None:
    truth = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
    found = frontier(searched(), loss="l2")
    assert found.approaches["isoflop"].a.value == pytest.approx(truth, abs=0.01)
    assert set(found.cells["lr"]) == {3e-3}
    assert (found.cells["edge"] == "").all()
    # the larger half of the sizes of one budget were not tried beyond the rate that is their best
    runs = searched()
    top, middle = runs["C"].max(), runs.loc[runs["C"] == runs["C"].max(), "N"].median()
    runs = runs[(runs["C"] < top) | (runs["N"] <= middle) | (runs["lr"] <= 3e-3)]
    found = frontier(runs, loss="l2")
    last = found.budgets.iloc[-1]
    assert "4 sizes have their best knob on the edge of what was tried" in last["reason"]
    assert last["sizes"] == 5
    assert (found.cells["edge"] == "lr").sum() == 4
    assert "refused" in str(found)
    all_on_edge = frontier(searched(best=1e-1), loss="l2")
    assert not all_on_edge.budgets["used"].any()
    assert all_on_edge.approaches["parametric"].a.value is None


def test_untuned_rates_move_the_exponent_and_the_tuned_ones_do_not() -> None:
    runs = searched()
    one = runs[np.isclose(runs["lr"], np.where(runs["N"] > 3e8, 3e-2, 3e-3))]
    truth = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
    assert abs(frontier(one, loss="l2").approaches["isoflop"].a.value - truth) > 0.02
    assert abs(frontier(runs, loss="l2").approaches["isoflop"].a.value - truth) < 0.01


def test_a_detour_costs_what_the_law_says_and_serving_moves_the_best_size_down() -> None:
    found = frontier(study(noise=1e-4), target=[1e21], inference_tokens=1e12, loss="l2")
    law, values = get_law("chinchilla"), TRUTH
    N, D = (float(law.curve(name, 1e21, values)) for name in ("N_opt", "D_opt"))
    best = float(law(N, D, **values))
    by = found.deviations.set_index("N_over_N_opt")
    assert by.loc[2.0, "dlnL"] == pytest.approx(np.log(law(2 * N, D / 2, **values) / best), rel=0.05)
    assert by.loc[2.0, "low"] < by.loc[2.0, "dlnL"] < by.loc[2.0, "high"]
    more = by.loc[0.5, "C_over_C"]
    assert float(law(N / 2, 2 * D * more, **values)) == pytest.approx(best, rel=1e-3)
    rows = found.target.set_index("approach")
    assert rows.loc["parametric", "L"] == pytest.approx(best, rel=2e-3)
    assert rows.loc["parametric", "excess"] == pytest.approx(0, abs=1e-12)
    assert (rows["low"] < rows["L"]).all()
    served = found.served.iloc[0]
    assert float(law(served["N"], served["D"], **values)) == pytest.approx(best, rel=2e-3)
    assert served["N"] < 0.9 * N
    assert served["D_per_N"] > D / N
    costs = [6 * n * d + 2e12 * n for n, d in ((served["N"], served["D"]), (N, D))]
    assert costs[0] < costs[1]
    assert served["saved"] == pytest.approx(1 - costs[0] / costs[1], abs=0.01)
    none = frontier(study(noise=1e-4), inference_tokens=1.0, loss="l2").served.iloc[0]
    assert none["saved"] == pytest.approx(0, abs=1e-6)


def test_a_parabola_is_taken_near_the_minimum() -> None:
    # far from its minimum ln L is steeper on one side: sizes out there must not move the vertex
    runs = study(noise=0)
    a = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
    far = runs.assign(N=runs["N"] * 30, D=runs["D"] / 30)
    far["L"] = 1.6 + 400 * far["N"] ** -0.34 + 400 * far["D"] ** -0.28
    with_far = frontier(pd.concat([runs, far], ignore_index=True), loss="l2")
    assert with_far.approaches["isoflop"].a.value == pytest.approx(a, abs=0.01)


def test_laws_are_ordered_by_what_they_predict_and_not_by_how_they_fit() -> None:
    found = compare(study(), ["power", "chinchilla", "power_offset(C)"], axis="C", interval="none")
    order = list(found.table["law"])
    assert order[0] == "chinchilla"
    assert order.index("power_offset(C)") < order.index("power(C)")
    assert "last value (C)" in order
    late = found.by_cut[found.by_cut["reach"] < 4.4].groupby("law")["rmsle"].agg(lambda e: np.sqrt((e**2).mean()))
    assert found.table.set_index("law")["late"].sort_index().to_numpy() == pytest.approx(late.sort_index().to_numpy())
    assert found.table["late"].is_monotonic_increasing
    assert "by cut, fitted to" in str(found)
    with pytest.raises(FitError, match="no factor above 1"):
        compare(study(), ["chinchilla"], reach=1)
    one = compare(study(), ["chinchilla"], holdout="C>=1e19")
    assert one.table.set_index("law").loc["chinchilla", "held_out"] == 27
    assert one.table.set_index("law").loc["chinchilla", "coverage"] >= 0.6


def test_few_budgets_leave_no_exponent_and_say_so() -> None:
    runs = study()
    found = frontier(runs[runs["C"] < 5e17], loss="l2").approaches["isoflop"]
    assert (found.a.value, found.n_budgets) == (None, 2)
    assert "2 budgets have an interior minimum, a power needs 3" in found.reason


def test_equal_losses_have_no_minimum() -> None:
    result = frontier(study().assign(L=2.5), loss="l2", interval="none")
    assert set(result.budgets["reason"]) == {"all losses are equal: no minimum"}
    assert "parametric  a" in str(result)
    assert " values of C" in str(result)


def test_a_law_that_cannot_be_compared_is_refused_with_the_reason() -> None:
    found = compare(study(), ["chinchilla", "power(width)"], interval="none")
    assert "there is no width" in found.refused["power(width)"]
    assert "power(width) refused" in str(found)


def test_scatter_that_grows_with_size_widens_the_band() -> None:
    rng = np.random.default_rng(0)
    N = np.exp(rng.uniform(np.log(1e6), np.log(1e9), 400))
    residuals = 1e-3 * (N / 1e6) ** 0.3 * rng.normal(size=400)
    runs = np.arange(400)
    grown = scatter(residuals, (N, np.ones(400)), runs, 2)
    assert grown.slopes[0] == pytest.approx(0.3, abs=0.06)
    assert grown.at([np.array([1e9]), np.ones(1)])[0] == pytest.approx(1e-3 * 1000**0.3, rel=0.3)
    even = scatter(1e-3 * rng.normal(size=400), (N, np.ones(400)), runs, 2)
    assert even.at([np.array([1e6]), np.ones(1)])[0] >= even.pooled


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["predict", "{table}", "--at", "C=1e21"], {"law", "level", "predictions"}),
        (
            ["compare", "{table}", "--laws", "power,power_offset(D),chinchilla", "--holdout", "C>=1e19"],
            {"axis", "laws", "refused"},
        ),
        (["frontier", "{table}"], {"budgets", "approaches", "cells", "deviations"}),
        (["frontier", "{table}", "--target-C", "1e20,1e21", "--inference-tokens", "1e12"], {"target", "served", "C"}),
    ],
)
def test_json_is_one_document(
    table: str, capsys: pytest.CaptureFixture[str], arguments: list[str], keys: set[str]
) -> None:
    command = [a.replace("{table}", table) for a in arguments]
    assert main([*command, "--json"]) == 0
    assert keys <= set(json.loads(capsys.readouterr().out))
    assert main(command) == 0
    assert capsys.readouterr().out


@pytest.mark.sample(1)
@pytest.mark.parametrize("verb", [["compare", "--laws", "power(D)", "--axis", "D"], ["frontier"]])
def test_by_gives_each_group_what_it_has_alone(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = grid_study(["lstm", "mlp"])
    few = both[both["family"] == "mlp"].head(2).assign(family="few")
    paths = {"both": pd.concat([both, few]), "mlp": both[both["family"] == "mlp"]}
    for name, rows in paths.items():
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
    command = [verb[0], str(tmp_path / "both.csv"), *verb[1:], "--by", "family"]
    assert main([*command, "--json"]) == 0
    out = capsys.readouterr()
    document = json.loads(out.out)
    assert [group["by"] for group in document["groups"]] == [{"family": "lstm"}, {"family": "mlp"}]
    assert [refused["by"] for refused in document["refused"]] == [{"family": "few"}]
    assert "isoflop: family=few: " in out.err
    assert main([verb[0], str(tmp_path / "mlp.csv"), *verb[1:], "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    notes = {"notes": []}  # the name of the file may stand in them
    assert document["groups"][1] | notes == {"by": {"family": "mlp"}} | alone | notes
    assert main(command) == 0
    assert "family=mlp\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["predict", "{table}", "--at", "C"], "is not name=number"),
        (["predict", "{table}", "--at", "D=1e9"], "N not given"),
        (["predict", "{table}", "--at", "C=much"], "holds no number"),
        (["predict", "{table}", "--at", "N=1e9,D=2e10,bogus=3"], "has no column bogus; a place of it gives N, D"),
        (["predict", "{table}", "--at", "N=1e9,N=2e9,D=2e10"], "gives N twice; give it once"),
        (["predict", "{table}", "--at", "N=1e9,D=2e10", "-o", "x.csv"], "-o writes the table of --points"),
        (["predict", "{table}", "--at", "C=-1"], "C=-1 is not above 0; a law predicts at numbers above 0"),
        (["predict", "{table}", "--at", "N=0,D=1e9"], "N=0 is not above 0"),
        (["predict", "{table}", "--at", "C=1e21", "--level", "2"], "level=2 is not between 0.01 and 1"),
        (["compare", "{table}", "--by", "famly"], "no column 'famly' to group by"),
        (["frontier", "{table}", "--by", "L", "--loss", "l3"], "loss 'l3' is not one of"),
        (["compare", "{table}", "--axis", "width"], "no column 'width'"),
        (["compare", "{table}", "--laws", "powr"], "choose one of"),
        (["compare", "{table}", "--holdout", "C>1e30"], "takes none of the 63 rows"),
        (["frontier", "{table}", "--target-C", "-1"], "is not above 0"),
        (["frontier", "{table}", "--columns", "C=flops"], "no column 'flops'"),
    ],
)
def test_bad_usage_is_one_sentence(
    table: str, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    code = main([a.replace("{table}", table) for a in arguments])
    out = capsys.readouterr()
    assert code == 2
    assert sentence in out.err
    assert len(out.err.strip().splitlines()) == 1


def test_a_frontier_of_a_table_without_compute_takes_it_as_6nd() -> None:
    runs = grid_study(("lstm",))[["N", "D", "L"]]
    stated = frontier(runs.assign(C=6 * runs["N"] * runs["D"]))
    assert frontier(runs).approaches["parametric"].a == stated.approaches["parametric"].a


def test_a_table_without_compute_is_held_out_along_the_axis_that_it_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    D = np.geomspace(1e6, 1e9, 12)
    pd.DataFrame({"samples": D, "loss": 1.5 + 40 * D**-0.3}).to_csv(tmp_path / "runs.csv", index=False)
    assert main(["compare", str(tmp_path / "runs.csv"), "--laws", "power_offset(D)"]) == 0
    assert "held out along D" in capsys.readouterr().out
    # and a law of two columns says which law there is of one
    assert main(["fit", str(tmp_path / "runs.csv")]) == 2
    assert "fitted by --law 'power_offset(D)'" in capsys.readouterr().err


def test_a_ladder_tells_no_best_split() -> None:
    N = np.geomspace(1e6, 1e9, 8)
    runs = pd.DataFrame({"N": N, "D": 20 * N, "L": 1.7 + 400 * N**-0.34 + 410 * (20 * N) ** -0.28})
    with pytest.raises(FitError, match="identify no best split: D is 20 N in every row"):
        predict(average_laws(runs), {"C": 1e20})
    assert predict(average_laws(runs), {"C": 1e20, "N": 1e9})["L"].value > 1.7
    one_size = runs.assign(N=1e8, L=1.7 + 400 * 1e8**-0.34 + 410 * runs["D"] ** -0.28)
    with pytest.raises(FitError, match="identify no best split: N has a single value"):
        predict(fit(one_size, "chinchilla", interval="none"), {"C": 1e20})


def test_a_ladder_is_told_the_law_that_it_can_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    N, option = np.repeat(np.geomspace(1e6, 1e9, 6), 2), "--law 'power_offset(C)'"
    L = (1.7 + 400 * N**-0.34 + 410 * (20 * N) ** -0.28) * np.exp(np.tile([-1e-3, 1e-3], 6))
    path = tmp_path / "ladder.csv"
    pd.DataFrame({"N": N, "D": 20 * N, "seed": np.tile([0, 1], 6), "L": L}).to_csv(path, index=False)
    assert main(["check", str(path)]) == 0
    assert option in capsys.readouterr().out
    assert main(["fit", str(path), "--interval", "none"]) == 0
    assert option in capsys.readouterr().out
    assert main(["predict", str(path), "--at", "C=1e21"]) == 2
    assert option in capsys.readouterr().err


def test_a_cut_that_a_law_was_not_fitted_to_is_a_dash_and_a_rounding_error_no_bias() -> None:
    found = compare(study(), ["power", "chinchilla"], axis="C", interval="none")
    # as of a table whose first cut leaves a law too few rows
    found = replace(found, by_cut=found.by_cut.drop(index=0), table=found.table.assign(bias=-1.1e-16))
    shown = str(found)
    assert "nan%" not in shown
    assert "e-16" not in shown
    assert "-0.000" not in shown
