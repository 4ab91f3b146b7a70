"""Powers of C through the minima of budgets or of an envelope, and the intervals of their exponents.

The exponents of N_opt = G C^a and D_opt ~ C^b are the slopes of a straight line through ln N_opt and ln D_opt. Where
each minimum has an error of its own (a parabola's vertex), the interval follows from what every run adds to it; where
the minima scatter about the line by significantly more than that (an F test), the errors grow by the scale factor of
the Particle Data Group (Review of Particle Physics, section 5.2.2). Where they have none (the best run of a bin), the
scatter about the line is all there is.

    minima = pd.DataFrame({"C": [1e17, 1e18, 1e19], "N_opt": [1e7, 3.2e7, 1e8], "D_opt": [1.7e9, 5.2e9, 1.7e10]})
    power_through(minima.assign(step=0.1), None, spare=1, level=0.95).a      # 0.5
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isoflop.analysis.frontier.isoflop_minima import BUDGETS
from isoflop.analysis.intervals.estimate import t_quantile
from isoflop.analysis.laws.dual_numbers import Array

# minima scatter about a line this rarely where noise is all there is
RARE = 0.01


@dataclass(frozen=True)
class Power:
    """N_opt = exp(ln_g) C^a and D_opt ~ C^b, with half-widths of the intervals of a and b (None: no spare row)."""

    ln_g: float
    a: float
    b: float
    half_a: float | None
    half_b: float | None


def power_through(
    minima: pd.DataFrame, contributions: Sequence[pd.DataFrame] | None, spare: int, level: float
) -> Power | None:
    """Fit the powers through minima that count; None if these are fewer than BUDGETS, or at one compute.

    minima          rows with C, N_opt and D_opt
    contributions   for each row, what each run adds to its error in ln N_opt and ln D_opt, by run; None where they
                    have no error
    spare           degrees of freedom of these errors
    """
    if len(minima) < BUDGETS or np.ptp(np.log(minima["C"].to_numpy(float))) == 0:
        return None
    x, N, D = (np.log(minima[c].to_numpy(float)) for c in ("C", "N_opt", "D_opt"))
    lever = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    a, ln_g = np.polyfit(x, N, 1)
    b = float(lever @ D)
    halves: list[float | None] = [None, None]
    if contributions is None:
        # the best of a few sizes is known to half the step to its neighbours on either side: a uniform error
        least = float(np.sqrt((minima["step"].to_numpy(float) ** 2).mean() / 48))
        error = [max(_scatter(x, y), least) * float(np.sqrt(lever @ lever)) for y in (N, D)]
        halves = [t_quantile(level, len(x) - 2) * each for each in error]
    elif spare > 0:
        for i, (name, y) in enumerate((("N", N), ("D", D))):
            moved = pd.concat([part[name] for part in contributions], axis=1).fillna(0.0).to_numpy()  # (runs, minima)
            own = _scale(x, y, moved, spare) * float(np.sqrt(((moved @ lever) ** 2).sum()))
            halves[i] = t_quantile(level, spare) * own
    return Power(float(ln_g), float(a), b, *halves)


def _scatter(x: Array, y: Array) -> float:
    """Return the standard deviation of y about its straight line on x."""
    left = y - np.polyval(np.polyfit(x, y, 1), x)
    return float(np.sqrt(left @ left / (len(x) - 2)))


def _scale(x: Array, y: Array, moved: Array, spare: int) -> float:
    """Return how many times further the minima scatter about their line than their own errors explain; 1 if noise alone
    scatters them so far."""
    from scipy.special import fdtrc

    left, beyond = y - np.polyval(np.polyfit(x, y, 1), x), len(x) - 2
    ratio = float((left**2 / np.maximum((moved**2).sum(0), 1e-300)).sum()) / beyond
    return float(np.sqrt(ratio)) if fdtrc(beyond, spare, ratio) < RARE else 1.0
