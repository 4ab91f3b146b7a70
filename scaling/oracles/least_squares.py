"""Least squares with noise (G12): N features and D examples leave σ² + σ² N / (D - N - 1) on average over samples.

The source stands at the head of scaling/data/synthetic/spectral.py. `oracle.degrees` is D - N - 1, whose power theory
gives.

    next(curves()).points[0]["oracle.degrees"]        # 7
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from isoflop.scaling.data.base import TRAIN
from isoflop.scaling.data.synthetic.spectral import Spectral
from isoflop.scaling.oracles.base import SolvedCurve

N, SIGMA = 16, 0.5
SIZES = (24, 32, 48, 64, 96, 128, 192, 256)
# draws of data, and samples that each averages over
VERSIONS, SAMPLES = 4, 1000


def curves() -> Iterator[SolvedCurve]:
    """Yield a curve in D for each draw of data."""
    for version in range(VERSIONS):
        points = [point(D, version * len(SIZES) + index) for index, D in enumerate(SIZES)]
        yield SolvedCurve("least_squares", "spectral", {"data.sigma": SIGMA, "data.features": N}, points, seed=version)


def point(D: int, version: int) -> dict[str, Any]:
    """Return the mean loss of least squares over the samples."""
    data = Spectral(features=N, sigma=SIGMA, version=version)
    x, y = (t.double().numpy().reshape(SAMPLES, D, -1) for t in data.draw(TRAIN, SAMPLES * D))
    k = np.arange(1, N + 1)
    truth = (k**-data.a / (k**-data.a).sum() * k**data.b) ** 0.5
    solution = np.linalg.solve(x.swapaxes(1, 2) @ x, x.swapaxes(1, 2) @ y)[..., 0]
    excess = float(((solution - truth) ** 2 * k**-data.b).sum(axis=1).mean())
    over_sigma = {"oracle.excess_per_parameter": excess / N, "oracle.degrees": D - N - 1}
    return {"N": N, "D": D, "L": SIGMA**2 + excess, "floor": SIGMA**2, "loss_unit": "squared error", **over_sigma}
