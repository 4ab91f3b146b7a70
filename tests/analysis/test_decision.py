"""A frontier begins with the decision: its size is the best one of a known law, and its words are those of its data."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_predict_compare_frontier import TRUTH, study

from isoflop import checks
from isoflop.analysis.frontier.frontier import frontier
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.verbs import main
from isoflop.errors import UserError


def truth(C: float) -> tuple[float, float, float]:
    law = get_law("chinchilla")
    N, D = (float(law.curve(name, C, TRUTH)) for name in ("N_opt", "D_opt"))
    return N, D, float(law(N, D, **TRUTH))


@pytest.mark.parametrize("seed", range(3))
def test_size_data_and_loss_are_those_of_the_law_that_made_the_runs(seed: int) -> None:
    C = 1e21
    decision = frontier(study(noise=2e-3, seed=seed), target=[C]).decisions[0]
    N, D, L = truth(C)
    assert decision.by == "law"
    assert decision.N.low < N < decision.N.high < 2 * N
    assert decision.D.low < D < decision.D.high
    assert decision.L.low < L < decision.L.high
    assert decision.beyond == pytest.approx(10)
    law = get_law("chinchilla")
    worst = max(float(law(N * f, D / f, **TRUTH)) for f in (1.3, 1 / 1.3)) / L - 1
    assert decision.detour == pytest.approx(worst, rel=0.1)


@pytest.mark.parametrize(
    ("factor", "words"),
    [(1e-3, "1000 times below the smallest C of the runs"), (1.0, "within the C of the runs")],
)
def test_a_decision_says_on_which_side_of_the_runs_it_lies(factor: float, words: str) -> None:
    rows = study(noise=2e-3)
    (decision,) = frontier(rows, target=[factor * float(rows["C"].min())]).decisions
    assert words in str(decision)


def test_the_interval_covers_the_minima_beside_the_law() -> None:
    found = frontier(study(noise=2e-3), target=[1e21])
    minima = found.approaches["isoflop"].size_at(1e21)
    law = found.request.law_fit.curve("N_opt", 1e21, 0.95).iloc[0]
    decision = found.decisions[0]
    assert decision.N.low == pytest.approx(min(minima.low, law["low"]))
    assert decision.N.high == pytest.approx(max(minima.high, law["high"]))
    assert (minima.low, minima.high) != pytest.approx((law["low"], law["high"]))


def test_minima_at_a_compute_are_as_wide_as_their_line_is_uncertain_there() -> None:
    found = frontier(study(noise=2e-3)).approaches["isoflop"]
    middle, end, far = (found.size_at(C) for C in (10**18.5, 1e20, 1e100))
    widths = [np.log(size.high / size.low) for size in (middle, end, far)]
    assert widths[0] < widths[1] < widths[2]
    # far away the uncertainty of the slope is all that counts
    assert widths[2] == pytest.approx((found.a.high - found.a.low) * np.log(10**81.5), rel=0.01)


@pytest.mark.parametrize(("noise", "seed"), [(0.02, 2), (0.04, 5), (0.06, 0)])
def test_minima_that_tell_nothing_neither_widen_a_decision_nor_make_one(noise: float, seed: int) -> None:
    (decision,) = frontier(study(noise=noise, seed=seed), target=[1e23]).decisions
    if decision.N.value is None:
        assert "not known to a factor of 10000" in str(decision)
        assert noise == 0.06
    else:
        assert decision.by == "law"
        assert decision.N.high < 100 * decision.N.low


def test_without_a_law_the_minima_decide_and_no_loss_is_promised() -> None:
    runs = study(noise=1e-3)
    found = frontier(runs.assign(L=runs["L"] * np.exp(0.3 * np.log(runs["N"] * 17 / runs["D"]) ** 2)), target=[1e20])
    decision = found.decisions[0]
    assert decision.by == "isoflop"
    assert decision.L.value is None
    assert "No loss is predicted" in str(decision)


def test_a_ladder_decides_nothing_and_says_why() -> None:
    N = np.repeat(np.geomspace(1e6, 1e9, 8), 2)
    noise = np.random.default_rng(0).normal(0, 1e-3, 16)
    runs = pd.DataFrame({"N": N, "D": 20 * N, "L": (1.7 + 400 * N**-0.34) * np.exp(noise)})
    found = frontier(runs, target=[1e20])
    assert found.decisions[0].N.value is None
    assert "no size can be chosen" in str(found)
    assert "D is 20 N in every row" in str(found.decisions[0])
    assert len(found.deviations) == len(found.target) == 0  # nothing that the runs do not identify


def test_the_page_begins_with_the_decision_and_folds_what_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = study(noise=1e-3)
    few = pd.DataFrame({"N": [1e8], "D": [1e9], "C": [6e17], "L": [runs["L"].mean()]})
    pd.concat([runs, few]).to_csv(tmp_path / "runs.csv", index=False)
    asked = ["--target-C", "1e21", "--inference-tokens", "1e12", "--price", "3.6/h@1e15"]
    assert main(["frontier", str(tmp_path / "runs.csv"), *asked]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0].startswith("At 1e21 FLOPs: N ")
    assert "on an extrapolation to 10 times the largest C of the runs" in lines[0]
    assert lines[1] == "Training costs 1,000.00 in the currency of the price."
    assert lines[2].startswith("With 1T tokens served, N ")
    assert [line for line in lines if line.startswith("refused")] == ["refused, C = 6e17: 1 size, a parabola needs 4"]
    assert "NaN" not in said
    assert main(["frontier", str(tmp_path / "runs.csv"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)["decisions"]
    assert [decision["C"] for decision in document] == [pytest.approx(1e20)]
    assert document[0]["beyond"] == pytest.approx(1)


def test_a_price_is_of_an_hour_at_a_speed() -> None:
    assert checks.price("2.5/h@4e14", speed=True) == (2.5, 4e14)
    assert checks.price("", speed=True) is None
    for wrong in ("2.5/h", "2.5", "x@1e14", "-1@1e14", "2@0", "nan@1e14"):
        with pytest.raises(UserError, match=r"write --price 2\.5/h@4e14"):
            checks.price(wrong, speed=True)
