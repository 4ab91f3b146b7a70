"""Laws of whole loss curves under any schedule of the rate.

A row is a point of a curve: S1, the sum of the rates so far, and lr, the rate now. What was annealed before is read
from the other rows of the same curve, so the rows of a table are the schedule; analysis/tables/schedules.py makes S1
and curve of (step, lr). A row alone in its curve is one under a constant rate.

from isoflop.analysis.laws.catalogue import get_law

get_law("multi_power").columns     # ('curve', 'S1', 'lr')
"""

from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import numpy as np

from isoflop.analysis.laws.declare import Column, Exponent, Kind, Offset, Scale, law
from isoflop.analysis.laws.dual_numbers import Array

# falls of the rate that are told apart in a curve; neighbours are taken together, where they are on average
MOST_FALLS = 24


class Falls(NamedTuple):
    """The k-th fall of the rate before each row: by how much, to what, and the sum of rates since, (k, rows) each."""

    by: Array
    to: Array
    since: Array


def falls(curve: Array, S1: Array, lr: Array) -> Falls:
    """The falls of the rate before each row of its curve; a fall of zero where there is none."""
    return _falls(*(np.ascontiguousarray(x, dtype=float).tobytes() for x in (curve, S1, lr)))


@lru_cache(maxsize=32)
def _falls(curve_bytes: bytes, S1_bytes: bytes, lr_bytes: bytes) -> Falls:
    curve, S1, lr = (np.frombuffer(x) for x in (curve_bytes, S1_bytes, lr_bytes))
    by, since = np.zeros((MOST_FALLS, len(S1))), np.ones((MOST_FALLS, len(S1)))
    to = np.ones((MOST_FALLS, len(S1)))
    for name in np.unique(curve):
        rows = np.flatnonzero(curve == name)
        rows = rows[np.argsort(S1[rows], kind="stable")]
        fall = -np.diff(lr[rows])
        at = np.flatnonzero(fall)
        if not len(at):
            continue
        # as many groups as may be, of equal parts of what falls; each row sees of a group what lies before it
        share = np.cumsum(np.abs(fall[at])) / np.abs(fall[at]).sum()
        group = np.minimum((share * MOST_FALLS - 1e-9).astype(int), MOST_FALLS - 1)
        # a row's rate is that of the steps from it on, so a fall is seen where the lower rate is first written
        start = S1[rows[at + 1]]
        for k in np.unique(group):
            part = at[group == k]
            before = part[None] < np.arange(len(rows))[:, None]  # (rows, falls of the group)
            total = before @ fall[part]
            weight = before @ np.abs(fall[part])
            seen = weight > 0
            place = np.where(seen, before @ (np.abs(fall[part]) * start[group == k]) / np.where(seen, weight, 1), 0)
            rate = np.where(seen, before @ (np.abs(fall[part]) * lr[rows[part + 1]]) / np.where(seen, weight, 1), 1)
            by[k, rows], to[k, rows] = total, rate
            since[k, rows] = np.where(seen, np.maximum(S1[rows] - place, 0.0), 0.0)
    used = np.abs(by).max(1) > 0
    return Falls(by[used], to[used], since[used])


@law("MultiPowerLaw, Luo et al. 2025, arXiv:2503.12811")
def multi_power(
    curve: Column,
    S1: Column,
    lr: Column,
    *,
    E: Offset,
    A: Scale,
    alpha: Exponent,
    B: Scale,
    C: Annotated[float, Kind(low=0.0, log=True, start=(0.3, 10.0), flat=10.0)],
    beta: Annotated[float, Kind(low=0.0, high=10.0, start=(0.2, 1.0), flat=3.0)],
    gamma: Annotated[float, Kind(low=0.0, high=10.0, start=(0.2, 1.0), flat=3.0)],
) -> Column:
    """L(curve, S1, lr) = E + A S1^-alpha - B sum_k (lr_(k-1) - lr_k) (1 - (1 + C lr_k^-gamma S_k)^-beta)

    Over whole curves, under any schedule: S1 is the sum of the rates so far, warmup included, S_k that since the k-th
    change of the rate in the curve. Three curves predict others well and yet leave B, C, beta and gamma open.
    """
    annealed: Any = 0.0
    for by, to, since in zip(*falls(curve, S1, lr), strict=True):
        # (1 + C S)^-beta by its logarithm, which has a derivative where nothing has been summed yet
        grown = np.exp(np.log(C) - gamma * np.log(to)) * since
        annealed = annealed + by * -np.expm1(-beta * np.log1p(grown))
    return E + A * S1**-alpha - B * annealed
