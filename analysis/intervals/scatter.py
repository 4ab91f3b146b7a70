"""The scatter of runs about a law, which may grow with scale: what a prediction for a new run has to allow for.

Squared residuals are a power of the law's columns (Harvey 1976, multiplicative heteroscedasticity), each exponent kept
only where it differs from zero at 5 %, with the run as the unit; and a prediction never uses less than the pooled
scatter, so that an extrapolation to where runs look quieter promises nothing.

    noise = scatter(residuals, columns, runs, free=5)
    noise.pooled, noise.at(columns)   # 0.0058, and 0.0085 for the largest size
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.dual_numbers import Array

# fewer runs than this tell nothing of how scatter changes
FEWEST = 20
# one-sided level of the test for growth
RARE = 0.05
# a residual counts as at least this share of the median one: a robust fit passes through some points exactly
LEAST = 0.1


@dataclass(frozen=True)
class Noise:
    """Standard deviation of a residual: pooled, and as level * exp(slopes . log columns).

    `doubt` is the standard error of the slopes of log variance, which counts with the distance from `centre`: the
    expected variance is that of a log-normal.
    """

    pooled: float
    level: float
    slopes: Array
    doubt: Array
    centre: Array

    def at(self, columns: list[Array]) -> Array:
        """Return the standard deviation at the rows of `columns`, nowhere below the pooled one."""
        axes = np.log(np.stack(columns, axis=-1))
        grown = np.log(self.level) + axes @ self.slopes + ((axes - self.centre) ** 2) @ self.doubt**2 / 4
        wide: Array = np.maximum(self.pooled, np.exp(grown))
        return wide


def scatter(residuals: Array, columns: tuple[Array, ...], runs: NDArray[np.intp], free: int) -> Noise:
    """Return the scatter of `residuals` (rows,) about a law of `free` parameters."""
    spare = max(len(residuals) - free, 1)
    pooled = float(np.sqrt((residuals**2).sum() / spare))
    none = np.zeros(len(columns))
    flat = Noise(pooled, max(pooled, 1e-300), none, none, none)
    least = LEAST * float(np.median(np.abs(residuals)))
    if int(runs.max()) + 1 < FEWEST or least == 0:
        return flat
    size = np.log(residuals**2 + least**2)
    axes = np.log(np.stack(columns, axis=-1))
    grows = [i for i in range(axes.shape[1]) if np.ptp(axes[:, i]) > 0]
    while grows:
        slopes, t = _regress(size, axes[:, grows], runs)
        weak = int(np.argmin(t))
        if t[weak] > _limit(int(runs.max()) - len(grows)):
            break
        del grows[weak]
    if not grows:
        return flat
    grown, doubt = none.copy(), none.copy()
    grown[grows], doubt[grows] = slopes / 2, slopes / t
    level = np.sqrt(((residuals / np.exp(axes @ grown)) ** 2).sum() / spare)
    return Noise(pooled, float(level), grown, doubt, axes.mean(0))


def _regress(y: Array, x: Array, runs: NDArray[np.intp]) -> tuple[Array, Array]:
    """Return slopes of y on x, and their t by runs."""
    design = np.column_stack([np.ones(len(x)), x - x.mean(0)])
    inverse = np.linalg.pinv(design.T @ design)
    coefficients = inverse @ design.T @ y
    score = design * (y - design @ coefficients)[:, None]
    by_run = np.zeros((int(runs.max()) + 1, design.shape[1]))
    np.add.at(by_run, runs, score)
    error = np.sqrt(np.diag(inverse @ by_run.T @ by_run @ inverse))
    return coefficients[1:], coefficients[1:] / np.maximum(error[1:], 1e-300)


def _limit(dof: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(max(dof, 1), 1 - RARE))
