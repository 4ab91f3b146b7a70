"""The command that would decide a claim: the study that was laid out for it, or a plan for further runs.

from isoflop.analysis.claims.claim import load_claims
from isoflop.analysis.claims.judge import Verdict
from isoflop.analysis.claims.region import VerdictKind

claim = next(claim for claim in load_claims() if claim.id == "known-exponent")
next_command(Verdict(claim.id, VerdictKind.UNTESTED, "no runs", claim=claim), Path("runs.csv"))
"""

import shlex
from pathlib import Path

from isoflop.analysis.claims import studies
from isoflop.analysis.claims.judge import Verdict
from isoflop.analysis.claims.region import VerdictKind


def next_command(verdict: Verdict, table: Path | None, minutes: float = 0.0) -> str:
    """The command that would decide an open claim; empty where it is decided, or where none is known.

    minutes  what these runs took: a study that takes less than twice as long leaves open what they do
    """
    if verdict.verdict.decided:
        return ""
    if study := studies.command(verdict.id, 0.0 if verdict.verdict is VerdictKind.UNTESTED else 2 * minutes):
        return study
    if verdict.verdict is VerdictKind.UNTESTED or verdict.claim is None or not verdict.claim.law or table is None:
        return ""
    return f"isoflop plan --improve 5 --runs {shlex.quote(str(table))} --law {shlex.quote(verdict.claim.law)} -m ..."
