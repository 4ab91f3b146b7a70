"""A number and its interval, the one shape in which every room passes a result on.

str(Estimate(0.347, 0.32, 0.38))     # '0.347 (0.32 to 0.38)'
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value and its interval.

    value   the estimate; None where there is none
    low     lower bound of the interval; None where it does not exist
    high    upper bound of the interval; None where it does not exist
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        if self.low is None and self.high is None:
            return f"{self.value:.6g}"
        low, high = ("-" if x is None else f"{x:.4g}" for x in (self.low, self.high))
        return f"{self.value:.6g} ({low} to {high})"
