"""The spectral model in closed form (G3): what gradient descent on the population leaves, by size, steps and compute.

Theory, formula and source stand at the head of scaling/data/synthetic/spectral.py. `oracle.axis` says what a curve
runs along; along compute each point is that of the best size, in the column N.

    {curve.knobs["oracle.axis"] for curve in curves()}        # {'size', 'steps', 'compute'}
"""

from collections.abc import Iterator

import numpy as np

from isoflop.scaling.data.synthetic.spectral import left_by_descent
from isoflop.scaling.oracles.base import SolvedCurve

# (a, b) of science.md's table for which each exponent is reached at these sizes
SPECTRA = (1.5, 1.25), (2.0, 1.5)
# steps after which nothing but the features beyond N is left
FOREVER = 10**15


def curves() -> Iterator[SolvedCurve]:
    """Yield three curves for each spectrum."""
    for a, b in SPECTRA:
        for axis, points in (("size", by_size(a, b)), ("steps", by_steps(a, b)), ("compute", by_compute(a, b))):
            yield SolvedCurve("descent", "spectral", {"data.a": a, "data.b": b, "oracle.axis": axis}, points)


def by_size(a: float, b: float) -> list[dict[str, float]]:
    """Return L(N) of a model trained to the end."""
    sizes = np.unique(np.geomspace(10, 1000, 9).astype(int))
    left = left_by_descent(sizes, FOREVER, a, b)
    return [{"N": int(n), "D": FOREVER, "L": float(loss)} for n, loss in zip(sizes, left, strict=True)]


def by_steps(a: float, b: float) -> list[dict[str, float]]:
    """Return L(t) of a model with all features."""
    N, steps = 1_000_000, np.geomspace(1e2, 1e4, 9).round().astype(int)
    left = left_by_descent(N, steps, a, b)
    return [{"N": N, "D": int(t), "L": float(loss)} for t, loss in zip(steps, left, strict=True)]


def by_compute(a: float, b: float) -> list[dict[str, float]]:
    """Return the best size and its loss at each compute N t, to a tenth of a per cent."""
    points = []
    for C in np.geomspace(1e4, 1e7, 10):
        around = C ** (1 / (1 + b))
        sizes = np.unique(np.geomspace(around / 10, around * 10, 400).astype(int).clip(min=1))
        left = left_by_descent(sizes, C / sizes, a, b, features=int(sizes[-1]))
        best = int(left.argmin())
        points.append({"N": int(sizes[best]), "C": float(C), "L": float(left[best])})
    return points
