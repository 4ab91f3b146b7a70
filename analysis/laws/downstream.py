"""Laws from one measure to another: a loss to another loss, a loss or compute to the score of a task.

A task in two steps: `chinchilla` for the loss of the task's answers, then `sigmoid` from that loss to the score. In one
step: `log_accuracy` from compute.

get_law("metric.hellaswag ~ sigmoid(metric.hellaswag_loss)").target     # 'metric.hellaswag'
"""

from typing import Annotated

import numpy as np

from isoflop.analysis.laws.declare import Column, Exponent, Kind, Offset, Scale, law


@law("Brandfonbrener et al. 2024, arXiv:2411.12925", target="L_other", columns=("L",))
def loss_to_loss(
    loss: Column,
    *,
    E2: Offset,
    K: Scale,
    E1: Annotated[float, Kind(low=0.0, start=(0.1, 0.5), unit="loss")],
    kappa: Annotated[float, Kind(low=0.0, high=10.0, start=(0.3, 2.0), flat=3.0)],
) -> Column:
    """L_other(loss) = E2 + K (loss - E1)^kappa

    Both losses of one model, on two held-out sets; E1 and E2 are their irreducible parts.
    """
    return E2 + K * (loss - E1) ** kappa


@law(
    "Bhagia et al. 2024, arXiv:2412.04403, the second step of a task ladder",
    target="accuracy",
    columns=("L",),
    ceiling=lambda floor, gain: floor + gain,
    limits=lambda floor: (floor, 1.0),
)
def sigmoid(
    loss: Column,
    *,
    floor: Offset,
    gain: Scale,
    k: Annotated[float, Kind(low=0.0, log=True, start=(0.5, 20.0), flat=10.0)],
    middle: Annotated[float, Kind(low=0.0, start=(0.8, 1.2), unit="loss")],
) -> Column:
    """accuracy(loss) = floor + gain / (1 + e^(k (loss - middle)))

    k per unit of the loss; floor is what chance scores: pin it where it is known, as in --pin floor=0.25.
    """
    return floor + gain * np.exp(-np.logaddexp(0.0, k * (loss - middle)))


@law("Krajewski et al. 2025, arXiv:2512.08894", target="accuracy", log_linear=True, limits=lambda: (0.0, 1.0))
def log_accuracy(x: Column, *, A: Scale, alpha: Exponent) -> Column:
    """-ln accuracy(x) = A x^-alpha

    Of a score between 0 and 1, at one ratio of data to size; x in its own unit.
    """
    return np.exp(-A * x**-alpha)


@law(
    "after Krajewski et al. 2025, arXiv:2512.08894, size and data apart",
    target="accuracy",
    log_linear=True,
    limits=lambda: (0.0, 1.0),
)
def log_accuracy_of_both(N: Column, D: Column, *, A: Scale, alpha: Exponent, B: Scale, beta: Exponent) -> Column:
    """-ln accuracy(N, D) = A N^-alpha + B D^-beta

    Of a score between 0 and 1, at any ratio of data to size.
    """
    return np.exp(-A * N**-alpha - B * D**-beta)
