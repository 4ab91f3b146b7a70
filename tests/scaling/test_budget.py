"""Budgets: one of four, and a run that takes whole steps says where that is more than was asked for."""

from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Isoflop

from isoflop.errors import UserError
from isoflop.scaling.recipe.rules import Budget


def test_the_budget_that_is_given_has_a_name_and_ascending_marks() -> None:
    assert (Budget().name, Budget().values, Budget().several) == ("epochs", [1], False)
    assert (Budget(C=1e9).name, Budget(C=1e9).values, Budget(C=1e9).several) == ("C", [1e9], False)
    marks = Budget(D=[2e6, 1e6, 2e6])
    assert (marks.values, marks.several) == ([1e6, 2e6], True)
    assert Budget(D=[1e6]).several


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"D": 1e6, "C": 1e9}, "two budgets at once"),
        ({"D": []}, "holds no mark"),
        ({"D": True}, "budget.D=True is not a number above 0"),
        ({"D": [1e6, -1]}, "budget.D=-1 is not a number above 0"),
        ({"C": float("inf")}, "budget.C=inf is not a number above 0"),
    ],
)
def test_a_budget_that_is_none_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Budget(**given)


def test_a_budget_of_less_than_half_a_step_is_refused_unless_asked_for(isoflop: Isoflop, tmp_path: Path) -> None:
    # a step takes 4 windows of 16 bytes
    command = ["train", "family=mlp", "family.width=8", "family.depth=1", *TINY, f"out={tmp_path}/runs"]
    refused = isoflop(*command, "budget.D=10")
    assert refused.returncode == 2
    assert "budget.D=10 is less than half a step, a step takes 64 (64 targets)" in refused.stderr
    assert "round_up=true" in refused.stderr
    assert not (tmp_path / "runs").exists()
    made = isoflop(*command, "budget.D=10", "round_up=true")
    assert made.returncode == 0, made.stderr
    assert "D=64 is 6.40 times the budget" in made.stderr
    noted = isoflop(*command, "budget.D=100")
    assert noted.returncode == 0, noted.stderr
    assert "D=128 is 1.28 times the budget" in noted.stderr
