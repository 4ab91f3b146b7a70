"""Before runs are made: what a claim asks of them that they will not have, and its power: whether they could decide it.

For its power, studies are drawn in which the claim's quantity has the value that its yaml states (`effect:`) with the
spread that it states (`noise:`), and judged as the real one would be.

    rule = Rule("run_mean", Region(above=0), of=("L",), effect=1.0, noise=0.1)
    power(runs, Claim("x", "It is above 0.", rule=rule))[0].decided          # share of the drawn studies that decide it
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from isoflop import record
from isoflop.analysis.claims.claim import Claim, load_claims
from isoflop.analysis.claims.declare import Unmeasured
from isoflop.analysis.claims.judge import columns_of, judge_rule, sound_table
from isoflop.analysis.claims.planned.draws import drawn
from isoflop.analysis.claims.quantities.cells import DERIVED, with_derived
from isoflop.analysis.claims.region import Region, VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.subjects import compared, compared_names, scope
from isoflop.analysis.laws.declare import Law, get_law
from isoflop.analysis.runs.levels import level_index
from isoflop.errors import FitError, UserError
from isoflop.wording import number, percent, suggest

__all__ = ["POWER", "ClaimPower", "Region", "Rule", "load_claims", "power", "refusal"]

# studies at most, and the fewest that are drawn however long they take: a share of 20 is known to .1
STUDIES, FEWEST = 60, 8
# studies where FEWEST of them would take more than PATIENCE times SECONDS
LEAST, PATIENCE = 3, 5
# the time after which no more are begun, for each part of a claim [s]
SECONDS = 3.0
# Cohen 1988, Statistical Power Analysis: the custom
POWER = 0.8
# quantities of a law that need its parameters told apart; a prediction or a slope among the runs does not
IDENTIFY = ("law_parameter", "law_contrast")
# columns that only results have, by what they begin with
RESULTS = ("metric.", "L.", "L_se.", "L_bpb.")
# least share of the spread of the logarithms in their narrowest direction: budgets are rounded up to whole steps
LEAST_SPREAD = 0.02


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
    if claim.untestable:
        return [ClaimPower(claim.id, "", None, None, 0, {}, f"not testable as stated: {claim.untestable}")]
    return [_of_rule(rows, claim.id, rule, seconds) for rule in claim.rules]


def _of_rule(rows: pd.DataFrame, id: str, rule: Rule, seconds: float) -> ClaimPower:
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


def refusal(claim: Claim, planned: pd.DataFrame, probes: Mapping[str, Iterable[str]]) -> str:
    """Return a sentence about the first thing that a claim needs and these runs cannot give; empty where they can.

    planned  a row for each run, the columns that are known before it is made
    probes   the probes that the runs are asked for, each with the keys of its scalars (`ratio_*` for any ending)
    """
    for rule in claim.rules:
        name = f"claim {claim.id}{f' ({rule.name})' if rule.name else ''}"
        for column in sorted(rule.columns):
            if lacking := _lacking(column, planned, probes):
                return f"{name} names the column {column}, which its runs will not have: {lacking}"
        if rule.law and rule.quantity in IDENTIFY and (sentence := _unidentified(rule, planned)):
            return f"{name} is over the law {rule.formula}, which its runs cannot identify: {sentence}"
    return ""


def _lacking(column: str, planned: pd.DataFrame, probes: Mapping[str, Iterable[str]]) -> str:
    """Return why the runs will not have a column, and what to do; empty where they will."""
    if column in record.COLUMNS or column in DERIVED or column in planned or column.startswith(RESULTS):
        return ""
    if column.startswith("probe."):
        probe, _, key = column.removeprefix("probe.").partition(".")
        requested = f"they ask for {', '.join(probes)}" if probes else "they ask for none"
        if probe not in probes:
            return f"it is measured by probe={probe}, and {requested}; add it to probe="
        keys = [*probes[probe], "wall_s", "version"]
        return (
            "" if any(fnmatchcase(key, one) for one in keys) else f"probe={probe} measures {', '.join(probes[probe])}"
        )
    return f"no run has it{suggest(column, map(str, planned.columns))}"


def _unidentified(rule: Rule, planned: pd.DataFrame) -> str:
    """Return why a group of the planned runs does not identify the law; empty where all do, or where there are none."""
    try:
        groups = scope(planned, rule)
        named = [*groups.items()]
        if rule.compare:
            names = compared_names(rule)
            pairs = [two for _, _, tables in compared(groups, rule) for two in tables]
            named = [side for two in pairs for side in zip(names, two, strict=True)]
    except Unmeasured:
        return ""
    law = get_law(rule.formula)
    lacking = ((name, _flat(law, group.frame)) for name, group in named)
    return next((f"{name} has {sentence}" for name, sentence in lacking if sentence), "")


def _flat(law: Law, rows: pd.DataFrame) -> str:
    """Return how these rows fail to span a law's columns; empty where they span them."""
    names = [c for c in law.columns if c in rows]
    logs = []
    for name in names:
        values = pd.to_numeric(rows[name], errors="coerce").to_numpy(float)
        wanted = 1 + sum(kind.low == 0 or kind.linear for kind in law.params.values()) // max(len(names), 1)
        levels = int(level_index(values[values > 0]).max()) + 1 if (values > 0).any() else 0
        if levels < min(wanted, 3):
            return f"{levels} value{'s' * (levels != 1)} of {name}, where at least {min(wanted, 3)} are needed"
        logs.append(np.log(values))
    if len(logs) > 1:
        table = np.array(logs)
        table = (table - table.mean(1, keepdims=True)) / table.std(1, keepdims=True)
        sizes = np.linalg.svd(table, compute_uv=False)
        if sizes[-1] < LEAST_SPREAD * sizes[0]:
            return f"{' and '.join(names)} in proportion in all of its runs, so their terms are one; vary them apart"
    return ""
