"""Laws of the training itself: schedules of the rate, and rules for the rate, the batch and the best size.

A rule's target is not the loss: fit it to one row for each (N, D), with the best rate or batch that was tried there.

from isoflop.analysis.laws.catalogue import get_law

get_law("lr_rule").target     # 'lr'
"""

from isoflop.analysis.laws.declare import Column, Exponent, Offset, Power, Scale, law


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


@law("Hoffmann et al. 2022, arXiv:2203.15556, table 2", target="N_opt")
def allocation(C: Column, *, G: Scale, a: Power) -> Column:
    """N_opt(C) = G C^a"""
    return G * C**a
