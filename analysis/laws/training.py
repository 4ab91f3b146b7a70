"""Laws of the training itself: schedules of the rate, and rules for the rate, the batch and the best size.

A rule's target is not the loss but what is best: `isoflop fit sweep.csv --law lr_rule` makes it from a sweep that tries
several rates in each cell of N and D (analysis/runs/observations.py), or takes a column of best rates as it is.

Under `multi_power` a row is a point of a curve: S1, the sum of the rates so far, and lr, the rate now; the rows of a
table are the schedule. The rate begins at zero, and its rise is a fall below zero: E is the loss of a model annealed to
no rate at all. A row alone in its curve is one under a constant rate.

    get_law("lr_rule").target     # 'lr'
"""

from functools import lru_cache
from typing import Annotated, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.declare import Column, Exponent, Kind, Offset, Power, Scale, law
from isoflop.analysis.laws.dual_numbers import Array, sum_parts
from isoflop.analysis.laws.size_and_data import SizeAndData, chinchilla


@law("Tissue et al. 2024, arXiv:2408.11029")
def lr_annealing(S1: Column, S2: Column, *, E: Offset, A: Scale, alpha: Exponent, K: Scale) -> Column:
    """L(S1, S2) = E + A S1^-alpha - K S2; S1 the sum of the rates, S2 the annealed area"""
    return E + A * S1**-alpha - K * S2


@law("Step Law, Li et al. 2025, arXiv:2503.04715", target="lr")
def lr_rule(N: Column, D: Column, *, c: Scale, p: Power, q: Power) -> Column:
    """lr(N, D) = c N^p D^q"""
    return c * N**p * D**q


@law("Step Law, Li et al. 2025, arXiv:2503.04715", target="batch")
def batch_rule(D: Column, *, c: Scale, r: Power) -> Column:
    """batch(D) = c D^r"""
    return c * D**r


@law(
    "Wang and Aitchison 2024, arXiv:2405.13698; Bergsma et al. 2025, arXiv:2505.13738: AdamW's time-scale",
    target="weight_decay",
)
def timescale_rule(N: Column, D: Column, lr: Column, batch: Column, *, c: Scale, m: Power) -> Column:
    """weight_decay(N, D, lr, batch) = c (D/N)^m batch / (lr D)

    batch and D in the same unit. batch / (lr weight_decay D) = (D/N)^-m / c is the time-scale of AdamW's average as a
    share of the run; its best falls with a power of the ratio of data to size.
    """
    return c * (D / N) ** m * batch / (lr * D)


@law("Bjorck et al. 2024, arXiv:2409.19913: the rate that is best on a longer run", target="lr")
def horizon_rule(D: Column, *, c: Scale, q: Power) -> Column:
    """lr(D) = c D^q

    At one size: how the best rate falls (q about -.3) as the horizon grows.
    """
    return c * D**q


@law(
    "Zhang et al. 2024, arXiv:2410.21676: the steps to a loss at each batch; the batch of 20 % overhead",
    target="steps",
    critical=lambda batch_half: 0.2 * batch_half,
)
def critical_batch(
    batch: Column, *, S: Scale, batch_half: Annotated[float, Kind(low=0.0, log=True, start=(0.3, 3.0), unit="batch")]
) -> Column:
    """steps(batch) = S (1 + batch_half/batch)

    Steps to one loss at each batch: S is what no batch betters, batch_half where targets and steps are both twice their
    least. critical, a fifth of it: the batch at which the targets, steps times batch, are 20 % above their least.
    """
    return S * (1 + batch_half / batch)


# the best rate and batch lie among those that were tried
_BestRate = Annotated[float, Kind(low=0.0, log=True, start=(1.0, 1.0), unit="lr")]
_BestBatch = Annotated[float, Kind(low=0.0, log=True, start=(1.0, 1.0), unit="batch")]


@law("after the Step Law, Li et al. 2025, arXiv:2503.04715: targets lost by another rate and batch than the best")
def rate_and_batch(
    N: Column,
    D: Column,
    lr: Column,
    batch: Column,
    *,
    E: Offset,
    A: Scale,
    alpha: Exponent,
    B: Scale,
    beta: Exponent,
    K: Annotated[float, Kind(low=0.0, log=True, start=(0.01, 0.3))],
    c: _BestRate,
    p: Annotated[float, Kind(low=-10.0, high=10.0, start=(-1.0, 0.0))],
    q: Annotated[float, Kind(low=-10.0, high=10.0, start=(0.0, 0.6))],
    s: Annotated[float, Kind(low=-5.0, high=5.0, start=(0.0, 0.6))],
    H: Annotated[float, Kind(low=0.0, log=True, start=(0.01, 0.3))],
    b: _BestBatch,
    r: Annotated[float, Kind(low=-10.0, high=10.0, start=(0.2, 0.8))],
) -> Column:
    """L(N, D, lr, batch) = E + A N^-alpha + B D^-beta (1 + K ln^2(lr/lr*) + H ln^2(batch/batch*)); batch* = b
    (D/1e10)^r, lr* = c (N/1e9)^p (D/1e10)^q (batch/batch*)^s

    c and b: the best rate and batch of a billion parameters on ten billion targets; s: how the best rate goes with the
    batch, 1/2 for Adam at small batches.
    """
    batch_gap = np.log(batch) - np.log(b) - r * np.log(D / 1e10)
    lr_gap = np.log(lr) - np.log(c) - p * np.log(N / 1e9) - q * np.log(D / 1e10) - s * batch_gap
    return E + A * N**-alpha + B * D**-beta * (1 + K * lr_gap * lr_gap + H * batch_gap * batch_gap)


@law("Hoffmann et al. 2022, arXiv:2203.15556, table 2", target="N_opt")
def allocation(C: Column, *, G: Scale, a: Power) -> Column:
    """N_opt(C) = G C^a"""
    return G * C**a


@law("after McCandlish et al. 2018, arXiv:1812.06162, eq. 2.11, and Zhang et al. 2024, arXiv:2410.21676")
def wasted_batch(
    N: Column,
    D: Column,
    batch: Column,
    *,
    b: Annotated[float, Kind(low=0.0, log=True, start=(0.3, 3.0), unit="batch")],
    p: Annotated[float, Kind(low=-10.0, high=10.0, start=(-0.3, 0.3))],
    q: Annotated[float, Kind(low=-10.0, high=10.0, start=(0.0, 0.6))],
    **common: Unpack[SizeAndData],
) -> Column:
    """L(N, D, batch) = E + A N^-alpha + B D'^-beta; D' = D / (1 + batch/batch*), batch* = b (N/1e6)^p (D/1e7)^q

    Of D targets in batches of a size, as many count as would at a small batch in so many steps: half of them at batch*,
    whose exponents in N and D are p and q.
    """
    critical = b * (N / 1e6) ** p * (D / 1e7) ** q
    return chinchilla(N, D / (1 + batch / critical), **common)


# changes of the rate that are told apart in a curve; of more, neighbours are taken together, where they are on average.
# ln L errs by 4e-5 at most on the published curves of Luo et al. 2025, whose rows scatter by 3e-4 and more
_MOST_FALLS = 128
# places of the warmup before the first row, those of Gauss and Legendre: equal parts err by 1.4e-4 in ln L, where the
# rise begins and where it ends
_WARMUP = 16


class _Falls(NamedTuple):
    """Each fall of the rate (below 0, a rise) before each row, (pairs,) in the order of the rows: by how much, the
    logarithm of the rate to which, the sum of rates since; of each row that has one the first, and which rows these
    are."""

    by: Array
    log_to: Array
    since: Array
    first: NDArray[np.intp]
    rows: NDArray[np.intp]


def falls(curve: Array, S1: Array, lr: Array) -> _Falls:
    """Return the falls of the rate before each row of its curve."""
    return _falls(*(np.ascontiguousarray(x, dtype=float).tobytes() for x in (curve, S1, lr)))


@lru_cache(maxsize=32)
def _falls(curve_bytes: bytes, S1_bytes: bytes, lr_bytes: bytes) -> _Falls:
    curve, S1, lr = (np.frombuffer(x) for x in (curve_bytes, S1_bytes, lr_bytes))
    pairs = [np.zeros((4, 0))]
    for name in np.unique(curve):
        rows = np.flatnonzero(curve == name)
        rows = rows[np.argsort(S1[rows], kind="stable")]
        by, place, to, seen = _changes(S1[rows], lr[rows])
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
    return _Falls(by, log_to, since, first, rows)


def is_gradual(lr: Array) -> NDArray[np.bool_]:
    """Return whether the rate changes all the way from each row to the next, (rows - 1,): a change between rows of one
    rate is a step, where the next rate is first written."""
    change = np.diff(lr) != 0
    return np.asarray(change & (np.append(False, change[:-1]) | np.append(change[1:], False)))


def _changes(S1: Array, lr: Array) -> tuple[Array, Array, Array, NDArray[np.intp]]:
    """Return the falls of the rate along a curve: how much, at which sum of rates, to which rate, at which row."""
    if len(S1) == 1:
        return -lr, np.zeros(1), lr, np.zeros(1, np.intp)
    # in the warmup the rate rises as the step, its sum as the step's square
    nodes, weights = np.polynomial.legendre.leggauss(_WARMUP)
    part = (1 + nodes) / 2
    by, place, to = -lr[0] * weights / 2, S1[0] * part**2, lr[0] * part
    fall = -np.diff(lr)
    at = np.flatnonzero(fall)
    beside = is_gradual(lr)[at]
    where = np.where(beside, (S1[at] + S1[at + 1]) / 2, S1[at + 1])
    rate = np.where(beside, (lr[at] + lr[at + 1]) / 2, lr[at + 1])
    seen = np.concatenate([np.zeros(_WARMUP, np.intp), at + 1])
    by, place, to = (np.concatenate(x) for x in ((by, fall[at]), (place, where), (to, rate)))
    return by, place, to, seen


def groups(by: Array) -> NDArray[np.intp]:
    """Return where groups of neighbouring falls begin: each by itself if there are few, else about _MOST_FALLS equal
    parts of what changes; a rise and a fall are never one."""
    if len(by) <= _MOST_FALLS:
        return np.arange(len(by))
    share = np.cumsum(np.abs(by)) / np.abs(by).sum()
    part = (share * _MOST_FALLS - 1e-9).astype(int)
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
