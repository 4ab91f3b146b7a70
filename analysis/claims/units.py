"""How the numbers of quantities are written in sentences and on axes.

UNITS["percent"].distance(-0.02)      # '2.0 %'
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from isoflop.wording import percent


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
