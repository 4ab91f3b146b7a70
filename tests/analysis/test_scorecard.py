"""The scorecard: four criteria of each family on tables of which they are known, and the fronts of pairs."""

import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.fronts import front
from isoflop.analysis.report.scorecard import CRITERIA, MEASURES, scorecard

EXPONENT = 0.2


def two_families(noise: float = 0.0) -> pd.DataFrame:
    """Losses 1 + a C^-.2 on data of floor 1, three seeds and four budgets each; the mlp needs 32 times the compute."""
    rng, rows = np.random.default_rng(0), []
    for family, a in (("lstm", 10.0), ("mlp", 20.0)):
        for seed in range(3):
            for C in (1e8, 1e9, 1e10, 1e11):
                L = 1 + a * C**-EXPONENT * math.exp(noise * rng.normal())
                row = {"family": family, "data": "copy", "seed": seed, "C": C, "D": C / 6e4, "N": 1e4, "L": L}
                rows.append(row | {"budget.C": C, "floor": 1.0, "wall_s": C / 1e9, "status": "ok", "width": 8})
    frame = pd.DataFrame(rows)
    return frame.assign(run_id=[f"r{i}" for i in frame.index], mark=1)


def value(card: pd.DataFrame, measure: str, family: str) -> float:
    return float(card[(card["measure"] == measure) & (card["family"] == family)]["value"].iloc[0])


def test_the_criteria_are_measured_exactly_on_a_known_table() -> None:
    card = scorecard(two_families())
    assert {*card["criterion"]} <= {*CRITERIA}
    assert value(card, "excess", "lstm") == pytest.approx(10 * 1e11**-EXPONENT)
    assert value(card, "loss_at_C", "mlp") == pytest.approx(1 + 20 * 1e11**-EXPONENT)
    # the mlp reaches its best loss at its last budget, the lstm 2^5 times sooner, up to the interpolation
    assert value(card, "C_to_loss", "mlp") == pytest.approx(1e11, rel=1e-6)
    assert value(card, "C_to_loss", "lstm") == pytest.approx(1e11 / 32, rel=0.2)
    assert value(card, "time_to_loss", "mlp") == pytest.approx(100.0, rel=1e-6)
    assert value(card, "share_trained", "lstm") == 1.0


def test_a_measure_that_no_family_has_is_left_out_and_one_that_some_lack_says_why() -> None:
    rows = two_families()
    card = scorecard(rows)
    assert "decode_slope" not in {*card["measure"]}
    rows.loc[rows["family"] == "lstm", "probe.step_time.decode_slope"] = 1.0
    card = scorecard(rows)
    lacking = card[(card["measure"] == "decode_slope") & (card["family"] == "mlp")].iloc[0]
    assert pd.isna(lacking["value"])
    assert "probe.step_time.decode_slope" in lacking["reason"]
    assert value(card, "decode_slope", "lstm") == 1.0


def test_runs_that_diverge_count_against_the_share_that_trains() -> None:
    rows = two_families()
    rows.loc[0, ["status", "L"]] = ["diverged", None]
    card = scorecard(rows)
    one = card[(card["measure"] == "share_trained") & (card["family"] == "lstm")].iloc[0]
    assert one["value"] == pytest.approx(11 / 12)
    assert 0 < one["low"] < one["value"] < one["high"] < 1


def test_the_front_is_of_those_that_none_surely_beats_in_both() -> None:
    card = scorecard(two_families(noise=0.01))
    assert front(card, "loss_at_C", "excess") == ["lstm"]
    # no family is surely better without intervals
    bare = card.assign(low=None, high=None)
    assert front(bare, "loss_at_C", "excess") == ["lstm", "mlp"]
    # one is better in the one and the other in the other
    rows = two_families(noise=0.01)
    slope = rows["family"].map({"lstm": 2.0, "mlp": 1.0}) + 0.001 * rows["seed"]
    both = scorecard(rows.assign(**{"probe.step_time.decode_slope": slope}))
    assert front(both, "loss_at_C", "decode_slope") == ["lstm", "mlp"]


def test_every_measure_says_which_end_is_better() -> None:
    for measure in MEASURES.values():
        assert measure.better in ("lower", "higher")
        assert measure.criterion in CRITERIA
