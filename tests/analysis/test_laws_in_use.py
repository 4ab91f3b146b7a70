"""Laws at their limits and together: less than one epoch, a task predicted in two steps."""

import numpy as np
import pandas as pd
import pytest
from synthetic_laws import seeded

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.holdout.predict import predict, predict_points, predict_then, then_points
from isoflop.analysis.laws.declare import LAWS, get_law
from isoflop.errors import FitError

BELOW_ONE_EPOCH = {"N": np.geomspace(1e7, 1e9, 6), "D": np.geomspace(1e8, 1e10, 6)}


@pytest.mark.parametrize("epochs", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("name", ["data_constrained", "repetition_penalty"])
def test_less_than_one_epoch_is_the_law_of_fresh_data(name: str, epochs: float) -> None:
    N, D = (x.ravel() for x in np.meshgrid(*BELOW_ONE_EPOCH.values()))
    params = {"E": 1.6, "A": 400.0, "alpha": 0.34, "B": 400.0, "beta": 0.28}
    # excess parameters that never lose their worth; the penalty of repetitions is nothing without any
    more = {"R_D": 15.0, "R_N": 1e9} if name == "data_constrained" else {"K": 0.1, "delta": 0.4, "kappa": 0.7}
    fresh = LAWS["chinchilla"](N, D, **params)
    np.testing.assert_allclose(LAWS[name](N, D, D / epochs, **params, **more), fresh, rtol=1e-7)


def test_runs_below_one_epoch_give_the_exponent_of_the_data() -> None:
    N, D = (x.ravel() for x in np.meshgrid(*BELOW_ONE_EPOCH.values()))
    noise = 0.002 * np.random.default_rng(0).normal(size=N.size)
    L = LAWS["chinchilla"](N, D, E=1.6, A=400.0, alpha=0.34, B=400.0, beta=0.28) * np.exp(noise)
    law = fit(pd.DataFrame({"N": N, "D": D, "D_unique": 100 * D, "L": L}), "data_constrained", interval="none")
    assert law.params["beta"].value == pytest.approx(0.28, abs=0.01)
    assert law.status == "not_identified"
    assert "R_D has no effect" in law.reason


def test_a_task_is_predicted_in_two_steps() -> None:
    rows = seeded("chinchilla")
    score = LAWS["sigmoid"](rows["L"].to_numpy(), floor=0.25, gain=0.6, k=2.0, middle=3.5)
    rows["task"] = score * np.exp(0.002 * np.random.default_rng(0).normal(size=len(rows)))
    second = fit(rows, "task ~ sigmoid(L)", pin={"floor": 0.25}, interval="none")
    assert second.values == pytest.approx({"floor": 0.25, "gain": 0.6, "k": 2.0, "middle": 3.5}, rel=0.03)
    assert second.derived["ceiling"].value == pytest.approx(0.85, rel=0.01)
    far = pd.DataFrame({"N": [1e10], "D": [1e11]})
    far["L"] = fit(rows, "chinchilla", interval="none").predict(far)
    truth = LAWS["chinchilla"](1e10, 1e11, E=1.6, A=400.0, alpha=0.31, B=400.0, beta=0.29)
    expected = LAWS["sigmoid"](truth, floor=0.25, gain=0.6, k=2.0, middle=3.5)
    assert float(second.predict(far)[0]) == pytest.approx(expected, rel=0.01)


def test_a_law_of_a_loss_is_set_beside_guesses_of_its_target_and_keeps_inside_its_limits() -> None:
    rng = np.random.default_rng(3)
    L = np.linspace(2.3, 4.3, 36)
    accuracy = 0.25 + 0.7 / (1 + np.exp(3 * (L - 2.9))) + 0.005 * rng.normal(size=36)
    second = fit(pd.DataFrame({"L": L, "accuracy": accuracy}), "sigmoid(L)", pin={"floor": 0.25}, resamples=100)
    answer = predict(second, {"L": 2.06})
    assert "the straight line by 0.00 %" not in answer["why"]
    assert answer["predicts"] not in ("no", "rivalled")
    assert answer["accuracy"].high <= 1
    percent = fit(pd.DataFrame({"L": L, "accuracy": 100 * accuracy}), "sigmoid(L)", pin={"floor": 25.0}, resamples=100)
    assert 90 < predict(percent, {"L": 2.06})["accuracy"].high <= 100


def test_the_band_of_a_second_step_holds_the_errors_of_both() -> None:
    rows, rng = seeded("chinchilla"), np.random.default_rng(0)
    score = LAWS["sigmoid"](rows["L"].to_numpy(), floor=0.25, gain=0.6, k=2.0, middle=3.5)
    rows["accuracy"] = score + 0.004 * rng.normal(size=len(rows))
    first, second = fit(rows, "chinchilla"), fit(rows, "sigmoid(L)", pin={"floor": 0.25})
    both = predict_then(first, second, {"N": 1e9, "D": 1e10})
    loss, alone = both["L"], predict(second, {"L": both["L"].value})["accuracy"]
    assert both["accuracy"].value == alone.value
    ends = second.predict(pd.DataFrame({"L": [loss.high, loss.low]}))
    assert both["accuracy"].low == pytest.approx(alone.value - np.hypot(alone.value - ends[0], alone.value - alone.low))
    assert both["accuracy"].high > max(alone.high, ends[1])
    assert both["then"]["law"] == "sigmoid(L)"
    points = predict_points([first], pd.DataFrame({"N": [1e9, 2e9], "D": [1e10, -1.0]}))
    table = then_points(points, [first], {(): second})
    assert table["accuracy_predicted"][0] == pytest.approx(both["accuracy"].value)
    assert table["accuracy_low"][0] == pytest.approx(both["accuracy"].low)
    assert np.isnan(table["accuracy_high"][1])
    assert get_law("log_accuracy(N,D)").params.keys() == {"A", "alpha", "B", "beta"}
    with pytest.raises(FitError, match="a second step is a law of L alone"):
        predict_then(first, fit(rows, "power(D)", interval="none"), {"N": 1e9, "D": 1e10})
