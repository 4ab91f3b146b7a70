"""Hundreds of made-up tables and settings: an answer, a status or one sentence; no traceback and no warning.

The verbs are called in this process, on tables as files, with what people and attackers write into cells.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pytest
from hostile_tables import FUZZ, VERBS, check_answer, few_starts, files, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import demo_study

from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.fit import fit_groups
from isoflop.analysis.frontier.frontier import frontier
from isoflop.analysis.holdout.compare import compare
from isoflop.analysis.report.figures.base import draw_all
from isoflop.analysis.report.figures.fitted import _off
from isoflop.analysis.report.view import look
from isoflop.analysis.runs.cells import cells_of, searched_knobs
from isoflop.analysis.runs.levels import layout
from isoflop.errors import UserError

SAME_EVERY_TIME = FUZZ | {"derandomize": True}


@pytest.fixture(scope="module", autouse=True)
def _few_starts() -> Iterator[None]:
    with few_starts():
        yield


def one_sentence(error: UserError) -> None:
    assert str(error)
    assert "\n" not in str(error)


LAWS = ("power(N)", "power_offset(D)", "chinchilla", "chinchilla_tied", "kaplan", "overtraining", "bnsl(D)")


def examples(suite: int, night: int) -> pytest.MarkDecorator:
    """Numbers of tables; make torture makes thousands for each verb."""
    return pytest.mark.parametrize("tables_made", [suite, pytest.param(night, marks=pytest.mark.nightly)])


@pytest.mark.slow
# at night nearly every pair of a law and an interval
@examples(15, night=120)
def test_a_fit_of_anything_is_an_answer_or_a_sentence(tables_made: int) -> None:
    @settings(max_examples=tables_made, **SAME_EVERY_TIME)
    @given(
        table=tables(),
        law=st.sampled_from(LAWS),
        loss=st.sampled_from(["huber", "huber", "l2", "l1", "raw_huber"]),
        interval=st.sampled_from(["auto", "jackknife", "bootstrap", "none"]),
        share=st.booleans(),
    )
    def answer(table: pd.DataFrame, law: str, loss: str, interval: str, share: bool) -> None:
        check_fit(table, law, loss, interval, share)

    answer()


def check_fit(table: pd.DataFrame, law: str, loss: str, interval: str, share: bool) -> None:
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
@examples(4, night=40)
def test_a_frontier_or_comparison_of_anything_is_an_answer_or_a_sentence(tables_made: int) -> None:
    @settings(max_examples=tables_made, **SAME_EVERY_TIME)
    @given(table=tables())
    def answer(table: pd.DataFrame) -> None:
        check_frontier(table)

    answer()


def check_frontier(table: pd.DataFrame) -> None:
    for ask in (
        lambda: frontier(table, interval="jackknife", loss="l2", target=[1e20], inference_tokens=1e10),
        lambda: compare(table, ["power", "power_offset(D)"], interval="none", folds=2),
    ):
        try:
            result = ask()
        except UserError as error:
            one_sentence(error)
            continue
        json.dumps(result.to_json(), allow_nan=False)
        assert str(result)


# of each verb as many as its time allows
EXAMPLES = {"fit": 15, "predict": 12, "compare": 8, "frontier": 10, "judge": 10, "report": 5}


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_answers_any_file_or_says_one_sentence(verb: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(max_examples=EXAMPLES[verb], **SAME_EVERY_TIME)
    @given(content=files())
    def answer(content: str) -> None:
        check_answer(verb, content, tmp_path_factory.mktemp("table"))

    answer()


def test_numbers_at_the_ends_of_the_floats_have_a_layout() -> None:
    rows = pd.DataFrame({"N": [1e-300, 1e300, 1e300], "D": [1e300, 1e300, 1e-300]})
    assert layout(rows).decades == pytest.approx({"N": 600, "D": 600, "C": 307.5}, abs=0.1)
    assert layout(pd.DataFrame({"N": [1e-300, 1e300, 1e300], "C": [1e300, 1e-300, 1.0]})).decades["D"] > 600


def test_rows_with_a_blank_where_others_have_a_rung_are_a_cell_too() -> None:
    rows = pd.DataFrame({"N": 1e6, "D": 1e8, "rung": [None, None, None, "a"], "lr": [1.0, 2.0, 3.0, 3.0]})
    assert cells_of(rows).tolist() == [0, 0, 0, 1]
    assert searched_knobs(rows) == {"lr": 3}


def test_figures_pass_over_bands_that_have_no_ends() -> None:
    off = _off(pd.Series([0.0, 1e-300, math.inf, math.e]), pd.Series([1.0, 1e300, 1.0, 1.0]))
    assert off.tolist() == pytest.approx([math.nan, -100 * 600 * math.log(10), math.nan, 100], nan_ok=True)


def test_runs_without_the_column_of_a_curve_are_none_of_it() -> None:
    rows = demo_study(["lstm"], failures=False).assign(N=math.nan, width=math.nan)
    assert "not drawn, no finished run has N" in dict(draw_all(look(rows, [])))["loss_vs_data"]


def test_resamples_that_leave_the_floats_raise_no_warning() -> None:
    rows = demo_study(["lstm"], failures=False)
    fitted = fit_groups(rows, "power_offset(D)", interval="bootstrap", resamples=20)[0]
    spread = fitted.optimum.spread
    assert spread is not None
    far = replace(fitted.optimum, spread=replace(spread, draws=spread.draws + 1e4))
    estimate, _ = far.measure(lambda **p: next(iter(p.values())), 0.9)
    assert math.isfinite(estimate.value or math.nan)
