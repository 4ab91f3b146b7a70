"""Laws of one column: how the loss falls along size, data or compute alone.

from isoflop.analysis.laws.catalogue import get_law

get_law("power_offset(D)")(1e9, E=1.7, A=400.0, alpha=0.3)
"""

from typing import Annotated

import numpy as np

from isoflop.analysis.laws.declare import Column, Exponent, Kind, Offset, Scale, law


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


@law("Alabdulmohsin et al. 2022, arXiv:2209.06640 (M4)", implicit=("E", "L0"))
def m4(
    x: Column,
    L: Column,
    *,
    E: Annotated[float, Kind(low=0.0, start=(0.3, 0.99), unit="L")],
    L0: Annotated[float, Kind(low=0.0, log=True, start=(1.05, 3.0), unit="L")],
    alpha: Annotated[float, Kind(low=0.0, high=10.0, start=(0.1, 2.0))],
    beta: Annotated[float, Kind(low=0.0, log=True, start=(0.1, 1e4))],
    c: Exponent,
) -> Column:
    """(L - E) / (L0 - L)^alpha = beta x^-c"""
    return np.log(L - E) - alpha * np.log(L0 - L) - np.log(beta) + c * np.log(x)


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
