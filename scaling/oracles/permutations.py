"""Kernel regression on two irreps of the permutations (G11): the samples that halve the error, and the eigenvalues.

Theory, formula and source stand at the head of scaling/data/synthetic/permutation.py. A point is a length: N the
dimension (L - 1) d of the standard irrep, D the samples, `oracle.per_sample` their inverse and `oracle.theory` that of
theory, so that a falling law can be fitted to either; `oracle.ratio` is that of the eigenvalues and
`oracle.inverse_ratio` its inverse.

    {curve.knobs["data.irrep"] for curve in curves()}        # {'trivial', 'standard'}
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from isoflop.scaling.data.base import HELD_OUT, TRAIN
from isoflop.scaling.data.synthetic.permutation import IRREPS, Permutation, kernel, samples_to_halve
from isoflop.scaling.oracles.base import SolvedCurve
from isoflop.scaling.oracles.neighbours import Array

LENGTHS = (4, 8, 16, 32)
FEATURES = 16
# curves for an irrep, and targets that each averages over
GROUPS, TARGETS = 2, 6


def curves() -> Iterator[SolvedCurve]:
    """Yield a curve over the lengths for each irrep and group of targets."""
    for irrep in IRREPS:
        for group in range(GROUPS):
            points = [point(length, irrep, group) for length in LENGTHS]
            knobs = {"data.irrep": irrep, "data.features": FEATURES}
            yield SolvedCurve("permutation_kernel", "permutation", knobs, points, seed=group)


def point(length: int, irrep: str, group: int) -> dict[str, Any]:
    """Return the samples at which the mean error over a group's targets is halved."""
    basis = np.eye(length * FEATURES).reshape(-1, length, FEATURES)
    values = np.linalg.eigvalsh(kernel(basis, basis))[::-1]
    ratio = float(values[:FEATURES].mean() / values[FEATURES:].mean())
    theory = samples_to_halve(length, FEATURES, irrep)
    sizes = np.unique(np.geomspace(theory / 3, theory * 3, 9).astype(int))
    versions = range(group * TARGETS, (group + 1) * TARGETS)
    drawn = (Permutation(seq_len=length, features=FEATURES, irrep=irrep, version=version) for version in versions)
    errors = np.mean([kernel_errors(data, sizes, 1e-6 * values[-1]) for data in drawn], axis=0)
    samples = float(np.exp(np.interp(-np.log(0.5), -np.log(errors), np.log(sizes))))
    inverses = {"oracle.per_sample": 1 / samples, "oracle.theory": 1 / theory, "oracle.inverse_ratio": 1 / ratio}
    size = {"N": (length - 1) * FEATURES, "D": round(samples), "L": 0.5, "loss_unit": "of the target's variance"}
    return {**size, **inverses, "oracle.ratio": ratio, "oracle.one_and_length": 1 + length}


def kernel_errors(data: Permutation, sizes: Array, ridge: float) -> Array:
    """Return the error of kernel regression relative to predicting zero, by the number of samples."""
    x, f = data.sample(TRAIN, int(sizes[-1]))
    held_x, held_f = data.sample(HELD_OUT, 2000)
    inner, across = kernel(x, x), kernel(held_x, x)
    errors = []
    for n in sizes:
        predicted = across[:, :n] @ np.linalg.solve(inner[:n, :n] + ridge * np.eye(n), f[:n])
        errors.append(((predicted - held_f) ** 2).mean() / (held_f**2).mean())
    return np.array(errors)
