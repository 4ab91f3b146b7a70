"""Judging: claims and a table of runs to a verdict for each claim and for each of its subjects.

`judge` is pure: the same rows and the same file give the same verdict. Contrasts are Holm-corrected over the pairs.

    for verdict in judge(read_runs("runs.csv")):
        print(verdict.id, verdict.verdict, verdict.reason)
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from isoflop import record
from isoflop.analysis.claims.claim import AllOf, Claim, load_claims
from isoflop.analysis.claims.declare import Contrast, Measured, Unmeasured
from isoflop.analysis.claims.quantities.cells import DERIVED, PREFIXES, with_derived
from isoflop.analysis.claims.quantities.pairs import holm, interaction
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.subjects import SubjectCase, cases
from isoflop.analysis.claims.verdict import (
    OPPOSITE,
    ClaimSubject,
    ClaimVerdict,
    RuleVerdict,
    SubjectVerdict,
    combined,
    of_subjects,
    robust,
)
from isoflop.analysis.fitting.fit import Fits
from isoflop.analysis.runs.cells import REPLICATE
from isoflop.analysis.runs.read import NUMERIC, read_runs
from isoflop.analysis.runs.rows import as_floats, finished
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import FitError, UserError
from isoflop.wording import cell, percent

NEGATED = {VerdictKind.SUPPORTED: VerdictKind.REFUTED, VerdictKind.REFUTED: VerdictKind.SUPPORTED}


def judge(
    runs: str | Path | RunsLike, claims: str | Path | Sequence[Claim] | None = None, fits: Fits | None = None
) -> list[ClaimVerdict]:
    """Return a verdict for every claim on these runs (a table, or the path of one).

    claims  a folder of claims, one yaml, or a list of claims; default those that ship
    fits    where fits of these runs are kept, for whoever else needs them
    """
    to_judge = load_claims(claims) if claims is None or isinstance(claims, str | Path) else claims
    table = sound_table(read_runs(runs) if isinstance(runs, str | Path) else runs)
    rules = [rule for claim in to_judge for rule in claim.rules]
    # a copy has the columns of one kind in one block, from which rows are taken much faster
    table = with_derived(table.with_frame(_without_others(table.frame, rules).copy()), columns_of(rules))
    fits = fits or Fits(table)
    with np.errstate(all="ignore"):  # a distant starting point may overflow; its loss is then inf
        return [judge_claim(table, claim, fits) for claim in to_judge]


def sound_table(runs: RunsLike) -> Runs:
    """Return the runs with losses, sizes and budgets as numbers; FitError where one is not, or no row is usable."""
    runs = as_runs(runs).with_compute
    some = runs.take(runs["L"].notna() | ~finished(runs.frame)) if "L" in runs else runs
    (some if "L" in some and len(some.usable) else runs).numbers(["L"], "a claim", blank=("N", "D", "C"))
    numbers = {name: as_floats(runs[name]) for name in ("L", "N", "D", "C") if name in runs}
    notes = []
    for name in runs.frame.columns.intersection(list(NUMERIC)).difference(list(numbers)):
        values, words = as_floats(runs[name]), np.flatnonzero(as_floats(runs[name]).isna() & runs[name].notna())
        if len(words) and values.notna().any():  # a knob, one of whose cells is a word
            where, value = runs.where_is(runs.frame.index[words[0]]), cell(runs[name].iloc[words[0]])
            notes.append(f"{where}: {name} is {value}, not a number, and taken as blank")
            numbers[name] = values
    return runs.with_columns(*notes, **numbers)


def _without_others(runs: pd.DataFrame, rules: Iterable[Rule]) -> pd.DataFrame:
    """Return the columns that these rules may read, and near-matches of misspelt ones; all where no run_id is there."""
    if "run_id" not in runs or runs["run_id"].isna().any():
        return runs
    names = columns_of(rules)
    absent = names - set(runs.columns)
    near = {c for name in absent for c in difflib.get_close_matches(name, [str(c) for c in runs.columns], n=1)}
    return runs[[c for c in runs if c in names or c in near or str(c).startswith(PREFIXES)]]


def columns_of(rules: Iterable[Rule]) -> set[str]:
    """Return the columns that judging by these rules reads, and those that derived ones are computed from."""
    names = {*record.COLUMNS, *REPLICATE}.union(*(rule.columns for rule in rules))
    return names | {source for name in names if name in DERIVED for source in DERIVED[name][0]}


def judge_claim(runs: RunsLike, claim: Claim, fits: Fits | None = None) -> ClaimVerdict:
    """Return the verdict of one claim, with those of its subjects; UserError naming the claim's file."""
    runs = as_runs(runs)
    try:
        return _judge_claim(runs, claim, fits or Fits(runs))
    except FitError:
        raise
    except UserError as error:
        raise UserError(f"{claim.file or claim.id}: {error}") from None


def _judge_claim(runs: Runs, claim: Claim, fits: Fits) -> ClaimVerdict:
    if claim.untestable:
        reason = f"not testable as stated: {claim.untestable}"
        return ClaimVerdict(VerdictKind.UNTESTED, reason, claim=claim)
    for rule in claim.given:
        given = judge_rule(runs, rule, fits)
        if given.verdict is not VerdictKind.SUPPORTED:
            kind = VerdictKind.NOT_IDENTIFIED if given.verdict.decided else given.verdict
            reason = f"it is asked only where {rule.name} holds, which is {given.verdict.word}: {given.reason}"
            return ClaimVerdict(kind, reason, _subjects(given, rule), claim=claim)
    if isinstance(claim.rule, AllOf):
        return _judge_together(runs, claim, claim.rule, fits)
    verdict = judge_rule(runs, claim.rules[-1], fits)
    several = verdict.statistic is not None and len(verdict.subjects) > 1
    whose = f"; the numbers are those of {verdict.subject}" if several else ""
    return ClaimVerdict(verdict.verdict, verdict.reason + whose, verdict.subjects, verdict.clearest, claim=claim)


def _judge_together(runs: Runs, claim: Claim, several: AllOf, fits: Fits) -> ClaimVerdict:
    """Return the verdict of a claim of several rules, from theirs; it carries the numbers of the clearest subject."""
    verdicts = [judge_rule(runs, rule, fits) for rule in several.rules]
    kind = combined({verdict.verdict for verdict in verdicts}, several.how)
    pairs = [*zip(verdicts, several.rules, strict=True)]
    subjects = [subject for verdict, rule in pairs for subject in _subjects(verdict, rule)]
    reason = "; ".join(
        f"{rule.name}: {verdict.verdict.word}{f' ({verdict.reason})' if verdict.reason else ''}"
        for verdict, rule in pairs
    )
    alike = [subject for subject in subjects if subject.verdict is kind] or subjects
    return ClaimVerdict(kind, reason, tuple(subjects), alike[0], claim=claim)


def _subjects(verdict: RuleVerdict, rule: Rule) -> tuple[SubjectVerdict, ...]:
    """Return the verdicts of a rule's subjects; where it has none, its own."""
    whole = ClaimSubject("", part=rule.name)
    return verdict.subjects or (SubjectVerdict(rule, whole, verdict.verdict, verdict.reason),)


def judge_rule(runs: RunsLike, rule: Rule, fits: Fits | None = None) -> RuleVerdict:
    """Return the verdict of one rule: THE loop over its subjects; every one is measured once."""
    try:
        found, lacks, unfinished = cases(runs, rule, fits)
    except Unmeasured as outcome:
        return RuleVerdict(outcome.kind, str(outcome))
    several = len(rule.of) > 1 or (rule.measures.subject == "pair" and not rule.compare)
    asked = {
        ClaimSubject(case.name, name if several else "", case.group, rule.name): (case, name)
        for case in found
        for name in rule.names
    }
    if rule.combine == "count" and rule.region.kind != "contrast":
        verdicts = _by_steps(asked, rule)
    else:
        outcomes = {subject: _measure(case, subject, name, rule) for subject, (case, name) in asked.items()}
        verdicts = _judge_outcomes(outcomes, rule)
    if not (rule.robust and any(verdict.verdict.decided for verdict in verdicts)):
        return of_subjects(rule, verdicts, lacks, unfinished)
    table = as_runs(runs)
    settings = (fits or Fits(table)).settings
    try:
        kept, frail = robust(verdicts, rule, settings, lambda varied, how: judge_rule(table, varied, Fits(table, how)))
    except Unmeasured as outcome:
        return RuleVerdict(outcome.kind, str(outcome))
    whole = of_subjects(rule, kept, lacks, unfinished)
    return replace(whole, reason=f"{whole.reason}{frail}")


def _by_steps(asked: Mapping[ClaimSubject, tuple[SubjectCase, str]], rule: Rule) -> list[SubjectVerdict]:
    """Return the verdicts of all subjects, with the chance that any is decided wrongly held to 1 − the rule's level: of
    m that can be measured each at 1 − α/m, and those that are left again, being fewer (Holm 1979)."""
    done: dict[ClaimSubject, SubjectVerdict] = {}
    pending = dict(asked)
    while pending:
        level = 1 - (1 - rule.level) / len(pending)
        here = replace(rule, level=level, combine="all")
        outcomes = {subject: _measure(case, subject, name, here) for subject, (case, name) in pending.items()}
        verdicts = zip(outcomes.items(), _judge_outcomes(outcomes, here), strict=True)
        left: dict[ClaimSubject, SubjectVerdict] = {}
        for (subject, outcome), verdict in verdicts:
            at = f"; interval at {percent(level)}" if isinstance(outcome, Measured) else ""
            own = replace(verdict, rule=rule, reason=verdict.reason + at)
            (done if verdict.verdict.decided or isinstance(outcome, SubjectVerdict) else left)[subject] = own
        if len(left) == len(pending):
            done |= left
            break
        pending = {subject: pending[subject] for subject in left}
    return [done[subject] for subject in asked]


def _measure(case: SubjectCase, subject: ClaimSubject, name: str, rule: Rule) -> Measured | Contrast | SubjectVerdict:
    """Return the quantity of one subject, or the verdict that stands in for it."""
    if case.lack:
        return SubjectVerdict(rule, subject, VerdictKind.UNTESTED, case.lack)
    try:
        samples = [s if s.level == rule.level else replace(s, level=rule.level) for s in case.samples]
        measured = [rule.measures(sample, name) for sample in samples]
    except Unmeasured as outcome:
        return SubjectVerdict(rule, subject, outcome.kind, str(outcome))
    except FitError as error:
        return SubjectVerdict(rule, subject, VerdictKind.NOT_IDENTIFIED, str(error))
    return interaction(*measured) if len(measured) > 1 else measured[0]


def _judge_outcomes(
    outcomes: Mapping[ClaimSubject, Measured | Contrast | SubjectVerdict], rule: Rule
) -> list[SubjectVerdict]:
    """Return the verdicts of all subjects, corrected for the number of contrasts where one of them is enough."""
    contrasts = {subject: outcome for subject, outcome in outcomes.items() if isinstance(outcome, Contrast)}
    if rule.region.kind == "contrast":
        levels = holm(contrasts, rule.level)
    else:  # Bonferroni, where one of several is enough
        many = len(contrasts) if rule.combine == "any" else 1
        levels = dict.fromkeys(contrasts, 1 - (1 - rule.level) / max(many, 1))
    return [
        outcome
        if isinstance(outcome, SubjectVerdict)
        else _of_number(outcome, subject, rule)
        if isinstance(outcome, Measured)
        else _of_contrast(outcome, levels[subject], subject, rule)
        for subject, outcome in outcomes.items()
    ]


def _of_number(measured: Measured, subject: ClaimSubject, rule: Rule) -> SubjectVerdict:
    alone = verdict = rule.region.verdict(measured.low, measured.high, measured.seed_sd)
    held = [check.held for check in measured.checks]
    if False in held:
        verdict = VerdictKind.REFUTED
    elif None in held and verdict is VerdictKind.SUPPORTED:
        verdict = VerdictKind.INCONCLUSIVE
    deciding = False if False in held else None
    beside = "; ".join(c.text for c in measured.checks if c.held is deciding) if verdict is not alone else ""
    verdict = NEGATED.get(verdict, verdict) if rule.negated else verdict
    mark = {True: "", False: " (fails)", None: " (not decided)"}
    reason = "; ".join([measured.reason, *(f"{check.text}{mark[check.held]}" for check in measured.checks)])
    limit = rule.region.band(measured.seed_sd) or None
    interval = measured.value, measured.low, measured.high
    return SubjectVerdict(rule, subject, verdict, reason, *interval, limit, measured.unit, beside)


def _of_contrast(contrast: Contrast, level: float, subject: ClaimSubject, rule: Rule) -> SubjectVerdict:
    """Return what a difference says, `level` being Holm's."""
    wide, narrow = contrast.interval(level), contrast.interval(0.90)
    region = rule.region
    reason = f"{contrast.reason}; interval at {percent(level)}"
    if region.kind == "contrast":
        verdict = region.verdict_on_difference(contrast.value, wide, narrow, contrast.seed_sd)
        outcome = {VerdictKind.SUPPORTED: region.expected, VerdictKind.REFUTED: OPPOSITE[region.expected]}
        reason = f"{outcome.get(verdict, 'not decided')}: {reason}"
    else:
        verdict = region.verdict(*wide, contrast.seed_sd)
    verdict = NEGATED.get(verdict, verdict) if rule.negated else verdict
    return SubjectVerdict(rule, subject, verdict, reason, contrast.value, *wide, region.band(contrast.seed_sd))
