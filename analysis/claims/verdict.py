"""Verdicts: what the runs say of each subject of a rule, and of the whole claim.

    combined({VerdictKind.SUPPORTED, VerdictKind.UNTESTED}, how="any")      # supported

Subjects combine as the rule says: `all` is refuted by one of them and supported only by every one; `any` is the
reverse; `count` is supported by more than a share of them, once each is decided. Rules combine as all or any. `robust:`
asks that a subject stays decided under other choices of rows and of the objective.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoflop.analysis.arguments import Settings
from isoflop.analysis.claims.claim import Claim
from isoflop.analysis.claims.declare import Pair, Untested
from isoflop.analysis.claims.needs import Lacks, Needs, lacking_in_words
from isoflop.analysis.claims.region import VERDICTS, VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.wording import number

OPPOSITE = {"different": "equivalent", "equivalent": "different"}
NUMBERS = ("statistic", "low", "high", "limit")


@dataclass(frozen=True)
class ClaimSubject:
    """What a verdict is about: a family or a pair of them, and the parameter or column where several are asked for."""

    name: str | Pair
    """The family, or the two that are compared."""
    of: str = ""
    """The parameter or column, where several are measured."""
    group: str = ""
    """The group that both of a pair belong to."""
    part: str = ""
    """The name of the rule, where the claim has several."""

    @property
    def pair(self) -> Pair | None:
        """The two families of a contrast."""
        return self.name if isinstance(self.name, Pair) else None

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(self.pair or (str(self.name),))

    @property
    def within_rule(self) -> str:
        """What it is called among the subjects of its rule."""
        return ": ".join(word for word in (self.group, str(self.name), self.of) if word)

    def __str__(self) -> str:
        return ": ".join(word for word in (self.part, self.within_rule) if word)


@dataclass(frozen=True)
class SubjectVerdict:
    """What the runs say of one subject of a rule; numbers without a value are None."""

    rule: Rule
    """The rule by which it is judged."""
    subject: ClaimSubject
    """What it is about."""
    verdict: VerdictKind
    """The outcome."""
    reason: str
    """Why, in words."""
    statistic: float | None = None
    """The quantity."""
    low: float | None = None
    """The lower bound of its interval."""
    high: float | None = None
    """The upper bound of its interval."""
    limit: float | None = None
    """The tolerance or half-width of the band that the statistic was set against, seed noise included."""
    unit: str = ""
    """The unit of a statistic that is the mean of a column."""
    beside: str = ""
    """What decides it where the interval alone would say otherwise, such as a check that fails."""

    def to_json(self, id: str) -> dict[str, Any]:
        """Return the verdict as JSON holds it, with the id of the claim."""
        return _document(id, self) | {"subject": str(self.subject)}


@dataclass(frozen=True)
class RuleVerdict:
    """The verdict of a rule; its numbers are those of its clearest subject."""

    verdict: VerdictKind
    """The outcome."""
    reason: str
    """Why, in words."""
    subjects: tuple[SubjectVerdict, ...] = ()
    """The verdicts of its subjects."""
    clearest: SubjectVerdict | None = None
    """The subject whose numbers are shown for the whole; None where none was measured."""

    @property
    def statistic(self) -> float | None:
        return self.clearest.statistic if self.clearest else None

    @property
    def low(self) -> float | None:
        return self.clearest.low if self.clearest else None

    @property
    def high(self) -> float | None:
        return self.clearest.high if self.clearest else None

    @property
    def limit(self) -> float | None:
        return self.clearest.limit if self.clearest else None

    @property
    def unit(self) -> str:
        return self.clearest.unit if self.clearest else ""

    @property
    def beside(self) -> str:
        return self.clearest.beside if self.clearest else ""

    @property
    def subject(self) -> ClaimSubject | None:
        return self.clearest.subject if self.clearest else None


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict(RuleVerdict):
    """What the runs say of a claim."""

    claim: Claim
    """The claim."""

    @property
    def id(self) -> str:
        return self.claim.id

    @property
    def rule(self) -> Rule:
        """The rule that the numbers are judged by; without numbers the first of the claim, which may have none."""
        return self.clearest.rule if self.clearest else self.claim.rules[0]

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON holds it, with those of its subjects."""
        about = {"claim": self.claim.claim, "rule": self.claim.in_words, "caveat": self.claim.caveat}
        subjects = [subject.to_json(self.id) for subject in self.subjects]
        return _document(self.id, self) | about | {"sha256": self.claim.sha256, "subjects": subjects}


# of a claim, or of one of its subjects
Verdict = SubjectVerdict | ClaimVerdict


def _document(id: str, verdict: Verdict) -> dict[str, Any]:
    numbers = {name: getattr(verdict, name) for name in NUMBERS}
    return {"id": id, "verdict": verdict.verdict.value, **numbers, "reason": verdict.reason}


def combined(kinds: set[VerdictKind], how: str) -> VerdictKind:
    """Return one verdict for several: decided by one of them or by every one, else the most that is missing."""
    one, every = VerdictKind.REFUTED, VerdictKind.SUPPORTED
    if how == "any":
        one, every = every, one
    if one in kinds:
        return one
    return every if kinds == {every} else next(kind for kind in reversed(VERDICTS) if kind in kinds)


def of_subjects(
    rule: Rule, subjects: Sequence[SubjectVerdict], lacks: Lacks | None = None, unfinished: str = ""
) -> RuleVerdict:
    """Return the verdict of a rule from those of its subjects, with what each family lacks, and in words how many runs
    did not finish."""
    kinds, counted = [subject.verdict for subject in subjects], ""
    verdict = combined({*kinds}, "all" if rule.combine == "count" else rule.combine)
    if rule.combine == "count":
        supported = kinds.count(VerdictKind.SUPPORTED)
        decided = [kind for kind in kinds if kind.decided]
        counted = f"{supported} of {len(kinds)} supported, {len(decided) - supported} refuted: "
        if len(decided) < len(kinds):
            verdict = combined({kind for kind in kinds if not kind.decided}, "all")
        else:
            verdict = VerdictKind.SUPPORTED if supported > rule.share * len(kinds) else VerdictKind.REFUTED
    clearest = max((s for s in subjects if s.verdict == verdict), key=lambda s: abs(s.statistic or 0.0))
    return RuleVerdict(verdict, counted + _reason(subjects, lacks or {}, unfinished), tuple(subjects), clearest)


def _reason(subjects: Iterable[SubjectVerdict], lacks: Lacks, unfinished: str) -> str:
    """Return which subjects have which verdict, and why the undecided have theirs; what families lack is said once."""
    lacking = f"{lacking_in_words(lacks)}{unfinished}"
    groups: dict[tuple[VerdictKind, str], list[str]] = {}
    for verdict in sorted(subjects, key=lambda s: VERDICTS.index(s.verdict)):
        missing = any(lacks.get(name) for name in verdict.subject.families)
        measured = verdict.statistic is not None or not verdict.reason
        why = lacking if missing else "" if measured else verdict.reason
        groups.setdefault((verdict.verdict, why), []).append(verdict.subject.within_rule)
    if [why for _, why in groups] == [lacking] and lacking:
        return lacking
    if len(groups) == 1 and (only := next(iter(groups)))[0] is VerdictKind.UNTESTED and only[1]:
        return only[1]  # said of all subjects, beside a verdict that says the word
    return "; ".join(
        f"{kind.word} for {', '.join(names)}{f': {why}' if why else ''}" for (kind, why), names in groups.items()
    )


def robust(
    verdicts: Sequence[SubjectVerdict], rule: Rule, settings: Settings, again: Callable[[Rule, Settings], RuleVerdict]
) -> tuple[list[SubjectVerdict], str]:
    """Return the verdicts, inconclusive where another choice gives another one, and words for those; Untested where no
    runs are left under a condition, or it names a column that they lack; again: judges a rule with other options of a
    fit."""
    objectives = {"Huber's objective": settings, "weighed squares": replace(settings, loss="l2", weights="auto")}
    # what a whole design needs is asked of the whole: a part spans less
    plain = replace(rule, robust=(), needs=Needs(tuned=rule.needs.tuned))
    kept = {verdict.subject: verdict for verdict in verdicts}
    frail = {}
    for condition, (objective, chosen) in itertools.product(rule.robust, objectives.items()):
        varied = replace(plain, where=" and ".join(filter(None, (rule.where, condition))))
        whole = again(varied, chosen)
        if not whole.subjects:
            raise Untested(f"robust where {condition}: {whole.reason}")
        found = {verdict.subject: verdict for verdict in whole.subjects}
        for subject, one in kept.items():
            absent = SubjectVerdict(rule, subject, VerdictKind.UNTESTED, "it has no runs")
            other = found.get(subject, absent)
            if one.verdict.decided and not _agree(one, other, rule):
                at = other.reason if other.statistic is None else number(other.statistic)
                frail[subject] = f"{other.verdict.word} ({at}) where {condition}, by {objective}"
                reason = f"not robust: {frail[subject]}; {one.reason}"
                kept[subject] = replace(one, verdict=VerdictKind.INCONCLUSIVE, reason=reason)
    words = "".join(f"; {subject} is not robust: {said}" for subject, said in frail.items())
    return [*kept.values()], words


def _agree(one: SubjectVerdict, other: SubjectVerdict, rule: Rule) -> bool:
    """Return whether two verdicts are one; where they say that two differ, in the same direction."""
    differs = (one.verdict is VerdictKind.SUPPORTED) == ((rule.region.expected == "different") != rule.negated)
    turned = np.sign(one.statistic or 0.0) != np.sign(other.statistic or 0.0)
    return one.verdict is other.verdict and not (turned and rule.region.kind == "contrast" and differs)
