"""`isoflop plan`: a plan, what it could resolve, and how it is printed.

say(["family=lstm", "family.width=16,32,64"], Question(), PlanCost(price="2.5/h"))
"""

import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from isoflop.errors import UserError
from isoflop.exits import translate
from isoflop.extensions import take
from isoflop.scaling.limits import refuse_words, renamed
from isoflop.sweeps.compose import progress
from isoflop.sweeps.plan import text as plan_text
from isoflop.sweeps.plan.claims import powers
from isoflop.sweeps.plan.options import PlanCost
from isoflop.sweeps.plan.plan import SweepPlan, plan, price
from isoflop.sweeps.plan.resolution import Outcome, Question, outcomes
from isoflop.sweeps.study import read
from isoflop.sweeps.tables import console

if TYPE_CHECKING:
    from isoflop.analysis.claims.claim import Claim

__all__ = ["Question", "say"]


def overrides(words: list[str]) -> list[str]:
    """Return the overrides among the words of a plan; UserError if one is an option or no override."""
    given = renamed(take(words))
    if unknown := [word for word in given if word.startswith("-")]:
        raise UserError(f"{unknown[0]} is not an option of plan; see isoflop plan --help")
    refuse_words(given)
    return given


def say(
    overrides: Sequence[str],
    question: Question,
    cost: PlanCost,
    everything: bool = False,
    as_json: bool = False,
) -> None:
    """Make a plan and print it; UserError for any mistake, before anything is measured."""
    check(question, cost)
    an_hour = price(cost.price)
    try:
        planned = plan(overrides, cost.device, cost.mfu)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(translate(error)[1]) from None
    with progress("simulating the design") as report:
        results = outcomes(planned.marks, question, report)
    claims = of_study(overrides)
    with progress("drawing studies of its claims") if claims else nullcontext():
        decidable = [] if planned.design is None else powers(claims, planned.design)
    if as_json:
        print(json.dumps(document(planned, results, an_hour) | {"claims": [power.to_json() for power in decidable]}))
        return
    terminal = console()
    terminal.print(plan_text.runs(planned, everything))
    terminal.print(plan_text.totals(planned, an_hour))
    for result in results:
        terminal.print(plan_text.outcome(result), soft_wrap=True)
    if decidable:
        terminal.print(plan_text.decidable(decidable), soft_wrap=True)


def check(question: Question, cost: PlanCost) -> None:
    """Refuse numbers that make no sense."""
    if question.target is not None and not 0 < question.target < math.inf:
        raise UserError(f"--target-C {question.target:g} is not a number of FLOPs above 0; write --target-C 1e18")
    if not 0 < question.noise < 1:
        raise UserError(f"--noise {question.noise:g} is not a share between 0 and 1; write --noise 0.005")
    if cost.mfu is not None and not 0 < cost.mfu <= 1:
        raise UserError(f"--mfu {cost.mfu:g} is not a share between 0 and 1; write --mfu 0.3")


def of_study(overrides: Sequence[str]) -> "list[Claim]":
    """Return the claims of the planned study; none if it is not a study."""
    names = [text for key, _, text in (o.partition("=") for o in overrides) if key.lstrip("+") == "study"]
    return read(names[-1]).load_claims() if names and names[-1] not in ("null", "") else []


def document(planned: SweepPlan, results: list[Outcome], an_hour: float | None) -> dict[str, object]:
    """Return the plan as plain data."""
    runs = json.loads(planned.table.to_json(orient="records"))
    totals = planned.totals(an_hour) | {"slots": planned.slots, "speed": planned.speed}
    return {"out": str(planned.out), "runs": runs, "totals": totals, "designs": [one.to_json() for one in results]}
