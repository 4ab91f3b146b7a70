"""Oracles that learn from samples: neighbours on a manifold, the kernel of permutations, synonyms of a hierarchy.

    curve = next(neighbours())
    curve.learner, curve.knobs["data.dimension"]        # ('nearest_neighbour', 2)

Theory, formula and source of G6 and G11 stand at the heads of manifold.py and scaling/data/synthetic/permutation.py.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isoflop.scaling.data.base import HELD_OUT, TRAIN, Array
from isoflop.scaling.data.synthetic.permutation import IRREPS, Permutation
from oracles.hierarchy import Hierarchy
from oracles.make import SolvedCurve
from oracles.manifold import Manifold

# in four dimensions fewer points have no near ones
D = tuple(int(n) for n in 2 ** np.arange(13, 19))
DIMENSIONS = (2, 3, 4)
FUNCTIONS = 4
HELD = 500
# examples whose distances are looked at together: more of them leave the processor's cache
BLOCK = 2**13
LEARNERS = ("nearest_neighbour", "local_plane")


def neighbours() -> Iterator[SolvedCurve]:
    """Yield G6, two learners in each dimension: squared errors of exponent 2/d for the nearest, 4/d for a plane.

    The prediction is the nearest example's, or that of the plane through the 2 (d + 1) nearest. The level is a
    function's own, so that a point is the geometric mean over some functions.
    """
    for dimension in DIMENSIONS:
        logs = np.log([_errors(dimension, version) for version in range(FUNCTIONS)]).mean(axis=0)  # (learners, D)
        for learner, means in zip(LEARNERS, np.exp(logs), strict=True):
            points = [{"D": d, "L": float(loss), "floor": 0.0} for d, loss in zip(D, means, strict=True)]
            knobs = {"data.dimension": dimension, "data.features": 2 * dimension}
            yield SolvedCurve(learner, "manifold", knobs, [point | {"loss_unit": "squared error"} for point in points])


def _errors(dimension: int, version: int) -> Array:
    """Return mean squared errors of both learners at each D, (learners, D), on one function."""
    data = Manifold(dimension=dimension, features=2 * dimension, version=version)
    x, y = (t.double() for t in data.draw(TRAIN, D[-1]))
    held_x, held_y = (t.double() for t in data.draw(HELD_OUT, HELD))
    losses = []
    for near in _nearest(x, held_x, 2 * (dimension + 1)):
        plane = _planes(x.numpy(), y.numpy(), near.numpy(), held_x.numpy(), dimension)
        predictions = y[near[:, 0]].numpy(), plane
        losses.append([float(((one - held_y.numpy()) ** 2).mean()) for one in predictions])
    return np.array(losses).T


def _nearest(x: torch.Tensor, at: torch.Tensor, k: int) -> Iterator[torch.Tensor]:
    """Yield for each D the indices of the k nearest of the first D examples, (points, k), nearest first."""
    distances, indices, start = torch.empty(len(at), 0).double(), torch.empty(len(at), 0).long(), 0
    for end in D:
        # |x - y|² less |y|², which orders alike; the best of before and of what is new
        for part, low in zip(x[start:end].split(BLOCK), range(start, end, BLOCK), strict=True):
            new, where = _smallest(torch.addmm((part**2).sum(1), at, part.T, alpha=-2), k)
            distances, indices = torch.cat((distances, new), 1), torch.cat((indices, where + low), 1)
            distances, best = distances.topk(k, largest=False)
            indices = indices.gather(1, best)
        start = end
        yield indices


def _smallest(values: torch.Tensor, k: int, block: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k smallest of each row and their columns, (rows, k) each, from the k blocks of the least minima."""
    blocks = values.view(len(values), -1, block)
    least = blocks.amin(2).topk(k, largest=False).indices
    candidates = blocks.gather(1, least[:, :, None].expand(-1, -1, block)).flatten(1)
    chosen, at = candidates.topk(k, largest=False)
    return chosen, least.gather(1, at // block) * block + at % block


def _planes(x: Array, y: Array, near: NDArray[np.int64], at: Array, dimension: int) -> Array:
    """Predict by planes through each point's neighbours (n, few), in the directions that they span most."""
    around = x[near] - at[:, None]
    centre = around.mean(axis=1, keepdims=True)
    # coordinates on the manifold, (n, few, dimension): the largest directions of the neighbours
    directions = np.linalg.svd(around - centre, full_matrices=False)[2][:, :dimension].swapaxes(1, 2)
    design = np.concatenate((np.ones((*near.shape, 1)), around @ directions), axis=2)
    return np.asarray(np.einsum("nij,njk->nik", np.linalg.pinv(design), y[near])[:, 0])


LENGTHS = (4, 8, 16, 32)
FEATURES = 16
# curves for an irrep, and targets that each averages over
GROUPS, TARGETS = 2, 6


def permutations() -> Iterator[SolvedCurve]:
    """Yield G11 over the lengths for each irrep and group of targets: the samples that halve a kernel's error.

    N is the dimension (L - 1) d of the standard irrep, D the samples, `oracle.per_sample` their inverse and
    `oracle.theory` that of theory, so that a falling law can be fitted to either; `oracle.ratio` is that of the
    eigenvalues and `oracle.inverse_ratio` its inverse.
    """
    for irrep in IRREPS:
        for group in range(GROUPS):
            points = [_halved(length, irrep, group) for length in LENGTHS]
            knobs = {"data.irrep": irrep, "data.features": FEATURES}
            yield SolvedCurve("permutation_kernel", "permutation", knobs, points, seed=group)


def _halved(length: int, irrep: str, group: int) -> dict[str, Any]:
    basis = np.eye(length * FEATURES).reshape(-1, length, FEATURES)
    values = np.linalg.eigvalsh(kernel(basis, basis))[::-1]
    ratio = float(values[:FEATURES].mean() / values[FEATURES:].mean())
    theory = samples_to_halve(length, FEATURES, irrep)
    sizes = np.unique(np.geomspace(theory / 3, theory * 3, 9).astype(int))
    versions = range(group * TARGETS, (group + 1) * TARGETS)
    drawn = (Permutation(seq_len=length, features=FEATURES, irrep=irrep, version=version) for version in versions)
    errors = np.mean([_kernel_errors(data, sizes, 1e-6 * values[-1]) for data in drawn], axis=0)
    samples = float(np.exp(np.interp(-np.log(0.5), -np.log(errors), np.log(sizes))))
    inverses = {"oracle.per_sample": 1 / samples, "oracle.theory": 1 / theory, "oracle.inverse_ratio": 1 / ratio}
    size = {"N": (length - 1) * FEATURES, "D": round(samples), "L": 0.5, "loss_unit": "of the target's variance"}
    return {**size, **inverses, "oracle.ratio": ratio, "oracle.one_and_length": 1 + length}


def _kernel_errors(data: Permutation, sizes: Array, ridge: float) -> Array:
    x, f = data.sample(TRAIN, int(sizes[-1]))
    held_x, held_f = data.sample(HELD_OUT, 2000)
    inner, across = kernel(x, x), kernel(held_x, x)
    errors = []
    for n in sizes:
        predicted = across[:, :n] @ np.linalg.solve(inner[:n, :n] + ridge * np.eye(n), f[:n])
        errors.append(((predicted - held_f) ** 2).mean() / (held_f**2).mean())
    return np.array(errors)


LEVELS, BRANCH, SYMBOLS, VERSIONS = 2, 2, 16, 6
SYNONYMS, VOCABULARIES = (3, 4, 6, 8, 11, 15), (6, 8, 11, 16, 22)
EXAMPLES = tuple(int(n) for n in np.geomspace(2**6, 2**19, 40))


def synonyms() -> Iterator[SolvedCurve]:
    """Yield G10 over synonyms at fixed symbols, and over symbols where all three are equal.

    Class frequencies of two synonyms, counted over examples, differ by noise alone, those of other tuples by a signal
    too; the two are alike from about P* = classes · synonyms^levels examples on (Cagnetta 2023, arXiv:2307.02129, secs.
    3-4): of exponent `levels` in the synonyms alone, and levels + 1 where classes and symbols grow with them.
    `oracle.per_example` is one over the examples at which exchanging synonyms matters half as much as another exchange.
    Each grammar is drawn anew and is a run of its own.
    """
    grammars = [("synonyms", SYMBOLS, m) for m in SYNONYMS] + [("symbols", v, v) for v in VOCABULARIES]
    for (axis, symbols, ways), version in itertools.product(grammars, range(VERSIONS)):
        drawn = Hierarchy(
            classes=symbols, symbols=symbols, synonyms=ways, branch=BRANCH, levels=LEVELS, version=version
        )
        knobs = {"oracle.axis": axis, "oracle.synonyms": ways}
        yield SolvedCurve("synonyms", "hierarchy", knobs, [_alike(drawn)], seed=version)


def _alike(data: Hierarchy) -> dict[str, Any]:
    ratios = _sensitivity(data)
    examples = float(np.exp(np.interp(-np.log(0.5), -np.log(ratios), np.log(EXAMPLES))))
    return {"D": round(examples), "L": 0.5, "loss_unit": "of another exchange", "oracle.per_example": 1 / examples}


def _sensitivity(data: Hierarchy) -> Array:
    """Return how much synonyms at the first position differ in class, relative to other tuples, by examples."""
    x, y = (t.numpy() for t in data.draw(TRAIN, EXAMPLES[-1]))
    digits = data.symbols ** np.arange(BRANCH)
    ways = data.rules()[-1] @ digits  # (features, synonyms)
    place = np.zeros(data.symbols**BRANCH, dtype=int)
    place[ways.ravel()] = np.arange(ways.size)
    words, ratios = place[x[:, :BRANCH] @ digits], []
    kinds = np.repeat(np.arange(len(ways)), ways.shape[1])
    alike = (kinds[:, None] == kinds) & ~np.eye(len(kinds), dtype=bool)
    for n in EXAMPLES:
        cells = np.bincount(words[:n] * data.classes + y[:n, -1], minlength=len(kinds) * data.classes)
        counts = cells.reshape(len(kinds), data.classes)
        frequencies = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
        squares = (frequencies**2).sum(axis=1)
        distances = squares[:, None] + squares - 2 * frequencies @ frequencies.T
        ratios.append(distances[alike].mean() / distances[kinds[:, None] != kinds].mean())
    return np.minimum.accumulate(ratios)


def kernel(x: Array, y: Array) -> Array:
    """Return k of all pairs of sequences, (n, L, d) and (m, L, d) to (n, m)."""
    length, features = x.shape[1:]
    invariant = x.sum(axis=1) @ y.sum(axis=1).T
    return np.asarray((invariant + x.reshape(len(x), -1) @ y.reshape(len(y), -1).T) / (features * length**2))


def samples_to_halve(length: int, features: int, irrep: str) -> float:
    """Return the examples at which, in theory, ridgeless kernel regression halves the error on an irrep.

    With eigenvalues λ_i and an effective ridge κ that solves n = Σ λ_i / (λ_i + κ), the error on mode i is
    (κ / (λ_i + κ))² / (1 - γ), γ = Σ (λ_i / (λ_i + κ))² / n (arXiv:2006.13198, eqs. 4-5).
    """
    values, counts = np.array([1.0 + length, 1.0])[:, None], np.array([1, length - 1])[:, None] * features
    kappa = np.geomspace(1e-4, 1e4, 4001) * length**0.5
    learned = values / (values + kappa)  # (irreps, points)
    n = (counts * learned).sum(axis=0)
    gamma = (counts * learned**2).sum(axis=0) / n
    error = (1 - learned[IRREPS.index(irrep)]) ** 2 / (1 - gamma)
    return float(np.exp(np.interp(np.log(0.5), np.log(error), np.log(n))))
