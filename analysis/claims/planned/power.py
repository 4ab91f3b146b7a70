"""Power: whether planned runs could decide a claim at all, before they are made.

Studies are drawn in which the claim's quantity has the value that its yaml states (`effect:`) with the spread that it
states (`noise:`), and judged as the real one would be. Where the runs lack what the claim needs, that is said instead.

    claim = Claim("x", "It is above 0.", "run_mean", Region.read({"above": 0}, "x"), of=("L",), effect=1.0, noise=0.1)
    power(runs, claim)[0].decided          # share of the drawn studies that decide it
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.claims.claim import Claim
from isoflop.analysis.claims.judge import columns_of, judge_part, sound_table
from isoflop.analysis.claims.planned.draws import drawn
from isoflop.analysis.claims.quantities.cells import with_derived
from isoflop.analysis.claims.region import Region, VerdictKind
from isoflop.errors import FitError, UserError
from isoflop.wording import number, percent

__all__ = ["POWER", "Power", "Region", "power", "powers"]

# studies at the most, and the fewest that are drawn whatever time they take: a share of 20 is known to .1
STUDIES, FEWEST = 60, 8
# where a study takes so long that FEWEST would take PATIENCE times as long, so many
LEAST, PATIENCE = 3, 5
# the time after which no more are begun, for each part of a claim [s]
SECONDS = 3.0
# Cohen 1988, Statistical Power Analysis: the custom
POWER = 0.8


@dataclass(frozen=True)
class Power:
    """What drawn studies make of a claim, or of one part of it."""

    id: str
    """The claim's id."""
    part: str
    """The part, where it has several."""
    effect: float | None
    noise: float | None
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
        """Plain values."""
        return {
            "id": self.id,
            "part": self.part,
            "effect": self.effect,
            "noise": self.noise,
            "studies": self.studies,
            "outcomes": self.outcomes,
            "decided": self.decided,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        name = f"{self.id}{f' ({self.part})' if self.part else ''}"
        if self.decided is None:
            return f"{name}: {self.reason}"
        at = f"effect {number(self.effect or 0.0)}"
        at += f", noise {number(self.noise)}" if self.noise is not None else ""
        kinds = ", ".join(f"{kind.replace('_', ' ')} {n}" for kind, n in self.outcomes.items())
        short = "" if self.enough else f"; below {percent(POWER, 0)}: {self.reason or 'add seeds or sizes'}"
        return f"{name}: decided in {percent(self.decided, 0)} of {self.studies} drawn studies ({at}; {kinds}){short}"


def powers(rows: pd.DataFrame, claims: Iterable[Claim]) -> list[Power]:
    """The power of every claim, its parts one by one, on planned rows (columns of a record that are known before)."""
    return [one for claim in claims for one in power(rows, claim)]


def power(rows: pd.DataFrame, claim: Claim, seconds: float = SECONDS) -> list[Power]:
    """The power of one claim, of each of its parts."""
    if claim.untestable:
        return [Power(claim.id, "", None, None, 0, {}, f"not testable as stated: {claim.untestable}")]
    return [_of_part(rows, part, seconds) for part in claim.every_part]


def _of_part(rows: pd.DataFrame, claim: Claim, seconds: float) -> Power:
    """The power of what has one quantity."""
    outcomes, reasons = Counter[str](), Counter[str]()
    began, rng = time.monotonic(), np.random.default_rng(0)
    for study in range(STUDIES):
        spent_s = time.monotonic() - began
        if (study >= FEWEST and spent_s > seconds) or (study >= LEAST and spent_s > PATIENCE * seconds):
            break
        try:
            table = with_derived(sound_table(drawn(rows, claim, rng)), columns_of([claim]))
            with np.errstate(all="ignore"):
                verdict = judge_part(table, claim)
        except (UserError, FitError) as error:
            return Power(claim.id, claim.name, claim.effect, claim.noise, 0, {}, f"no study can be drawn: {error}")
        if verdict.verdict is VerdictKind.UNTESTED:  # as it would be whatever came out
            reason = f"these runs do not test it: {verdict.reason}"
            return Power(claim.id, claim.name, claim.effect, claim.noise, 0, {}, reason)
        outcomes[verdict.verdict.value] += 1
        if verdict.verdict is VerdictKind.NOT_IDENTIFIED:
            reasons[verdict.reason] += 1
    most = reasons.most_common(1)[0][0] if reasons else ""
    return Power(claim.id, claim.name, claim.effect, claim.noise, outcomes.total(), dict(outcomes), most)
