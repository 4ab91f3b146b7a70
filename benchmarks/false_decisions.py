"""How often the claims are decided wrongly where nothing differs from anything, by claim and by theme.

    python benchmarks/false_decisions.py --studies 200 --seconds 60

The rows of each committed study get new results in which the quantity of the claim's rule is what it is without any
difference: 0, a ratio of 1, a law that holds. Each drawn study is judged as the real one was. Wrong is a claim of a
difference that is not there, or the refutation of an equality that is. Rules whose quantity has no such value, as a
share of runs or an exponent, are left out and listed. A theme errs where any of its claims does.
"""

import argparse
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from answers import Answer, read, themes
from scipy.stats import beta

from isoflop.analysis.claims.claim import AllOf
from isoflop.analysis.claims.judge import columns_of, judge_rule, sound_table
from isoflop.analysis.claims.planned.draws import drawn
from isoflop.analysis.claims.quantities.cells import with_derived
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.verdict import combined
from isoflop.analysis.runs.read import read_runs
from isoflop.errors import FitError, UserError

STUDIES = Path(__file__).parents[1] / "studies"
# what a quantity is where nothing differs
NOTHING = {
    **dict.fromkeys(("difference", "slope", "log_slope", "correlation", "loss_at_equal", "column_at_equal"), 0.0),
    **dict.fromkeys(("loss_contrast", "law_contrast", "local_contrast", "effective_speedup", "collapse"), 0.0),
    **dict.fromkeys(("reach", "reach_slope", "reach_slope_difference", "holdout_error", "whole_run_error"), 0.0),
    **dict.fromkeys(("ratio", "reach_ratio", "geometric_mean"), 1.0),
}


class Tally(NamedTuple):
    """What the drawn studies of a claim gave."""

    studies: int
    """How many were drawn."""
    wrong: int
    """How many of them decide the claim wrongly."""


def nothing(rule: Rule) -> float | None:
    """Return the value of a rule's quantity where nothing differs; None where there is none."""
    if rule.quantity == "run_mean" and 0.0 in (rule.region.above, rule.region.below, rule.region.near):
        return 0.0
    return NOTHING.get(rule.quantity)


def truth(rule: Rule, value: float) -> VerdictKind:
    """Return what a rule's verdict is at a value of its quantity; on the border of its region it is refuted."""
    region = rule.region
    if region.kind == "contrast":
        holds = region.expected == "equivalent"
    elif region.above is not None:
        holds = value > region.above
    elif region.below is not None:
        holds = value < region.below
    elif region.between is not None:
        holds = region.between[0] < value < region.between[1]
    else:
        holds = abs(value - (region.near or 0.0)) < (region.within or 0.0)
    return VerdictKind.SUPPORTED if holds != rule.negated else VerdictKind.REFUTED


def tally(answer: Answer, studies: int, seconds: float) -> Tally:
    """Draw studies of one claim and judge them; UserError where its quantities have no value without a difference."""
    claim, rng = answer.claim, np.random.default_rng(0)
    if answer.study is None or not claim.rules:
        raise UserError("no study")
    rules = claim.rule.rules if isinstance(claim.rule, AllOf) else claim.rules[-1:]
    how = claim.rule.how if isinstance(claim.rule, AllOf) else "all"
    values = [nothing(rule) for rule in rules]
    if lacking := [rule.quantity for rule, value in zip(rules, values, strict=True) if value is None]:
        raise UserError(f"{', '.join(lacking)} has no value without a difference")
    at = [replace(rule, effect=value) for rule, value in zip(rules, values, strict=True)]
    true = combined({truth(rule, rule.effect or 0.0) for rule in at}, how)
    rows = read_runs(STUDIES / answer.study.name / "runs.csv").frame
    began, outcomes = time.monotonic(), Counter[VerdictKind]()
    for _ in range(studies):
        if outcomes.total() >= 8 and time.monotonic() - began > seconds:
            break
        kinds = set()
        for rule in at:
            table = with_derived(sound_table(drawn(rows, rule, rng)), columns_of([rule]))
            with np.errstate(all="ignore"):
                kinds.add(judge_rule(table, rule).verdict)
        outcomes[combined(kinds, how)] += 1
    if outcomes[VerdictKind.UNTESTED]:
        raise UserError("its rows do not test it")
    return Tally(outcomes.total(), sum(n for kind, n in outcomes.items() if kind.decided and kind is not true))


def table(studies: int, seconds: float, only: list[str]) -> Iterator[str]:
    """Yield the lines of the table: a row for each claim, one for each theme, and what was left out."""
    yield "| claim | studies drawn | decided wrongly | share, 95 % interval |\n|---|--:|--:|--:|"
    left, every = [], [0, 0]
    for theme in themes(STUDIES, list(read(STUDIES)))[0]:
        right = 1.0
        for answer in theme.answers:
            name = answer.claim.id
            if (only and name not in only) or answer.withdrawn:
                continue
            try:
                n, wrong = tally(answer, studies, seconds)
            except (UserError, FitError) as error:
                left.append(f"{name}: {error}")
                continue
            right *= 1 - wrong / n
            every[0] += wrong / n > 0.05
            every[1] += 1
            low = beta.ppf(0.025, wrong, n - wrong + 1) if wrong else 0.0
            high = beta.ppf(0.975, wrong + 1, n - wrong) if wrong < n else 1.0
            yield f"| {name} | {n} | {wrong} | {100 * wrong / n:.1f} % ({100 * low:.1f} to {100 * high:.1f}) |"
        yield f"| any of {theme.title.partition(':')[0].lower()} | | | {100 * (1 - right):.1f} % |"
    yield f"\nAbove 5 %: {every[0]} of {every[1]} claims. Left out: {'; '.join(left)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="studies that are drawn for each claim")
    parser.add_argument("--seconds", type=float, default=math.inf, help="after which no more are begun for a claim")
    parser.add_argument("claims", nargs="*", help="ids; all by default")
    given = parser.parse_args()
    for line in table(given.studies, given.seconds, given.claims):
        print(line, flush=True)


if __name__ == "__main__":
    main()
