"""By what a verdict was judged: hashes of the code that judges and of the rows; and what it would be now.

    judged_by(Path("studies/exact/runs.csv"))               # {'code': '3f0c...', 'rows': '91ab...'}
    since(Path("studies/exact/runs.csv"), [])       # ['verdicts.json ... was judged by other code: ...']

The rule's hash stands beside each verdict. That of the code leaves comments, docstrings and layout out, so that it
changes only where a verdict may.
"""

import ast
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from isoflop.analysis.claims.verdict import ClaimVerdict
from isoflop.files import digest, read_bytes, read_json

VERDICTS = "verdicts.json"
_ANALYSIS = Path(__file__).parents[1]
# the rooms of analysis that a verdict follows from: quantities and rules, fits, hold-outs, the table that is read
_ROOMS = ("claims", "fitting", "holdout", "intervals", "laws", "runs", "solving")


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
    """Return what changed since a study's verdicts were written beside its table, and which verdicts are others now;
    nothing where there are none, or where rows, code and rules are the same."""
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
