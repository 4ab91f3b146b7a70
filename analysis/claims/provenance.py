"""Provenance: whether a claim or a forecast was written before the runs that judge it, as far as git can tell; and the
hashes of the rows and of the code (without comments, docstrings and layout) that a verdict was judged by.

    from isoflop.analysis.claims.claim import load_claims
    changed, sentence = changed_since(load_claims()[0].file, runs)     # None: git does not know the runs' commit

A folder may be anybody's, and its git config may name programs to run. So git is never run in it: it is asked about its
objects from an empty repository of our own that has no config but git's defaults.
"""

import ast
import contextlib
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from isoflop.analysis.claims.verdict import ClaimVerdict
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.files import digest, read_bytes, read_json

# git reads no config but that of our empty repository, and fetches nothing that an object store lacks
ALONE = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_TERMINAL_PROMPT": "0",
}
VERDICTS = "verdicts.json"
_ANALYSIS = Path(__file__).parents[1]
# the rooms of analysis that a verdict follows from: quantities and rules, fits, hold-outs, the table that is read
_ROOMS = ("claims", "fitting", "holdout", "intervals", "laws", "runs", "solving")


class _Repository(NamedTuple):
    """A git repository: the folder of its objects, and the commit that is checked out; empty where there is none."""

    objects: Path
    head: str


class Commits:
    """What commits hold, each folder asked of git once, for whoever asks about several of its files."""

    def __init__(self) -> None:
        self._listed: dict[tuple[Path, str, str], dict[str, str] | None] = {}

    def folder(self, objects: Path, commit: str, name: str) -> dict[str, str] | None:
        """Return the files of a commit in the folder of `name`, with their objects; None without the commit."""
        key = objects, commit, name.rpartition("/")[0]
        if key not in self._listed:
            self._listed[key] = _folder_at(*key)
        return self._listed[key]


def changed_since(
    file: Path | None, runs: RunsLike, what: str = "claim", commits_of: Commits | None = None
) -> tuple[bool | None, str]:
    """Return whether a file differs from that at the commits of its runs (None: not known), and in words.

    what         what the file holds: claim, forecast
    commits_of   what was asked of git before, where several files are asked about
    """
    runs, asked = as_runs(runs), commits_of or Commits()
    commits = sorted({str(c) for c in runs["git"].dropna()}) if "git" in runs else []
    unknown = f"so whether the {what} came first is not known"
    if file is None or not commits:
        return None, f"the runs do not say which commit made them, {unknown}"
    now, (repository, name) = _blobs(file), _repository(file)
    for commit in commits:
        short = commit[:12]
        sound = re.fullmatch(r"[0-9a-f]{7,64}", commit) and repository
        if not now or not sound or not repository or (then := asked.folder(repository.objects, commit, name)) is None:
            return None, f"git does not know the runs' commit {short}, {unknown}"
        if then.get(name) not in now:
            unclean = "dirty" in runs and runs["dirty"].astype(str).eq("True").any()
            perhaps = ", perhaps before the runs, which were made from uncommitted code" if unclean else ""
            return True, f"this {what} was added or changed after the runs' commit {short}{perhaps}"
    return False, f"this {what} is unchanged since the commit of its runs"


def _folder_at(objects: Path, commit: str, folder: str) -> dict[str, str] | None:
    """Return the files of a commit in a folder, with the objects that they are; None where git has no such commit."""
    if _git(objects, "cat-file", "-t", commit) != "commit":
        return None
    listing = _git(objects, "ls-tree", "-z", commit, *(["--", f"{folder}/"] if folder else []))
    if listing is None:
        return None
    # git-ls-tree(1): mode, type and object, a tab, the path
    split = (line.partition("\t") for line in listing.split("\0") if line)
    return {path: about.split()[2] for about, _, path in split}


def committed(file: Path) -> str:
    """Return when a file as it is now was committed, in words; empty where the commit checked out has it otherwise."""
    repository, name = _repository(file)
    if repository is None or not repository.head:
        return ""
    same = _git(repository.objects, "rev-parse", "--verify", "--quiet", f"{repository.head}:{name}") in _blobs(file)
    last = _git(repository.objects, "log", "-1", "--format=%h of %cI", repository.head, "--", name) if same else ""
    return f"committed in {last}" if last else ""


def _blobs(file: Path) -> set[str]:
    """Return the names that git may have given the file's content, as it is or with LF for its CRLF."""
    try:
        content = file.read_bytes()
    except OSError:
        return set()
    versions = (content, content.replace(b"\r\n", b"\n"))
    return {hashlib.sha1(b"blob %d\0" % len(text) + text, usedforsecurity=False).hexdigest() for text in versions}


def _repository(file: Path) -> tuple[_Repository | None, str]:
    """Return the repository that a file lies in, and the file's path there; None where there is none."""
    place = Path(os.path.realpath(file))
    for root in place.parents:
        own = common = root / ".git"
        try:
            if own.is_file():  # of a worktree or a submodule: it names the folder
                own = common = root / own.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
            if (own / "commondir").is_file():
                common = own / (own / "commondir").read_text(encoding="utf-8").strip()
            if (common / "objects").is_dir():
                return _Repository(common / "objects", _head(own, common)), place.relative_to(root).as_posix()
        except (OSError, ValueError):
            return None, ""
    return None, ""


def _head(own: Path, common: Path) -> str:
    """Return the commit that is checked out; empty where there is none, or where the repository has another form."""
    try:
        head = (own / "HEAD").read_text(encoding="utf-8").strip()
        if name := head.removeprefix("ref: ") if head.startswith("ref: ") else "":
            packed = common / "packed-refs"
            lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
            by_name = {line[41:].strip(): line[:40] for line in lines if line[40:41] == " "}
            loose = common / name
            head = loose.read_text(encoding="utf-8").strip() if loose.is_file() else by_name.get(name, "")
    except (OSError, ValueError):
        return ""
    return head if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", head) else ""


@contextlib.contextmanager
def _empty() -> Iterator[str]:
    """Yield a bare repository without objects, config or hooks, for one call of git."""
    with tempfile.TemporaryDirectory(prefix="isoflop-git-") as folder:
        for name in ("objects", "refs"):
            Path(folder, name).mkdir()
        Path(folder, "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
        yield folder


def _git(objects: Path, *words: str) -> str | None:
    """Return the output of git, run in our empty repository on another's objects; None where git fails."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        with _empty() as folder:
            store = {"GIT_DIR": folder, "GIT_OBJECT_DIRECTORY": str(objects)}
            env = ours | ALONE | store
            done = subprocess.run(["git", *words], cwd=folder, env=env, capture_output=True, timeout=20)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout).strip() if done.returncode == 0 else None


@cache
def code() -> str:
    """Return the hash of the code that judges."""
    files = [file for room in _ROOMS for file in sorted((_ANALYSIS / room).rglob("*.py"))]
    names = [file.relative_to(_ANALYSIS).as_posix() for file in files]
    return digest([names, [meaning(file.read_text(encoding="utf-8")) for file in files]])


def meaning(source: str) -> str:
    """Return Python without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            words = [part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
            node.body = words or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def judged_by(table: Path) -> dict[str, str]:
    """Return the hashes of the code and of a table of runs, as a study keeps them beside its verdicts."""
    content = read_bytes(table).replace(b"\r\n", b"\n")
    return {"code": code(), "rows": hashlib.sha256(content).hexdigest()}


def since(table: Path, verdicts: Sequence[ClaimVerdict]) -> list[str]:
    """Return what changed since a study's verdicts were written beside its table, and which are others now."""
    then = _written(table.parent / VERDICTS)
    known = {str(v["id"]): v for v in then["verdicts"]}
    both = [(known[v.id], v) for v in verdicts if v.id in known]
    if not both:
        return []
    was, now = then["judged"], judged_by(table)
    other = [f"by other {name}" for name in now if name in was and was[name] != now[name]]
    other += [] if "code" in was else ["by code that it does not name"]
    other += [f"by another rule of {v.id}" for old, v in both if old.get("sha256", v.claim.sha256) != v.claim.sha256]
    moved = [(old["verdict"], v) for old, v in both if old["verdict"] != v.verdict.value]
    if not other and not moved:
        return []
    said = [f"{len(both) - len(moved)} of {len(both)} verdicts are the same now"]
    said += [f"{v.id} was {old} and is {v.verdict.value} now" for old, v in moved]
    how = f"was judged {', '.join(other)}" if other else "says otherwise"
    return [f"{VERDICTS} beside the table {how}: {'; '.join(said)}"]


def _written(file: Path) -> dict[str, Any]:
    """Return the verdicts of a study's document, and by what they were judged, as far as it is one."""
    document = read_json(file)
    document = document if isinstance(document, dict) else {}
    verdicts, judged = document.get("verdicts"), document.get("judged")
    each = verdicts if isinstance(verdicts, list) else []
    sound = [v for v in each if isinstance(v, dict) and {"id", "verdict"} <= {*v}]
    return {"verdicts": sound, "judged": judged if isinstance(judged, dict) else {}}
