"""The catalogue of laws, one function each; adding one here is all it takes (analysis/laws/declare.py says how).

get_law("power_offset(D)").columns     # ('D',)
get_law("chinchilla(n_total, D)")      # the same law under another convention of counting
LAWS["chinchilla"].formula             # 'L(N, D) = E + A N^-alpha + B D^-beta'
"""

from typing import Annotated, Any

import numpy as np

from isoflop.analysis.laws.declare import LAWS, Column, Exponent, Free, Kind, Law, Offset, Power, Scale, get_law, law

__all__ = ["LAWS", "Law", "get_law"]


def _share(alpha: Any, beta: Any) -> Any:
    return beta / (alpha + beta)


def _G(A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    # Hoffmann et al. 2022, arXiv:2203.15556, eq. 4
    return (alpha * A / (beta * B)) ** (1 / (alpha + beta))


def _N_opt(C: Any, A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    # ibid., eq. 4, with C = 6 N D
    return _G(A, alpha, B, beta) * (C / 6) ** _share(alpha, beta)


def _D_opt(C: Any, A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    return C / 6 / _N_opt(C, A, alpha, B, beta)


@law("Hestness et al. 2017, arXiv:1712.00409")
def power(x: Column, *, A: Scale, alpha: Exponent) -> Column:
    """L(x) = A x^-alpha"""
    return A * x**-alpha


@law("Hestness et al. 2017, arXiv:1712.00409, with an irreducible loss")
def power_offset(x: Column, *, E: Offset, A: Scale, alpha: Exponent) -> Column:
    """L(x) = E + A x^-alpha"""
    return E + A * x**-alpha


@law(
    "Hoffmann et al. 2022, arXiv:2203.15556, eq. 2",
    curves={"N_opt": _N_opt, "D_opt": _D_opt},
    a=_share,
    b=lambda alpha, beta: alpha / (alpha + beta),
)
def chinchilla(N: Column, D: Column, *, E: Offset, A: Scale, alpha: Exponent, B: Scale, beta: Exponent) -> Column:
    """L(N, D) = E + A N^-alpha + B D^-beta"""
    return E + A * N**-alpha + B * D**-beta


@law("Hoffmann et al. 2022, arXiv:2203.15556, eq. 2, with alpha = beta", a=lambda alpha: 0.5 + 0 * alpha)
def chinchilla_tied(N: Column, D: Column, *, E: Offset, A: Scale, B: Scale, alpha: Exponent) -> Column:
    """L(N, D) = E + A N^-alpha + B D^-alpha"""
    return E + A * N**-alpha + B * D**-alpha


_SmallExponent = Annotated[float, Kind(low=0.0, high=10.0, start=(0.02, 0.5), flat=3.0)]


def _kaplan_b(alpha_N: Any, alpha_D: Any) -> Any:
    # Kaplan et al. 2020, eq. 1.5: the D that keeps both terms in proportion grows as N^(alpha_N/alpha_D)
    return alpha_N / alpha_D


@law("Kaplan et al. 2020, arXiv:2001.08361, eq. 1.5", D_per_N_power=_kaplan_b)
def kaplan(
    N: Column,
    D: Column,
    *,
    N_c: Annotated[float, Kind(low=0.0, log=True, start=(1e2, 1e8), unit="N")],
    alpha_N: _SmallExponent,
    D_c: Annotated[float, Kind(low=0.0, log=True, start=(1e2, 1e8), unit="D")],
    alpha_D: _SmallExponent,
) -> Column:
    """L(N, D) = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D"""
    return np.exp(alpha_D * np.log(np.exp(alpha_N / alpha_D * np.log(N_c / N)) + D_c / D))


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
    """L(N, D, U) = E + A N'^-alpha + B D'^-beta; D' = U + U R_D (1 - e^-((D/U - 1)/R_D)), N' likewise about N_opt(U)"""
    # the size that is compute-optimal for the unique data: N_opt at the C whose D_opt is D_unique
    fitting = _G(A, alpha, B, beta) * np.exp(beta / alpha * np.log(D_unique * _G(A, alpha, B, beta)))
    N_unique = np.minimum(fitting, N)
    return E + A * _effective(N_unique, N, R_N) ** -alpha + B * _effective(D_unique, D, R_D) ** -beta


@law("Gadre et al. 2024, arXiv:2403.08540, with M = D/N and C = 6 N D")
def overtraining(N: Column, D: Column, *, E: Offset, A: Scale, B: Scale, eta: Exponent) -> Column:
    """L(N, D) = E + (A M^eta + B M^-eta) C^-eta"""
    M, C = D / N, 6 * N * D
    return E + (A * M**eta + B * M**-eta) * C**-eta


@law("McLeish et al. 2025, arXiv:2502.06857, the fit over (width, depth, tokens)")
def shape(
    width: Column,
    depth: Column,
    D: Column,
    *,
    E: Offset,
    A: Scale,
    alpha: Exponent,
    G: Scale,
    gamma: Exponent,
    B: Scale,
    beta: Exponent,
) -> Column:
    """L(w, d, D) = E + A w^-alpha + G d^-gamma + B D^-beta"""
    return E + A * width**-alpha + G * depth**-gamma + B * D**-beta


@law("Clark et al. 2022, arXiv:2202.01169", log_linear=True)
def routed(
    N: Column,
    n_experts: Column,
    *,
    a: Free,
    b: Free,
    c: Free,
    d: Free,
    E_start: Annotated[float, Kind(low=0.0, log=True, start=(1.0, 8.0))],
    E_max: Annotated[float, Kind(low=0.0, log=True, start=(100.0, 1000.0))],
) -> Column:
    """log10 L = a log10 N + b log10 E' + c log10 N log10 E' + d; 1/E' = 1/(E - 1 + 1/(1/E_start - 1/E_max)) +
    1/E_max"""
    experts = 1 / (1 / (n_experts - 1 + 1 / (1 / E_start - 1 / E_max)) + 1 / E_max)
    log_N, log_E = np.log10(N), np.log(experts) / np.log(10)
    return np.exp(np.log(10) * (a * log_N + b * log_E + c * log_N * log_E + d))


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


@law("Farseer, Li et al. 2025, arXiv:2506.10972, with N in billions")
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


@law("Tissue et al. 2024, arXiv:2408.11029")
def lr_annealing(S1: Column, S2: Column, *, E: Offset, A: Scale, alpha: Exponent, K: Scale) -> Column:
    """L(S1, S2) = E + A S1^-alpha - K S2; S1 the sum of the rates, S2 the annealed area"""
    return E + A * S1**-alpha - K * S2


@law("Kumar et al. 2024, arXiv:2411.04330, one precision for all")
def precision(
    N: Column,
    D: Column,
    bits: Column,
    *,
    E: Offset,
    A: Scale,
    alpha: Exponent,
    B: Scale,
    beta: Exponent,
    gamma: Annotated[float, Kind(low=0.0, log=True, start=(0.3, 8.0), flat=10.0)],
) -> Column:
    """L(N, D, P) = E + A (N (1 - e^-(P/gamma)))^-alpha + B D^-beta"""
    return E + A * (N * -np.expm1(-bits / gamma)) ** -alpha + B * D**-beta


@law("Step Law, Li et al. 2025, arXiv:2503.04715", target="lr")
def lr_rule(N: Column, D: Column, *, c: Scale, p: Power, q: Power) -> Column:
    """lr(N, D) = c N^p D^q"""
    return c * N**p * D**q


@law("Step Law, Li et al. 2025, arXiv:2503.04715", target="batch")
def batch_rule(D: Column, *, c: Scale, r: Power) -> Column:
    """batch(D) = c D^r"""
    return c * D**r


@law("Hoffmann et al. 2022, arXiv:2203.15556, table 2", target="N_opt")
def allocation(C: Column, *, G: Scale, a: Power) -> Column:
    """N_opt(C) = G C^a"""
    return G * C**a
