"""Claims: what we said would happen, in yaml; each names its sentence, the runs that it needs, a quantity and a region.

Whatever can be checked without runs is checked when a claim is read, so that a wrong file is one sentence that names
the file and the key.

    for claim in load_claims():
        print(claim.id, claim.rule)
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isoflop import extensions
from isoflop.analysis.claims.declare import KEYS, OF_LAW, SUBJECTS, TAKES, Quantity, no_parameter, suggest
from isoflop.analysis.claims.needs import Needs
from isoflop.analysis.claims.quantities import QUANTITIES
from isoflop.analysis.claims.region import Region
from isoflop.analysis.laws.catalogue import get_law
from isoflop.analysis.tables.read import conditions
from isoflop.checks import is_number
from isoflop.errors import UserError
from isoflop.wording import cut, number, percent

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "claims"
COMBINE = ("all", "any")
# keys that hold sentences or a condition, as they are printed
PROSE = ("id", "claim", "source", "expect", "caveat", "where")
# of a claim's file: a hundred times the longest that ships
MOST_BYTES = 100_000
PLACES = ("smallest", "middle", "largest")


@dataclass(frozen=True)
class Claim:
    """A stated prediction; the fields are the keys of its yaml, and then which file was read."""

    id: str
    """Its short name, its own among the claims that are judged together."""
    claim: str
    """The sentence that is tested."""
    quantity: str
    """The name of the quantity that is measured (claims/quantities.py)."""
    region: Region
    """Where the quantity lies if the claim is true."""
    source: str = ""
    """Where the claim comes from."""
    expect: str = ""
    """What was expected before the runs, and by whom."""
    caveat: str = ""
    """What the design leaves open; printed beside the verdict."""
    where: str = ""
    """Which rows it is about, as in --where."""
    at: Mapping[str, str | float] = field(default_factory=dict)
    """{width: middle}: of every family only the runs at its smallest, middle or largest value, or at a number."""
    subject: str = "family"
    """family or pair: what gets a verdict of its own."""
    combine: str = "all"
    """all or any: how the verdicts of the subjects make that of the claim."""
    needs: Needs = field(default_factory=Needs)
    """The runs without which it is untested."""
    law: str = ""
    """The law to fit, where the quantity needs one."""
    axis: str = ""
    """The column along which the largest runs are held out, where the quantity needs one."""
    of: tuple[str, ...] = ("",)
    """The parameters or columns that are measured, where the quantity takes one; each is a subject of its own."""
    level: float = 0.95
    """Coverage of the interval."""
    point: Mapping[str, float] = field(default_factory=dict)
    """{N: 1e8}: where a local quantity or a speed-up is measured; by default at a point among the runs."""
    file: Path | None = None
    """The file that it was read from."""
    sha256: str = ""
    """The hash of that file."""

    @property
    def measures(self) -> Quantity:
        """The quantity by its declaration."""
        return QUANTITIES[self.quantity]

    @property
    def rule(self) -> str:
        """The rule in words."""
        with_law = f" ({self.law}{f' along {self.axis}' if self.axis else ''})" if self.law else ""
        names = f" [{', '.join(self.of)}]" if any(self.of) else ""
        names += f" at {', '.join(f'{k}={number(x)}' for k, x in self.point.items())}" if self.point else ""
        interval = "" if self.region.kind == "contrast" else f", with the {percent(self.level, 0)} interval"
        subject = "family" if self.subject == "family" else "pair of families"
        supporting, refuting = ("every", "any") if self.combine == "all" else ("any", "every")
        combined = f"supported if {supporting} {subject} supports it, refuted if {refuting} {subject} refutes it"
        return f"{self.measures.title}{names}{with_law}: {self.region.text()}{interval}; {combined}"


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
    _check_keys(data, file)
    for key, allowed in (("quantity", tuple(QUANTITIES)), ("subject", SUBJECTS), ("combine", COMBINE)):
        _check_choice(data, key, allowed, file)
    declared = QUANTITIES[data["quantity"]]
    data.setdefault("subject", declared.subject)
    _check_law(data, file)
    _check_where(data, file)
    of = _of(data.get("of", ""), file)
    _check_quantity(declared, data, of, file)
    prose: dict[str, Any] = {k: data[k].strip() for k in PROSE if k in data}
    choices: dict[str, Any] = {k: data[k] for k in ("quantity", "subject", "combine", "law", "axis") if k in data}
    return Claim(
        **choices,
        **prose,
        region=_region(data, file),
        at=_at(data.get("at", {}), file),
        point=_point(data.get("point", {}), file),
        needs=Needs.read(data.get("needs"), str(file)),
        of=of,
        level=_level(data.get("level", 0.95), file),
        file=file,
        sha256=sha256,
    )


def _read_yaml(file: Path) -> tuple[dict[str, Any], str]:
    """The mapping in a yaml file and the hash of its bytes."""
    from omegaconf import OmegaConf

    try:
        if not file.is_file():
            raise UserError(f"{file} is no file; a claim is one yaml file")
        if file.stat().st_size > MOST_BYTES:
            raise UserError(f"{file} has more than {MOST_BYTES // 1000} kB, so it is no claim; give another file")
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None
    try:
        _refuse_aliases(raw.decode(), file)
        data = OmegaConf.to_container(OmegaConf.create(raw.decode()), resolve=False)
    except UserError:
        raise
    except Exception as error:  # the parser has many, and each means that the text is not sound
        raise UserError(f"{file} is not sound yaml: {cut(' '.join(str(error).split()), 300)}") from None
    if not isinstance(data, dict) or not all(isinstance(k, str) for k in data) or not data:
        raise UserError(f"{file} is not a mapping of keys; a claim has at least id, claim, quantity, region")
    return {str(k): v for k, v in data.items()}, hashlib.sha256(raw).hexdigest()


def _refuse_aliases(text: str, file: Path) -> None:
    """UserError where yaml repeats a part by its name: a few lines of that can stand for more than memory holds."""
    import yaml  # type: ignore[import-untyped]

    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
        raise UserError(f"{file} refers to a part of itself (*name); write it out")


def _check_keys(data: Mapping[str, Any], file: Path) -> None:
    """Refuse unknown and missing keys, and texts that are none."""
    known = [name for name in Claim.__dataclass_fields__ if name not in ("file", "sha256")]
    for key in data:
        if key not in known:
            hint = suggest(key, known) or f"; it may have {', '.join(known)}"
            raise UserError(f"{file}: a claim has no key {key!r}{hint}")
    for key in ("id", "claim", "quantity", "region"):
        if key not in data:
            raise UserError(f"{file}: the key {key} is missing; a claim has at least id, claim, quantity, region")
    for key in (*PROSE, "quantity", "law", "axis"):
        if not isinstance(data.get(key, ""), str):
            raise UserError(f"{file}: {key}={data[key]!r} must be a text")


def _check_choice(data: Mapping[str, Any], key: str, allowed: tuple[str, ...], file: Path) -> None:
    if key in data and data[key] not in allowed:
        hint = suggest(str(data[key]), allowed)
        raise UserError(f"{file}: {key}={data[key]!r} is not known{hint or ';'} choose one of {', '.join(allowed)}")


def _check_law(data: Mapping[str, Any], file: Path) -> None:
    try:
        if data.get("law"):
            get_law(data["law"])
    except UserError as error:
        raise UserError(f"{file}: law: {error}") from None


def _check_where(data: Mapping[str, Any], file: Path) -> None:
    try:
        conditions(data.get("where", ""))
    except UserError as error:
        raise UserError(f"{file}: where: {error}") from None


def _check_quantity(declared: Quantity, data: Mapping[str, Any], of: tuple[str, ...], file: Path) -> None:
    """Refuse a claim that does not give its quantity what that declares."""
    if data["subject"] != declared.subject:
        raise UserError(
            f"{file}: subject={data['subject']}, but quantity={declared.name} is measured on a {declared.subject}; "
            f"write subject: {declared.subject}, or choose another quantity"
        )
    for key, meaning in KEYS.items():
        if key in declared.needs and not data.get(key):
            raise UserError(f"{file}: quantity={declared.name} needs the key {key}: {meaning}")
        if key not in declared.needs and data.get(key):
            needs = " and ".join(declared.needs) or "no further key"
            raise UserError(f"{file}: quantity={declared.name} takes no {key}; leave it out (it takes {needs})")
    for key, meaning in TAKES.items():
        if data.get(key) and key not in declared.takes:
            raise UserError(f"{file}: quantity={declared.name} takes no {key} ({meaning}); leave it out")
    names = declared.names(data["law"]) if declared.of in OF_LAW else of
    for name in of:
        if name not in names:
            raise UserError(f"{file}: of: {no_parameter(data['law'], name, names)}")


def _region(data: Mapping[str, Any], file: Path) -> Region:
    region = Region.read(data["region"], str(file))
    if (region.kind == "contrast") != (data["subject"] == "pair"):
        raise UserError(
            f"{file}: region={region.kind} and subject={data['subject']} do not go together: "
            f"a pair is judged by a contrast, and a contrast needs a pair"
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


def _point(given: Any, file: Path) -> dict[str, float]:
    """A point in the columns of a law."""
    if not isinstance(given, Mapping) or not all(is_number(value) and value > 0 for value in given.values()):
        raise UserError(f"{file}: point={given!r} must give columns numbers above 0, such as {{N: 1e8, D: 2e9}}")
    return {str(name): float(value) for name, value in given.items()}


def _of(given: Any, file: Path) -> tuple[str, ...]:
    names = given if isinstance(given, list) else [given]
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{file}: of={given!r} must be a name or a list of names")
    return tuple(names)


def _level(given: Any, file: Path) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0.5 <= given < 1:
        raise UserError(f"{file}: level={given!r} must be a number from 0.5 to below 1")
    return float(given)
