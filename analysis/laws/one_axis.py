"""Laws of one column: how the loss falls along size, data or compute alone.

get_law("power_offset(D)")(1e9, E=1.7, A=400.0, alpha=0.3)
"""

from typing import Annotated, Any

import numpy as np

from isoflop.analysis.laws.declare import Column, Exponent, Kind, Offset, Scale, Straight, law
from isoflop.analysis.laws.dual_numbers import Dual


@law("Hestness et al. 2017, arXiv:1712.00409")
def power(x: Column, *, A: Scale, alpha: Exponent) -> Column:
    """L(x) = A x^-alpha"""
    return A * x**-alpha


@law("Hestness et al. 2017, arXiv:1712.00409, with an irreducible loss")
def power_offset(x: Column, *, E: Offset, A: Scale, alpha: Exponent) -> Column:
    """L(x) = E + A x^-alpha"""
    return E + A * x**-alpha


@law(
    "Alabdulmohsin et al. 2022, arXiv:2209.06640 (M3), with gamma = 1/x_s",
    E=lambda A, x_s, c: A * x_s**-c,
)
def m3(
    x: Column,
    *,
    A: Scale,
    x_s: Annotated[float, Kind(low=0.0, log=True, start=(1.0, 1e4), unit="x")],
    c: Exponent,
) -> Column:
    """L(x) = A (1/x + 1/x_s)^c

    x_s in the unit of x: where the fall of the loss comes to its end, at E.
    """
    return A * (1 / x + 1 / x_s) ** c


def _m4_level(E: Any, L0: Any, alpha: Any) -> Any:
    return (1 - alpha) * np.log(L0 - E)


@law(
    "Alabdulmohsin et al. 2022, arXiv:2209.06640 (M4)",
    # beta / (L0 - E)^(1 - alpha): where along x the share of the way falls, whatever the way's length
    straight=Straight(
        ("beta",),
        lambda x, E, L0, alpha, beta, c: {"beta": np.log(beta) - _m4_level(E, L0, alpha)},
        lambda x, E, L0, alpha, beta, c: {"beta": np.exp(beta + _m4_level(E, L0, alpha))},
    ),
)
def m4(
    x: Column,
    *,
    E: Annotated[float, Kind(low=0.0, start=(0.3, 0.99), unit="L")],
    L0: Annotated[float, Kind(low=0.0, log=True, start=(1.05, 3.0), unit="L")],
    alpha: Annotated[float, Kind(low=0.0, high=10.0, start=(0.1, 2.0))],
    beta: Annotated[float, Kind(low=0.0, log=True, start=(0.1, 1e4))],
    c: Exponent,
) -> Column:
    """(L - E) / (L0 - L)^alpha = beta x^-c"""
    return E + (L0 - E) * _way(np.log(beta) - c * np.log(x) - _m4_level(E, L0, alpha), alpha)


# logits: a share of e^-700 is near the least of the doubles, one of 1 - e^-37 is their last below 1
_FARTHEST = (-700.0, 37.0)
# of a logit: Halley's method triples its digits at each step, so a step this small has arrived
_ARRIVED, _MOST_STEPS = 1e-5, 60


def _way(k: Column, alpha: Column) -> Column:
    """Return the share s, between 0 and 1, at which log s - alpha log(1 - s) = k, with its derivatives: sought as its
    logit t by Halley's method, from where the lines k = t (s near 0) and k = alpha t (s near 1) meet."""
    values = [v.value if isinstance(v, Dual) else v for v in (k, alpha)]
    want, bend = (v.ravel() for v in np.broadcast_arrays(*values))
    with np.errstate(all="ignore"):
        root = np.clip(np.where(want < 0, want, want / bend), *_FARTHEST)
        left = np.arange(len(root))
        for _ in range(_MOST_STEPS):
            t, a = root[left], bend[left]
            share, rest = _shares(t)
            slope = rest + a * share
            newton = (a * t - (a - 1) * np.log(share) - want[left]) / slope
            step = newton / np.maximum(1 - newton * (a - 1) * share * rest / slope / 2, 0.5)
            root[left] = np.clip(t - step, *_FARTHEST)
            left = left[np.abs(root[left] - t) > _ARRIVED]
            if not len(left):
                break
        t = root.reshape(np.broadcast_shapes(*map(np.shape, values)))
        share, rest = _shares(t)
        if not any(isinstance(v, Dual) for v in (k, alpha)):
            return share
        # by the implicit function theorem: dt = (dk + log(1 - s) dalpha) / slope
        rate = share * rest / (rest + values[1] * share)
        return Dual(share, (k * rate - alpha * (rate * np.logaddexp(0.0, t))).d)


def _shares(t: Any) -> tuple[Any, Any]:
    """Return the share of a logit, and what is left of the whole."""
    odds = np.exp(-t)
    share = 1 / (1 + odds)
    return share, odds * share


@law("Caballero et al. 2022, arXiv:2210.14891, eq. 1, one break")
def bnsl(
    x: Column,
    *,
    a: Offset,
    b: Scale,
    c0: Annotated[float, Kind(low=-5.0, high=10.0, start=(0.0, 1.0))],
    c1: Annotated[float, Kind(low=-20.0, high=20.0, start=(-1.0, 6.0))],
    d1: Annotated[float, Kind(low=0.0, log=True, start=(1.0, 1.0), unit="x")],
    f1: Annotated[float, Kind(low=0.0, log=True, start=(0.03, 2.0))],
) -> Column:
    """L(x) = a + b x^-c0 (1 + (x/d1)^(1/f1))^(-c1 f1)"""
    bend = np.logaddexp(0.0, (np.log(x) - np.log(d1)) / f1)
    return a + b * np.exp(-c0 * np.log(x) - c1 * f1 * bend)
