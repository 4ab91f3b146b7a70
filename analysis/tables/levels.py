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


def stand_apart(values: ArrayLike, tolerance: float = SAME_LEVEL) -> NDArray[np.bool_]:
    """Whether the level of each value is told from its neighbours by a gap wider than the tolerance, (rows,)."""
    x, index = np.log(np.asarray(values, dtype=float)), level_index(values, tolerance)
    ends = pd.Series(x).groupby(index).agg(["min", "max"])
    gap = ends["min"].to_numpy()[1:] - ends["max"].to_numpy()[:-1] > np.log1p(tolerance)
    apart = np.r_[True, gap] & np.r_[gap, True]
    alone: NDArray[np.bool_] = apart[index]
    return alone
