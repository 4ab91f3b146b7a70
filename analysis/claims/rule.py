"""A rule: what a claim measures, on which runs, and where the number lies if the claim is true.

rule = Rule("run_mean", Region(above=0), of=("probe.positions.slope",))
str(rule)      # 'mean over runs of probe.positions.slope: above 0, with the 95 % interval; supported if every ...'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from isoflop import schema
from isoflop.analysis.claims.declare import KEYS, OF_LAW, TAKES, Quantity, no_parameter
from isoflop.analysis.claims.needs import Needs
from isoflop.analysis.claims.quantities import QUANTITIES
from isoflop.analysis.claims.region import Region
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.where import conditions
from isoflop.errors import UserError
from isoflop.schema import Bound, Checked, Example, OneOf
from isoflop.wording import listed, number, percent

# the value of a column that is compared; smallest or largest is that of its numbers
Value = str | int | float | bool | None
ENDS = ("smallest", "largest")
Point = Mapping[str, Annotated[float, Bound(above=0)]]


@dataclass(frozen=True)
class Rule:
    """What is measured, and where it lies if the claim is true."""

    quantity: Annotated[str, OneOf(lambda: QUANTITIES)]
    """The name of the quantity that is measured."""
    region: Region
    """Where the quantity lies if the claim is true."""
    name: str = ""
    """Of one rule of several: what it is called beside the others."""
    where: Annotated[str, Checked(conditions)] = ""
    """Which rows it is about, as in --where."""
    at: Annotated[Mapping[str, Literal["smallest", "middle", "largest"] | int | float], Example("{width: middle}")] = (
        field(default_factory=dict)
    )
    """Only the runs of every group at its smallest, middle or largest value of a column, or at a number."""
    by: Annotated[tuple[str, ...], Example("[family, data]")] = ("family",)
    """The columns whose values are the groups that get a verdict each."""
    compare: Annotated[
        Mapping[str, tuple[Value, Value]], Bound(most=2), Example("{family.positions: [alibi, rotary]}")
    ] = field(default_factory=dict)
    """The two values of a column that make the pair, first less second; of two columns, the difference of those
    differences."""
    subject: Literal["family", "pair"] | None = None
    """What gets a verdict of its own; it follows from the quantity, and may be stated."""
    combine: Literal["all", "any", "count"] = "all"
    """How the verdicts of the subjects make that of the rule; count says k of n once each is decided, at Holm's
    levels."""
    share: Annotated[float, Bound(least=0, below=1)] = 0.5
    """With count: it is supported if more than this share of the subjects support it, else refuted."""
    robust: Annotated[tuple[Annotated[str, Checked(conditions)], ...], Example("[steps >= 500, steps >= 1000]")] = ()
    """Conditions on the rows, as in --where; a subject is decided only where it is so under each of them, with the same
    sign, by either objective of a fit: Huber's, and squares weighed by the noise of seeds."""
    needs: Needs = field(default_factory=Needs)
    """The runs without which it is untested."""
    law: str = ""
    """The law to fit, where the quantity needs one."""
    target: str = ""
    """The column that the law predicts, where that is not the law's own."""
    axis: str = ""
    """The column along which runs are held out or losses are compared, where the quantity needs one."""
    of: tuple[str, ...] = ()
    """The parameters or columns that are measured, where the quantity takes one; each is a subject of its own."""
    against: str = ""
    """The column against which a slope or a correlation is taken, where the quantity needs one."""
    threshold: float | None = None
    """The number that the runs of a share exceed, where the quantity needs one."""
    reach: Annotated[Mapping[str, float], Bound(most=1), Example("{L: 1.0}")] = field(default_factory=dict)
    """The column and the value whose price in data is measured, where the quantity needs one."""
    less: str = ""
    """A column that is subtracted from each run's number first."""
    marks: Literal["mean", "last", "first", "drop"] | None = None
    """How the marks of a run make its number; drop is the largest less the last."""
    level: Annotated[float, Bound(least=0.5, below=1)] = 0.95
    """The coverage of the interval."""
    point: Annotated[Point, Example("{N: 1e8, D: 2e9}")] = field(default_factory=dict)
    """Where a local quantity or a speed-up is measured; by default at a point among the runs."""
    negated: bool = False
    """Whether the claim says that the rule does not hold: supported where it would be refuted, and the reverse."""
    effect: float | None = None
    """The value of the quantity that the power of a study is computed for."""
    noise: Annotated[float, Bound(least=0)] | None = None
    """The standard deviation that it is computed for: between runs, of the quantity; of a law, of ln of its target."""

    @property
    def measures(self) -> Quantity:
        """The quantity by its declaration."""
        return QUANTITIES[self.quantity]

    @property
    def formula(self) -> str:
        """The law as get_law reads it, with the target where that is not the law's own."""
        return f"{self.target} ~ {self.law}" if self.target else self.law

    @property
    def names(self) -> tuple[str, ...]:
        """What is measured of each group: the names of `of`, or one empty name."""
        return self.of or ("",)

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns that it names, that its law reads and that it needs."""
        law = get_law(self.formula) if self.law else None
        names = {*(law.columns if law else ()), *([law.target] if law else []), *self.at, *self.compare, *self.reach}
        names |= {self.axis, self.against, self.less, *self.by, *(self.of if self.measures.of == "column" else ())}
        named = {c.column for text in (self.where, *self.robust) for c in conditions(text)}
        return frozenset((names | named | self.needs.names) - {""})

    def __str__(self) -> str:
        law = f" ({self.formula}{f' along {self.axis}' if self.axis else ''})" if self.law else ""
        about = [f"where {self.where}"] if self.where else []
        about += [f"at {column}={place}" for column, place in self.at.items()]
        about += [f"{column} {first} − {second}" for column, (first, second) in self.compare.items()]
        about += [f"the {self.marks} of each run's marks"] if self.marks else []
        about += [f"robust where {' and where '.join(self.robust)}, by either objective"] if self.robust else []
        details = f", {', '.join(about)}" if about else ""
        interval = "" if self.region.kind == "contrast" else f", with the {percent(self.level, 0)} interval"
        negation = "it is NOT so that " if self.negated else ""
        return f"{negation}{self._measured()}{law}{details}: {self.region.text()}{interval}{self._combined()}"

    def _measured(self) -> str:
        """Return the title of its quantity, with the names that the claim gives for what the title leaves open."""
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
        """Return how the verdicts of its subjects make one; empty where there is one subject."""
        if not self.by or (self.by == ("family",) and "family = '" in self.where):
            return ""
        group = "family" if self.by == ("family",) else listed([*self.by])
        subject = group if self.measures.subject == "family" or self.compare else "pair of families"
        if self.combine == "count":
            more = f"supported if more than {percent(self.share, 0)} support it, else refuted"
            return f"; decided when each {subject} is, at Holm's levels; {more}"
        supporting, refuting = ("every", "any") if self.combine == "all" else ("any", "every")
        return f"; supported if {supporting} {subject} supports it, refuted if {refuting} {subject} refutes it"


def read_rule(data: Mapping[str, Any], where: str) -> Rule:
    """Return the rule of a claim's yaml; UserError naming the file and the key."""
    compared = data.get("compare", {})
    groups: dict[str, Any] = {"by": []} if isinstance(compared, Mapping) and "family" in compared else {}
    rule = schema.read(Rule, groups | dict(data), where)
    try:
        _check_law(rule)
        _check_keys(rule)
        _check_pair(rule)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return rule


def _check_law(rule: Rule) -> None:
    if rule.target and not rule.law:
        raise UserError(f"target={rule.target} is what a law predicts; give the law too, such as power_offset(D)")
    try:
        if rule.law:
            get_law(rule.formula)
    except UserError as error:
        raise UserError(f"law: {error}") from None


def _check_keys(rule: Rule) -> None:
    """Refuse a rule that does not give its quantity what that declares."""
    declared = rule.measures
    if rule.subject not in (None, declared.subject):
        raise UserError(
            f"subject={rule.subject}, but quantity={declared.name} is measured on a {declared.subject}; "
            f"write subject: {declared.subject}, or choose another quantity"
        )
    for key in KEYS:
        given = getattr(rule, key) not in (None, "", {}, ())
        if key in declared.needs and not given:
            raise UserError(f"quantity={declared.name} needs the key {key}: {schema.docstrings(Rule)[key]}")
        if key not in declared.needs and given:
            needs = " and ".join(declared.needs) or "no further key"
            raise UserError(f"quantity={declared.name} takes no {key}; leave it out (it takes {needs})")
    if rule.share != Rule.share and rule.combine != "count":
        raise UserError(f"share={rule.share:g} is that of combine: count; leave it out, or write combine: count")
    for key in TAKES:
        if getattr(rule, key) and key not in declared.takes:
            raise UserError(f"quantity={declared.name} takes no {key}; leave it out")
    if declared.of in OF_LAW:
        known = declared.names(rule.formula)
        for name in rule.of:
            if name not in known:
                raise UserError(f"of: {no_parameter(rule.formula, name, known)}")


def _check_pair(rule: Rule) -> None:
    pair = rule.measures.subject == "pair"
    for column, (first, second) in rule.compare.items():
        if first == second and type(first) is type(second):
            raise UserError(f"compare.{column}={[first, second]} must be two different values")
    if rule.compare and not pair:
        pairs = ", ".join(name for name, declared in QUANTITIES.items() if declared.subject == "pair")
        raise UserError(f"compare needs a quantity of a pair, and {rule.quantity} is not; choose one of {pairs}")
    if twice := sorted({*rule.by} & {*rule.compare}):
        raise UserError(f"by and compare both name {', '.join(twice)}; leave it out of by")
    if rule.region.kind == "contrast" and not pair:
        raise UserError("region=contrast and subject=family do not go together: a contrast needs a pair")
    if pair and rule.region.kind in ("above", "below", "between") and not rule.compare:
        raise UserError(
            f"region={rule.region.kind} and subject=pair do not go together: which of the two is subtracted from the "
            "other is not stated; give contrast or near, or the order by compare: {family: [lstm, transformer]}"
        )
