"""Claims: what we said would happen, in yaml; each names its sentence, the runs that it needs, a quantity and a region.

    for claim in load_claims():
        print(claim.id, claim.rule)

A claim is a head and a rule, or several under `all:` or `any:`, which take from the claim what they do not say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from isoflop import extensions, schema
from isoflop.analysis.claims.rule import Rule, read_rule
from isoflop.errors import UserError
from isoflop.yaml_file import read_yaml

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "claims"


@dataclass(frozen=True)
class AllOf:
    """Several rules, each of which must hold."""

    rules: tuple[Rule, ...]
    """The rules, each of a name of its own."""
    how: ClassVar[str] = "all"

    def __str__(self) -> str:
        return (" AND " if self.how == "all" else " OR ").join(f"({rule.name}) {rule}" for rule in self.rules)


class AnyOf(AllOf):
    """Several rules, one of which must hold."""

    how = "any"


SEVERAL: Mapping[str, type[AllOf]] = {kind.how: kind for kind in (AllOf, AnyOf)}


@dataclass(frozen=True)
class Claim:
    """A stated prediction: its head, whose fields are keys of its yaml, and its rule."""

    id: str
    """Its short name, unique among the claims that are judged together."""
    claim: str
    """The sentence that is tested."""
    source: str = ""
    """Where the claim comes from."""
    expect: str = ""
    """What was expected before the runs, and by whom."""
    caveat: str = ""
    """What the design leaves open; printed beside the verdict."""
    untestable: str = ""
    """Why no runs could decide it; a claim that has this has no rule."""
    rule: Rule | AllOf | None = field(default=None, metadata=schema.NOT_A_KEY)
    """What is measured, and where it lies if the claim is true; None where it is untestable."""
    given: tuple[Rule, ...] = field(default=(), metadata=schema.NOT_A_KEY)
    """The rules that must be supported for the claim to have a meaning on these runs; else it is not identified."""
    file: Path | None = field(default=None, metadata=schema.NOT_A_KEY)
    """The file that it was read from."""
    sha256: str = field(default="", metadata=schema.NOT_A_KEY)
    """The hash of that file."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Everything that is measured: what is given, then its rule or rules."""
        own = self.rule.rules if isinstance(self.rule, AllOf) else (self.rule,) if self.rule else ()
        return (*self.given, *own)

    @property
    def only(self) -> Rule | None:
        """Its rule where it has one; None where it has several or none."""
        return self.rule if isinstance(self.rule, Rule) else None

    @property
    def in_words(self) -> str:
        """What decides it, in words."""
        if self.untestable:
            return f"none: {self.untestable}"
        return "".join(f"where it holds that {rule}; " for rule in self.given) + str(self.rule)


def load_claims(path: str | Path | None = None) -> list[Claim]:
    """Return the claims of a folder, one yaml or an id that ships, by default all; UserError names file and key."""
    folder = FOLDER if path is None else Path(path)
    files = sorted(folder.glob("*.yaml"), key=_numbered) if folder.is_dir() else [folder]
    if path is None:
        files += [file for e in extensions.all_declared() for file in sorted((e.conf / "claims").glob("*.yaml"))]
    if not folder.exists() and not (files := [c.file for c in load_claims() if c.file and c.id == str(path)]):
        raise UserError(f"{folder} does not exist; give a folder of claims in yaml, one file, or an id that ships")
    if not files:
        raise UserError(f"{folder} holds no claims; give a folder of yaml files, or one file")
    by_id: dict[str, Claim] = {}
    for claim in map(read_claim, files):
        if twin := by_id.get(claim.id):
            raise UserError(f"{claim.file}: id={claim.id} is also that of {twin.file}; give each claim its own")
        by_id[claim.id] = claim
    return [*by_id.values()]


def _numbered(file: Path) -> tuple[str, int, str]:
    """Return what orders files: H2 before H10."""
    head = file.stem.rstrip("0123456789")
    digits = file.stem[len(head) :]
    return (head, int(digits), "") if digits and len(digits) < 10 else (file.stem.partition("-")[0], 0, file.stem)


def read_claim(file: Path) -> Claim:
    """Return the claim of a yaml file; UserError naming the file and the key."""
    data, sha256 = read_yaml(file, "claim")
    head, measured = schema.keys_of(Claim), [key for key in schema.keys_of(Rule) if key != "name"]
    decided = {key: data[key] for key in data if key in (*measured, *SEVERAL, "given")}
    schema.check_keys(data, head | dict.fromkeys([*measured, *SEVERAL, "given"], False), f"{file}: ", "a claim")
    claim = schema.read(Claim, {key: data[key] for key in head if key in data}, file)
    claim = replace(claim, file=file, sha256=sha256)
    if "untestable" in data:
        if decided or not claim.untestable:
            raise UserError(
                f"{file}: untestable says in a sentence why no runs could decide the claim, which then has no rule; "
                f"leave out {', '.join(decided) or 'untestable'}"
            )
        return claim
    if {*SEVERAL} <= {*data}:
        raise UserError(f"{file}: all and any are both given; a claim has its rules under one of them")
    shared = {key: decided[key] for key in measured if key in decided}
    given = _rules(data, "given", shared, file)
    for key, several in SEVERAL.items():
        if key in data:
            return replace(claim, rule=several(_rules(data, key, shared, file, given)), given=given)
    return replace(claim, rule=read_rule(shared, str(file)), given=given)


def _rules(
    data: Mapping[str, Any], key: str, shared: Mapping[str, Any], file: Path, others: tuple[Rule, ...] = ()
) -> tuple[Rule, ...]:
    """Return the rules under a key, each with what it takes from the claim; `others` have names that are taken."""
    listed = data.get(key, [])
    if (
        not isinstance(listed, list)
        or (key in data and not listed)
        or not all(isinstance(own, Mapping) for own in listed)
    ):
        raise UserError(f"{file}: {key}={listed!r} must be a list of rules, each with its quantity and region")
    rules: list[Rule] = []
    for at, own in enumerate(listed, start=1):
        both = {"name": str(at), **shared, **own}
        both |= {"name": str(own["name"])} if "name" in own else {}
        if shared.get("where") and own.get("where"):
            both["where"] = f"{shared['where']} and {own['where']}"
        rules.append(read_rule(both, f"{file}: {key}[{at}]"))
        if any(rules[-1].name == other.name for other in (*others, *rules[:-1])):
            raise UserError(f"{file}: two rules are called {rules[-1].name}; give each a name: of its own")
    return tuple(rules)
