"""Regions: where a claim says that its quantity lies, and what an interval says of that.

An interval inside the region supports the claim, one outside refutes it, one that straddles the border decides nothing.
"Not significantly different" never reads as "equal": equality needs the whole interval inside the band.

    region = Region.read({"below": 0.01, "or_seed_sd": 2}, where="predictable.yaml")
    region.verdict(0.001, 0.007, seed_sd=0.002)     # supported
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from isoflop.errors import UserError

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

    sentence: str  # when it is given
    lead: str  # how a sentence that ends in the claim begins

    def __new__(cls, value: str, sentence: str, lead: str) -> "VerdictKind":
        """A member is its name as text, with its two sentences."""
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
        """The verdict as prose has it."""
        return self.value.replace("_", " ")

    @property
    def decided(self) -> bool:
        """Whether the runs answer the claim, one way or the other."""
        return self in (VerdictKind.SUPPORTED, VerdictKind.REFUTED)


VERDICTS = tuple(VerdictKind)


@dataclass(frozen=True)
class Region:
    """One of near/within, between, above, below, or a contrast; `or_seed_sd` widens a tolerance to that many σ_seed."""

    kind: str
    low: float
    high: float
    tolerance: float = 0.0
    or_seed_sd: float = 0.0
    expect: str = "different"

    @classmethod
    def read(cls, given: Any, where: str) -> "Region":
        """The region of a claim's yaml; UserError naming `where` and the key."""
        kind = _kind(given, where)
        if kind == "between":
            return cls(kind, *_two_numbers(given[kind], where))
        value = _number(given[kind], where, kind, least=0 if kind == "contrast" else -math.inf)
        seed_sd = _number(given.get("or_seed_sd", 0), where, "or_seed_sd", least=0)
        if kind == "near":
            return cls(kind, value, value, _number(given.get("within"), where, "within", least=0), seed_sd)
        if kind == "contrast":
            return cls(kind, 0.0, 0.0, value, seed_sd, _expect(given.get("expect", "different"), where))
        if kind == "above":
            return cls(kind, value, math.inf, value, seed_sd)
        return cls(kind, -math.inf, value, value, seed_sd)

    def band(self, seed_sd: float | None) -> float:
        """The tolerance, or that many seed standard deviations where this is more."""
        return max(self.tolerance, self.or_seed_sd * (seed_sd or 0.0))

    def bounds(self, seed_sd: float | None = None) -> tuple[float, float]:
        """The region as (low, high); for a contrast the band of equivalence."""
        if self.kind in ("near", "contrast"):
            return self.low - self.band(seed_sd), self.high + self.band(seed_sd)
        if self.kind == "below" and self.or_seed_sd:
            return self.low, self.band(seed_sd)
        if self.kind == "above" and self.or_seed_sd:
            return self.band(seed_sd), self.high
        return self.low, self.high

    def verdict(self, low: float | None, high: float | None, seed_sd: float | None = None) -> VerdictKind:
        """What the interval [low, high] says; a bound that does not exist (None, NaN) is no bound at all."""
        inner, outer = self.bounds(seed_sd)
        bottom, top = _open(low, -math.inf), _open(high, math.inf)
        if inner <= bottom and top <= outer:
            return VerdictKind.SUPPORTED
        return VerdictKind.REFUTED if top < inner or bottom > outer else VerdictKind.INCONCLUSIVE

    def contrast(self, value: float, wide: Interval, narrow: Interval, seed_sd: float | None = None) -> VerdictKind:
        """What a difference says: `wide` is its interval at 95 % (or Holm's level), `narrow` the one at 90 %.

        Different: `wide` excludes 0 and the size is at least the band. Equivalent: all of `narrow` is inside the band.
        """
        different = (_open(wide[0], -math.inf) > 0 or _open(wide[1], math.inf) < 0) and abs(value) >= self.band(seed_sd)
        equivalent = self.verdict(*narrow, seed_sd) is VerdictKind.SUPPORTED
        if different == equivalent:
            return VerdictKind.INCONCLUSIVE
        return VerdictKind.SUPPORTED if different == (self.expect == "different") else VerdictKind.REFUTED

    def text(self) -> str:
        """The rule in words."""
        if self.kind == "between":
            return f"between {self.low:g} and {self.high:g}"
        tolerance = f"{self.tolerance:g}"
        if self.or_seed_sd:
            tolerance = f"the larger of {tolerance} and {self.or_seed_sd:g} σ_seed"
        if self.kind in ("above", "below"):
            return f"{self.kind} {tolerance}"
        if self.kind == "near":
            return f"within {tolerance} of {self.low:g}"
        meaning = {
            "different": f"the 95 % interval (Holm over the pairs) excludes 0 and the size is at least {tolerance}",
            "equivalent": f"the 90 % interval lies within ± {tolerance}",
        }
        return f"{self.expect}: {meaning[self.expect]}"


# of a claim that has parts in the place of a quantity
EVERYWHERE = Region("between", -math.inf, math.inf)


def _kind(given: Any, where: str) -> str:
    """Which kind of region a mapping is; UserError where it is none, or has keys that its kind does not have."""
    kinds = [k for k in given if k in KINDS] if isinstance(given, Mapping) else []
    if len(kinds) != 1:
        raise UserError(f"{where}: region={given!r} must be a mapping with exactly one of {', '.join(KINDS)}")
    allowed = (kinds[0], *KINDS[kinds[0]])
    unknown = sorted(str(k) for k in given if k not in allowed)
    if unknown:
        raise UserError(f"{where}: region has {', '.join(unknown)}; with {kinds[0]} it may have {', '.join(allowed)}")
    return str(kinds[0])


def _two_numbers(given: Any, where: str) -> tuple[float, float]:
    """The bounds of a region between two numbers."""
    low, high = given if isinstance(given, list) and len(given) == 2 else (0.0, 0.0)
    bounds = _number(low, where, "between"), _number(high, where, "between")
    if not bounds[0] < bounds[1]:
        raise UserError(f"{where}: region.between={given!r} must be two numbers, the lower first: [0.2, 0.4]")
    return bounds


def _expect(given: Any, where: str) -> str:
    """What a contrast is expected to be."""
    if given not in ("different", "equivalent"):
        raise UserError(f"{where}: region.expect={given!r} must be different or equivalent")
    return str(given)


def _number(given: Any, where: str, key: str, least: float = -math.inf) -> float:
    """A finite number from yaml; UserError naming the key."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given) or given < least:
        at_least = f" of at least {least:g}" if math.isfinite(least) else ""
        raise UserError(f"{where}: region.{key}={given!r} must be a number{at_least}")
    return float(given)


def _open(bound: float | None, limit: float) -> float:
    """The bound, or the limit where there is none."""
    return limit if bound is None or math.isnan(bound) else bound
