"""The tables of ScaleBench (arXiv:2604.22753) and of Gadre et al.: optima of independent solvers, and held-out errors.

The data are read where ISOFLOP_REFERENCE_DATA names their folder and are not part of this project. "Independent": the
same objective minimised by scipy's least_squares and Nelder-Mead from other starts.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.runs.read import read_runs

FOLDER = os.environ.get("ISOFLOP_REFERENCE_DATA", "")
pytestmark = pytest.mark.skipif(
    not Path(FOLDER or "missing").is_dir(), reason="ISOFLOP_REFERENCE_DATA names no folder of reference data"
)


def scalebench(task: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a task to fit, and those to predict."""
    train, test = (read_runs(f"{FOLDER}/PlanarG__active-sl/{task}_{part}.csv").frame for part in ("train", "test"))
    return train, test


def held_out(law: Fit, test: pd.DataFrame) -> float:
    """Root mean square of the log error on held-out rows, in percent."""
    return 100 * float(np.sqrt((np.log(law.predict(test) / test[law.law.target]) ** 2).mean()))


def assert_sound(law: Fit, objective: float, rel: float = 1e-6, **values: float) -> None:
    """The stored optimum, reached by at least half of the starts."""
    assert law.status == "converged", law.reason
    assert law.starts.at_optimum >= law.starts.tried / 2
    assert law.objective == pytest.approx(objective, rel=rel)
    for name, value in values.items():
        estimate = law.params.get(name) or law.derived[name]
        assert estimate.value == pytest.approx(value, rel=1e-5), name


# the published 24 points of each group, which the split of ScaleBench holds between its two parts
PARSCALE = {
    "stack": (3.67674e-5, {"E": 0.69120704, "A": 0.01130707, "alpha": 0.18935825, "k": 0.39345677}),
    "pile": (1.81393e-5, {"E": 1.28858758, "A": 0.19751658, "alpha": 0.19628145, "k": 0.33444241}),
}


@pytest.mark.parametrize("group", sorted(PARSCALE))
def test_parallel_streams_have_the_published_optimum(group: str) -> None:
    rows = pd.concat(scalebench("parallel"))
    objective, values = PARSCALE[group]
    law = fit(rows[rows["group"] == group], "parscale", interval="none")
    assert law.n_rows == 24
    assert_sound(law, objective, rel=1e-5, **values)


# law -> objective on the training rows, some parameters (both independent), RMSLE on the test rows [%]
REPEATED = {
    "overfit_penalty": (0.0062291674204, {"alpha": 0.29405611, "K": 0.37105043, "kappa": 0.35180748}, 2.77),
    "repetition_penalty": (0.0047753163728, {"beta": 0.47787544, "delta": 0.37449248, "kappa": 0.72333964}, 2.66),
    "chinchilla": (0.0086503790678, {"E": 1.93871033, "alpha": 0.26420878, "beta": 0.51599682}, 3.26),
}


@pytest.mark.parametrize("name", sorted(REPEATED))
def test_repeated_data_are_predicted_best_with_a_penalty(name: str) -> None:
    train, test = scalebench("data_constrained")
    objective, values, error = REPEATED[name]
    law = fit(train, name, interval="none")
    assert_sound(law, objective, **values)
    assert held_out(law, test) == pytest.approx(error, abs=0.005)


def test_effective_data_alone_predict_repetition_worse_than_a_penalty() -> None:
    train, test = scalebench("data_constrained")
    # N' = N where excess parameters never lose their worth
    law = fit(train, "data_constrained", pin={"R_N": 1e6}, interval="none")
    assert held_out(law, test) == pytest.approx(4.03, abs=0.005)


FARSEER = {"chinchilla": (0.0024630315, 3.11), "multiplicative": (0.00057886939, 0.486), "kaplan": (0.0056665816, 1.28)}


@pytest.mark.parametrize("name", sorted(FARSEER))
def test_farseer_is_predicted_best_by_a_common_power(name: str) -> None:
    train, test = scalebench("farseer")
    objective, error = FARSEER[name]
    law = fit(train, name, interval="none")
    assert law.objective == pytest.approx(objective, rel=1e-7)
    assert held_out(law, test) == pytest.approx(error, abs=0.005)


def test_sparse_models_have_the_independent_optimum() -> None:
    train, _ = scalebench("sparsity")
    law = fit(train[train["group"] == "D1=2.31_D2=2.31"], "sparse", interval="none")
    values = {"E": 2.15330873, "K": 0.44410738, "a": 0.06465539, "b": 0.19039102, "c": -0.02213284}
    assert_sound(law, 0.00022222103227, **values)


def test_one_loss_predicts_another() -> None:
    runs = pd.read_csv(f"{FOLDER}/mlfoundations__scaling/loss_evals.csv")
    losses = runs[runs["dataset"] == "c4_original"].pivot_table(index="name", columns="val_dataset", values="loss")
    losses = losses[["c4_val", "paloma_redpajama"]].dropna()
    law = fit(losses, "paloma_redpajama ~ loss_to_loss(c4_val)", interval="none")
    values = {"E1": 1.88907862, "E2": 2.68323054, "K": 0.74393744, "kappa": 1.41286103}
    assert_sound(law, 0.00054770061076, **values)
