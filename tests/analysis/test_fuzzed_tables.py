"""Hundreds of made-up tables and settings: an answer, a status or one sentence; no traceback and no warning."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from isoflop.analysis.fitting.fit import fit_groups
from isoflop.analysis.fitting.status import FitStatus
from isoflop.analysis.frontier.frontier import frontier
from isoflop.analysis.testing.compare import compare
from isoflop.errors import UserError

# a failing table is small already; to make it smaller takes minutes
FUZZ: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
    "phases": [Phase.explicit, Phase.generate],
    "derandomize": True,
}
SCALE = st.sampled_from([1.0, 1e-3, 1e3, 1e6, 1e9])
VALUE = st.one_of(st.floats(1e-6, 1e15), st.sampled_from([1e6, 1e7, 1e8, 2.5, 1.0, 1e-300, 1e300]))
BAD = st.sampled_from([float("nan"), 0.0, -1.0, float("inf"), None, "x", ""])


@st.composite
def tables(draw: Any) -> pd.DataFrame:
    """Rows of a law, of noise or of nothing, with what people do to tables."""
    count = draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if draw(st.booleans()):
        N, D = rng.choice(np.geomspace(1e6, 1e9, 4), count), rng.choice(np.geomspace(1e7, 1e10, 4), count)
        noise = draw(st.sampled_from([0.0, 1e-9, 1e-3, 0.1, 3.0]))
        L = (draw(st.sampled_from([0.0, 1.6, 1e6])) + 400 * N**-0.3 + 400 * D**-0.3) * np.exp(
            noise * rng.normal(size=count)
        )
        table = pd.DataFrame({"N": N * draw(SCALE), "D": D * draw(SCALE), "L": L * draw(SCALE)})
    else:
        cells = st.lists(st.tuples(VALUE, VALUE, VALUE), min_size=count, max_size=count)
        table = pd.DataFrame(draw(cells), columns=["N", "D", "L"])
    table["C"] = 6 * table["N"] * table["D"]
    if draw(st.booleans()):
        table["run_id"] = rng.integers(0, max(count // 2, 1), count)
    if draw(st.booleans()):
        table["family"] = rng.choice(["a", "b"], count)
    if draw(st.booleans()):
        table["lr"] = rng.choice([1e-3, 3e-3, 1e-2], count)
    if draw(st.integers(0, 9)) == 0:
        column = draw(st.sampled_from(["N", "D", "L"]))
        table[column] = table[column].astype(object)
        table.loc[draw(st.integers(0, count - 1)), column] = draw(BAD)
    if draw(st.integers(0, 9)) == 0:
        table = pd.concat([table, table])
    return table


def one_sentence(error: UserError) -> None:
    assert str(error)
    assert "\n" not in str(error)


LAWS = ("power(N)", "power_offset(D)", "chinchilla", "chinchilla_tied", "kaplan", "overtraining", "bnsl(D)")


@pytest.mark.slow
# every pair of a law and an interval some twenty times
@settings(max_examples=700, **FUZZ)
@given(
    table=tables(),
    law=st.sampled_from(LAWS),
    loss=st.sampled_from(["huber", "huber", "l2", "l1", "raw_huber"]),
    interval=st.sampled_from(["auto", "jackknife", "bootstrap", "mixed", "none"]),
    share=st.booleans(),
)
def test_a_fit_of_anything_is_an_answer_or_a_sentence(
    table: pd.DataFrame, law: str, loss: str, interval: str, share: bool
) -> None:
    by = ["family"] if "family" in table else []
    shared = ["alpha"] if by and share and law.startswith(("power", "chinchilla")) else []
    try:
        fits = fit_groups(table, law, by=by, share=shared, loss=loss, interval=interval, resamples=20)
    except UserError as error:
        one_sentence(error)
        return
    for answer in fits:
        json.dumps(answer.to_json(), allow_nan=False)
        assert answer.status in set(FitStatus)
        assert answer.status == "converged" or answer.reason
        for estimate in (answer.params | answer.derived).values():
            ends = [x for x in (estimate.low, estimate.high) if x is not None]
            assert all(math.isfinite(x) for x in ends)
            assert not (answer.interval == "none" and ends)
        if answer.objective is not None:
            answer.predict_interval(table.head(1).assign(**dict.fromkeys(answer.law.columns, 1e8)))
            str(answer)


@pytest.mark.slow
@settings(max_examples=100, **FUZZ)
@given(table=tables())
def test_a_frontier_or_comparison_of_anything_is_an_answer_or_a_sentence(table: pd.DataFrame) -> None:
    for ask in (
        lambda: frontier(table, interval="jackknife", loss="l2", target=[1e20], inference_tokens=1e10),
        lambda: compare(table, ["power", "power_offset(D)"], interval="none", folds=2),
    ):
        try:
            found = ask()
        except UserError as error:
            one_sentence(error)
            continue
        json.dumps(found.to_json(), allow_nan=False)
        assert str(found)
