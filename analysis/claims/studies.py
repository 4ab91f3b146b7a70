"""The command that would decide a claim: the study that tests it, or a plan for further runs.

command("H19", read_all())          # 'isoflop study exact'
"""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from isoflop import extensions
from isoflop.analysis.claims.claim import FOLDER, Claim
from isoflop.analysis.claims.quantities.cells import DERIVED
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.claims.verdict import ClaimVerdict
from isoflop.analysis.runs.runs import Runs
from isoflop.analysis.runs.where import conditions

# what a table may lack for a claim
LACKS = ("probes", "columns", "families", "data", "runs")
# as they stand in a study's yaml
CLAIMS = re.compile(r"^  claims: \[(.*)\]", re.MULTILINE)
MINUTES = re.compile(r"^  minutes: ([\d.]+)", re.MULTILINE)


class ClaimStudy(NamedTuple):
    """A study that tests claims, in the order of what it takes."""

    minutes: float
    """How long it takes on two idle cores."""
    name: str
    """Its name."""
    claims: frozenset[str]
    """The ids of its claims."""


def read_all() -> list[ClaimStudy]:
    """Return all studies that test claims, ours and those of extensions, the shortest first."""
    folders = [FOLDER.parent / "study", *(extension.conf / "study" for extension in extensions.all_declared())]
    found = []
    for path in (path for folder in folders for path in folder.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        claims, minutes = CLAIMS.search(text), MINUTES.search(text)
        names = frozenset(name.strip() for name in claims[1].split(",")) if claims else frozenset()
        if names:
            found.append(ClaimStudy(float(minutes[1]) if minutes else 0.0, path.stem, names))
    return sorted(found, key=lambda study: study[:2])


def command(claim: str, studies: Iterable[ClaimStudy], minutes: float = 0.0) -> str:
    """Return the command of the first study that tests a claim and takes so many minutes; empty without one."""
    names = (study.name for study in studies if claim in study.claims and study.minutes >= minutes)
    return next((f"isoflop study {name}" for name in names), "")


def lacking(verdicts: Iterable[ClaimVerdict], runs: Runs) -> str:
    """Count the untested claims by what a table lacks for them, in words; empty where every claim is tested."""
    counts = Counter(_lack(v.claim, runs) for v in verdicts if v.verdict is VerdictKind.UNTESTED)
    each = ", ".join(f"{what} {counts[what]}" for what in LACKS if counts[what])
    many = counts.total()
    return f"{many} claim{' needs' if many == 1 else 's need'} what this table lacks ({each})" if many else ""


def _lack(claim: Claim, runs: Runs) -> str:
    """Return what a table lacks first for a claim: columns of probes, other columns, families, data, else runs."""
    rules = claim.rules
    wheres = [condition for rule in rules for condition in conditions(rule.where)]
    named = {condition.column for condition in wheres}.union(*({*rule.compare} for rule in rules))
    read = named.union(*(rule.columns for rule in rules)) - {*DERIVED}
    absent = {name for name in read if name not in runs or runs[name].isna().all()}
    if any(name.startswith("probe.") for name in absent):
        return "probes"
    if absent - {"family", "data"}:
        return "columns"
    wanted = {(c.column, str(c.value)) for c in wheres}
    wanted |= {(column, str(value)) for rule in rules for column, two in rule.compare.items() for value in two}
    there = {(column, value) for column in named - absent for value in runs[column].astype(str).unique()}
    missing = {column for column, _ in wanted - there}
    families = runs["family"].nunique() if "family" in runs else 1
    few = any(rule.needs.families > families for rule in rules)
    return "families" if "family" in missing or few else "data" if "data" in missing else "runs"


def next_command(
    verdict: ClaimVerdict, table: Path | None, minutes: float = 0.0, studies: Sequence[ClaimStudy] | None = None
) -> str:
    """Return the command that would decide an open claim; empty where it is decided, or where none is known. minutes:
    what these runs took: a study of less than twice that would leave the claim open too."""
    if verdict.verdict.decided:
        return ""
    least = 0.0 if verdict.verdict is VerdictKind.UNTESTED else 2 * minutes
    if study := command(verdict.id, read_all() if studies is None else studies, least):
        return study
    law = verdict.claim.only.formula if verdict.claim.only else ""
    if verdict.verdict is VerdictKind.UNTESTED or not law or table is None:
        return ""
    return f"isoflop plan --improve 5 --runs {shlex.quote(str(table))} --law {shlex.quote(law)} -m ..."
