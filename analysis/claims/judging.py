"""Judging: one claim and a table of runs to a verdict for each subject and for the claim."""

import itertools
import re
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from isoflop.analysis.claims.claim import Claim, Verdict
from isoflop.analysis.claims.needs import tuned_rows
from isoflop.analysis.claims.quantities import QUANTITIES, Measured, NotIdentified, NotThere, Study
from isoflop.analysis.claims.region import VERDICTS
from isoflop.analysis.fitting.result import FitError
from isoflop.analysis.tables.read import select
from isoflop.analysis.tables.replicates import points
from isoflop.errors import UserError
from isoflop.wording import listed, percent

_NAMES = re.compile(r"([A-Za-z_][\w.]*)\s*(?:<=|>=|!=|==|=|<|>)")
OPPOSITE = {"different": "equivalent", "equivalent": "different"}
_TEXTS = re.compile(r"'[^']*'|\"[^\"]*\"")


def judge_claim(runs: pd.DataFrame, claim: Claim) -> Verdict:
    """The verdict of one claim, with those of its subjects."""
    try:
        rows = scope(runs, claim)
    except NotThere as outcome:
        return Verdict(claim.id, "untested", str(outcome), claim=claim)
    families = sorted(rows["family"].unique())
    if len(families) < max(claim.needs.families, 2 if claim.subject == "pair" else 1):
        reason = f"has {len(families)} of {max(claim.needs.families, 2)} families: {', '.join(families) or 'none'}"
        return Verdict(claim.id, "untested", reason, claim=claim)
    lacks = {name: claim.needs.missing(rows[rows["family"] == name]) for name in families}
    if claim.subject == "family":
        subjects = [_judge_family(rows, name, lacks[name], of, claim) for name in families for of in claim.of]
    else:
        subjects = _judge_pairs(rows, lacks, claim)
    verdict = combine(claim, subjects)
    if verdict.verdict != "untested" or not any(lacks.values()):
        return verdict
    return replace(verdict, reason=f"{_grouped(lacks)}{_unfinished(rows)}")


def scope(runs: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The rows that the claim speaks of: `where`, then `at` in each family; a table without families is one family."""
    rows = runs if "family" in runs else runs.assign(family="all runs")
    rows = rows[rows["family"].notna()]
    named = {*_NAMES.findall(_TEXTS.sub("", claim.where)), *claim.at}
    absent = sorted(c for c in named if c not in rows)
    if absent:
        raise NotThere(f"the runs have no column {', '.join(absent)}")
    if claim.where:
        try:
            rows = select(rows, claim.where)
        except UserError as error:
            raise UserError(f"{claim.file or claim.id}: where: {error}") from None
    for column, place in claim.at.items():
        rows = rows[rows[column] == rows["family"].map(_places(rows, column, place))]
    if rows.empty:
        raise NotThere(f"no runs where {claim.where or 'a family is named'}")
    return rows


def combine(claim: Claim, subjects: list[Verdict]) -> Verdict:
    """The claim's verdict from those of its subjects, by `all` or `any`; it carries the clearest subject's numbers."""
    found = {s.verdict for s in subjects}
    if claim.combine == "all":
        decided = "refuted" if "refuted" in found else "supported" if found == {"supported"} else None
    else:
        decided = "supported" if "supported" in found else "refuted" if found == {"refuted"} else None
    verdict = decided or next(v for v in ("untested", "not_identified", "inconclusive") if v in found)
    deciding = [s for s in subjects if s.verdict == verdict]
    clearest = max(deciding, key=lambda s: abs(s.statistic or 0.0))
    reason = ", ".join(f"{v} for {_names(subjects, v)}" for v in sorted(found, key=VERDICTS.index))
    if clearest.statistic is not None and len(subjects) > 1:
        reason += f"; the numbers are those of {clearest.subject}"
    numbers = {name: getattr(clearest, name) for name in ("statistic", "low", "high", "limit")}
    return Verdict(claim.id, verdict, reason, **numbers, claim=claim, subjects=tuple(subjects))


def changed_since(claim: Claim, runs: pd.DataFrame) -> tuple[bool | None, str]:
    """Whether the claim's file is another text than at the commits of its runs (None: not known), and in words.

    Asks git; `judge` itself does not look.
    """
    commits = sorted({str(c) for c in runs["git"].dropna()}) if "git" in runs else []
    if claim.file is None or not commits:
        return None, "the runs do not say which commit made them, so whether this claim came first is not known"
    now = _git(claim.file, "hash-object", claim.file.name)
    for commit in commits:
        short = commit[:12]
        if not re.fullmatch(r"[0-9a-f]{7,64}", commit) or not now or not _git(claim.file, "cat-file", "-t", commit):
            return None, f"git does not know the runs' commit {short}, so whether this claim came first is not known"
        if _git(claim.file, "rev-parse", f"{commit}:./{claim.file.name}") != now:
            unclean = "dirty" in runs and runs["dirty"].astype(str).eq("True").any()
            perhaps = ", perhaps before the runs, which were made from uncommitted code" if unclean else ""
            return True, f"this claim changed, or came, after its runs' commit {short}{perhaps}"
    return False, "this claim stands as it did in its runs' commit"


def _git(file: Path, *words: str) -> str:
    """The answer of git in the file's folder; empty where there is none."""
    try:
        done = subprocess.run(["git", *words], cwd=file.parent, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _places(rows: pd.DataFrame, column: str, place: str | float) -> dict[str, float]:
    """For each family the value of the column that `at` means; of an even number of values the lower middle."""
    chosen = {}
    for name, part in rows.groupby("family"):
        values = sorted(part[column].dropna().unique())
        if isinstance(place, str) and values:
            index = {"smallest": 0, "middle": (len(values) - 1) // 2, "largest": len(values) - 1}[place]
            chosen[str(name)] = float(values[index])
        else:
            chosen[str(name)] = float(place) if not isinstance(place, str) else float("nan")
    return chosen


def _grouped(lacks: dict[str, list[str]]) -> str:
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
    lost = rows[rows["status"] != "ok"].groupby("family").size() if "status" in rows else pd.Series(dtype=int)
    return f". Unfinished, not counted: {', '.join(f'{n} of {name}' for name, n in lost.items())}" if len(lost) else ""


def _study(rows: pd.DataFrame, claim: Claim, of: str, pair: tuple[str, ...] = ()) -> Study:
    rows = tuned_rows(points(rows), tuple(claim.needs.tuned))
    return Study(rows, claim.law, claim.axis, of, pair, claim.level, claim.region)


def _judge_family(rows: pd.DataFrame, family: str, lacks: list[str], of: str, claim: Claim) -> Verdict:
    """The verdict for one family."""
    subject = f"{family}: {of}" if len(claim.of) > 1 else family
    if lacks:
        return Verdict(claim.id, "untested", _grouped({family: lacks}), subject=subject)
    outcome = _measure(_study(rows[rows["family"] == family], claim, of), claim)
    if isinstance(outcome, tuple):
        return Verdict(claim.id, *outcome, subject=subject)
    verdict = claim.region.verdict(outcome.low, outcome.high, outcome.seed_sd)
    held = [check.held for check in outcome.checks]
    if False in held:
        verdict = "refuted"
    elif None in held and verdict == "supported":
        verdict = "inconclusive"
    said = [f"{check.text}{_mark(check.held)}" for check in outcome.checks]
    reason = "; ".join([outcome.reason, *said])
    limit = claim.region.band(outcome.seed_sd) or None
    return Verdict(claim.id, verdict, reason, outcome.value, outcome.low, outcome.high, limit, subject)


def _mark(held: bool | None) -> str:
    return {True: "", False: " (fails)", None: " (not decided)"}[held]


def _judge_pairs(rows: pd.DataFrame, lacks: dict[str, list[str]], claim: Claim) -> list[Verdict]:
    """The verdicts for all pairs of families, Holm-corrected together."""
    verdicts: dict[str, Verdict] = {}
    studies: dict[str, Study] = {}
    for pair in itertools.combinations(sorted(lacks), 2):
        missing = _grouped({name: lacks[name] for name in pair})
        memory: dict[object, object] = {}
        for of in claim.of:
            subject = " − ".join(pair) + (f": {of}" if of else "")
            verdicts[subject] = Verdict(claim.id, "untested", missing, subject=subject)
            if not missing:
                part = pd.concat([rows[rows["family"] == name] for name in pair])
                study = replace(_study(part, claim, of, pair), memory=memory)
                outcome = _measure(replace(study, level=0.90), claim)
                if isinstance(outcome, tuple):
                    verdicts[subject] = Verdict(claim.id, *outcome, subject=subject)
                else:
                    studies[subject] = study
    for subject, (wide, level) in _holm(studies, claim).items():
        narrow = QUANTITIES[claim.quantity](replace(studies[subject], level=0.90))
        verdict = claim.region.contrast(wide.value, (wide.low, wide.high), (narrow.low, narrow.high), wide.seed_sd)
        found = {"supported": claim.region.expect, "refuted": OPPOSITE[claim.region.expect]}.get(verdict, "not decided")
        reason = f"{found}: {wide.reason}; interval at {percent(level)}"
        band = claim.region.band(wide.seed_sd)
        verdicts[subject] = Verdict(claim.id, verdict, reason, wide.value, wide.low, wide.high, band, subject)
    return list(verdicts.values())


def _holm(studies: dict[str, Study], claim: Claim) -> dict[str, tuple[Measured, float]]:
    """For every contrast its interval at Holm's level (1979): 1 − α/m, m the contrasts that are not yet told from 0."""
    done: dict[str, tuple[Measured, float]] = {}
    pending = list(studies)
    while pending:
        level = 1 - (1 - claim.level) / len(pending)
        wide = {s: QUANTITIES[claim.quantity](replace(studies[s], level=level)) for s in pending}
        told = [s for s, m in wide.items() if m.low is not None and m.high is not None and (m.low > 0 or m.high < 0)]
        for subject in told or pending:
            done[subject] = (wide[subject], level)
        pending = [s for s in pending if s not in done]
    return done


def _measure(study: Study, claim: Claim) -> Measured | tuple[str, str]:
    """The quantity, or the verdict and reason that stand in for it."""
    try:
        return QUANTITIES[claim.quantity](study)
    except NotThere as outcome:
        return "untested", str(outcome)
    except (NotIdentified, FitError) as outcome:
        return "not_identified", str(outcome)


def _names(subjects: Iterable[Verdict], verdict: str) -> str:
    return ", ".join(s.subject for s in subjects if s.verdict == verdict)
