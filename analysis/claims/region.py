"""Regions: where a claim says that its quantity lies, and what an interval says of that.

An interval inside the region supports the claim, one outside refutes it, one that straddles the border decides nothing.
"Not significantly different" never reads as "equal": equality needs the whole interval inside the band.

    region = Region.read({"below": 0.01, "or_seed_sd": 2}, where="predictable.yaml")
    region.verdict(0.001, 0.007, seed_sd=0.002)     # supported
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isoflop.errors import UserError

KINDS = ("near", "between", "above", "below", "contrast")
Interval = tuple[float | None, float | None]
VERDICTS = ("supported", "refuted", "inconclusive", "not_identified", "untested")


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
        if not isinstance(given, Mapping) or len([k for k in given if k in KINDS]) != 1:
            raise UserError(f"{where}: region={given!r} must be a mapping with exactly one of {', '.join(KINDS)}")
        kind = next(k for k in given if k in KINDS)
        extras = {"near": ("within", "or_seed_sd"), "below": ("or_seed_sd",), "contrast": ("or_seed_sd", "expect")}
        allowed = (kind, *extras.get(kind, ()))
        unknown = sorted(str(k) for k in given if k not in allowed)
        if unknown:
            raise UserError(f"{where}: region has {', '.join(unknown)}; with {kind} it may have {', '.join(allowed)}")
        seed_sd = _number(given.get("or_seed_sd", 0), where, "or_seed_sd", least=0)
        if kind == "between":
            pair = given[kind]
            if not isinstance(pair, list) or len(pair) != 2:
                raise UserError(f"{where}: region.between={pair!r} must be two numbers, the lower first: [0.2, 0.4]")
            low, high = (_number(x, where, "between") for x in pair)
            if not low < high:
                raise UserError(f"{where}: region.between={pair!r} must be two numbers, the lower first: [0.2, 0.4]")
            return cls(kind, low, high)
        value = _number(given[kind], where, kind, least=0 if kind == "contrast" else -math.inf)
        if kind == "near":
            return cls(kind, value, value, _number(given.get("within"), where, "within", least=0), seed_sd)
        if kind == "contrast":
            expect = given.get("expect", "different")
            if expect not in ("different", "equivalent"):
                raise UserError(f"{where}: region.expect={expect!r} must be different or equivalent")
            return cls(kind, 0.0, 0.0, value, seed_sd, expect)
        bounds = (value, math.inf) if kind == "above" else (-math.inf, value)
        return cls(kind, *bounds, tolerance=value if kind == "below" else 0.0, or_seed_sd=seed_sd)

    def band(self, seed_sd: float | None) -> float:
        """The tolerance, or that many seed standard deviations where this is more."""
        return max(self.tolerance, self.or_seed_sd * (seed_sd or 0.0))

    def bounds(self, seed_sd: float | None = None) -> tuple[float, float]:
        """The region as (low, high); for a contrast the band of equivalence."""
        if self.kind in ("near", "contrast"):
            return self.low - self.band(seed_sd), self.high + self.band(seed_sd)
        if self.kind == "below" and self.or_seed_sd:
            return self.low, self.band(seed_sd)
        return self.low, self.high

    def verdict(self, low: float | None, high: float | None, seed_sd: float | None = None) -> str:
        """What the interval [low, high] says; a bound that does not exist (None, NaN) is no bound at all."""
        inner, outer = self.bounds(seed_sd)
        bottom, top = _open(low, -math.inf), _open(high, math.inf)
        if inner <= bottom and top <= outer:
            return "supported"
        return "refuted" if top < inner or bottom > outer else "inconclusive"

    def contrast(self, value: float, wide: "Interval", narrow: "Interval", seed_sd: float | None = None) -> str:
        """What a difference says: `wide` is its interval at 95 % (or Holm's level), `narrow` the one at 90 %.

        Different: `wide` excludes 0 and the size is at least the band. Equivalent: all of `narrow` is inside the band.
        """
        different = (_open(wide[0], -math.inf) > 0 or _open(wide[1], math.inf) < 0) and abs(value) >= self.band(seed_sd)
        equivalent = self.verdict(*narrow, seed_sd) == "supported"
        if different == equivalent:
            return "inconclusive"
        return "supported" if different == (self.expect == "different") else "refuted"

    def text(self) -> str:
        """The rule in words."""
        if self.kind == "between":
            return f"between {self.low:g} and {self.high:g}"
        if self.kind == "above":
            return f"above {self.low:g}"
        tolerance = f"{self.tolerance:g}"
        if self.or_seed_sd:
            tolerance = f"the larger of {tolerance} and {self.or_seed_sd:g} σ_seed"
        if self.kind == "below":
            return f"below {tolerance}"
        if self.kind == "near":
            return f"within {tolerance} of {self.low:g}"
        return (
            f"{self.expect}; different = the 95 % interval excludes 0 (Holm over the pairs) and the size is at least "
            f"{tolerance}; equivalent = the 90 % interval lies within ± that"
        )


def _number(given: Any, where: str, key: str, least: float = -math.inf) -> float:
    """A finite number from yaml; UserError naming the key."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given) or given < least:
        at_least = f" of at least {least:g}" if math.isfinite(least) else ""
        raise UserError(f"{where}: region.{key}={given!r} must be a number{at_least}")
    return float(given)


def _open(bound: float | None, limit: float) -> float:
    """The bound, or the limit where there is none."""
    return limit if bound is None or math.isnan(bound) else bound
