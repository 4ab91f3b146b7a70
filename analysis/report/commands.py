"""The command that would decide a claim: the study that was laid out for it, or a plan for further runs.

from isoflop.analysis.claims.claim import load_claims
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.claims.verdict import ClaimVerdict

claim = next(claim for claim in load_claims() if claim.id == "known-exponent")
next_command(ClaimVerdict(VerdictKind.UNTESTED, "no runs", claim=claim), Path("runs.csv"))
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.claims.studies import ClaimStudy, command, read_all
from isoflop.analysis.claims.verdict import ClaimVerdict


def next_command(
    verdict: ClaimVerdict, table: Path | None, minutes: float = 0.0, studies: Sequence[ClaimStudy] | None = None
) -> str:
    """Return the command that would decide an open claim; empty where it is decided, or where none is known.

    minutes  what these runs took: a study of less than twice that would leave the claim open too
    studies  those that test claims, where they have been read
    """
    if verdict.verdict.decided:
        return ""
    least = 0.0 if verdict.verdict is VerdictKind.UNTESTED else 2 * minutes
    if study := command(verdict.id, read_all() if studies is None else studies, least):
        return study
    law = verdict.claim.only.formula if verdict.claim.only else ""
    if verdict.verdict is VerdictKind.UNTESTED or not law or table is None:
        return ""
    return f"isoflop plan --improve 5 --runs {shlex.quote(str(table))} --law {shlex.quote(law)} -m ..."
