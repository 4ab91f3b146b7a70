"""Laws of what a model is made of: its shape, its experts, its parallel streams, its bits.

get_law("parscale").columns     # ('N', 'streams')
"""

from typing import Annotated, Any, Unpack

import numpy as np

from isoflop.analysis.laws.declare import Column, Exponent, Free, Kind, Offset, Scale, law
from isoflop.analysis.laws.size_and_data import SizeAndData, chinchilla


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


@law("Liu and Gore 2026, arXiv:2606.25008")
def universal(width: Column, depth: Column, steps: Column, *, E: Offset, A: Scale, G: Scale, B: Scale) -> Column:
    """L(w, d, t) = E + A/w + G/d + B t^(-1/3)

    Exponents that are the same for all; shape(width,depth,steps) has them free. D may stand for the steps only where
    every run has the same batch.
    """
    return E + A / width + G / depth + B * steps ** (-1 / 3)


_ExpertsStart = Annotated[float, Kind(low=0.0, log=True, start=(1.0, 8.0))]
_ExpertsMax = Annotated[float, Kind(low=0.0, log=True, start=(100.0, 1000.0))]


def _saturating(n_experts: Any, E_start: Any, E_max: Any) -> Any:
    # Clark et al. 2022, arXiv:2202.01169, eq. 7
    return 1 / (1 / (n_experts - 1 + 1 / (1 / E_start - 1 / E_max)) + 1 / E_max)


@law("Clark et al. 2022, arXiv:2202.01169", log_linear=True)
def routed(
    N: Column,
    n_experts: Column,
    *,
    a: Free,
    b: Free,
    c: Free,
    d: Free,
    E_start: _ExpertsStart,
    E_max: _ExpertsMax,
) -> Column:
    """log10 L = a log10 N + b log10 E' + c log10 N log10 E' + d; 1/E' = 1/(E - 1 + 1/(1/E_start - 1/E_max)) +
    1/E_max"""
    log_N, log_E = np.log10(N), np.log(_saturating(n_experts, E_start, E_max)) / np.log(10)
    return np.exp(np.log(10) * (a * log_N + b * log_E + c * log_N * log_E + d))


# how experts change an amplitude, and an exponent: either sign
_Tilt = Annotated[float, Kind(low=-5.0, high=5.0, start=(-0.6, 0.6))]
_Twist = Annotated[float, Kind(low=-1.0, high=1.0, start=(-0.03, 0.03))]


@law("Ludziejewski et al. 2025, arXiv:2502.05172, with exponents counted positive")
def moe_joint(
    n_active: Column,
    D: Column,
    n_experts: Column,
    *,
    E: Offset,
    A: Scale,
    delta: _Tilt,
    alpha: Exponent,
    gamma: _Twist,
    B: Scale,
    omega: _Tilt,
    beta: Exponent,
    zeta: _Twist,
    E_start: _ExpertsStart,
    E_max: _ExpertsMax,
) -> Column:
    """L(n, D, X) = E + A X'^delta n^-(alpha + gamma ln X') + B X'^omega D^-(beta + zeta ln X'); X' of the X experts as
    in routed

    n [parameters used per target], D [targets], X [experts, 1 for a dense model].
    """
    log_X = np.log(_saturating(n_experts, E_start, E_max))
    size = np.exp(delta * log_X - (alpha + gamma * log_X) * np.log(n_active))
    return E + A * size + B * np.exp(omega * log_X - (beta + zeta * log_X) * np.log(D))


@law("the sparsity task of ScaleBench, arXiv:2604.22753, with n in billions of active parameters")
def sparse(
    n_active: Column,
    sparsity: Column,
    *,
    E: Offset,
    K: Scale,
    a: Annotated[float, Kind(low=-5.0, high=5.0, start=(-0.2, 0.6))],
    b: Exponent,
    c: Annotated[float, Kind(low=-2.0, high=2.0, start=(-0.1, 0.1))],
) -> Column:
    """L(n, P) = E + K P^-a n^-b e^(c ln P ln n), with n = n_active/1e9 and P = n_total/n_active

    n_active [parameters used per target]; K in the unit of L: what a dense model of a billion parameters is above E.
    """
    log_n, log_P = np.log(n_active / 1e9), np.log(sparsity)
    return E + K * np.exp(-a * log_P - b * log_n + c * log_P * log_n)


@law(
    "ParScale, Chen et al. 2025, arXiv:2505.10475, with K = (1e9 A)^alpha",
    A=lambda K, alpha: K ** (1 / alpha) / 1e9,
)
def parscale(
    N: Column,
    streams: Column,
    *,
    E: Offset,
    K: Scale,
    alpha: Exponent,
    k: Annotated[float, Kind(low=0.0, log=True, start=(0.03, 3.0), flat=10.0)],
) -> Column:
    """L(N, P) = E + K (N (k ln P + 1))^-alpha, with P parallel streams

    N [parameters]; k: the share of its parameters that a model gains with each e-fold of its streams.
    """
    return E + K * (N * (k * np.log(streams) + 1)) ** -alpha


# bits at which a tensor's precision stops mattering
_Bits = Annotated[float, Kind(low=0.0, log=True, start=(0.3, 8.0), flat=10.0)]


@law("Kumar et al. 2024, arXiv:2411.04330, a precision for the weights alone")
def precision(N: Column, D: Column, bits: Column, *, gamma: _Bits, **common: Unpack[SizeAndData]) -> Column:
    """L(N, D, P) = E + A (N (1 - e^-(P/gamma)))^-alpha + B D^-beta

    P, the bits of the weights, activations and cache being exact. Where all three have P bits, each costs its factor:
    precision_by_tensor.
    """
    return chinchilla(N * -np.expm1(-bits / gamma), D, **common)


@law("Kumar et al. 2024, arXiv:2411.04330, a precision for weights, activations and the key-value cache")
def precision_by_tensor(
    N: Column,
    D: Column,
    bits_weights: Column,
    bits_activations: Column,
    bits_kv: Column,
    *,
    gamma_w: _Bits,
    gamma_a: _Bits,
    gamma_kv: _Bits,
    **common: Unpack[SizeAndData],
) -> Column:
    """L(N, D, P_w, P_a, P_kv) = E + A N'^-alpha + B D^-beta; N' = N (1 - e^-(P_w/gamma_w)) (1 - e^-(P_a/gamma_a))
    (1 - e^-(P_kv/gamma_kv))

    N [parameters], D [targets]; P and gamma in bits.
    """
    lost = -np.expm1(-bits_weights / gamma_w) * np.expm1(-bits_activations / gamma_a) * np.expm1(-bits_kv / gamma_kv)
    return chinchilla(N * lost, D, **common)


@law("Kumar et al. 2024, arXiv:2411.04330, weights quantised after training")
def ptq(
    N: Column,
    D: Column,
    bits: Column,
    *,
    K: Scale,
    gamma_D: Annotated[float, Kind(low=0.0, high=10.0, start=(0.2, 1.0), flat=3.0)],
    gamma_N: Annotated[float, Kind(low=0.0, high=10.0, start=(0.2, 1.0), flat=3.0)],
    gamma: _Bits,
    **common: Unpack[SizeAndData],
) -> Column:
    """L(N, D, P) = E + A N^-alpha + B D^-beta + K D^gamma_D N^-gamma_N e^-(P/gamma)

    P, the bits to which weights are rounded after training: the damage grows with the data that they have seen.
    """
    return chinchilla(N, D, **common) + K * np.exp(gamma_D * np.log(D) - gamma_N * np.log(N) - bits / gamma)
