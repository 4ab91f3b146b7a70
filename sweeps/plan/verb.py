"""`isoflop plan`: a plan, what it could resolve, and how it is printed.

say(["family=lstm", "family.width=16,32,64"], Question(), money="2.5/h")
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
from isoflop.sweeps.compose import progress
from isoflop.sweeps.plan import text as plan_text
from isoflop.sweeps.plan.claims import powers
from isoflop.sweeps.plan.plan import MFU, SweepPlan, plan, price
from isoflop.sweeps.plan.resolution import Outcome, Question, outcomes
from isoflop.sweeps.study import read

if TYPE_CHECKING:
    from isoflop.analysis.claims.claim import Claim

__all__ = ["Question", "say"]


def say(
    overrides: Sequence[str],
    question: Question,
    money: str = "",
    device: str = "",
    mfu: float = MFU,
    everything: bool = False,
    as_json: bool = False,
) -> None:
    """Make a plan and print it; UserError for what is wrong with any of it, before anything is measured."""
    an_hour = price(money)
    if question.target is not None and not 0 < question.target < math.inf:
        raise UserError(f"--target-C {question.target:g} is not a number of FLOPs above 0; write --target-C 1e18")
    if not 0 < question.noise < 1:
        raise UserError(f"--noise {question.noise:g} is not a share between 0 and 1; write --noise 0.005")
    if not 0 < mfu <= 1:
        raise UserError(f"--mfu {mfu:g} is not a share between 0 and 1; write --mfu 0.3")
    try:
        planned = plan(overrides, device, mfu)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(translate(error)[1]) from None
    with progress("simulating the design") as report:
        results = outcomes(planned.marks, question, report)
    claims = of_study(overrides)
    with progress("drawing studies of its claims") if claims else nullcontext():
        decidable = [] if planned.design is None else powers(claims, planned.design)
    if as_json:
        print(json.dumps(document(planned, results, an_hour) | {"claims": [one.to_json() for one in decidable]}))
        return
    console = plan_text.console()
    console.print(plan_text.runs(planned, everything))
    console.print(plan_text.totals(planned, an_hour))
    for one in results:
        console.print(plan_text.outcome(one), soft_wrap=True)
    if decidable:
        console.print(plan_text.decidable(decidable), soft_wrap=True)


def of_study(overrides: Sequence[str]) -> "list[Claim]":
    """The claims of the study that is planned; none where it is no study."""
    names = [text for key, _, text in (o.partition("=") for o in overrides) if key.lstrip("+") == "study"]
    return read(names[-1]).load_claims() if names and names[-1] not in ("null", "") else []


def document(planned: SweepPlan, results: list[Outcome], an_hour: float | None) -> dict[str, object]:
    """All of it as plain data."""
    runs = json.loads(planned.table.to_json(orient="records"))
    totals = planned.totals(an_hour) | {"slots": planned.slots, "speed": planned.speed}
    return {"out": str(planned.out), "runs": runs, "totals": totals, "designs": [one.to_json() for one in results]}
