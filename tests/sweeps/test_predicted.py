"""The loss that a run at work may end at: near the truth with its interval, and unknown where nothing justifies one."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from studies import grid_study, loss

from isoflop.sweeps.watch import predicted
from isoflop.sweeps.watch.predicted import Predictor


def entry(run_id: str, N: float, D: float, family: str = "lstm", data: str = "text") -> Any:
    """A run at work."""
    config = SimpleNamespace(names=SimpleNamespace(family=family, data=data), plan=SimpleNamespace(N=N, D=D))
    return SimpleNamespace(run_id=run_id, config=config)


def seen(runs: pd.DataFrame, *running: Any) -> Any:
    """The runs at work, and these that have finished."""
    return running, [SimpleNamespace(rows=[row]) for row in runs.to_dict("records")]


def test_the_loss_of_a_larger_run_lies_in_its_interval_and_the_law_is_fitted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = grid_study(["lstm"])
    small = runs[runs["C"] < runs["C"].max() / 10]
    at = {"N": float(runs["N"].max()), "D": float(runs["D"].max())}
    predictor = Predictor()
    now = seen(small, entry("large", **at))
    prediction = predictor.of(*now)["large"]
    truth = loss("lstm", **at)
    assert prediction.low is not None
    assert prediction.high is not None
    assert prediction.low < truth < prediction.high
    assert prediction.high / prediction.low < 1.1
    assert str(prediction).startswith(f"{prediction.value:.4g} (")
    monkeypatch.setattr(predicted, "_fit_law", lambda rows: pytest.fail("the same runs were fitted again"))
    assert predictor.of(*now)["large"] == prediction


def test_a_loss_is_unknown_where_no_run_of_the_kind_or_too_few_have_finished() -> None:
    runs = grid_study(["lstm"])
    others = (entry("family", 1e6, 1e7, family="mlp"), entry("data", 1e6, 1e7, data="images"))
    few = seen(runs.head(2), entry("few", 1e6, 1e7), *others)
    said = {run_id: str(one) for run_id, one in Predictor().of(*few).items()}
    assert said["family"] == said["data"] == "unknown: no run of its family and data has finished"
    assert "fewer than 3 sizes and amounts of data" in said["few"]


def test_a_law_of_the_data_says_nothing_of_another_size_nor_of_a_search_over_rates() -> None:
    runs = grid_study(["lstm"])
    one = runs[runs["N"] == runs["N"].min()]
    N = float(one["N"].iloc[0])
    sizes = Predictor().of(*seen(one, entry("same", N, 3e8), entry("other", 2 * N, 3e8)))
    assert sizes["same"].value is not None
    assert "have a single N" in sizes["other"].reason
    searched = pd.concat([one.assign(lr=lr, run_id=one["run_id"] + f"{lr}") for lr in (0.1, 0.2, 0.4)])
    assert "search lr" in Predictor().of(*seen(searched, entry("same", N, 3e8)))["same"].reason
