"""Neighbours on a manifold of known dimension (G6): squared errors of exponent 2/d for the nearest, 4/d for a plane.

The prediction is the nearest example's, or that of the plane through the 2 (d + 1) nearest; theory and source stand
at the head of scaling/data/synthetic/manifold.py. The level is a function's own, so that a point is the geometric mean
over some functions.

    curve = next(curves())
    curve.learner, curve.knobs["data.dimension"]        # ('nearest_neighbour', 2)
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from isoflop.scaling.data.base import HELD_OUT, TRAIN
from isoflop.scaling.data.synthetic.manifold import Manifold
from isoflop.scaling.oracles.base import SolvedCurve

Array = NDArray[np.float64]
# in four dimensions fewer points have no near ones
D = tuple(int(n) for n in 2 ** np.arange(13, 19))
DIMENSIONS = (2, 3, 4)
FUNCTIONS = 4
HELD = 500
# examples whose distances are looked at together: more of them leave the processor's cache
BLOCK = 2**13
LEARNERS = ("nearest_neighbour", "local_plane")


def curves() -> Iterator[SolvedCurve]:
    """Yield the curves of two learners in each dimension."""
    for dimension in DIMENSIONS:
        logs = np.log([errors(dimension, version) for version in range(FUNCTIONS)]).mean(axis=0)  # (learners, D)
        for learner, means in zip(LEARNERS, np.exp(logs), strict=True):
            points = [{"D": d, "L": float(loss), "floor": 0.0} for d, loss in zip(D, means, strict=True)]
            knobs = {"data.dimension": dimension, "data.features": 2 * dimension}
            yield SolvedCurve(learner, "manifold", knobs, [point | {"loss_unit": "squared error"} for point in points])


def errors(dimension: int, version: int) -> Array:
    """Return mean squared errors of both learners at each D, (learners, D), on one function."""
    data = Manifold(dimension=dimension, features=2 * dimension, version=version)
    x, y = (t.double() for t in data.draw(TRAIN, D[-1]))
    held_x, held_y = (t.double() for t in data.draw(HELD_OUT, HELD))
    losses = []
    for near in nearest(x, held_x, 2 * (dimension + 1)):
        plane = planes(x.numpy(), y.numpy(), near.numpy(), held_x.numpy(), dimension)
        predictions = y[near[:, 0]].numpy(), plane
        losses.append([float(((one - held_y.numpy()) ** 2).mean()) for one in predictions])
    return np.array(losses).T


def nearest(x: torch.Tensor, at: torch.Tensor, k: int) -> Iterator[torch.Tensor]:
    """Yield for each D the indices of the k nearest of the first D examples, (points, k), nearest first."""
    distances, indices, start = torch.empty(len(at), 0).double(), torch.empty(len(at), 0).long(), 0
    for end in D:
        # |x - y|² less |y|², which orders alike; the best of before and of what is new
        for part, low in zip(x[start:end].split(BLOCK), range(start, end, BLOCK), strict=True):
            new, where = smallest(torch.addmm((part**2).sum(1), at, part.T, alpha=-2), k)
            distances, indices = torch.cat((distances, new), 1), torch.cat((indices, where + low), 1)
            distances, best = distances.topk(k, largest=False)
            indices = indices.gather(1, best)
        start = end
        yield indices


def smallest(values: torch.Tensor, k: int, block: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k smallest of each row and their columns, (rows, k) each, from the k blocks of the least minima."""
    blocks = values.view(len(values), -1, block)
    least = blocks.amin(2).topk(k, largest=False).indices
    candidates = blocks.gather(1, least[:, :, None].expand(-1, -1, block)).flatten(1)
    chosen, at = candidates.topk(k, largest=False)
    return chosen, least.gather(1, at // block) * block + at % block


def planes(x: Array, y: Array, near: NDArray[np.int64], at: Array, dimension: int) -> Array:
    """Predict by planes through each point's neighbours (n, few), in the directions that they span most."""
    around = x[near] - at[:, None]
    centre = around.mean(axis=1, keepdims=True)
    # coordinates on the manifold, (n, few, dimension): the largest directions of the neighbours
    directions = np.linalg.svd(around - centre, full_matrices=False)[2][:, :dimension].swapaxes(1, 2)
    design = np.concatenate((np.ones((*near.shape, 1)), around @ directions), axis=2)
    return np.asarray(np.einsum("nij,njk->nik", np.linalg.pinv(design), y[near])[:, 0])
