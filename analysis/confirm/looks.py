"""What a look at unfinished data costs: the chance of a false verdict is spent over planned looks.

By the k-th of K looks the share (k / K)^POWER of it is spent (Kim and DeMets 1987, doi:10.1093/biomet/74.1.149). What a
look sees is mostly what the one before saw, so that its level is found from their joint distribution, a Brownian motion
looked at K times (Lan and DeMets 1983, doi:10.1093/biomet/70.3.659), and used for Student's t (Jennison and Turnbull
2000, Group Sequential Methods, section 3.8). Where no look adds more information than those before it did on average,
the chance holds wherever one stops, and what is bought may depend on where runs stand and how noisy they are.

A confidence sequence (Howard et al. 2021, arXiv:1810.08240) needs no plan, but its variance must be known or its runs
many; a ladder has six to thirty, whose noise differs with size, and a level for Student's t at each look suits few.

    [round(level(0.05, look, 3), 4) for look in (1, 2, 3)]      # [0.0056, 0.0193, 0.0409]
"""

import numpy as np
from scipy.special import ndtr, ndtri

from isoflop.analysis.laws.dual_numbers import Array

# early looks are cheap in chance and rarely decide: benchmarks/confirm_rates.py
POWER = 2.0
# points of the motion at one look, and how many standard deviations of the last they reach
POINTS, REACH = 601, 7.0


def spent(risk: float, look: int, looks: int) -> float:
    """Return what of the chance `risk` of a false verdict is spent at the look of this number, from 1."""
    return float(risk * ((look / looks) ** POWER - ((look - 1) / looks) ** POWER))


def level(risk: float, look: int, looks: int) -> float:
    """Return the level at which the look of this number tests, so that all looks together err in `risk` of cases."""
    x = np.linspace(-REACH, REACH, POINTS)
    step = 2 * REACH / (POINTS - 1)
    # time is counted in looks, so that each adds a normal variable of variance 1
    before = np.exp(-np.square(x * looks**0.5) / 2) * step * (looks / (2 * np.pi)) ** 0.5
    kernel = np.exp(-np.square((x[:, None] - x) * looks**0.5) / 2) * step * (looks / (2 * np.pi)) ** 0.5
    edge = float(-ndtri(spent(risk, 1, looks)) / looks**0.5)
    for number in range(2, look + 1):
        before = kernel @ _below(before, x, edge, step)
        beyond = np.log(np.maximum(np.cumsum(before[::-1])[::-1] - before / 2, 1e-300))
        edge = float(np.interp(-np.log(spent(risk, number, looks)), -beyond, x))
    return float(ndtr(-edge * (looks / look) ** 0.5))


def _below(density: Array, x: Array, edge: float, step: float) -> Array:
    """Return what of a density's mass at each point lies below an edge."""
    below: Array = density * np.clip((edge - x) / step + 0.5, 0.0, 1.0)
    return below
