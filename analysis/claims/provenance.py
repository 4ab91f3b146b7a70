"""Provenance: whether a claim's file was written before the runs that it is judged by, as far as git can tell.

`judge` itself does not look: the same rows and the same file give the same verdict everywhere.

    from isoflop.analysis.claims.claim import load_claims
    changed, sentence = changed_since(load_claims()[0], runs)     # None: git does not know the runs' commit
"""

import re
import subprocess
from pathlib import Path

import pandas as pd

from isoflop.analysis.claims.claim import Claim


def changed_since(claim: Claim, runs: pd.DataFrame) -> tuple[bool | None, str]:
    """Whether the claim's file differs from that at the commits of its runs (None: not known), and in words."""
    commits = sorted({str(c) for c in runs["git"].dropna()}) if "git" in runs else []
    if claim.file is None or not commits:
        return None, "the runs do not say which commit made them, so whether the claim came first is not known"
    now = _git(claim.file, "hash-object", claim.file.name)
    for commit in commits:
        short = commit[:12]
        if not re.fullmatch(r"[0-9a-f]{7,64}", commit) or not now or not _git(claim.file, "cat-file", "-t", commit):
            return None, f"git does not know the runs' commit {short}, so whether the claim came first is not known"
        if _git(claim.file, "rev-parse", f"{commit}:./{claim.file.name}") != now:
            unclean = "dirty" in runs and runs["dirty"].astype(str).eq("True").any()
            perhaps = ", perhaps before the runs, which were made from uncommitted code" if unclean else ""
            return True, f"this claim was added or changed after the runs' commit {short}{perhaps}"
    return False, "this claim is unchanged since the commit of its runs"


def _git(file: Path, *words: str) -> str:
    """The output of git in the file's folder; empty where git fails."""
    try:
        done = subprocess.run(["git", *words], cwd=file.parent, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
