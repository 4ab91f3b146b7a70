"""Laws of whole loss curves under any schedule of the rate.

A row is a point of a curve: S1, the sum of the rates so far, and lr, the rate now. What was annealed before is read
from the other rows of the same curve, so the rows of a table are the schedule; analysis/runs/curves.py makes S1
and curve of (step, lr). The rate begins at zero, and its rise is a fall below zero: E is the loss of a model annealed
to no rate at all. A row alone in its curve is one under a constant rate.

from isoflop.analysis.laws.catalogue import get_law

get_law("multi_power").columns     # ('curve', 'S1', 'lr')
"""

from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.declare import Column, Exponent, Kind, Offset, Scale, law
from isoflop.analysis.laws.dual_numbers import Array, sum_parts

# changes of the rate that are told apart in a curve; of more, neighbours are taken together, where they are on average.
# ln L errs by 4e-5 at most on the published curves of Luo et al. 2025, whose rows scatter by 3e-4 and more
MOST_FALLS = 128
# places of the warmup before the first row, those of Gauss and Legendre: equal parts err by 1.4e-4 in ln L, where the
# rise begins and where it ends
WARMUP = 16


class Falls(NamedTuple):
    """Each fall of the rate (below 0, a rise) before each row, (pairs,) in the order of the rows: by how much, the
    logarithm of the rate to which, the sum of rates since; of each row that has one the first, and which rows these
    are."""

    by: Array
    log_to: Array
    since: Array
    first: NDArray[np.intp]
    rows: NDArray[np.intp]


def falls(curve: Array, S1: Array, lr: Array) -> Falls:
    """Return the falls of the rate before each row of its curve."""
    return _falls(*(np.ascontiguousarray(x, dtype=float).tobytes() for x in (curve, S1, lr)))


@lru_cache(maxsize=32)
def _falls(curve_bytes: bytes, S1_bytes: bytes, lr_bytes: bytes) -> Falls:
    curve, S1, lr = (np.frombuffer(x) for x in (curve_bytes, S1_bytes, lr_bytes))
    pairs = [np.zeros((4, 0))]
    for name in np.unique(curve):
        rows = np.flatnonzero(curve == name)
        rows = rows[np.argsort(S1[rows], kind="stable")]
        by, place, to, seen = changes(S1[rows], lr[rows])
        first = groups(by)
        # of a group each row feels what lies before it
        before = np.searchsorted(seen, np.arange(len(rows)), side="right")
        row, group = np.nonzero(first[None] < before[:, None])
        ends = first[group], np.minimum(np.append(first[1:], len(by))[group], before[row])
        total, size, places, rates = (
            np.diff(np.concatenate([[0.0], np.cumsum(x)])[np.stack(ends)], axis=0)[0]
            for x in (by, np.abs(by), np.abs(by) * place, np.abs(by) * to)
        )
        since = np.maximum(S1[rows[row]] - places / size, 0.0)
        pairs.append(np.stack([rows[row].astype(float), total, np.log(rates / size), since]))
    table = np.concatenate(pairs, axis=1)
    row, by, log_to, since = table[:, np.argsort(table[0], kind="stable")]
    rows, first = np.unique(row.astype(np.intp), return_index=True)
    return Falls(by, log_to, since, first, rows)


def is_gradual(lr: Array) -> NDArray[np.bool_]:
    """Return whether the rate changes all the way from each row to the next, (rows - 1,): a change between rows of one
    rate is a step, where the next rate is first written."""
    change = np.diff(lr) != 0
    beside = np.zeros(len(change), dtype=bool)
    beside[1:] |= change[:-1]
    beside[:-1] |= change[1:]
    gradual: NDArray[np.bool_] = change & beside
    return gradual


def changes(S1: Array, lr: Array) -> tuple[Array, Array, Array, NDArray[np.intp]]:
    """Return the falls of the rate along one curve: by how much, at which sum of rates, to which rate, first seen at
    which row."""
    if len(S1) == 1:
        return -lr, np.zeros(1), lr, np.zeros(1, np.intp)
    # in the warmup the rate rises as the step, its sum as the step's square
    nodes, weights = np.polynomial.legendre.leggauss(WARMUP)
    part = (1 + nodes) / 2
    by, place, to = -lr[0] * weights / 2, S1[0] * part**2, lr[0] * part
    fall = -np.diff(lr)
    at = np.flatnonzero(fall)
    beside = is_gradual(lr)[at]
    where = np.where(beside, (S1[at] + S1[at + 1]) / 2, S1[at + 1])
    rate = np.where(beside, (lr[at] + lr[at + 1]) / 2, lr[at + 1])
    seen = np.concatenate([np.zeros(WARMUP, np.intp), at + 1])
    by, place, to = (np.concatenate(x) for x in ((by, fall[at]), (place, where), (to, rate)))
    return by, place, to, seen


def groups(by: Array) -> NDArray[np.intp]:
    """Return where groups of neighbouring falls begin: each by itself if there are few, else about MOST_FALLS equal
    parts of what changes; a rise and a fall are never one."""
    if len(by) <= MOST_FALLS:
        return np.arange(len(by))
    share = np.cumsum(np.abs(by)) / np.abs(by).sum()
    part = (share * MOST_FALLS - 1e-9).astype(int)
    return np.flatnonzero(np.append(True, (np.diff(part) != 0) | (np.diff(np.sign(by)) != 0)))


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
    change of the rate in the curve, its rise from zero the first. Three curves predict others well and yet leave B, C,
    beta and gamma open.
    """
    fall = falls(curve, S1, lr)
    if not np.ndim(S1):  # one place, maybe under many sets of parameters: it has a single fall
        fall = fall._replace(by=fall.by[0], log_to=fall.log_to[0], since=fall.since[0])
    # (1 + C S)^-beta by its logarithm, which has a derivative where nothing has been summed yet
    grown = np.exp(np.log(C) - gamma * fall.log_to) * fall.since
    drop = fall.by * -np.expm1(-beta * np.log1p(grown))
    annealed = sum_parts(drop, fall.first, fall.rows, len(S1)) if np.ndim(S1) else drop
    return E + A * S1**-alpha - B * annealed
