"""Laws of data that are seen more than once: D training targets, of which D_unique are distinct.

U = min(D, D_unique) in all of them, since a run of less than one epoch has seen no more than D distinct targets.

from isoflop.analysis.laws.catalogue import get_law

get_law("overfit_penalty").columns     # ('N', 'D', 'D_unique')
"""

from typing import Annotated, Any

import numpy as np

from isoflop.analysis.laws.declare import Column, Exponent, Kind, Offset, Scale, law
from isoflop.analysis.laws.size_and_data import G, chinchilla


def _effective(unique: Any, total: Any, rate: Any) -> Any:
    # Muennighoff et al. 2023, arXiv:2305.16264: repetitions beyond the first are worth less and less
    return unique - unique * rate * np.expm1(-(total / unique - 1.0) / rate)


_Rate = Annotated[float, Kind(low=0.0, log=True, start=(0.3, 100.0), flat=10.0)]


@law("Muennighoff et al. 2023, arXiv:2305.16264")
def data_constrained(
    N: Column,
    D: Column,
    D_unique: Column,
    *,
    E: Offset,
    A: Scale,
    alpha: Exponent,
    B: Scale,
    beta: Exponent,
    R_D: _Rate,
    R_N: _Rate,
) -> Column:
    """L(N, D, U) = E + A N'^-alpha + B D'^-beta; D' = U + U R_D (1 - e^-((D/U - 1)/R_D)), N' likewise about N_opt(U);
    U = min(D, D_unique)"""
    U = np.minimum(D, D_unique)
    # the size that is compute-optimal for the unique data: N_opt at the C whose D_opt is U
    fitting = G(A, alpha, B, beta) * np.exp(beta / alpha * np.log(U * G(A, alpha, B, beta)))
    N_unique = np.minimum(fitting, N)
    return E + A * _effective(N_unique, N, R_N) ** -alpha + B * _effective(U, D, R_D) ** -beta


@law("after Lovelace et al. 2026, arXiv:2605.01640: Chinchilla's law and an additive penalty")
def overfit_penalty(
    N: Column,
    D: Column,
    D_unique: Column,
    *,
    E: Offset,
    A: Scale,
    alpha: Exponent,
    B: Scale,
    beta: Exponent,
    K: Scale,
    kappa: Exponent,
) -> Column:
    """L(N, D, U) = E + A N^-alpha + B D^-beta + K (N/U)^kappa; U = min(D, D_unique)

    N [parameters], D and D_unique [targets]; K in the unit of L: the penalty of as many parameters as distinct targets.
    """
    return chinchilla(N, D, E=E, A=A, alpha=alpha, B=B, beta=beta) + K * (N / np.minimum(D, D_unique)) ** kappa


@law("after Lovelace et al. 2026, arXiv:2605.01640: a penalty that grows with each repetition")
def repetition_penalty(
    N: Column,
    D: Column,
    D_unique: Column,
    *,
    E: Offset,
    A: Scale,
    alpha: Exponent,
    B: Scale,
    beta: Exponent,
    K: Scale,
    delta: Exponent,
    kappa: Exponent,
) -> Column:
    """L(N, D, U) = E + A N^-alpha + B D^-beta + K (D/U - 1)^delta (N/U)^kappa; U = min(D, D_unique)

    N [parameters], D and D_unique [targets]; K in the unit of L: the same, in the second epoch.
    """
    U = np.minimum(D, D_unique)
    # within one epoch the penalty is 0^delta, whose derivative by delta needs a logarithm
    repetitions = np.maximum(D / U - 1.0, np.finfo(float).tiny)
    return chinchilla(N, D, E=E, A=A, alpha=alpha, B=B, beta=beta) + K * repetitions**delta * (N / U) ** kappa
