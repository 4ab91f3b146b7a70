"""What a ladder of pairs could decide before it is made: the smallest multiplier that it would find, by simulation.

smallest_found(np.log([1e13, 4e13, 2e14]), [4, 4, 3], np.log(1e15), Criterion())
"""

from collections.abc import Sequence

import numpy as np

from isoflop.analysis.confirm.clustered import Array
from isoflop.analysis.confirm.decide import Criterion, decide
from isoflop.analysis.confirm.multiplier import Points

# in which share of how many ladders a multiplier must be found; what is above MOST is not
POWER, DRAWS, MOST = 0.8, 40, 10.0
# the baseline L = E + A (C / C0)^-G from the smallest place on; sd of ln L: what a pair shares, and each run alone
E, A, G, SHARED, ALONE = 1.7, 1.8, 0.12, 0.005, 0.003


def smallest_found(places: Array, counts: Sequence[int], goal: float, rule: Criterion) -> float | None:
    """Return the smallest constant multiplier that is said to scale with power .8; None above 10.

    places   ln C of each place
    counts   pairs at each
    goal     ln C of the target
    rule     when a verdict is given
    """
    x = np.tile(np.repeat(places, counts), 2)
    units, new, curve = (
        np.arange(len(x)) % (len(x) // 2),
        np.arange(len(x)) >= len(x) // 2,
        np.exp(-G * (x - places[0])),
    )
    lows = []
    for seed in range(DRAWS):
        shared, alone = np.random.default_rng(seed).standard_normal((2, len(x)))
        y = np.log(E + A * curve) + SHARED * shared[units] + ALONE * alone
        lows.append(decide(Points(x, y, new, units), goal, rule).target.low or 0.0)
    # a constant multiplier moves every bound by itself
    reached = float(np.quantile(lows, 1 - POWER))
    return round(1 / reached, 2) if reached * MOST > 1 else None
