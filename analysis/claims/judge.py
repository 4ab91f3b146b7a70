"""Judging: claims and a table of runs to a verdict for each claim and for each of its subjects.

`judge` is pure: the same rows and the same file give the same verdict. Over subjects it is combined as the file says:
`all` is refuted by one counter-example and supported only by every subject; `any` is supported by one subject
(contrasts are Holm-corrected over the pairs) and refuted only by every subject. Parts of a claim are combined alike.

    for verdict in judge(read_runs("runs.csv")):
        print(verdict.id, verdict.verdict, verdict.reason)
"""

import bisect
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop import record
from isoflop.analysis.claims.claim import Claim, load_claims
from isoflop.analysis.claims.declare import Contrast, Measured, Sample, Unmeasured
from isoflop.analysis.claims.quantities.cells import DERIVED, PREFIXES, with_derived
from isoflop.analysis.claims.quantities.columns import welch
from isoflop.analysis.claims.region import VERDICTS, VerdictKind
from isoflop.analysis.claims.subjects import (
    ALL,
    Comparison,
    Lacks,
    Subject,
    compared,
    of_families,
    pair_samples,
    sample_of,
    scope,
    usable_part,
)
from isoflop.analysis.laws.catalogue import get_law
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.runs.replicates import CELL
from isoflop.analysis.runs.rows import as_floats, checked, finished, usable, with_compute
from isoflop.analysis.runs.runs import as_runs
from isoflop.analysis.runs.where import conditions
from isoflop.errors import FitError
from isoflop.wording import listed, percent

__all__ = ["Subject", "Verdict", "combine", "judge", "judge_claim", "judge_part", "of_families", "scope", "sound_table"]

# pairs of families that a claim about their laws is judged for: each takes two fits and their jackknife
MOST_FITTED_PAIRS = 200
# families that a claim about their laws is judged for: each takes the fits of its hold-outs
MOST_FITTED_FAMILIES = 40
OPPOSITE = {"different": "equivalent", "equivalent": "different"}
NEGATED = {VerdictKind.SUPPORTED: VerdictKind.REFUTED, VerdictKind.REFUTED: VerdictKind.SUPPORTED}


@dataclass(frozen=True)
class Verdict:
    """What the runs say of a claim, or of one of its subjects; numbers that do not exist are None."""

    id: str
    """The claim's id."""
    verdict: VerdictKind
    reason: str
    """Why, in words."""
    statistic: float | None = None
    """The quantity; for a claim that of its clearest subject."""
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    """The tolerance or half-width of the band that the statistic was set against, seed noise included."""
    subject: Subject | None = None
    """For a claim of several subjects, the one that the numbers are of."""
    claim: Claim | None = None
    """The claim, in its own verdict; None in those of its subjects."""
    subjects: tuple["Verdict", ...] = ()
    unit: str = ""
    """Unit of a statistic that is the mean of a column."""

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON holds it; a claim's verdict has those of its subjects."""
        document: dict[str, Any] = {"id": self.id, "verdict": self.verdict.value, "statistic": self.statistic}
        document |= {"low": self.low, "high": self.high, "limit": self.limit, "reason": self.reason}
        if self.claim is None:
            return document | ({"subject": str(self.subject)} if self.subject else {})
        document |= {"claim": self.claim.claim, "rule": self.claim.rule, "caveat": self.claim.caveat}
        return document | {"sha256": self.claim.sha256, "subjects": [s.to_json() for s in self.subjects]}


def judge(runs: Any, claims: str | Path | Sequence[Claim] | None = None) -> list[Verdict]:
    """A verdict for every claim on these runs (a table, or the path of one).

    claims  a folder of claims, one yaml, or a list of claims; default those that ship
    """
    to_judge = load_claims(claims) if claims is None or isinstance(claims, str | Path) else claims
    table = sound_table(as_runs(read_runs(runs) if isinstance(runs, str | Path) else runs).frame)
    # a copy has the columns of one kind in one block, from which rows are taken much faster
    table = with_derived(_without_others(table, to_judge).copy(), columns_of(to_judge))
    with np.errstate(all="ignore"):  # a guess far away may leave the doubles: it is infinitely wrong
        return [judge_claim(table, claim) for claim in to_judge]


def sound_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The table with losses, sizes and budgets as numbers; the error of a fit where one is not, or no row is usable.

    A usable row without a loss is none that a claim can be judged by, and is no error beside others that have one.
    """
    table = with_compute(runs)
    some = table.loc[table["L"].notna() | ~finished(table)] if "L" in table else table
    checked(some if "L" in some and usable(some).size else table, ["L"], "a claim", blank=("N", "D", "C"))
    names = [name for name in ("L", "N", "D", "C") if name in table]
    return table.assign(**{name: as_floats(table[name]) for name in names})


def _without_others(runs: pd.DataFrame, claims: Iterable[Claim]) -> pd.DataFrame:
    """The table with the columns that judging these claims may read, and those that a missing one may be called by.

    Without a run_id a row is known by all that it holds, so then every column stays.
    """
    if "run_id" not in runs or runs["run_id"].isna().any():
        return runs
    names = columns_of(claims)
    absent = names - set(runs.columns)
    near = {c for name in absent for c in difflib.get_close_matches(name, [str(c) for c in runs.columns], n=1)}
    return runs[[c for c in runs if c in names or c in near or str(c).startswith(PREFIXES)]]


def columns_of(claims: Iterable[Claim]) -> set[str]:
    """The columns that judging these claims reads, and those that derived ones are made of."""
    names = {*record.COLUMNS, *CELL}
    for part in (part for claim in claims for part in claim.every_part):
        names |= named_columns(part) | part.needs.names
    return names | {source for name in names if name in DERIVED for source in DERIVED[name][0]}


def named_columns(claim: Claim) -> set[str]:
    """The columns that a claim, or one part of it, names or that its law reads."""
    law = get_law(claim.law) if claim.law else None
    names = {*(law.columns if law else ()), *([law.target] if law else []), *claim.at, *claim.compare, *claim.reach}
    names |= {claim.axis, claim.against, claim.less, *claim.by}
    names |= {*claim.of} if claim.quantity and claim.measures.of == "column" else set()
    return (names | {condition.column for condition in conditions(claim.where)}) - {""}


def judge_claim(runs: pd.DataFrame, claim: Claim) -> Verdict:
    """The verdict of one claim, with those of its subjects."""
    if claim.untestable:
        return Verdict(claim.id, VerdictKind.UNTESTED, f"not testable as stated: {claim.untestable}", claim=claim)
    for part in claim.given:
        verdict = judge_part(runs, part)
        if verdict.verdict is not VerdictKind.SUPPORTED:
            kind = VerdictKind.NOT_IDENTIFIED if verdict.verdict.decided else verdict.verdict
            reason = f"it is asked only where {part.name} holds, which is {verdict.verdict.word}: {verdict.reason}"
            return Verdict(claim.id, kind, reason, claim=claim, subjects=_of_part(verdict, part))
    if claim.parts:
        return _judge_together(runs, claim)
    verdict = judge_part(runs, claim)
    several = verdict.statistic is not None and len(verdict.subjects) > 1
    whose = f"; the numbers are those of {verdict.subject}" if several else ""
    return replace(verdict, claim=claim, reason=verdict.reason + whose)


def _judge_together(runs: pd.DataFrame, claim: Claim) -> Verdict:
    """The verdict of a claim of several parts, from theirs; it carries the numbers of the clearest subject."""
    verdicts = [judge_part(runs, part) for part in claim.parts]
    kind = _combined({verdict.verdict for verdict in verdicts}, claim.together)
    subjects = [s for verdict, part in zip(verdicts, claim.parts, strict=True) for s in _of_part(verdict, part)]
    reason = "; ".join(
        f"{part.name}: {verdict.verdict.word}{f' ({verdict.reason})' if verdict.reason else ''}"
        for verdict, part in zip(verdicts, claim.parts, strict=True)
    )
    alike = [s for s in subjects if s.verdict is kind] or subjects
    return Verdict(claim.id, kind, reason, **_numbers(alike[0]), claim=claim, subjects=tuple(subjects))


def _of_part(verdict: Verdict, part: Claim) -> tuple[Verdict, ...]:
    """The verdicts of a part's subjects, named by the part; where it has none, its own."""
    each = verdict.subjects or (replace(verdict, claim=None, subject=Subject("")),)
    return tuple(replace(one, subject=replace(one.subject or Subject(""), part=part.name)) for one in each)


def judge_part(runs: pd.DataFrame, claim: Claim) -> Verdict:
    """The verdict of what has one quantity: a claim, or a part of one."""
    try:
        rows = scope(runs, claim)
        comparisons = compared(rows, claim) if claim.compare else []
    except Unmeasured as outcome:
        return Verdict(claim.id, outcome.kind, str(outcome), claim=claim)
    if comparisons:
        subjects, lacks = _judge_compared(comparisons, claim)
        return combine(claim, subjects, lacks)
    families = sorted(rows["family"].unique())
    wanted = max(claim.needs.families, 2 if claim.subject == "pair" else 1)
    if len(families) < wanted:
        reason = f"needs {wanted} families, and the runs have {len(families)}: {', '.join(families) or 'none'}"
        return Verdict(claim.id, VerdictKind.UNTESTED, reason, claim=claim)
    whole = scope(runs, replace(claim, at={})) if claim.needs.names & {*claim.at} else rows  # `at` leaves one value
    counted = usable(whole)
    parts = dict(iter(counted.groupby("family")))
    names = sorted(whole["family"].unique())
    lacks = {str(name): claim.needs.lacking(parts.get(name, counted.iloc[:0])) for name in names}
    subjects = (_judge_families if claim.subject == "family" else _judge_pairs)(rows, lacks, claim)
    return combine(claim, subjects, lacks, _unfinished(rows))


def combine(claim: Claim, subjects: Sequence[Verdict], lacks: Lacks | None = None, unfinished: str = "") -> Verdict:
    """The claim's verdict from those of its subjects, by `all` or `any`; it carries the clearest subject's numbers."""
    verdict = _combined({s.verdict for s in subjects}, claim.combine)
    clearest = max((s for s in subjects if s.verdict == verdict), key=lambda s: abs(s.statistic or 0.0))
    reason = _reason(subjects, lacks or {}, unfinished)
    return Verdict(claim.id, verdict, reason, **_numbers(clearest), claim=claim, subjects=tuple(subjects))


def _numbers(verdict: Verdict) -> dict[str, Any]:
    """What a claim's verdict has of its clearest subject's."""
    return {name: getattr(verdict, name) for name in ("statistic", "low", "high", "limit", "unit", "subject")}


def _combined(kinds: set[VerdictKind], how: str) -> VerdictKind:
    """One verdict for all subjects: decided by one of them or by every one, else the most that is missing."""
    one, every = VerdictKind.REFUTED, VerdictKind.SUPPORTED
    if how == "any":
        one, every = every, one
    if one in kinds:
        return one
    return every if kinds == {every} else next(kind for kind in reversed(VERDICTS) if kind in kinds)


def _reason(subjects: Iterable[Verdict], lacks: Lacks, unfinished: str) -> str:
    """Which subjects have which verdict, and why the undecided have theirs; what runs lack is said once, by family."""
    lacking = f"{_grouped(lacks)}{unfinished}"
    groups: dict[tuple[VerdictKind, str], list[str]] = {}
    for verdict in sorted(subjects, key=lambda s: VERDICTS.index(s.verdict)):
        missing = verdict.subject is not None and any(lacks.get(name) for name in verdict.subject.families)
        measured = verdict.statistic is not None or not verdict.reason
        why = lacking if missing else "" if measured else verdict.reason
        groups.setdefault((verdict.verdict, why), []).append(str(verdict.subject))
    if [why for _, why in groups] == [lacking] and lacking:
        return lacking
    return "; ".join(
        f"{kind.word} for {', '.join(names)}{f': {why}' if why else ''}" for (kind, why), names in groups.items()
    )


def _grouped(lacks: Lacks) -> str:
    """What is missing, in words: what several families lack alike is said of them together."""
    by_phrase: dict[str, list[str]] = {}
    for name, phrases in lacks.items():
        for phrase in phrases:
            by_phrase.setdefault(phrase, []).append(name)
    by_names: dict[str, list[str]] = {}
    for phrase, names in by_phrase.items():
        verb = "each have" if names[1:] else "have" if names == [ALL] else "has"
        by_names.setdefault(f"{listed(names)} {verb}", []).append(phrase)
    return ". ".join(f"{who} {'; '.join(phrases)}" for who, phrases in by_names.items())


def _unfinished(rows: pd.DataFrame) -> str:
    """How many runs did not finish, in words, each once whatever its marks; empty where all did."""
    ended = rows[~finished(rows)]
    named = "run_id" in ended and ended["run_id"].notna().all()
    lost = (ended.drop_duplicates("run_id") if named else ended).groupby("family").size()
    return f". Unfinished, not counted: {', '.join(f'{n} of {name}' for name, n in lost.items())}" if len(lost) else ""


def _measure(sample: Sample, subject: Subject, of: str, claim: Claim) -> Any:
    """The quantity, or the verdict that stands in for it."""
    try:
        return claim.measures(sample, of)
    except Unmeasured as outcome:
        return Verdict(claim.id, outcome.kind, str(outcome), subject=subject)
    except FitError as error:
        return Verdict(claim.id, VerdictKind.NOT_IDENTIFIED, str(error), subject=subject)


def _judge_families(rows: pd.DataFrame, lacks: Lacks, claim: Claim) -> list[Verdict]:
    """The verdicts for every family, and for every parameter or column that is asked for."""
    verdicts = []
    able = sum(not missing for missing in lacks.values())
    if "law" in claim.measures.needs and able > MOST_FITTED_FAMILIES:
        reason = too_many_families(able)
        return [Verdict(claim.id, VerdictKind.UNTESTED, reason, subject=Subject(family)) for family in sorted(lacks)]
    for family in sorted(lacks):
        part = rows[rows["family"] == family]
        sample = None if lacks[family] else sample_of(usable_part(part, claim), claim)
        for of in claim.of:
            subject = Subject(family, of if len(claim.of) > 1 else "")
            if sample is None:
                reason = _grouped({family: lacks[family]})
                verdicts.append(Verdict(claim.id, VerdictKind.UNTESTED, reason, subject=subject))
                continue
            outcome = _measure(sample, subject, of, claim)
            verdicts.append(outcome if isinstance(outcome, Verdict) else of_number(outcome, subject, claim))
    return verdicts


def of_number(measured: Measured, subject: Subject, claim: Claim) -> Verdict:
    """What an interval and the checks beside it say."""
    verdict = claim.region.verdict(measured.low, measured.high, measured.seed_sd)
    held = [check.held for check in measured.checks]
    if False in held:
        verdict = VerdictKind.REFUTED
    elif None in held and verdict is VerdictKind.SUPPORTED:
        verdict = VerdictKind.INCONCLUSIVE
    verdict = NEGATED.get(verdict, verdict) if claim.negated else verdict
    mark = {True: "", False: " (fails)", None: " (not decided)"}
    reason = "; ".join([measured.reason, *(f"{check.text}{mark[check.held]}" for check in measured.checks)])
    limit = claim.region.band(measured.seed_sd) or None
    interval = measured.value, measured.low, measured.high
    return Verdict(claim.id, verdict, reason, *interval, limit, subject, unit=measured.unit)


def _judge_pairs(rows: pd.DataFrame, lacks: Lacks, claim: Claim) -> list[Verdict]:
    """The verdicts for all pairs of families, Holm-corrected together; every contrast is measured once."""
    outcomes: dict[Subject, Contrast | Verdict] = {}
    able = [name for name, missing in lacks.items() if not missing]
    fitted = most_runs(rows, able) if "law" in claim.measures.needs else able
    for pair, sample in pair_samples(rows, lacks, claim):
        for of in claim.of:
            subject = Subject(pair, of)
            if sample is None:
                missing = _grouped({name: lacks[name] for name in pair})
                outcomes[subject] = Verdict(claim.id, VerdictKind.UNTESTED, missing, subject=subject)
            elif not {*pair} <= {*fitted}:
                reason = too_many_pairs(len(able), len(fitted))
                outcomes[subject] = Verdict(claim.id, VerdictKind.UNTESTED, reason, subject=subject)
            else:
                outcomes[subject] = _measure(sample, subject, of, claim)
    return _of_outcomes(outcomes, claim)


def _judge_compared(comparisons: Sequence[Comparison], claim: Claim) -> tuple[list[Verdict], Lacks]:
    """The verdicts for the two values that are compared, in every group, and what the runs of either lack."""
    outcomes: dict[Subject, Contrast | Verdict] = {}
    lacks: dict[str, list[str]] = {}
    both = bool(claim.needs.names & {*claim.compare})  # one side has one value of what is compared
    for comparison in comparisons:
        missing = {
            str(name): phrases
            for rows in comparison.rows
            for name, part in ([(comparison.pair, rows)] if both else rows.groupby("family", sort=False))
            if (phrases := claim.needs.missing(part))
        }
        for of in claim.of:
            subject = Subject(comparison.pair, of if len(claim.of) > 1 else "", comparison.group)
            if missing:
                reason = _grouped(missing)
                outcomes[subject] = Verdict(claim.id, VerdictKind.UNTESTED, reason, subject=subject)
            else:
                outcomes[subject] = _compare(comparison, subject, of, claim)
        lacks |= {str(comparison.pair): []}
    return _of_outcomes(outcomes, claim), lacks


def _compare(comparison: Comparison, subject: Subject, of: str, claim: Claim) -> Contrast | Verdict:
    """The contrast of two values; of an interaction the difference of two, which are independent."""
    contrasts = []
    for rows in comparison.rows:
        pair = type(comparison.pair)(*dict.fromkeys(rows["family"]))
        outcome = _measure(sample_of(usable_part(rows, claim), claim, pair), subject, of, claim)
        if isinstance(outcome, Verdict):
            return outcome
        contrasts.append(outcome)
    return contrasts[0] if len(contrasts) == 1 else interaction(*contrasts)


def interaction(one: Contrast, two: Contrast) -> Contrast:
    """The difference of two independent contrasts."""
    se, df = welch([(one.se, one.df), (two.se, two.df)])
    turned = {"least": "most", "most": "least", "": ""}[two.bound]
    bound = one.bound or turned
    if one.bound and turned and one.bound != turned:
        se = math.nan  # either side is open
    noise = max((c.seed_sd for c in (one, two) if c.seed_sd is not None), default=None)
    return Contrast(one.value - two.value, se, df, noise, f"{one.reason}; against {two.reason}", bound)


def _of_outcomes(outcomes: Mapping[Subject, Contrast | Verdict], claim: Claim) -> list[Verdict]:
    """The verdicts of all contrasts, corrected for their number where one of them is enough."""
    contrasts = {subject: outcome for subject, outcome in outcomes.items() if isinstance(outcome, Contrast)}
    verdicts = {subject: outcome for subject, outcome in outcomes.items() if isinstance(outcome, Verdict)}
    if claim.region.kind == "contrast":
        levels = _holm(contrasts, claim.level)
    else:  # Bonferroni, where one of several is enough
        many = len(contrasts) if claim.combine == "any" else 1
        levels = dict.fromkeys(contrasts, 1 - (1 - claim.level) / max(many, 1))
    for subject, level in levels.items():
        verdicts[subject] = of_contrast(contrasts[subject], level, subject, claim)
    return [verdicts[subject] for subject in outcomes]


def too_many_families(many: int) -> str:
    """The sentence about families that are not judged, because there are too many of them."""
    most = f"at most {MOST_FITTED_FAMILIES} are judged; choose some with --where"
    return f"{many} families, each of which takes several fits, and {most}"


def most_runs(rows: pd.DataFrame, families: Sequence[str]) -> list[str]:
    """The families with the most finished runs, as many as have no more than MOST_FITTED_PAIRS pairs.

    What they are has nothing to do with how their losses compare, so their pairs are a fair share of all.
    """
    most = (1 + math.isqrt(1 + 8 * MOST_FITTED_PAIRS)) // 2  # the largest n of n (n - 1) / 2 pairs
    counts = usable(rows).groupby("family").size()
    return sorted(families, key=lambda name: (-counts[name], name))[:most]


def too_many_pairs(able: int, fitted: int) -> str:
    """The sentence about pairs that are not judged, because there are too many of them."""
    many = able * (able - 1) // 2
    most = f"those of the {fitted} families with the most runs are judged; choose others with --where"
    return f"of {many} pairs of families, each of which takes dozens of fits, {most}"


def of_contrast(contrast: Contrast, level: float, subject: Subject, claim: Claim) -> Verdict:
    """What a difference says, `level` being Holm's."""
    wide, narrow = contrast.interval(level), contrast.interval(0.90)
    region = claim.region
    if region.kind == "contrast":
        verdict = region.contrast(contrast.value, wide, narrow, contrast.seed_sd)
        outcome = {VerdictKind.SUPPORTED: region.expect, VerdictKind.REFUTED: OPPOSITE[region.expect]}
        reason = f"{outcome.get(verdict, 'not decided')}: {contrast.reason}; interval at {percent(level)}"
    else:
        verdict = region.verdict(*wide, contrast.seed_sd)
        reason = f"{contrast.reason}; interval at {percent(level)}"
    verdict = NEGATED.get(verdict, verdict) if claim.negated else verdict
    return Verdict(claim.id, verdict, reason, contrast.value, *wide, region.band(contrast.seed_sd), subject)


def _holm(contrasts: Mapping[Subject, Contrast], level: float) -> dict[Subject, float]:
    """For every contrast the level of its interval (Holm 1979): 1 − α/m, m the contrasts not yet told from 0."""
    levels: dict[Subject, float] = {}
    pending = sorted(contrasts, key=lambda subject: contrasts[subject].p_value)
    while pending:
        alpha = (1 - level) / len(pending)
        # ascending: those told from 0 at this level come first
        told = bisect.bisect_left(pending, alpha, key=lambda subject: contrasts[subject].p_value)
        levels |= dict.fromkeys(pending[: told or None], 1 - alpha)
        pending = pending[told:] if told else []
    return levels
