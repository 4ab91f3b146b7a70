"""A dataclass is read from yaml by its fields, and what is wrong is one sentence that says what is allowed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from isoflop import schema
from isoflop.errors import UserError
from isoflop.schema import Bound, Checked, Example, OneOf, read
from isoflop.yaml_file import read_yaml


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def refuse_odd(value: int) -> None:
    """Refuse an odd number."""
    if value % 2:
        raise UserError(f"{value} is odd")


@dataclass(frozen=True)
class Inner:
    """A nested mapping."""

    count: Annotated[int, Bound(least=1)]
    """How many."""
    at: Annotated[Mapping[Literal["N", "D"], int], Bound(least=1, most=1), Example("{D: 2}")]
    """Where."""


@dataclass(frozen=True)
class OuterThing:
    """All kinds of fields."""

    name: str
    """What it is called."""
    share: Annotated[float, Bound(above=0, below=1)] = 0.5
    """A share."""
    colour: Colour | None = None
    """A colour."""
    kind: Annotated[str, OneOf(lambda: ["mean", "last"])] = "mean"
    """One of some names."""
    flag: bool = False
    """Yes or no."""
    pair: tuple[float, float] | None = None
    """Two numbers."""
    names: tuple[str, ...] = ("a", "b")
    """Several names."""
    value: str | int | float | None = None
    """A word or a number."""
    places: Mapping[str, Literal["first", "last"] | float] = field(default_factory=dict)
    """A mapping."""
    even: Annotated[int, Checked(refuse_odd)] = 0
    """An even number."""
    inner: Inner | None = None
    """Another dataclass."""
    source: str = field(default="", metadata=schema.NOT_A_KEY)
    """Not a key."""

    def __post_init__(self) -> None:
        """Refuse a flag without a pair."""
        if self.flag and self.pair is None:
            raise UserError("flag needs a pair; give pair: [0, 1]")


def test_every_kind_of_field_is_read() -> None:
    given: dict[str, Any] = {"name": " x ", "share": 0.25, "colour": "red", "kind": "last", "pair": [1, 2.5]}
    given |= {"flag": True, "names": "c", "value": 8, "places": {"w": "first", "d": 3}, "even": 4}
    thing = read(OuterThing, given | {"inner": {"count": 2, "at": {"D": 3}}}, "x.yaml")
    assert (thing.name, thing.share, thing.colour, thing.kind) == ("x", 0.25, Colour.RED, "last")
    assert (thing.pair, thing.names, thing.value, thing.even) == ((1.0, 2.5), ("c",), 8, 4)
    assert isinstance(thing.value, int)
    assert thing.places == {"w": "first", "d": 3.0}
    assert thing.inner == Inner(2, {"D": 3})
    assert read(OuterThing, {"name": "x"}, "x.yaml") == OuterThing("x")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "the key name is missing; an outer thing has at least name"),
        ({"nmae": "x"}, "an outer thing has no key 'nmae'; did you mean name?"),
        ({"source": "x"}, "an outer thing has no key 'source'; it may have name, share"),
        ({"name": 3}, "name=3 must be text"),
        ({"share": 1}, "share=1 must be a number above 0 and below 1"),
        ({"share": True}, "share=True must be a number above 0 and below 1"),
        ({"colour": "rde"}, "unknown colour 'rde'; did you mean red? choose one of red, blue"),
        ({"kind": "least"}, "unknown kind 'least'; did you mean last? choose one of mean, last"),
        ({"flag": 1}, "flag=1 must be true or false"),
        ({"pair": [1]}, "pair=[1] must be a list of 2, each a number"),
        ({"pair": [1, "x"]}, "pair[2]='x' must be a number"),
        ({"names": ["a", 3]}, "names[2]=3 must be text"),
        ({"value": [1]}, "value=[1] must be text or a number"),
        ({"places": {"w": "middle"}}, "places.w='middle' must be first or last or a number"),
        ({"even": 3}, "even: 3 is odd"),
        ({"inner": 3}, "inner=3 must be a mapping with the keys count, at"),
        ({"inner": {"count": 0, "at": {"N": 1}}}, "inner.count=0 must be a whole number of at least 1"),
        ({"inner": {"count": 1, "at": {}}}, "with exactly 1 entry; an example is inner.at: {D: 2}"),
        ({"inner": {"count": 1, "at": {"C": 1}}}, "unknown name in inner.at 'C'; choose one of N, D"),
        ({"flag": True}, "flag needs a pair; give pair: [0, 1]"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(given: dict[str, Any], sentence: str) -> None:
    name = {} if {"nmae", "source"} & {*given} or not given else {"name": "x"}
    with pytest.raises(UserError) as caught:
        read(OuterThing, name | given, "x.yaml")
    assert str(caught.value).startswith("x.yaml: ")
    assert sentence in str(caught.value)


def test_the_reference_has_a_line_for_every_key() -> None:
    lines = schema.reference(OuterThing, Inner).splitlines()
    assert lines[0] == "- `name` (text, required): What it is called."
    assert lines[1] == "- `share` (a number above 0 and below 1, 0.5 by default): A share."
    assert lines[6] == "- `names` (a list of text, a, b by default): Several names."
    assert lines[-1].endswith("with exactly 1 entry, required): Where. Example: `at: {D: 2}`.")
    assert len(lines) == 13


def test_a_yaml_file_has_numbers_and_refusals_of_omegaconf(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: 1e18\nb: 2026-01-01\n")
    assert read_yaml(file, "claim")[0] == {"a": 1e18, "b": "2026-01-01"}
    for text, sentence in (
        ("a: 1\na: 2\n", "duplicate key"),
        ("- a\n", "not a mapping"),
        ("a: &x [1]\nb: *x\n", "another place"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=sentence):
            read_yaml(file, "claim")
