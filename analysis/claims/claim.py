"""Claims: what we said would happen, in yaml, and what the runs say of it.

A claim names its sentence, the runs that it needs, a law, one quantity and a region. `judge` is pure: the same rows and
the same file give the same verdict, one for each family or pair of families and one for the claim. Over subjects it is
combined as the file says: `all` is refuted by one counter-example and supported only by every subject; `any` is
supported by one subject (contrasts are Holm-corrected over the pairs) and refuted only by every subject.

    for verdict in judge(read_runs("runs.csv")):
        print(verdict.id, verdict.verdict, verdict.reason)
"""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isoflop import extensions
from isoflop.analysis.claims.needs import Needs
from isoflop.analysis.claims.quantities import QUANTITIES
from isoflop.analysis.claims.region import Region
from isoflop.errors import UserError
from isoflop.wording import percent

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "claims"
SUBJECTS = ("family", "pair")
COMBINE = ("all", "any")
OTHER = {"all": "any", "any": "all"}
PLACES = ("smallest", "middle", "largest")


@dataclass(frozen=True)
class Claim:
    """A stated prediction. The fields are the keys of its yaml; `file` and `sha256` say which text was judged.

    at      {width: middle}: of every family only the runs at the smallest, middle or largest value, or at a number
    of      the parameters or columns that the quantity is asked of, where it takes one
    caveat  what the design leaves open; printed beside the verdict
    """

    id: str
    claim: str
    quantity: str
    region: Region
    source: str = ""
    expect: str = ""
    caveat: str = ""
    where: str = ""
    at: Mapping[str, str | float] = field(default_factory=dict)
    subject: str = "family"
    combine: str = "all"
    needs: Needs = field(default_factory=Needs)
    law: str = ""
    axis: str = ""
    of: tuple[str, ...] = ("",)
    level: float = 0.95
    file: Path | None = None
    sha256: str = ""

    @property
    def rule(self) -> str:
        """The rule in words."""
        what = (QUANTITIES[self.quantity].__doc__ or "").strip().splitlines()[0]
        with_law = f" ({self.law}{f' along {self.axis}' if self.axis else ''})" if self.law else ""
        names = f" [{', '.join(self.of)}]" if any(self.of) else ""
        interval = "" if self.region.kind == "contrast" else f", with the {percent(self.level, 0)} interval"
        subjects = "families" if self.subject == "family" else "pairs of families"
        over = f"supported by {self.combine} of the {subjects}, refuted by {OTHER[self.combine]}"
        return f"{what}{names}{with_law}: {self.region.text()}{interval}; {over}"


@dataclass(frozen=True)
class Verdict:
    """What the runs say of a claim, or of one subject; numbers that do not exist are None.

    `limit` is the tolerance or half-width of the band that the statistic was set against, seed noise included.
    """

    id: str
    verdict: str
    reason: str
    statistic: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    subject: str = ""
    claim: Claim | None = None
    subjects: tuple["Verdict", ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain data; a claim's verdict holds those of its subjects."""
        plain: dict[str, Any] = {"id": self.id, "verdict": self.verdict, "statistic": self.statistic, "low": self.low}
        plain |= {"high": self.high, "limit": self.limit, "reason": self.reason}
        if self.subject:
            plain["subject"] = self.subject
        if self.claim is not None:
            plain |= {"claim": self.claim.claim, "rule": self.claim.rule, "caveat": self.claim.caveat}
            plain |= {"sha256": self.claim.sha256, "subjects": [s.to_json() for s in self.subjects]}
        return plain


def load_claims(path: str | Path | None = None) -> list[Claim]:
    """The claims of a folder (or of one yaml), by default ours and extensions'; UserError names file and key."""
    folder = FOLDER if path is None else Path(path)
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else [folder]
    files += extensions.claims() if path is None else []
    if not files or not files[0].exists():
        raise UserError(f"{folder} holds no claims; give a folder of yaml files, or one file")
    claims = [read_claim(file) for file in files]
    for index, claim in enumerate(claims):
        twin = next((c for c in claims[:index] if c.id == claim.id), None)
        if twin is not None:
            raise UserError(f"{claim.file}: id={claim.id} is also that of {twin.file}; give each claim its own")
    return claims


def read_claim(file: Path) -> Claim:
    """One claim from its yaml."""
    data, sha256 = _read_yaml(file)
    known = [name for name in Claim.__dataclass_fields__ if name not in ("file", "sha256")]
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it may have {', '.join(known)}"
            raise UserError(f"{file}: a claim has no key {key!r}; {hint}")
    for key in ("id", "claim", "quantity", "region"):
        if key not in data:
            raise UserError(f"{file}: the key {key} is missing; a claim has at least id, claim, quantity, region")
    for key in ("id", "claim", "quantity", "source", "expect", "caveat", "where", "law", "axis"):
        if not isinstance(data.get(key, ""), str):
            raise UserError(f"{file}: {key}={data[key]!r} must be a text")
    _choice(data, "quantity", tuple(QUANTITIES), file)
    _choice(data, "subject", SUBJECTS, file)
    _choice(data, "combine", COMBINE, file)
    _law(data, file)
    spoken = ("id", "claim", "source", "expect", "caveat", "where")
    texts: dict[str, Any] = {k: data[k].strip() for k in spoken if k in data}
    plain: dict[str, Any] = {k: data[k] for k in ("quantity", "subject", "combine", "law", "axis") if k in data}
    return Claim(
        **plain,
        **texts,
        region=_region(data, file),
        at=_at(data.get("at", {}), file),
        needs=Needs.read(data.get("needs"), str(file)),
        of=_of(data.get("of", ""), file),
        level=_level(data.get("level", 0.95), file),
        file=file,
        sha256=sha256,
    )


def judge(runs: Any, claims: str | Path | Sequence[Claim] | None = None) -> list[Verdict]:
    """A verdict for every claim on these runs (a table, or the path of one)."""
    from isoflop.analysis.claims.judging import judge_claim
    from isoflop.analysis.tables.read import read_runs

    table = read_runs(runs) if isinstance(runs, str | Path) else runs
    if "L" not in table:
        raise UserError(f"the runs have no column L, the held-out loss; they have {', '.join(map(str, table.columns))}")
    listed = load_claims(claims) if claims is None or isinstance(claims, str | Path) else claims
    return [judge_claim(table, claim) for claim in listed]


def _read_yaml(file: Path) -> tuple[dict[str, Any], str]:
    """The mapping in a yaml file and the hash of its bytes."""
    from omegaconf import OmegaConf

    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None
    try:
        data = OmegaConf.to_container(OmegaConf.create(raw.decode()), resolve=False)
    except Exception as error:  # the parser has many, and each means that the text is not sound
        raise UserError(f"{file} is not sound yaml: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or not all(isinstance(k, str) for k in data) or not data:
        raise UserError(f"{file} is not a mapping of keys; a claim has at least id, claim, quantity, region")
    return {str(k): v for k, v in data.items()}, hashlib.sha256(raw).hexdigest()


def _choice(data: Mapping[str, Any], key: str, allowed: tuple[str, ...], file: Path) -> None:
    if key in data and data[key] not in allowed:
        raise UserError(f"{file}: {key}={data[key]!r} is not known; choose one of {', '.join(allowed)}")


def _law(data: Mapping[str, Any], file: Path) -> None:
    from isoflop.analysis.laws.catalogue import get_law

    try:
        if data.get("law"):
            get_law(data["law"])
    except UserError as error:
        raise UserError(f"{file}: law: {error}") from None


def _region(data: Mapping[str, Any], file: Path) -> Region:
    region = Region.read(data["region"], str(file))
    if (region.kind == "contrast") != (data.get("subject") == "pair"):
        raise UserError(
            f"{file}: region={region.kind} and subject={data.get('subject', 'family')}: a contrast needs a pair"
        )
    return region


def _at(given: Any, file: Path) -> dict[str, str | float]:
    """Where on a dial the runs are taken."""
    sound = isinstance(given, Mapping) and all(
        value in PLACES or (isinstance(value, int | float) and not isinstance(value, bool)) for value in given.values()
    )
    if not sound:
        raise UserError(
            f"{file}: at={given!r} must give a column {', '.join(PLACES)} or a number, such as {{width: middle}}"
        )
    return dict(given)


def _of(given: Any, file: Path) -> tuple[str, ...]:
    names = given if isinstance(given, list) else [given]
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{file}: of={given!r} must be a name or a list of names")
    return tuple(names)


def _level(given: Any, file: Path) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0.5 <= given < 1:
        raise UserError(f"{file}: level={given!r} must be a number from 0.5 to below 1")
    return float(given)
