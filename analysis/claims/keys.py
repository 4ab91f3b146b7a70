"""The keys of a claim's yaml, each read and checked: what is wrong is one sentence that names the file and the key.

at({"width": "middle"}, "mine.yaml")      # {'width': 'middle'}
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from isoflop.analysis.claims.declare import KEYS, OF_LAW, SUBJECTS, TAKES, Quantity, no_parameter, suggest
from isoflop.analysis.claims.quantities import QUANTITIES
from isoflop.analysis.claims.region import Region
from isoflop.analysis.laws.catalogue import get_law
from isoflop.analysis.runs.where import conditions
from isoflop.checks import is_number
from isoflop.errors import UserError

COMBINE = ("all", "any")
PLACES = ("smallest", "middle", "largest")
ENDS = ("smallest", "largest")
# how the marks of a run make its number
MARKS = ("mean", "last", "first", "drop")
# keys that hold sentences, as they are printed
PROSE = ("id", "claim", "source", "expect", "caveat")
# keys that say what is measured, and that a part may have too
MEASURED = (
    "quantity", "region", "where", "at", "by", "compare", "subject", "combine", "needs", "law", "target", "axis", "of",
    "against", "threshold", "reach", "less", "marks", "level", "point", "negated", "effect", "noise",
)  # fmt: skip
OF_CLAIM = (*PROSE, *MEASURED, *COMBINE, "given", "untestable")
OF_PART = ("name", *MEASURED)
# what parts take from the claim where they do not say it
SHARED = MEASURED
# what a claim of one quantity has at least
WHOLE = ("id", "claim", "quantity", "region")
File = Path | str


def check_keys(data: Mapping[str, Any], known: Iterable[str], file: File) -> None:
    """Refuse unknown keys."""
    known = tuple(known)
    for key in data:
        if key not in known:
            hint = suggest(str(key), known) or f"; it may have {', '.join(known)}"
            raise UserError(f"{file}: a claim has no key {key!r}{hint}")
    if "name" in known:  # a part
        return
    for key in ("id", "claim"):
        if key not in data:
            raise UserError(f"{file}: the key {key} is missing; a claim has at least {', '.join(WHOLE)}")


def check_whole(data: Mapping[str, Any], file: File) -> None:
    """Refuse a claim of one quantity that lacks it or its region."""
    for key in WHOLE:
        if key not in data:
            raise UserError(f"{file}: the key {key} is missing; a claim has at least {', '.join(WHOLE)}")


def check_texts(data: Mapping[str, Any], file: File) -> None:
    """Refuse what must be a text and is none."""
    for key in (*PROSE, "quantity", "law", "target", "axis", "against", "less", "where", "untestable"):
        if not isinstance(data.get(key, ""), str):
            raise UserError(f"{file}: {key}={data[key]!r} must be a text")


def check_untestable(data: Mapping[str, Any], file: File) -> None:
    """Refuse a rule beside the reason why there is none."""
    rule = [key for key in (*MEASURED, *COMBINE, "given") if key in data]
    if rule or not data["untestable"].strip():
        raise UserError(
            f"{file}: untestable says in a sentence why no runs could decide the claim, which then has no rule; "
            f"leave out {', '.join(rule) or 'untestable'}"
        )


def check_choices(data: Mapping[str, Any], file: File) -> None:
    """Refuse a word that is not among those of its key."""
    choices = {"quantity": tuple(QUANTITIES), "subject": SUBJECTS, "combine": COMBINE, "marks": MARKS}
    for key, allowed in choices.items():
        if key in data and data[key] not in allowed:
            hint = suggest(str(data[key]), allowed)
            raise UserError(f"{file}: {key}={data[key]!r} is not known{hint or ';'} choose one of {', '.join(allowed)}")


def together(data: Mapping[str, Any], file: File) -> str | None:
    """How the parts are combined, all or any; None where the claim has none."""
    given = [how for how in COMBINE if how in data]
    if len(given) > 1:
        raise UserError(f"{file}: all and any are both given; a claim has its parts under one of them")
    return given[0] if given else None


def list_of_parts(given: Any, key: str, file: File) -> list[Mapping[str, Any]]:
    """The parts under all, any or given."""
    if not isinstance(given, list) or not given or not all(isinstance(part, Mapping) for part in given):
        raise UserError(f"{file}: {key}={given!r} must be a list of parts, each with its quantity and region")
    return given


def check_names(parts: Iterable[Any], file: File) -> None:
    """Refuse two parts of one name."""
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{file}: two parts are called {name}; give each a name: of its own")


def law(data: Mapping[str, Any], file: File) -> str:
    """The law as a text that get_law reads, with its target where that is not its own."""
    name, target = data.get("law", ""), data.get("target", "")
    if target and not name:
        raise UserError(f"{file}: target={target} is what a law predicts; give the law too, such as power_offset(D)")
    text = f"{target} ~ {name}" if target else name
    try:
        if text:
            get_law(text)
    except UserError as error:
        raise UserError(f"{file}: law: {error}") from None
    return text


def where(data: Mapping[str, Any], file: File) -> str:
    """The condition of which rows it is about."""
    text = str(data.get("where", "")).strip()
    try:
        conditions(text)
    except UserError as error:
        raise UserError(f"{file}: where: {error}") from None
    return text


def check_quantity(declared: Quantity, data: Mapping[str, Any], law: str, of: tuple[str, ...], file: File) -> None:
    """Refuse a claim that does not give its quantity what that declares."""
    if data["subject"] != declared.subject:
        raise UserError(
            f"{file}: subject={data['subject']}, but quantity={declared.name} is measured on a {declared.subject}; "
            f"write subject: {declared.subject}, or choose another quantity"
        )
    for key, meaning in KEYS.items():
        there = data.get(key) is not None and data.get(key) != "" and data.get(key) != {}
        if key in declared.needs and not there:
            raise UserError(f"{file}: quantity={declared.name} needs the key {key}: {meaning}")
        if key not in declared.needs and there:
            needs = " and ".join(declared.needs) or "no further key"
            raise UserError(f"{file}: quantity={declared.name} takes no {key}; leave it out (it takes {needs})")
    for key, meaning in TAKES.items():
        if data.get(key) and key not in declared.takes:
            raise UserError(f"{file}: quantity={declared.name} takes no {key} ({meaning}); leave it out")
    names = declared.names(law) if declared.of in OF_LAW else of
    for name in of:
        if name not in names:
            raise UserError(f"{file}: of: {no_parameter(law, name, names)}")


def compare(data: Mapping[str, Any], declared: Quantity, file: File) -> dict[str, tuple[Any, Any]]:
    """The pair of values, of one column or of each of two."""
    given = data.get("compare", {})
    sound = isinstance(given, Mapping) and len(given) <= 2 and all(_is_pair(values) for values in given.values())
    if not sound:
        raise UserError(
            f"{file}: compare={given!r} must give a column, or two, a pair of values each, such as "
            "{family.positions: [alibi, rotary]}"
        )
    if given and declared.subject != "pair":
        pairs = ", ".join(name for name, other in QUANTITIES.items() if other.subject == "pair")
        raise UserError(
            f"{file}: compare needs a quantity of a pair, and {declared.name} is none; choose one of {pairs}"
        )
    return {str(column): (values[0], values[1]) for column, values in given.items()}


def _is_pair(values: Any) -> bool:
    """Whether these are two different values."""
    simple = isinstance(values, list) and all(value is None or isinstance(value, str | float | int) for value in values)
    return simple and len(values) == 2 and values[0] != values[1]


def by(data: Mapping[str, Any], compare: Mapping[str, Any], file: File) -> tuple[str, ...]:
    """The columns whose values are the groups."""
    given = data.get("by", [] if "family" in compare else ["family"])
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{file}: by={given!r} must be a column or a list of columns, such as [family, data]")
    if twice := sorted({*names} & {*compare}):
        raise UserError(f"{file}: by and compare both name {', '.join(twice)}; leave it out of by")
    return tuple(names)


def region(data: Mapping[str, Any], compare: Mapping[str, Any], file: File) -> Region:
    """The region, of a kind that the subject can be judged by."""
    read = Region.read(data["region"], str(file))
    pair = data["subject"] == "pair"
    ordered = read.kind in ("above", "below", "between")
    if read.kind == "contrast" and not pair:
        raise UserError(f"{file}: region=contrast and subject=family do not go together: a contrast needs a pair")
    if pair and ordered and not compare:
        raise UserError(
            f"{file}: region={read.kind} and subject=pair do not go together: which of the two is taken off the other "
            "is not said; give contrast or near, or the order by compare: {family: [lstm, transformer]}"
        )
    return read


def at(given: Any, file: File) -> dict[str, str | float]:
    """Where on a dial the runs are taken."""
    sound = isinstance(given, Mapping) and all(value in PLACES or is_number(value) for value in given.values())
    if not sound:
        raise UserError(
            f"{file}: at={given!r} must give a column {', '.join(PLACES)} or a number, such as {{width: middle}}"
        )
    return dict(given)


def point(given: Any, key: str, file: File) -> dict[str, float]:
    """A point in the columns of a law."""
    if not isinstance(given, Mapping) or not all(is_number(value) and value > 0 for value in given.values()):
        raise UserError(f"{file}: {key}={given!r} must give columns numbers above 0, such as {{N: 1e8, D: 2e9}}")
    return {str(name): float(value) for name, value in given.items()}


def reach(given: Any, file: File) -> dict[str, float]:
    """The column and the value that is to be reached."""
    if not isinstance(given, Mapping) or len(given) > 1 or not all(map(is_number, given.values())):
        raise UserError(f"{file}: reach={given!r} must give one column its value, such as {{L: 1.0}}")
    return {str(name): float(value) for name, value in given.items()}


def of(given: Any, file: File) -> tuple[str, ...]:
    """The names that are measured."""
    names = given if isinstance(given, list) else [given]
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{file}: of={given!r} must be a name or a list of names")
    return tuple(names)


def level(given: Any, file: File) -> float:
    """The coverage of the interval."""
    if not is_number(given) or not 0.5 <= given < 1:
        raise UserError(f"{file}: level={given!r} must be a number from 0.5 to below 1")
    return float(given)


def optional_number(data: Mapping[str, Any], key: str, file: File) -> float | None:
    """A number, where there is one."""
    given = data.get(key)
    if given is None:
        return None
    if not is_number(given):
        raise UserError(f"{file}: {key}={given!r} must be a number")
    return float(given)


def noise(data: Mapping[str, Any], file: File) -> float | None:
    """The spread that power is computed for."""
    value = optional_number(data, "noise", file)
    if value is not None and value < 0:
        raise UserError(f"{file}: noise={value:g} is a standard deviation; give a number of at least 0")
    return value


def flag(data: Mapping[str, Any], key: str, file: File) -> bool:
    """true or false."""
    given = data.get(key, False)
    if not isinstance(given, bool):
        raise UserError(f"{file}: {key}={given!r} must be true or false")
    return given
