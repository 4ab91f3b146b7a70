"""Laws of model size and training data, seen once or more often.

N counts parameters, D training targets, of which D_unique are distinct; L is in the unit of the loss (nats per target
for tokens). U = min(D, D_unique), since a run of less than one epoch has seen no more than D distinct targets.

    get_law("chinchilla").curve("N_opt", 1e21, {"E": 1.7, "A": 400.0, "alpha": 0.34, "B": 410.0, "beta": 0.28})
"""

from dataclasses import replace
from typing import Annotated, Any, TypedDict, Unpack

import numpy as np

from isoflop.analysis.laws.declare import Column, Exponent, Kind, Offset, Scale, Straight, law


class SizeAndData(TypedDict):
    """The parameters of the law of size and data, which a law that adds to it takes as `Unpack[SizeAndData]`."""

    E: Offset
    A: Scale
    alpha: Exponent
    B: Scale
    beta: Exponent


def share(alpha: Any, beta: Any) -> Any:
    """Return the exponent a of N_opt in C (Hoffmann et al. 2022, eq. 4)."""
    return beta / (alpha + beta)


def G(A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    """Return the G of Hoffmann et al. 2022, arXiv:2203.15556, eq. 4: N_opt = G (C/6)^a."""
    return (alpha * A / (beta * B)) ** (1 / (alpha + beta))


def N_opt(C: Any, A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    """Return the best size for C = 6 N D (ibid., eq. 4)."""
    return G(A, alpha, B, beta) * (C / 6) ** share(alpha, beta)


def D_opt(C: Any, A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    """Return the best amount of data for C = 6 N D."""
    return C / 6 / N_opt(C, A, alpha, B, beta)


@law(
    "Hoffmann et al. 2022, arXiv:2203.15556, eq. 2",
    curves={"N_opt": N_opt, "D_opt": D_opt},
    a=share,
    b=lambda alpha, beta: alpha / (alpha + beta),
)
def chinchilla(N: Column, D: Column, *, E: Offset, A: Scale, alpha: Exponent, B: Scale, beta: Exponent) -> Column:
    """L(N, D) = E + A N^-alpha + B D^-beta"""
    return E + A * N**-alpha + B * D**-beta


# With M = D/N, C = 6 N D and eta = alpha/2, Gadre et al. write the same law as
# E + (6^eta A M^eta + 6^eta B M^-eta) C^-eta: at a fixed M the loss is a power of C.
@law(
    "Gadre et al. 2024, arXiv:2403.08540; Hoffmann et al. 2022, arXiv:2203.15556, eq. 2, with alpha = beta",
    aliases=("overtraining",),
    curves={
        "N_opt": lambda C, A, B, alpha: N_opt(C, A, alpha, B, alpha),
        "D_opt": lambda C, A, B, alpha: D_opt(C, A, alpha, B, alpha),
    },
    a=lambda alpha: 0.5 + 0 * alpha,
    eta=lambda alpha: alpha / 2,
)
def chinchilla_tied(N: Column, D: Column, *, E: Offset, A: Scale, B: Scale, alpha: Exponent) -> Column:
    """L(N, D) = E + A N^-alpha + B D^-alpha"""
    return E + A * N**-alpha + B * D**-alpha


@law("ours: a start-up in which data count for less, and which lasts longer for larger models")
def chinchilla_startup(
    N: Column,
    D: Column,
    *,
    D0: Annotated[float, Kind(low=0.0, log=True, start=(1e-3, 1.0), unit="D")],
    q: Annotated[float, Kind(low=0.0, high=3.0, start=(0.1, 1.0))],
    **common: Unpack[SizeAndData],
) -> Column:
    """L(N, D) = E + A N^-alpha + B (D/(1 + D0 n^q/D))^-beta, n = N/1e6

    D0 [targets]: of a million parameters, the data of which half count; of much more data, what the start-up costs.
    """
    return chinchilla(N, D / (1 + D0 * (N / 1e6) ** q / D), **common)


# a loss below one unit puts its constants below the smallest run, one of several nats far above the largest
_Constant = Kind(low=0.0, log=True, start=(1e-4, 1e4))
_SmallExponent = Annotated[float, Kind(low=0.0, high=10.0, start=(0.05, 0.5), flat=3.0)]


# eq. 1.5: the D that keeps both terms in proportion grows as N^(alpha_N/alpha_D)
@law("Kaplan et al. 2020, arXiv:2001.08361, eq. 1.5", D_per_N_power=lambda alpha_N, alpha_D: alpha_N / alpha_D)
def kaplan(
    N: Column,
    D: Column,
    *,
    N_c: Annotated[float, replace(_Constant, unit="N")],
    alpha_N: _SmallExponent,
    D_c: Annotated[float, replace(_Constant, unit="D")],
    alpha_D: _SmallExponent,
) -> Column:
    """L(N, D) = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D"""
    return np.exp(alpha_D * np.log(np.exp(alpha_N / alpha_D * np.log(N_c / N)) + D_c / D))


@law(
    "Beck et al. 2025, arXiv:2510.02228, the joint form with a common power",
    A=lambda K, gamma: K ** (1 / gamma),
    B=lambda K, gamma, ratio: K ** (1 / gamma) * ratio,
)
def multiplicative(
    N: Column,
    D: Column,
    *,
    E: Offset,
    K: Scale,
    alpha: Exponent,
    ratio: Annotated[float, Kind(low=0.0, log=True, start=(1e-2, 1e2))],
    beta: Exponent,
    gamma: Annotated[float, Kind(low=0.0, high=10.0, start=(0.3, 2.0))],
) -> Column:
    """L(N, D) = E + (A N^-alpha + B D^-beta)^gamma, with K = A^gamma and ratio = B/A"""
    return E + K * (N**-alpha + ratio * D**-beta) ** gamma


# exponents of the exponents: near zero, either sign
_Bend = Annotated[float, Kind(low=-2.0, high=2.0, start=(-0.4, 0.4))]
_Lean = Annotated[float, Kind(low=-200.0, high=200.0, start=(-1.0, 1.0))]
_Loss = Annotated[float, Kind(low=-200.0, high=200.0, start=(-1.0, 2.0))]
_Decay = Annotated[float, Kind(low=-200.0, high=20.0, start=(-2.0, 0.0))]


# a n^alpha + b nears a straight line in log n as alpha nears 0, where a and b alone have no end: its value and slope at
# the mean size, as in Box and Cox 1964, do not care
_CURVES = (("a1", "b1", "alpha"), ("a2", "b2", "beta"), ("a3", "b3", "gamma"))


def _values_and_slopes(N: float, D: float, **p: Any) -> dict[str, Any]:
    n, out = N / 1e9, dict[str, Any]()
    for a, b, power in _CURVES:
        rise = p[a] * n ** p[power]
        out |= {a: rise * p[power], b: rise + p[b]}
    return out


def _amplitudes(N: float, D: float, **p: Any) -> dict[str, Any]:
    n, out = N / 1e9, dict[str, Any]()
    for a, b, power in _CURVES:
        rise = p[a] / p[power]
        out |= {a: rise / n ** p[power], b: p[b] - rise}
    return out


@law(
    "Farseer, Li et al. 2025, arXiv:2506.10972, with N in billions",
    straight=Straight(("a1", "b1", "a2", "b2", "a3", "b3"), _values_and_slopes, _amplitudes),
)
def farseer(
    N: Column,
    D: Column,
    *,
    a1: _Lean,
    b1: _Decay,
    alpha: _Bend,
    a2: _Lean,
    b2: Annotated[float, Kind(low=-200.0, high=200.0, start=(0.0, 10.0))],
    beta: _Bend,
    a3: _Lean,
    b3: _Loss,
    gamma: _Bend,
) -> Column:
    """L(N, D) = exp(a3 n^gamma + b3) + exp(a2 n^beta + b2) D^-exp(a1 n^alpha + b1), n = N/1e9"""
    n = N / 1e9
    power = np.exp(a1 * n**alpha + b1)
    return np.exp(a3 * n**gamma + b3) + np.exp(a2 * n**beta + b2 - power * np.log(D))


def _effective(unique: Any, total: Any, rate: Any) -> Any:
    # Muennighoff et al. 2023, arXiv:2305.16264: repetitions beyond the first are worth less and less
    return unique - unique * rate * np.expm1(-(total / unique - 1.0) / rate)


_Rate = Annotated[float, Kind(low=0.0, log=True, start=(0.3, 100.0), flat=10.0)]


@law("Muennighoff et al. 2023, arXiv:2305.16264")
def data_constrained(
    N: Column, D: Column, D_unique: Column, *, R_D: _Rate, R_N: _Rate, **common: Unpack[SizeAndData]
) -> Column:
    """L(N, D, U) = E + A N'^-alpha + B D'^-beta; D' = U + U R_D (1 - e^-((D/U - 1)/R_D)), N' likewise about N_opt(U);
    U = min(D, D_unique)"""
    U = np.minimum(D, D_unique)
    # the size that is compute-optimal for the unique data: N_opt at the C whose D_opt is U
    A, alpha, B, beta = common["A"], common["alpha"], common["B"], common["beta"]
    fitting = G(A, alpha, B, beta) * np.exp(beta / alpha * np.log(U * G(A, alpha, B, beta)))
    N_unique = np.minimum(fitting, N)
    return chinchilla(_effective(N_unique, N, R_N), _effective(U, D, R_D), **common)


@law("after Lovelace et al. 2026, arXiv:2605.01640: Chinchilla's law and an additive penalty")
def overfit_penalty(
    N: Column, D: Column, D_unique: Column, *, K: Scale, kappa: Exponent, **common: Unpack[SizeAndData]
) -> Column:
    """L(N, D, U) = E + A N^-alpha + B D^-beta + K (N/U)^kappa; U = min(D, D_unique)

    N [parameters], D and D_unique [targets]; K in the unit of L: the penalty of as many parameters as distinct targets.
    """
    return chinchilla(N, D, **common) + K * (N / np.minimum(D, D_unique)) ** kappa


@law("after Lovelace et al. 2026, arXiv:2605.01640: a penalty that grows with each repetition")
def repetition_penalty(
    N: Column, D: Column, D_unique: Column, *, K: Scale, delta: Exponent, kappa: Exponent, **common: Unpack[SizeAndData]
) -> Column:
    """L(N, D, U) = E + A N^-alpha + B D^-beta + K (D/U - 1)^delta (N/U)^kappa; U = min(D, D_unique)

    N [parameters], D and D_unique [targets]; K in the unit of L: the same, in the second epoch.
    """
    U = np.minimum(D, D_unique)
    # within one epoch the penalty is 0^delta, whose derivative by delta needs a logarithm
    repetitions = np.maximum(D / U - 1.0, np.finfo(float).tiny)
    return chinchilla(N, D, **common) + K * repetitions**delta * (N / U) ** kappa
