"""The picture of the answers: how far every interval is from the border of its claim's region.

picture([Bar("H5 width", "supported", 4.5, 5.5, 6.5)])      # SVG
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pages import render

from isoflop.analysis.claims.rule import Rule

# half-widths of an interval to each side of the border, and pixels of one
REACH, SCALE = 8.0, 30.0


@dataclass(frozen=True)
class Bar:
    """An interval in half-widths from the border of its region; inside is to the right."""

    label: str
    """The claim, and of several rules the rule."""
    word: str
    """The verdict."""
    low: float
    """Its lower end."""
    middle: float
    """The statistic."""
    high: float
    """Its upper end."""


def bar_of(rule: Rule, subject: Mapping[str, Any], label: str) -> Bar | None:
    """Return the bar of a subject's interval; None where an end is missing or it has no width."""
    ends = [subject.get(name) for name in ("low", "statistic", "high")]
    numbers = [float(x) for x in ends if x is not None]
    if len(numbers) < len(ends) or not numbers[0] < numbers[-1]:
        return None
    region, limit = rule.region, subject.get("limit")
    inner, outer = region.bounds()
    if limit is not None:
        span = abs(limit - (region.near or 0.0))
        inner, outer = {"above": (limit, math.inf), "below": (-math.inf, limit)}.get(
            region.kind, ((region.near or 0.0) - span, (region.near or 0.0) + span)
        )
    outside = rule.negated != (region.kind == "contrast" and region.expected == "different")
    inside = [(-1 if outside else 1) * min(x - inner, outer - x) for x in numbers]
    half = (numbers[-1] - numbers[0]) / 2
    low, high = min(inside), max(inside)
    places = (max(-REACH, min(REACH, x / half)) for x in (low, inside[1], high))
    return Bar(label.strip(), str(subject["verdict"]), *places)


def picture(bars: Sequence[Bar]) -> str:
    """Return the bars as SVG, one below the other."""
    return render("verdicts", {"e": escape}, True, bars=bars, scale=SCALE, reach=REACH)
