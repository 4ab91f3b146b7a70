"""Choose which pairs of runs to make next: those that narrow the multiplier at the target most for what they cost
(Elfving 1952, doi:10.1214/aoms/1177729442; by cost as in active-sl, arXiv:2604.22753); and before any, the smallest
multiplier that a ladder of pairs would find, by simulation.

    from isoflop.analysis.confirm.multiplier import Points, fit_form

    x, new = np.log([1e15, 1e16, 1e17] * 2), np.repeat([False, True], 3)
    line = fit_form(Points(x, np.log(2 + 50 * np.exp(-0.1 * x) - 0.01 * new), new, np.arange(6) % 3))
    counts = next_pairs(line, np.log([1e15, 1e16, 1e17]), np.array([1.0, 10.0, 100.0]), np.log(1e18), money=30.0)
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.confirm.decide import Criterion, Judgement, decide
from isoflop.analysis.confirm.multiplier import SINGULAR, Array, Form, Points

# in which share of how many ladders a multiplier must be found; what is above MOST is not
POWER, DRAWS, MOST = 0.8, 40, 10.0
# the baseline L = E + A (C / C0)^-G from the smallest place on; sd of ln L: what a pair shares, and each run alone
E, A, G, SHARED, ALONE = 1.7, 1.8, 0.12, 0.005, 0.003


def next_pairs(line: Form, places: Array, costs: Array, goal: float, money: float) -> NDArray[np.intp]:
    """Return how many pairs to make at each of the places (ln C), where one costs `costs`, for `money` in the same
    unit, so that ln of the multiplier at ln C = `goal` narrows most, by the line of the runs so far."""
    x = line.points.x[line.points.new]
    count = np.unique(line.points.unit[line.points.new], return_inverse=True)[1]
    made, more = _rows(line, x), _rows(line, places)
    # the marks of a run count as one
    know = (made / np.bincount(count)[count, None]).T @ made
    bought, contrast = np.zeros(len(places), dtype=np.intp), np.array([1.0, goal - line.points.top])
    while (affordable := costs <= money).any():
        spread = np.linalg.pinv(know, rcond=SINGULAR, hermitian=True)
        # what one more row takes off the variance of the contrast (Sherman and Morrison 1950)
        gain = np.square(more @ spread @ contrast) / (1 + np.einsum("np,pq,nq->n", more, spread, more))
        best = int(np.where(affordable, gain / costs, -1.0).argmax())
        know = know + np.outer(more[best], more[best])
        money, bought[best] = money - costs[best], bought[best] + 1
    return bought


def _rows(line: Form, x: Array) -> Array:
    """Return by how much ln L falls at each ln C per unit of the line's value at the largest C and of its slope."""
    return line.steepness(x)[:, None] * np.column_stack([np.ones_like(x), x - line.points.top])


def more_pairs(judged: Sequence[Judgement], places: Array, costs: Array, money: float, most: int) -> list[int]:
    """Return how many pairs to make, as next_pairs does, for what is known least of the undecided; none where nothing
    is open, and at most `most`, what earlier looks added on average, on which the levels of looks rest."""
    if not judged:
        return [0] * len(places)
    widest = max(judged, key=lambda judgement: max(way.error for way in judgement.ways))
    while (more := next_pairs(widest.line, places, costs, widest.goal, money)).sum() > most:
        money *= 0.9
    return [int(count) for count in more]


def smallest_found(places: Array, counts: Sequence[int], goal: float, rule: Criterion) -> float | None:
    """Return the smallest constant multiplier that is said to scale at ln C = `goal` with power .8 by the rule, from so
    many pairs (`counts`) at each of the places (ln C); None above 10."""
    x = np.tile(np.repeat(places, counts), 2)
    new, units = np.divmod(np.arange(len(x)), len(x) // 2)
    curve = np.exp(-G * (x - places[0]))
    lows = []
    for seed in range(DRAWS):
        shared, alone = np.random.default_rng(seed).standard_normal((2, len(x)))
        y = np.log(E + A * curve) + SHARED * shared[units] + ALONE * alone
        lows.append(decide(Points(x, y, new > 0, units), goal, rule).target.low or 0.0)
    # a constant multiplier moves every bound by itself
    reached = float(np.quantile(lows, 1 - POWER))
    return round(1 / reached, 2) if reached * MOST > 1 else None
