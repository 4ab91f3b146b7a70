"""The outputs of every verb are those that were recorded: a number that moves needs a reason (tests/golden.py)."""

import os
from pathlib import Path

import golden
import pytest

FOLDER = os.environ.get("ISOFLOP_REFERENCE_DATA") or "missing"


@pytest.mark.sample(24)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in golden.cases() if case.quick])
def test_outputs_are_those_that_were_recorded(case: golden.Case) -> None:
    if case.public and not Path(FOLDER).is_dir():
        pytest.skip("ISOFLOP_REFERENCE_DATA names no folder of public tables")
    here = golden.recorded_here()
    if not here and case.name.startswith(golden.OPEN):
        pytest.skip("recorded on another processor, on which a fit that is not identified ends elsewhere")
    found = golden.compared(case, golden.RTOL if here else golden.ELSEWHERE)
    assert not found, "\n".join([f"python -m tests.golden compare --case {case.name}", *found[:20]])


def test_every_case_is_recorded() -> None:
    names = {case.name for case in golden.cases()}
    assert {path.name.removesuffix(".json.gz") for path in golden.STORE.glob("*.gz")} == names


def test_a_number_that_moves_is_shown_and_rounding_is_not() -> None:
    old = {"fits": [{"alpha": 0.34, "n": 3}], "status": "converged"}
    new = {"fits": [{"alpha": 0.34 * (1 + 1e-11), "n": 3}], "status": "converged"}
    assert not list(golden.differences(old, new))
    new["fits"][0]["alpha"] = 0.34 * (1 + 1e-8)
    assert [line.split(":")[0] for line in golden.differences(old, new)] == [".fits[0].alpha"]
    assert list(golden.differences(old, {"fits": [], "status": "converged"}))


def test_records_that_are_new_or_gone_are_named_beside_one_that_moves() -> None:
    old = [{"id": name, "verdict": "supported", "value": 1.0} for name in ("a", "b", "c")]
    new = [{"id": name, "verdict": "supported", "value": 1.0} for name in ("x", "a", "c", "y")]
    new[2]["value"] = 2.0
    said = [line.split(",")[0] for line in golden.differences({"json": old}, {"json": new})]
    moved = ".json.id=c.value: 1.0 -> 2.0 (+1.0e+00)"
    assert said == [".json.id=b: gone", moved, ".json.id=x: new", ".json.id=y: new"]
    # names that occur twice, and none, align nothing
    assert len(list(golden.differences([*old, old[0]], old))) == 1
    assert len(list(golden.differences([{"v": 1}], [{"v": 1}, {"v": 2}]))) == 1
    # the same names in another order are as different as before
    assert [line.split(":")[0] for line in golden.differences(old, old[::-1])] == ["[0].id", "[2].id"]


def test_a_long_column_is_seen_to_move_in_one_value_or_in_order() -> None:
    values = [float(i) for i in range(1000)]
    kept = golden.canonical_column(values)
    moved = golden.canonical_column([*values[:500], 500.01, *values[501:]])
    swapped = golden.canonical_column([*values[:500], 501.0, 500.0, *values[502:]])
    assert list(golden.differences(kept, moved))
    assert list(golden.differences(kept, swapped))
    assert not list(golden.differences(kept, golden.canonical_column([v * (1 + 1e-13) for v in values])))
