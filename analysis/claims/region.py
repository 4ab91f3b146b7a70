"""Regions: where a claim says that its quantity lies, what an interval says of that, and how such numbers are written.

    region = Region(below=0.01, or_seed_sd=2)
    region.verdict(0.001, 0.007, seed_sd=0.002)     # supported

An interval inside the region supports the claim, one outside refutes it, one that straddles the border decides nothing.
Equality needs the whole interval inside the band.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Literal

from isoflop.errors import UserError
from isoflop.schema import Bound, Example
from isoflop.wording import percent

# kind of region -> the keys that it may have beside its own
KINDS: Mapping[str, tuple[str, ...]] = {
    "near": ("within", "or_seed_sd"),
    "between": (),
    "above": ("or_seed_sd",),
    "below": ("or_seed_sd",),
    "contrast": ("or_seed_sd", "expect"),
}
Interval = tuple[float | None, float | None]


class VerdictKind(StrEnum):
    """The outcome of a claim, or of one of its subjects; in the order in which they are listed."""

    sentence: str
    """When it is given."""
    lead: str
    """How a sentence that ends in the claim begins."""

    def __new__(cls, value: str, sentence: str, lead: str) -> "VerdictKind":
        kind = str.__new__(cls, value)
        kind._value_, kind.sentence, kind.lead = value, sentence, lead
        return kind

    SUPPORTED = "supported", "the whole interval lies inside the region", "The runs support"
    REFUTED = "refuted", "the whole interval lies outside the region", "The runs refute"
    INCONCLUSIVE = "inconclusive", "the interval straddles the border of the region", "The runs do not decide"
    NOT_IDENTIFIED = (
        "not_identified",
        "the runs do not determine the quantity, as where a fit is flat or the loss hardly falls",
        "The runs do not determine what is needed to judge",
    )
    UNTESTED = "untested", "runs or columns that the claim needs are missing; the reason says which", "Not tested:"

    @property
    def word(self) -> str:
        """The verdict as a word in prose."""
        return self.value.replace("_", " ")

    @property
    def decided(self) -> bool:
        """Whether the runs answer the claim, one way or the other."""
        return self in (VerdictKind.SUPPORTED, VerdictKind.REFUTED)


VERDICTS = tuple(VerdictKind)


@dataclass(frozen=True)
class Region:
    """Where a claim says that its quantity lies: one of near, between, above, below and contrast."""

    near: float | None = None
    """Around this value, by at most `within`."""
    within: Annotated[float, Bound(least=0)] | None = None
    """The tolerance about `near`."""
    between: Annotated[tuple[float, float], Example("[0.2, 0.4]")] | None = None
    """Between two numbers, the lower first."""
    above: float | None = None
    """Above this number."""
    below: float | None = None
    """Below this number."""
    contrast: Annotated[float, Bound(least=0)] | None = None
    """The smallest difference that counts."""
    or_seed_sd: Annotated[float, Bound(least=0)] = 0.0
    """A number of seed standard deviations, which replaces the tolerance, the bound or the band where it is larger."""
    expect: Literal["different", "equivalent"] | None = None
    """What a contrast is expected to be: different (the default) or equivalent."""

    def __post_init__(self) -> None:
        """Refuse a region of several kinds or none, and a key that its kind does not have."""
        given = {field.name for field in fields(self) if getattr(self, field.name) not in (None, 0.0)}
        given |= {name for name in KINDS if getattr(self, name) is not None}
        kinds = [name for name in KINDS if name in given]
        if len(kinds) != 1:
            names = " and ".join(kinds) or "no kind"
            raise UserError(f"region has {names}; it must have exactly one of {', '.join(KINDS)}")
        allowed = (kinds[0], *KINDS[kinds[0]])
        if unknown := sorted(given - {*allowed}):
            more = ", ".join(allowed[1:]) or "nothing else"
            raise UserError(f"region has {', '.join(unknown)}; with {kinds[0]} it may have {more}")
        if self.near is not None and self.within is None:
            raise UserError("region.within is missing; near needs the tolerance too, such as {near: 0.5, within: 0.03}")
        if self.between is not None and not self.between[0] < self.between[1]:
            raise UserError(f"region.between={[*self.between]} must be two numbers, lower first, such as [0.2, 0.4]")

    @property
    def kind(self) -> str:
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def tolerance(self) -> float:
        """The half-width, the bound or the band, without seed noise."""
        return next((x for x in (self.within, self.above, self.below, self.contrast) if x is not None), 0.0)

    @property
    def expected(self) -> str:
        return self.expect or "different"

    def band(self, seed_sd: float | None) -> float:
        """Return the tolerance, or that many seed standard deviations where these are more."""
        return max(self.tolerance, self.or_seed_sd * (seed_sd or 0.0))

    def bounds(self, seed_sd: float | None = None) -> tuple[float, float]:
        """Return the region as (low, high); for a contrast the band of equivalence."""
        if self.between is not None:
            return self.between
        band = self.band(seed_sd)
        if self.near is not None or self.contrast is not None:
            return (self.near or 0.0) - band, (self.near or 0.0) + band
        border = band if self.or_seed_sd else self.tolerance
        return (border, math.inf) if self.above is not None else (-math.inf, border)

    def verdict(self, low: float | None, high: float | None, seed_sd: float | None = None) -> VerdictKind:
        """Return what the interval [low, high] says; a bound that is None or NaN is infinite."""
        inner, outer = self.bounds(seed_sd)
        bottom, top = _open(low, -math.inf), _open(high, math.inf)
        if inner <= bottom and top <= outer:
            return VerdictKind.SUPPORTED
        return VerdictKind.REFUTED if top < inner or bottom > outer else VerdictKind.INCONCLUSIVE

    def verdict_on_difference(
        self, value: float, wide: Interval, narrow: Interval, seed_sd: float | None = None
    ) -> VerdictKind:
        """Return what a difference says: different where `wide`, its interval at 95 % (or Holm's level), excludes 0 and
        the size is at least the band; equivalent where `narrow`, that at 90 %, is inside the band."""
        different = (_open(wide[0], -math.inf) > 0 or _open(wide[1], math.inf) < 0) and abs(value) >= self.band(seed_sd)
        equivalent = self.verdict(*narrow, seed_sd) is VerdictKind.SUPPORTED
        if different == equivalent:
            return VerdictKind.INCONCLUSIVE
        return VerdictKind.SUPPORTED if different == (self.expected == "different") else VerdictKind.REFUTED

    def text(self) -> str:
        """Return the rule in words."""
        if self.between is not None:
            return f"between {self.between[0]:g} and {self.between[1]:g}"
        tolerance = f"{self.tolerance:g}"
        if self.or_seed_sd:
            tolerance = f"the larger of {tolerance} and {self.or_seed_sd:g} σ_seed"
        if self.kind in ("above", "below"):
            return f"{self.kind} {tolerance}"
        if self.kind == "near":
            return f"within {tolerance} of {self.near:g}"
        meaning = {
            "different": f"the 95 % interval (Holm over the pairs) excludes 0 and the size is at least {tolerance}",
            "equivalent": f"the 90 % interval lies within ± {tolerance}",
        }
        return f"{self.expected}: {meaning[self.expected]}"


def _open(bound: float | None, limit: float) -> float:
    return limit if bound is None or math.isnan(bound) else bound


@dataclass(frozen=True)
class NumberStyle:
    """How the number of a quantity is written."""

    amount: Callable[[float], str]
    """The number alone."""
    distance: Callable[[float], str]
    """The number as a distance between two."""
    axis: str
    """The title of an axis."""
    scale: float = 1.0
    """What the number is multiplied by on the axis."""
    name: str = ""
    """What the listing of quantities calls the unit."""
    relation: str = "below"
    """The word after the distance, from the lower to the higher."""


def _less(of: str, symbol: str) -> NumberStyle:
    """Return the style of a difference of logarithms, which says how many times less the lower needs."""
    return NumberStyle(
        lambda value: f"{math.exp(value):.3g}×",
        lambda value: f"needs {math.exp(abs(value)):.3g} times less {of}",
        f"difference of ln {symbol}",
        name="a ratio, whose logarithm the region bounds",
        relation="than",
    )


def _signed(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


UNITS = {
    "": NumberStyle(_signed, lambda value: f"{abs(value):.3g}", "difference"),
    # differences of ln L
    "percent": NumberStyle(
        lambda value: percent(value, 2), lambda value: percent(-math.expm1(-abs(value))),
        "difference of ln L [%]", 100.0, "per cent",
    ),
    "times": _less("compute", "C"),
    "data": _less("data", "D"),
    # a first over a second
    "ratio": NumberStyle(lambda value: f"{_signed(value)}×", "{:.3g}".format, "ratio", name="a ratio"),
}  # fmt: skip
