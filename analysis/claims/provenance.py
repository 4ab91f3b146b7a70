"""Provenance: whether a claim's file was written before the runs that it is judged by, as far as git can tell.

`judge` itself does not look: the same rows and the same file give the same verdict everywhere.

    from isoflop.analysis.claims.claim import load_claims
    changed, sentence = changed_since(load_claims()[0], runs)     # None: git does not know the runs' commit

The folder of claims may be anybody's, and a git repository may say in its config which programs git is to run: filters,
hooks, monitors, transports. So git is never run in it: it is asked about its objects from an empty repository of our
own that has no config but git's defaults.
"""

import hashlib
import os
import re
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import pandas as pd

from isoflop.analysis.claims.claim import Claim

# git reads no config but that of our empty repository, and fetches nothing that an object store lacks
ALONE = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_TERMINAL_PROMPT": "0",
}


def changed_since(claim: Claim, runs: pd.DataFrame) -> tuple[bool | None, str]:
    """Whether the claim's file differs from that at the commits of its runs (None: not known), and in words."""
    commits = sorted({str(c) for c in runs["git"].dropna()}) if "git" in runs else []
    if claim.file is None or not commits:
        return None, "the runs do not say which commit made them, so whether the claim came first is not known"
    now, repository = _blobs(claim.file), _repository(claim.file)
    for commit in commits:
        short = commit[:12]
        known = re.fullmatch(r"[0-9a-f]{7,64}", commit) and repository and _git(repository[0], "cat-file", "-t", commit)
        if not known or not now or not repository:
            return None, f"git does not know the runs' commit {short}, so whether the claim came first is not known"
        if _git(repository[0], "rev-parse", "--verify", "--quiet", f"{commit}:{repository[1]}") not in now:
            unclean = "dirty" in runs and runs["dirty"].astype(str).eq("True").any()
            perhaps = ", perhaps before the runs, which were made from uncommitted code" if unclean else ""
            return True, f"this claim was added or changed after the runs' commit {short}{perhaps}"
    return False, "this claim is unchanged since the commit of its runs"


def _blobs(file: Path) -> set[str]:
    """The names that git may have given the file's content: as it is, and with the line ends of a checkout undone."""
    try:
        content = file.read_bytes()
    except OSError:
        return set()
    versions = (content, content.replace(b"\r\n", b"\n"))
    return {hashlib.sha1(b"blob %d\0" % len(text) + text, usedforsecurity=False).hexdigest() for text in versions}


def _repository(file: Path) -> tuple[Path, str] | None:
    """The object store of the repository that a file lies in, and the file's path there; None where there is none."""
    place = Path(os.path.realpath(file))
    for root in place.parents:
        git = root / ".git"
        try:
            if git.is_file():  # of a worktree or a submodule: it names the folder
                git = root / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
            if (git / "commondir").is_file():
                git = git / (git / "commondir").read_text(encoding="utf-8").strip()
            if (git / "objects").is_dir():
                return git / "objects", place.relative_to(root).as_posix()
        except (OSError, ValueError):
            return None
    return None


@lru_cache(maxsize=1)
def _empty() -> "tempfile.TemporaryDirectory[str]":
    """A bare repository without objects, config or hooks; it goes with this process."""
    folder = tempfile.TemporaryDirectory(prefix="isoflop-git-")
    for name in ("objects", "refs"):
        Path(folder.name, name).mkdir()
    Path(folder.name, "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    return folder


def _git(objects: Path, *words: str) -> str:
    """The output of git, run in our empty repository on another's objects; empty where git fails."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    store = {"GIT_DIR": _empty().name, "GIT_OBJECT_DIRECTORY": str(objects)}
    try:
        command = ["git", *words]
        done = subprocess.run(
            command, cwd=_empty().name, env=ours | ALONE | store, capture_output=True, text=True, timeout=20
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
