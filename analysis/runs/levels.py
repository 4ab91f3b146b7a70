"""Which values of a column are one level of an axis.

level_index([1.00e10, 1.01e10, 2e10])     # [0, 0, 1]
"""

import itertools

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

# budgets are rounded up to whole steps: values closer than this are one level of an axis
SAME_LEVEL = 0.1
# levels of a column from which a law over it is worth fitting
LEVELS = 3
# how rarely chance may make values crowd at one level: the usual one in twenty (Fisher 1925)
CHANCE = 0.05


def level_index(values: ArrayLike, tolerance: float = SAME_LEVEL) -> NDArray[np.int64]:
    """The place of each positive value among the distinct ones, from 0; values within `tolerance` are one level.

    No level is wider than the tolerance to either side of its middle: a chain of near values that runs on is cut at its
    widest gaps, so that values without any levels give many narrow ones and never a wide one.
    """
    x = np.log(np.asarray(values, dtype=float))
    order = np.argsort(x, kind="stable")
    step, x = np.log1p(tolerance), x[order]
    steps = np.diff(x, prepend=x[:1])
    starts = steps > step
    starts[:1] = True
    edges = [*np.flatnonzero(starts), len(x)]
    chains = list(itertools.pairwise(edges))
    while chains:
        first, last = chains.pop()
        if x[last - 1] - x[first] > 2 * step * (1 + 1e-9):
            cut = first + 1 + int(steps[first + 1 : last].argmax())
            starts[cut] = True
            chains += [(first, cut), (cut, last)]
    index = np.empty(len(x), dtype=np.int64)
    index[order] = np.cumsum(starts) - 1
    return index


def stand_apart(values: ArrayLike, sizes: ArrayLike | None = None, tolerance: float = SAME_LEVEL) -> NDArray[np.bool_]:
    """Whether the level of each value is told from its neighbours, (rows,): by a gap wider than the tolerance, or by
    how closely values crowd there.

    Values crowd at a level where the half of the tolerance to either side of its median holds more of them than chance
    would put there from the two stretches of that width beside it. Of values without levels a few seem to crowd, so
    that crowding counts only where most values do. `sizes`, (rows,), are what repeats are told by: rows equal in both
    count once.
    """
    x, index = np.log(np.asarray(values, dtype=float)), level_index(values, tolerance)
    ends = pd.Series(x).groupby(index).agg(["min", "max"])
    gap = ends["min"].to_numpy()[1:] - ends["max"].to_numpy()[:-1] > np.log1p(tolerance)
    apart = np.r_[True, gap] & np.r_[gap, True]
    places = pd.DataFrame({"x": x, "index": index, "size": 0.0 if sizes is None else np.asarray(sizes, dtype=float)})
    places = places.drop_duplicates(["x", "size"])
    crowded = _crowded(places["x"].to_numpy(), places["index"].to_numpy(), np.log1p(tolerance) / 2)
    if crowded[places["index"]].mean() > 0.5:
        apart |= crowded
    by_row: NDArray[np.bool_] = apart[index]
    return by_row


def _crowded(x: NDArray[np.float64], index: NDArray[np.int64], half: float) -> NDArray[np.bool_]:
    """Whether values crowd at each level, (levels,): by a binomial test of its core, a third of what is around it."""
    from scipy.special import bdtrc

    x_sorted, middles = np.sort(x), pd.Series(x).groupby(index).median().to_numpy()

    def count(reach: float) -> NDArray[np.intp]:
        ends = (middles - reach * (1 + 1e-9), middles + reach * (1 + 1e-9))
        return x_sorted.searchsorted(ends[1], "right") - x_sorted.searchsorted(ends[0], "left")

    core = count(half)
    crowded: NDArray[np.bool_] = (core > 0) & (bdtrc(np.maximum(core - 1, 0), count(3 * half), 1 / 3) <= CHANCE)
    return crowded
