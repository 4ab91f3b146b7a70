"""What a ladder of pairs could decide before it is made: the smallest multiplier that it would find, by simulation.

smallest_found(np.log([1e13, 4e13, 2e14]), [4, 4, 3], np.log(1e15), Criterion())      # at the target, at the largest C
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from isoflop.analysis.confirm.clustered import Array
from isoflop.analysis.confirm.decide import Criterion, Judgement, Verdict, decide
from isoflop.analysis.confirm.multiplier import Points
from isoflop.errors import FitError

# multipliers that are tried, and in which share of how many ladders one must be found
TRIED = (1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
POWER, DRAWS = 0.8, 40
# the baseline L = E + A (C / C0)^-G from the smallest place on; sd of ln L: what a pair shares, and each run alone
E, A, G, SHARED, ALONE = 1.7, 1.8, 0.12, 0.005, 0.003


def smallest_found(
    places: Array, counts: Sequence[int], goal: float, rule: Criterion
) -> tuple[float | None, float | None]:
    """Return the smallest constant multipliers found with power .8 at the target and at the largest C; None above 10.

    places   ln C of each place
    counts   pairs at each
    goal     ln C of the target
    rule     when a verdict is given
    """
    known: dict[float, tuple[float, float]] = {}

    def powers(multiplier: float) -> tuple[float, float]:
        if multiplier not in known:
            judged = [_judged(places, counts, goal, rule, multiplier, seed) for seed in range(DRAWS)]
            lows = [j.largest.low or 0.0 for j in judged if j]
            scales = sum(j is not None and j.verdict is Verdict.SCALES for j in judged)
            known[multiplier] = scales / DRAWS, sum(low > 1 for low in lows) / DRAWS
        return known[multiplier]

    def least(which: int) -> float | None:
        at = bisect_left(TRIED, True, key=lambda multiplier: powers(multiplier)[which] >= POWER)
        return TRIED[at] if at < len(TRIED) else None

    return least(0), least(1)


def _judged(
    places: Array, counts: Sequence[int], goal: float, rule: Criterion, multiplier: float, seed: int
) -> Judgement | None:
    """Return what a simulated ladder says; None where its losses do not fall."""
    random = np.random.default_rng(seed)
    x = np.repeat(places, counts)
    shared = SHARED * random.standard_normal(len(x))
    y = [
        np.log(E + A * np.exp(-G * (x - places[0] + gain))) + shared + ALONE * random.standard_normal(len(x))
        for gain in (0.0, np.log(multiplier))
    ]
    units = np.tile(np.arange(len(x)), 2)
    try:
        return decide(Points(np.tile(x, 2), np.concatenate(y), np.repeat([False, True], len(x)), units), goal, rule)
    except FitError:
        return None
