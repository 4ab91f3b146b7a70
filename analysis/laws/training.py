"""Laws of the training itself: schedules of the rate, and rules for the rate, the batch and the best size.

A rule's target is not the loss but what is best: `isoflop fit sweep.csv --law lr_rule` makes it from a sweep that tries
several rates in each cell of N and D (analysis/runs/observations.py), or takes a column of best rates as it is.

from isoflop.analysis.laws.catalogue import get_law

get_law("lr_rule").target     # 'lr'
"""

from typing import Annotated

import numpy as np

from isoflop.analysis.laws.declare import Column, Exponent, Kind, Offset, Power, Scale, law


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
    E: Offset,
    A: Scale,
    alpha: Exponent,
    B: Scale,
    beta: Exponent,
    b: Annotated[float, Kind(low=0.0, log=True, start=(0.3, 3.0), unit="batch")],
    p: Annotated[float, Kind(low=-10.0, high=10.0, start=(-0.3, 0.3))],
    q: Annotated[float, Kind(low=-10.0, high=10.0, start=(0.0, 0.6))],
) -> Column:
    """L(N, D, batch) = E + A N^-alpha + B D'^-beta; D' = D / (1 + batch/batch*), batch* = b (N/1e6)^p (D/1e7)^q

    Of D targets in batches of a size, as many count as would at a small batch in so many steps: half of them at batch*,
    whose exponents in N and D are p and q.
    """
    critical = b * (N / 1e6) ** p * (D / 1e7) ** q
    return E + A * N**-alpha + B * (D / (1 + batch / critical)) ** -beta
