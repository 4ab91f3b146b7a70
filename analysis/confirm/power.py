"""What a ladder of pairs could decide before it is made: the smallest multiplier that it would find, by simulation.

smallest_found(np.log([1e13, 4e13, 2e14]), [4, 4, 3], np.log(1e15), Criterion())      # 2.5
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from isoflop.analysis.confirm.clustered import Array
from isoflop.analysis.confirm.decide import Criterion, Verdict, decide
from isoflop.analysis.confirm.multiplier import Points
from isoflop.errors import FitError

# multipliers that are tried, and in which share of how many ladders one must be found
TRIED = (1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
POWER, DRAWS = 0.8, 40
# the baseline L = E + A (C / C0)^-G from the smallest place on; sd of ln L: what a pair shares, and each run alone
E, A, G, SHARED, ALONE = 1.7, 1.8, 0.12, 0.005, 0.003


def smallest_found(places: Array, counts: Sequence[int], goal: float, rule: Criterion) -> float | None:
    """Return the smallest constant multiplier that is said to scale with power .8; None above 10.

    places   ln C of each place
    counts   pairs at each
    goal     ln C of the target
    rule     when a verdict is given
    """
    x = np.repeat(places, counts)
    units = np.tile(np.arange(len(x)), 2)

    def finds(multiplier: float, seed: int) -> bool:
        shared, *alone = np.random.default_rng(seed).standard_normal((3, len(x)))
        gains = np.array([[0.0], [np.log(multiplier)]])
        y = np.log(E + A * np.exp(-G * (x - places[0] + gains))) + SHARED * shared + ALONE * np.array(alone)
        try:
            points = Points(np.tile(x, 2), y.ravel(), np.repeat([False, True], len(x)), units)
            return decide(points, goal, rule).verdict is Verdict.SCALES
        except FitError:
            return False

    at = bisect_left(TRIED, POWER * DRAWS, key=lambda multiplier: sum(finds(multiplier, s) for s in range(DRAWS)))
    return TRIED[at] if at < len(TRIED) else None
