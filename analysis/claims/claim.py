"""Claims: what we said would happen, in yaml; each names its sentence, the runs that it needs, a quantity and a region.

A claim whose rule wants several quantities has parts, `all:` or `any:` of them; what its parts do not say themselves
they take from the claim. Whatever can be checked without runs is checked when a claim is read (claims/keys.py), so that
a wrong file is one sentence that names the file and the key.

    for claim in load_claims():
        print(claim.id, claim.rule)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from isoflop import extensions
from isoflop.analysis.claims import keys
from isoflop.analysis.claims.declare import Quantity
from isoflop.analysis.claims.needs import Needs
from isoflop.analysis.claims.quantities import QUANTITIES
from isoflop.analysis.claims.region import EVERYWHERE, Region
from isoflop.analysis.claims.text import read_yaml
from isoflop.errors import UserError
from isoflop.wording import listed, number, percent

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "claims"
# a value of a column that is compared: a number, a word, true or false, null, or smallest or largest
Value = str | float | bool | None


@dataclass(frozen=True)
class Claim:
    """A stated prediction; the fields are the keys of its yaml, and then which file was read."""

    id: str
    """Its short name, its own among the claims that are judged together."""
    claim: str
    """The sentence that is tested."""
    quantity: str = ""
    """The name of the quantity that is measured (claims/quantities); none where the claim has parts."""
    region: Region = EVERYWHERE
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
    by: tuple[str, ...] = ("family",)
    """The columns whose values are the groups that get a verdict each."""
    compare: Mapping[str, tuple[Value, Value]] = field(default_factory=dict)
    """{family.positions: [alibi, rotary]}: the two values of a column that make the pair, first less second; with two
    columns the difference of those differences."""
    subject: str = "family"
    """family or pair: what gets a verdict of its own."""
    combine: str = "all"
    """all or any: how the verdicts of the subjects make that of the claim."""
    needs: Needs = field(default_factory=Needs)
    """The runs without which it is untested."""
    law: str = ""
    """The law to fit, where the quantity needs one; with `target`, of another column than the loss."""
    axis: str = ""
    """The column along which runs are held out or losses are compared, where the quantity needs one."""
    of: tuple[str, ...] = ("",)
    """The parameters or columns that are measured, where the quantity takes one; each is a subject of its own."""
    against: str = ""
    """The column against which a slope or a correlation is taken, where the quantity needs one."""
    threshold: float | None = None
    """The number that the runs of a share exceed, where the quantity needs one."""
    reach: Mapping[str, float] = field(default_factory=dict)
    """{L: 1.0}: the column and the value whose price in data is measured, where the quantity needs one."""
    less: str = ""
    """A column that is taken off each run's number before anything else."""
    marks: str = ""
    """mean, last, first, or drop (the largest less the last): how the marks of a run make its number."""
    level: float = 0.95
    """Coverage of the interval."""
    point: Mapping[str, float] = field(default_factory=dict)
    """{N: 1e8}: where a local quantity or a speed-up is measured; by default at a point among the runs."""
    negated: bool = False
    """Whether the claim says that the rule does not hold: supported where it would be refuted, and the reverse."""
    effect: float | None = None
    """The value of the quantity that the power of a study is computed for."""
    noise: float | None = None
    """The spread that it is computed for: between runs, of the quantity; of a law, of the logarithm of its target."""
    untestable: str = ""
    """Why no runs could decide it; a claim that has this has no quantity and no region."""
    name: str = ""
    """Of a part: what it is called beside the others."""
    parts: tuple["Claim", ...] = ()
    """The parts of which all, or one, must hold."""
    together: str = "all"
    """all or any: how the verdicts of the parts make that of the claim."""
    given: tuple["Claim", ...] = ()
    """What must be supported for the claim to have a meaning on these runs; else it is not identified."""
    file: Path | None = None
    """The file that it was read from."""
    sha256: str = ""
    """The hash of that file."""

    @property
    def measures(self) -> Quantity:
        """The quantity by its declaration."""
        return QUANTITIES[self.quantity]

    @property
    def every_part(self) -> tuple["Claim", ...]:
        """All that is measured: its parts and what is given, or the claim itself."""
        return (*self.given, *self.parts) if self.parts else (*self.given, *([self] if self.quantity else []))

    def part(self, name: str) -> "Claim":
        """The part of that name; the claim itself where there is none."""
        return next((part for part in (*self.parts, *self.given) if part.name == name), self)

    @property
    def rule(self) -> str:
        """The rule in words."""
        if self.untestable:
            return f"none: {self.untestable}"
        given = "".join(f"where it holds that {part.rule}; " for part in self.given)
        if not self.parts:
            return f"{given}{self._rule()}"
        joined = " AND " if self.together == "all" else " OR "
        return given + joined.join(f"({part.name}) {part.rule}" for part in self.parts)

    def _rule(self) -> str:
        """The rule of its own quantity."""
        law = f" ({self.law}{f' along {self.axis}' if self.axis else ''})" if self.law else ""
        about = [f"where {self.where}"] if self.where else []
        about += [f"at {column}={place}" for column, place in self.at.items()]
        about += [f"{column} {one} − {two}" for column, (one, two) in self.compare.items()]
        about += [f"the {self.marks} of each run's marks"] if self.marks else []
        details = f", {', '.join(about)}" if about else ""
        interval = "" if self.region.kind == "contrast" else f", with the {percent(self.level, 0)} interval"
        negation = "it is NOT so that " if self.negated else ""
        return f"{negation}{self._measured()}{law}{details}: {self.region.text()}{interval}{self._combined()}"

    def _measured(self) -> str:
        """The title of its quantity, with the names that the claim gives for what the title leaves open."""
        text, names = self.measures.title, ", ".join(self.of)
        ((column, value),) = self.reach.items() or [(names, 0.0)]
        column += f" less {self.less}" if self.less else ""
        if self.measures.of == "column" or self.reach:
            text = text.replace("a column", column).replace("a value", number(value))
        elif names:
            text += f" [{names}]"
        text = text.replace("another", self.against) if self.against else text
        text = text.replace("an axis", self.axis) if self.axis else text
        text = text.replace("a threshold", number(self.threshold)) if self.threshold is not None else text
        return text + (f" at {', '.join(f'{k}={number(x)}' for k, x in self.point.items())}" if self.point else "")

    def _combined(self) -> str:
        """How the verdicts of its subjects make one; empty where there is one subject."""
        if not self.by or (self.by == ("family",) and "family = '" in self.where):
            return ""
        group = "family" if self.by == ("family",) else listed([*self.by])
        subject = group if self.subject == "family" or self.compare else "pair of families"
        supporting, refuting = ("every", "any") if self.combine == "all" else ("any", "every")
        return f"; supported if {supporting} {subject} supports it, refuted if {refuting} {subject} refutes it"


def load_claims(path: str | Path | None = None) -> list[Claim]:
    """The claims of a folder (or of one yaml), by default ours and extensions'; UserError names file and key."""
    folder = FOLDER if path is None else Path(path)
    files = sorted(folder.glob("*.yaml"), key=_numbered) if folder.is_dir() else [folder]
    files += extensions.claims() if path is None else []
    if not files or not files[0].exists():
        raise UserError(f"{folder} holds no claims; give a folder of yaml files, or one file")
    claims = [read_claim(file) for file in files]
    for index, claim in enumerate(claims):
        twin = next((c for c in claims[:index] if c.id == claim.id), None)
        if twin is not None:
            raise UserError(f"{claim.file}: id={claim.id} is also that of {twin.file}; give each claim its own")
    return claims


def _numbered(file: Path) -> tuple[str, int, str]:
    """Where a file stands: H2 before H10."""
    head = file.stem.rstrip("0123456789")
    digits = file.stem[len(head) :]
    return (head, int(digits), "") if digits and len(digits) < 10 else (file.stem.partition("-")[0], 0, file.stem)


def read_claim(file: Path) -> Claim:
    """One claim from its yaml."""
    data, sha256 = read_yaml(file)
    keys.check_keys(data, keys.OF_CLAIM, file)
    keys.check_texts(data, file)
    about: dict[str, Any] = {key: data[key].strip() for key in keys.PROSE if key in data}
    about |= {"file": file, "sha256": sha256}
    if "untestable" in data:
        keys.check_untestable(data, file)
        return Claim(**about, untestable=data["untestable"].strip())
    given = _parts(data, "given", file)
    together = keys.together(data, file)
    if together is None:
        keys.check_whole(data, file)
        return replace(_measured(data, file), **about, given=given)
    parts = _parts(data, together, file)
    keys.check_names([*parts, *given], file)
    return Claim(**about, parts=parts, together=together, given=given, subject=parts[0].subject, needs=parts[0].needs)


def _parts(data: Mapping[str, Any], key: str, file: Path) -> tuple[Claim, ...]:
    """The parts under a key, each with what it takes from the claim."""
    parts = []
    for at, own in enumerate(keys.list_of_parts(data[key], key, file) if key in data else [], start=1):
        where = f"{file}: {key}[{at}]"
        keys.check_keys(own, keys.OF_PART, where)
        shared = {name: data[name] for name in keys.SHARED if name in data}
        both = shared | dict(own)
        if data.get("where") and own.get("where"):
            both["where"] = f"{data['where']} and {own['where']}"
        keys.check_texts(both, where)
        keys.check_whole(both | {"id": "", "claim": ""}, where)
        part = _measured(both, where)
        parts.append(replace(part, id=data["id"], claim=data["claim"], name=str(own.get("name", at)), file=file))
    return tuple(parts)


def _measured(data: dict[str, Any], file: Path | str) -> Claim:
    """What a claim or a part measures, each key checked."""
    keys.check_choices(data, file)
    declared = QUANTITIES[data["quantity"]]
    data.setdefault("subject", declared.subject)
    law = keys.law(data, file)
    where = keys.where(data, file)
    compare = keys.compare(data, declared, file)
    of = keys.of(data.get("of", ""), file)
    keys.check_quantity(declared, data, law, of, file)
    texts = {
        key: data[key] for key in ("quantity", "subject", "combine", "axis", "against", "less", "marks") if key in data
    }
    return Claim(
        id=str(data.get("id", "")),
        claim=str(data.get("claim", "")),
        **texts,
        law=law,
        where=where,
        compare=compare,
        of=of,
        by=keys.by(data, compare, file),
        region=keys.region(data, compare, file),
        at=keys.at(data.get("at", {}), file),
        point=keys.point(data.get("point", {}), "point", file),
        reach=keys.reach(data.get("reach", {}), file),
        threshold=keys.optional_number(data, "threshold", file),
        effect=keys.optional_number(data, "effect", file),
        noise=keys.noise(data, file),
        negated=keys.flag(data, "negated", file),
        needs=Needs.read(data.get("needs"), str(file)),
        level=keys.level(data.get("level", 0.95), file),
    )
