"""Power: whether planned runs could decide a claim at all, before they are made.

Studies are drawn in which the claim's quantity has the value that its yaml states (`effect:`) with the spread that it
states (`noise:`), and judged as the real one would be. Where the runs lack what the claim needs, that is said instead.

    rule = Rule("run_mean", Region(above=0), of=("L",), effect=1.0, noise=0.1)
    power(runs, Claim("x", "It is above 0.", rule=rule))[0].decided          # share of the drawn studies that decide it
"""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.claims.claim import Claim
from isoflop.analysis.claims.judge import columns_of, judge_rule, sound_table
from isoflop.analysis.claims.planned.draws import drawn
from isoflop.analysis.claims.quantities.cells import with_derived
from isoflop.analysis.claims.region import Region, VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.errors import FitError, UserError
from isoflop.wording import number, percent

__all__ = ["POWER", "ClaimPower", "Region", "Rule", "power"]

# studies at most, and the fewest that are drawn however long they take: a share of 20 is known to .1
STUDIES, FEWEST = 60, 8
# studies where FEWEST of them would take more than PATIENCE times SECONDS
LEAST, PATIENCE = 3, 5
# the time after which no more are begun, for each part of a claim [s]
SECONDS = 3.0
# Cohen 1988, Statistical Power Analysis: the custom
POWER = 0.8


@dataclass(frozen=True)
class ClaimPower:
    """How often drawn studies decide a claim, or one rule of it."""

    id: str
    """The claim's id."""
    part: str
    """The name of the rule, where it has several."""
    effect: float | None
    """The value of the quantity in the drawn studies."""
    noise: float | None
    """Its spread."""
    studies: int
    """How many were drawn; 0 where the runs cannot test it, or it states no effect."""
    outcomes: dict[str, int]
    """Verdict -> in how many of them."""
    reason: str = ""
    """Why no study was drawn, or what most of those that decide nothing lack."""

    @property
    def decided(self) -> float | None:
        """The share of studies that support or refute it; None where none was drawn."""
        if not self.studies:
            return None
        return sum(self.outcomes.get(kind, 0) for kind in VerdictKind if kind.decided) / self.studies

    @property
    def enough(self) -> bool:
        """Whether most studies decide it, by the custom of four in five."""
        return (self.decided or 0.0) >= POWER

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self) | {"decided": self.decided}

    def __str__(self) -> str:
        name = f"{self.id}{f' ({self.part})' if self.part else ''}"
        if self.decided is None:
            return f"{name}: {self.reason}"
        at = f"effect {number(self.effect or 0.0)}"
        at += f", noise {number(self.noise)}" if self.noise is not None else ""
        kinds = ", ".join(f"{kind.replace('_', ' ')} {n}" for kind, n in self.outcomes.items())
        short = "" if self.enough else f"; below {percent(POWER, 0)}: {self.reason or 'add seeds or sizes'}"
        return f"{name}: decided in {percent(self.decided, 0)} of {self.studies} drawn studies ({at}; {kinds}){short}"


def power(rows: pd.DataFrame, claim: Claim, seconds: float = SECONDS) -> list[ClaimPower]:
    """Return the power of one claim, of each of its rules."""
    if claim.untestable:
        return [ClaimPower(claim.id, "", None, None, 0, {}, f"not testable as stated: {claim.untestable}")]
    return [_of_rule(rows, claim.id, rule, seconds) for rule in claim.rules]


def _of_rule(rows: pd.DataFrame, id: str, rule: Rule, seconds: float) -> ClaimPower:
    """Return the power of one rule."""
    stated = id, rule.name, rule.effect, rule.noise
    outcomes, reasons = Counter[str](), Counter[str]()
    began, rng = time.monotonic(), np.random.default_rng(0)
    for study in range(STUDIES):
        spent_s = time.monotonic() - began
        if (study >= FEWEST and spent_s > seconds) or (study >= LEAST and spent_s > PATIENCE * seconds):
            break
        try:
            table = with_derived(sound_table(drawn(rows, rule, rng)), columns_of([rule]))
            with np.errstate(all="ignore"):
                verdict = judge_rule(table, rule)
        except (UserError, FitError) as error:
            return ClaimPower(*stated, 0, {}, f"no study can be drawn: {error}")
        if verdict.verdict is VerdictKind.UNTESTED:  # it does not depend on the results
            return ClaimPower(*stated, 0, {}, f"these runs do not test it: {verdict.reason}")
        outcomes[verdict.verdict.value] += 1
        if verdict.verdict is VerdictKind.NOT_IDENTIFIED:
            reasons[verdict.reason] += 1
    most = reasons.most_common(1)[0][0] if reasons else ""
    return ClaimPower(*stated, outcomes.total(), dict(outcomes), most)
