"""One approach to the frontier: a power of C for the best size and one for the data, with intervals.

from isoflop.analysis.frontier.frontier import frontier
frontier(read_runs("runs.csv")).approaches["isoflop"].size_at(1e21)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isoflop.analysis.frontier.isoflop_minima import BINS, BUDGETS, best_run, influence, power_through, spare_rows
from isoflop.analysis.intervals.estimate import Estimate


@dataclass(frozen=True)
class Approach:
    """N_opt = G C^a and D_opt ~ C^b by one approach.

    a           exponent of the best size
    b           exponent of the best amount of data
    G           the best size at C = 1 [parameters]; None where there is no power
    n_budgets   budgets that count
    reason      why there is no power, or what is weak; empty for a sound one
    bias_a      by how much a is off if the parametric law holds; None where that is not known
    half_size   half-width of the interval of ln N_opt at ln C; None where there is no interval
    """

    a: Estimate
    b: Estimate
    G: float | None
    n_budgets: int
    reason: str = ""
    bias_a: float | None = None
    half_size: Callable[[float], float] | None = None

    def size_at(self, C: float) -> Estimate:
        """Return the best size at compute C [FLOPs] with its interval."""
        N = self.N_opt(C)
        if N is None or self.half_size is None:
            return Estimate(N)
        half = self.half_size(float(np.log(C)))
        return Estimate(N, N * float(np.exp(-half)), N * float(np.exp(half)))

    def N_opt(self, C: float) -> float | None:
        """Return the best size at compute C [FLOPs]."""
        return None if self.G is None or self.a.value is None else self.G * C**self.a.value


def envelope(table: pd.DataFrame, level: float) -> Approach:
    """Fit a power through the best run of each bin of C; its interval is from the scatter about the line."""
    best = pd.DataFrame([best_run(part) for _, part in table.groupby(np.floor(np.log10(table["C"]) * BINS))])
    best = best[best["used"].astype(bool)]
    return _approach(best, None, len(best) - 2, level)


def through_minima(table: pd.DataFrame, budgets: pd.DataFrame, level: float) -> Approach:
    """Fit a power through the parabolas' vertices; its interval is from what every run adds to their errors."""
    used = budgets["used"].to_numpy(bool)
    parts = [part for (_, part), use in zip(table.groupby("budget"), used, strict=True) if use]
    return _approach(budgets[used], [influence(part) for part in parts], sum(map(spare_rows, parts)), level)


def _approach(minima: pd.DataFrame, influences: list[pd.DataFrame] | None, spare: int, level: float) -> Approach:
    power = power_through(minima, influences, spare, level)
    none = Estimate(None)
    if power is None:
        count = len(minima)
        have = "budget has" if count == 1 else "budgets have"
        return Approach(none, none, None, count, f"{count} {have} an interior minimum, a power needs {BUDGETS}")
    G, count = float(np.exp(power.ln_g)), len(minima)
    if power.half_a is None or power.half_b is None:
        few = "every parabola goes through all its points, so no interval"
        return Approach(Estimate(power.a), Estimate(power.b), G, count, few)
    a = Estimate(power.a, power.a - power.half_a, power.a + power.half_a)
    b = Estimate(power.b, power.b - power.half_b, power.b + power.half_b)
    return Approach(a, b, G, count, half_size=power.half_size)
