"""Judging: claims and a table of runs to a verdict for each claim and for each of its subjects.

`judge` is pure: the same rows and the same file give the same verdict. Over subjects it is combined as the file says:
`all` is refuted by one counter-example and supported only by every subject; `any` is supported by one subject
(contrasts are Holm-corrected over the pairs) and refuted only by every subject.

    for verdict in judge(read_runs("runs.csv")):
        print(verdict.id, verdict.verdict, verdict.reason)
"""

import bisect
import difflib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop import record
from isoflop.analysis.claims.claim import Claim, load_claims
from isoflop.analysis.claims.declare import (
    Contrast,
    Measured,
    Pair,
    Part,
    Sample,
    Unmeasured,
    Untested,
    require_columns,
)
from isoflop.analysis.claims.needs import tuned_rows
from isoflop.analysis.claims.region import VERDICTS, VerdictKind
from isoflop.analysis.laws.catalogue import get_law
from isoflop.analysis.tables.read import as_floats, conditions, read_runs, select
from isoflop.analysis.tables.replicates import CELL
from isoflop.analysis.tables.rows import checked, finished, usable, with_compute
from isoflop.errors import FitError, UserError
from isoflop.wording import listed, percent

# pairs of families that a claim about their laws is judged for: each takes two fits and their jackknife
MOST_FITTED_PAIRS = 200
OPPOSITE = {"different": "equivalent", "equivalent": "different"}
# family -> phrases that say what its runs lack
Lacks = Mapping[str, list[str]]


@dataclass(frozen=True)
class Subject:
    """What a verdict is about: a family or a pair of them, and the parameter or column where several are asked for."""

    name: str | Pair
    of: str = ""

    @property
    def pair(self) -> Pair | None:
        """The two families of a contrast."""
        return self.name if isinstance(self.name, Pair) else None

    @property
    def families(self) -> tuple[str, ...]:
        """The one or two families."""
        return tuple(self.pair or (str(self.name),))

    def __str__(self) -> str:
        return f"{self.name}: {self.of}" if self.of else str(self.name)


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
    table = sound_table(read_runs(runs) if isinstance(runs, str | Path) else runs)
    table = _without_others(table, to_judge)
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
    names = _columns_of(claims)
    absent = names - set(runs.columns)
    near = {c for name in absent for c in difflib.get_close_matches(name, [str(c) for c in runs.columns], n=1)}
    return runs[[c for c in runs if c in names or c in near]]


def _columns_of(claims: Iterable[Claim]) -> set[str]:
    """The columns that judging these claims reads."""
    names = {*record.COLUMNS, *CELL}
    for claim in claims:
        law = get_law(claim.law) if claim.law else None
        names |= {*(law.columns if law else ()), *([law.target] if law else []), claim.axis, *claim.of, *claim.at}
        names |= {condition.column for condition in conditions(claim.where)}
        names |= claim.needs.names
    return names


def judge_claim(runs: pd.DataFrame, claim: Claim) -> Verdict:
    """The verdict of one claim, with those of its subjects."""
    try:
        rows = scope(runs, claim)
    except Unmeasured as outcome:
        return Verdict(claim.id, outcome.kind, str(outcome), claim=claim)
    families = sorted(rows["family"].unique())
    wanted = max(claim.needs.families, 2 if claim.subject == "pair" else 1)
    if len(families) < wanted:
        reason = f"needs {wanted} families, and the runs have {len(families)}: {', '.join(families) or 'none'}"
        return Verdict(claim.id, VerdictKind.UNTESTED, reason, claim=claim)
    lacks = {str(name): claim.needs.missing(part) for name, part in rows.groupby("family", sort=True)}
    subjects = (_judge_families if claim.subject == "family" else _judge_pairs)(rows, lacks, claim)
    return combine(claim, subjects, lacks, _unfinished(rows))


def of_families(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that name a family, as text; a table without families is one family, called by its file."""
    if "family" not in runs or runs["family"].isna().all():
        return runs.assign(family=Path(str(runs.attrs.get("source", "all runs"))).stem or "all runs")
    rows = runs[runs["family"].notna()]
    return rows.assign(family=rows["family"].astype(str))


def scope(runs: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The rows that the claim is about: `where`, then `at` in each family; a table without families is one family."""
    rows = of_families(runs)
    require_columns(rows, [condition.column for condition in conditions(claim.where)])
    if claim.where:
        try:
            rows = select(rows, claim.where)
        except UserError as error:
            raise UserError(f"{claim.file or claim.id}: where: {error}") from None
    for column, place in claim.at.items():
        require_columns(rows, [column])
        rows = rows[rows[column] == rows["family"].map(_places(rows, column, place))]
    if rows.empty:
        raise Untested(f"no runs where {claim.where or 'a family is named'}")
    return rows


def combine(claim: Claim, subjects: Sequence[Verdict], lacks: Lacks | None = None, unfinished: str = "") -> Verdict:
    """The claim's verdict from those of its subjects, by `all` or `any`; it carries the clearest subject's numbers."""
    verdict = _combined({s.verdict for s in subjects}, claim.combine)
    clearest = max((s for s in subjects if s.verdict == verdict), key=lambda s: abs(s.statistic or 0.0))
    reason = _reason(subjects, lacks or {}, unfinished)
    if clearest.statistic is not None and len(subjects) > 1:
        reason += f"; the numbers are those of {clearest.subject}"
    numbers = {name: getattr(clearest, name) for name in ("statistic", "low", "high", "limit", "unit", "subject")}
    return Verdict(claim.id, verdict, reason, **numbers, claim=claim, subjects=tuple(subjects))


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


def _places(rows: pd.DataFrame, column: str, place: str | float) -> dict[str, float]:
    """For each family the value of the column that `at` means; of an even number of values the lower middle."""
    values = {str(name): sorted(part[column].dropna().unique()) for name, part in rows.groupby("family")}
    if not isinstance(place, str):
        return dict.fromkeys(values, float(place))
    index = {"smallest": lambda n: 0, "middle": lambda n: (n - 1) // 2, "largest": lambda n: n - 1}[place]
    return {name: float(levels[index(len(levels))]) if levels else float("nan") for name, levels in values.items()}


def _grouped(lacks: Lacks) -> str:
    """What is missing, in words: what several families lack alike is said of them together."""
    by_phrase: dict[str, list[str]] = {}
    for name, phrases in lacks.items():
        for phrase in phrases:
            by_phrase.setdefault(phrase, []).append(name)
    by_names: dict[str, list[str]] = {}
    for phrase, names in by_phrase.items():
        by_names.setdefault(f"{listed(names)}{' each have' if names[1:] else ' has'}", []).append(phrase)
    return ". ".join(f"{who} {'; '.join(phrases)}" for who, phrases in by_names.items())


def _unfinished(rows: pd.DataFrame) -> str:
    """How many rows did not finish, in words; empty where all did."""
    lost = rows[~finished(rows)].groupby("family").size()
    return f". Unfinished, not counted: {', '.join(f'{n} of {name}' for name, n in lost.items())}" if len(lost) else ""


def _sample(rows: pd.DataFrame, claim: Claim) -> Sample:
    rows = tuned_rows(usable(rows), tuple(claim.needs.tuned))
    return Sample(rows, claim.law, claim.axis, Pair(), claim.level, claim.region, claim.point)


def _pair_samples(rows: pd.DataFrame, lacks: Lacks, claim: Claim) -> Iterator[tuple[Pair, Sample | None]]:
    """Every pair of families, and its runs where neither lacks any; what is of one family is done once."""
    parts = {
        name: Part(tuned_rows(usable(rows[rows["family"] == name]), tuple(claim.needs.tuned)))
        for name, missing in lacks.items()
        if not missing
    }
    rows = pd.concat([part.runs for part in parts.values()]) if parts else rows
    ends = dict(zip(parts, np.cumsum([len(part.runs) for part in parts.values()]), strict=True))
    for pair in itertools.starmap(Pair, itertools.combinations(sorted(lacks), 2)):
        both = tuple(parts[name] for name in pair if name in parts)
        if len(both) < len(pair):
            yield pair, None
        else:
            places = [np.arange(ends[name] - len(parts[name].runs), ends[name]) for name in pair]
            yield (
                pair,
                Sample(
                    rows.take(np.concatenate(places)),
                    claim.law,
                    claim.axis,
                    pair,
                    claim.level,
                    claim.region,
                    claim.point,
                    both,
                ),
            )


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
    for family in sorted(lacks):
        sample = None if lacks[family] else _sample(rows[rows["family"] == family], claim)
        for of in claim.of:
            subject = Subject(family, of if len(claim.of) > 1 else "")
            if sample is None:
                reason = _grouped({family: lacks[family]})
                verdicts.append(Verdict(claim.id, VerdictKind.UNTESTED, reason, subject=subject))
                continue
            outcome = _measure(sample, subject, of, claim)
            verdicts.append(outcome if isinstance(outcome, Verdict) else _of_number(outcome, subject, claim))
    return verdicts


def _of_number(measured: Measured, subject: Subject, claim: Claim) -> Verdict:
    """What an interval and the checks beside it say."""
    verdict = claim.region.verdict(measured.low, measured.high, measured.seed_sd)
    held = [check.held for check in measured.checks]
    if False in held:
        verdict = VerdictKind.REFUTED
    elif None in held and verdict is VerdictKind.SUPPORTED:
        verdict = VerdictKind.INCONCLUSIVE
    mark = {True: "", False: " (fails)", None: " (not decided)"}
    reason = "; ".join([measured.reason, *(f"{check.text}{mark[check.held]}" for check in measured.checks)])
    limit = claim.region.band(measured.seed_sd) or None
    interval = measured.value, measured.low, measured.high
    return Verdict(claim.id, verdict, reason, *interval, limit, subject, unit=measured.unit)


def _judge_pairs(rows: pd.DataFrame, lacks: Lacks, claim: Claim) -> list[Verdict]:
    """The verdicts for all pairs of families, Holm-corrected together; every contrast is measured once."""
    outcomes: dict[Subject, Contrast | Verdict] = {}
    able = sum(not missing for missing in lacks.values())
    many = able * (able - 1) // 2 if "law" in claim.measures.needs else 0
    for pair, sample in _pair_samples(rows, lacks, claim):
        for of in claim.of:
            subject = Subject(pair, of)
            if sample is None:
                missing = _grouped({name: lacks[name] for name in pair})
                outcomes[subject] = Verdict(claim.id, VerdictKind.UNTESTED, missing, subject=subject)
            elif many > MOST_FITTED_PAIRS:
                outcomes[subject] = Verdict(claim.id, VerdictKind.UNTESTED, too_many_pairs(many), subject=subject)
            else:
                outcomes[subject] = _measure(sample, subject, of, claim)
    contrasts = {subject: outcome for subject, outcome in outcomes.items() if isinstance(outcome, Contrast)}
    verdicts = {subject: outcome for subject, outcome in outcomes.items() if isinstance(outcome, Verdict)}
    for subject, level in _holm(contrasts, claim.level).items():
        verdicts[subject] = _of_contrast(contrasts[subject], level, subject, claim)
    return [verdicts[subject] for subject in outcomes]


def too_many_pairs(many: int) -> str:
    """The sentence about pairs that are not judged, because there are too many of them."""
    families = (1 + math.isqrt(1 + 8 * MOST_FITTED_PAIRS)) // 2  # the largest n of n (n - 1) / 2 pairs
    most = f"at most {MOST_FITTED_PAIRS} are judged; give a table of {families} families or fewer"
    return f"{many} pairs of families, each of which takes dozens of fits, and {most}"


def _of_contrast(contrast: Contrast, level: float, subject: Subject, claim: Claim) -> Verdict:
    """What a difference says, `level` being Holm's."""
    wide, narrow = contrast.interval(level), contrast.interval(0.90)
    verdict = claim.region.contrast(contrast.value, wide, narrow, contrast.seed_sd)
    expected = claim.region.expect
    outcome = {VerdictKind.SUPPORTED: expected, VerdictKind.REFUTED: OPPOSITE[expected]}.get(verdict, "not decided")
    reason = f"{outcome}: {contrast.reason}; interval at {percent(level)}"
    return Verdict(claim.id, verdict, reason, contrast.value, *wide, claim.region.band(contrast.seed_sd), subject)


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
