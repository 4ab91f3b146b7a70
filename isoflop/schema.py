"""Read a dataclass from yaml: its fields are the keys, their types what a key may hold, their docstrings the reference.

An error is one sentence that names the file and the key, and says what was given and what is allowed.

    @dataclass(frozen=True)
    class Grid:
        count: Annotated[int, Bound(least=1)]
        axis: Literal["N", "D"] = "N"

    read(Grid, {"count": 6}, "mine.yaml")                   # Grid(count=6, axis='N')
    read(Grid, {"count": 6, "axs": "D"}, "mine.yaml")       # UserError: mine.yaml: a grid has no key 'axs'; did you ...

A field may be a text, a number, true or false, one of several words (Literal, StrEnum, OneOf), a list (a tuple), a
mapping, another such dataclass, or one of several of these; an `Annotated` type bounds it further.
"""

import ast
import contextlib
import inspect
import itertools
import math
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar, Union

from isoflop.checks import is_number
from isoflop.errors import UserError
from isoflop.wording import did_you_mean, suggest

T = TypeVar("T")
# metadata of a field that no key of yaml gives
NOT_A_KEY: Mapping[str, bool] = {"key": False}
UNIONS = (types.UnionType, typing.Union)
# a simple type -> what it is called, and whether a value is of it
SIMPLE: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    str: ("text", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: is_number(value) and isinstance(value, int)),
    float: ("a number", is_number),
    type(None): ("null", lambda value: value is None),
}
# names that a sentence lists; a quantity has more, which are listed where it is unknown
MOST_CHOICES = 12


@dataclass(frozen=True)
class Bound:
    """Limits of a number, or of the length of a list or a mapping."""

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf

    def holds(self, value: float) -> bool:
        """Return whether a number lies within the limits."""
        return self.least <= value <= self.most and self.above < value < self.below

    def entries(self) -> str:
        """Return the limits of a length in words."""
        if self.least == self.most:
            return f"exactly {self.least:g} {'entry' if self.least == 1 else 'entries'}"
        return f"{self} {'entry' if self.most == 1 else 'entries'}"

    def __str__(self) -> str:
        limits = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if math.isfinite(limit))


@dataclass(frozen=True)
class OneOf:
    """The names that a text may be, looked up when it is read."""

    names: Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Checked:
    """A function that raises a UserError where a value is not sound."""

    function: Callable[[Any], object]


@dataclass(frozen=True)
class Example:
    """A value of the key as yaml has it, shown in errors and in the reference."""

    text: str


def read(cls: type[T], data: object, file: object, key: str = "") -> T:
    """Return the dataclass whose fields a mapping gives; UserError naming the file and the key.

    file   where the mapping comes from, as errors name it
    key    the key that holds the mapping; empty for a whole file
    """
    where = f"{file}: " if str(file) else ""
    if not isinstance(data, Mapping):
        raise UserError(f"{where}{key or 'this'}={data!r} must be {describe(cls)}")
    words = re.sub("(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower()  # KnownAnswer is a known answer
    check_keys(data, keys_of(cls), where, key or f"{'an' if words[0] in 'aeiou' else 'a'} {words}")
    kinds = typing.get_type_hints(cls, include_extras=True)
    values = {
        name: _convert(kinds[name], value, where, f"{key}.{name}" if key else name) for name, value in data.items()
    }
    try:
        return cls(**values)
    except UserError as error:  # of several keys together
        raise UserError(f"{where}{error}") from None


def keys_of(cls: type) -> dict[str, bool]:
    """Return the keys that a dataclass is read from, and whether each must be given."""
    every: list[Field[Any]] = [field for field in fields(cls) if field.metadata.get("key", True)]
    return {field.name: field.default is MISSING and field.default_factory is MISSING for field in every}


def check_keys(data: Mapping[Any, object], known: Mapping[str, bool], where: str, owner: str) -> None:
    """Refuse an unknown key, and a mapping that lacks one that it must have."""
    for name in data:
        if name not in known:
            hint = suggest(str(name), known) or f"; it may have {', '.join(known)}"
            raise UserError(f"{where}{owner} has no key {name!r}{hint}")
    required = [name for name, needed in known.items() if needed]
    for name in required:
        if name not in data:
            raise UserError(f"{where}the key {name} is missing; {owner} has at least {', '.join(required)}")


def _convert(kind: Any, value: object, where: str, key: str) -> Any:
    """Return a value of yaml as its type has it; UserError naming the key, what was given and what is allowed."""
    kind, notes = _bare(kind)
    try:
        converted = _converted(kind, notes, value.strip() if isinstance(value, str) else value, where, key)
        for check in (note for note in notes if isinstance(note, Checked)):
            try:
                check.function(converted)
            except UserError as error:
                raise UserError(f"{where}{key}: {error}") from None
    except UserError as error:
        if shown := [note.text for note in notes if isinstance(note, Example)]:
            raise UserError(f"{error}; an example is {key}: {shown[0]}") from None
        raise
    return converted


def _converted(kind: Any, notes: tuple[Any, ...], value: Any, where: str, key: str) -> Any:
    origin, items = typing.get_origin(kind), typing.get_args(kind)
    if origin in UNIONS:
        return _one_of(items, value, where, key)
    if (choices := _choices(kind, notes)) is not None:
        if value not in choices or isinstance(value, bool):
            raise UserError(f"{where}unknown {key} {value!r}{did_you_mean(value, choices)}")
        return kind(value) if isinstance(kind, type) else value
    if is_dataclass(kind):
        return read(kind, value, where.removesuffix(": "), key)  # type: ignore[arg-type]
    if origin is tuple:
        parts = [value] if isinstance(value, str) else value  # a single text is a list of one
        if isinstance(parts, list) and _holds(notes, len(parts)):
            each = items[:1] * len(parts) if items[-1] is Ellipsis else items
            if len(parts) == len(each):
                pairs = enumerate(zip(each, parts, strict=True), start=1)
                return tuple(_convert(item, part, where, f"{key}[{at}]") for at, (item, part) in pairs)
    elif origin is Mapping:
        if isinstance(value, Mapping) and _holds(notes, len(value)):
            names = [_convert(items[0], name, where, f"name in {key}") for name in value]
            parts = [_convert(items[1], part, where, f"{key}.{name}") for name, part in value.items()]
            return dict(zip(names, parts, strict=True))
    elif SIMPLE[kind][1](value) and (isinstance(value, str | bool) or _holds(notes, value)):
        return float(value) if kind is float else value
    raise UserError(f"{where}{key}={value!r} must be {describe(kind, notes)}")


def _one_of(kinds: tuple[Any, ...], value: object, where: str, key: str) -> Any:
    """Return a value as the first of several types that takes it."""
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    for kind in kinds:
        # the error of an only type says more
        with contextlib.suppress(UserError) if len(kinds) > 1 else contextlib.nullcontext():
            return _convert(kind, value, where, key)
    raise UserError(f"{where}{key}={value!r} must be {describe(Union[kinds])}")  # noqa: UP007


def _bare(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    if typing.get_origin(kind) is not Annotated:
        return kind, ()
    kind, *notes = typing.get_args(kind)
    return kind, tuple(notes)


def _choices(kind: Any, notes: tuple[Any, ...]) -> list[Any] | None:
    """Return what a value must be one of; None where its type does not list it."""
    for note in notes:
        if isinstance(note, OneOf):
            return [*note.names()]
    if typing.get_origin(kind) is Literal:
        return [*typing.get_args(kind)]
    return [*kind] if isinstance(kind, type) and issubclass(kind, StrEnum) else None


def _holds(notes: tuple[Any, ...], value: float) -> bool:
    return all(note.holds(value) for note in notes if isinstance(note, Bound))


def describe(kind: Any, notes: tuple[Any, ...] = ()) -> str:
    """Return in words what a type allows, such as "a whole number of at least 1"."""
    kind, more = _bare(kind)
    notes = (*notes, *more)
    origin, items = typing.get_origin(kind), typing.get_args(kind)
    bounds = [note for note in notes if isinstance(note, Bound)]
    length = "".join(f", with {bound.entries()}" for bound in bounds if origin in (tuple, Mapping))
    if origin in UNIONS:
        words = [describe(item) for item in items if item is not type(None)]
        return _or([word for word in words if word != "a whole number" or "a number" not in words])
    if (choices := _choices(kind, notes)) is not None:
        return _or([*map(str, choices)]) if len(choices) <= MOST_CHOICES else "a known name"
    if is_dataclass(kind):
        return f"a mapping with the keys {', '.join(keys_of(kind))}"  # type: ignore[arg-type]
    if origin is tuple and items[-1] is not Ellipsis:
        return f"a list of {len(items)}, each {_or([*dict.fromkeys(map(describe, items))])}"
    if origin is tuple:
        return f"a list of {describe(items[0])}{length}"
    if origin is Mapping:
        return f"a mapping from {describe(items[0])} to {describe(items[1])}{length}"
    return SIMPLE[kind][0] + "".join(f"{' of' * str(bound).startswith('at')} {bound}" for bound in bounds)


def _or(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def reference(*classes: type) -> str:
    """Return the keys of dataclasses as a list in Markdown: what each may hold, its default, and what it means."""
    return "\n".join(_entry(name, cls) for cls in classes for name in keys_of(cls))


def _entry(name: str, cls: type) -> str:
    kind = typing.get_type_hints(cls, include_extras=True)[name]
    [field] = [field for field in fields(cls) if field.name == name]
    given = field.default if isinstance(field.default, tuple) else [field.default]
    shown = field.default not in (MISSING, None, "", (), False)
    needed = ", required" if keys_of(cls)[name] else f", {', '.join(map(str, given))} by default" if shown else ""
    examples = "".join(f" Example: `{name}: {note.text}`." for note in _bare(kind)[1] if isinstance(note, Example))
    return f"- `{name}` ({describe(kind)}{needed}): {docstrings(cls)[name]}{examples}"


def docstrings(cls: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass, those of its bases included."""
    found: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if is_dataclass(base)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[field.target.id] = " ".join(ast.literal_eval(text.value).split())  # type: ignore[union-attr]
    return found
