"""Standard errors where rows of one unit are correlated, units are few and noise differs from unit to unit.

The bias-reduced variance CR2 of Bell and McCaffrey 2002 with Satterthwaite's degrees of freedom; Pustejovsky and Tipton
2018, arXiv:1601.01981: tests that keep near their level with few units.

    design = np.column_stack([np.ones(4), [0.0, 1.0, 0.0, 1.0]])
    fitted = Clustered.of(design, np.array([0.1, -0.1, -0.1, 0.1]), np.array([0, 0, 1, 1]))
    error, dof = fitted.error(np.array([0.0, 1.0]))      # 0.2 and 1.0
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# what counts as nothing among eigenvalues that are at most 1
NOTHING = 1e-8
# share of the largest eigenvalue of a design's products below which a direction is not seen
SINGULAR = 1e-12


@dataclass(frozen=True)
class Clustered:
    """What each unit adds to the variance of a least-squares fit of p parameters.

    bread    inverse of the design's products, (p, p)
    scores   adjusted influence of each unit on the parameters, (units, p)
    single   design times adjustment times design of each unit, (units, p, p)
    double   the same with the adjustment squared, (units, p, p)
    """

    bread: Array
    scores: Array
    single: Array
    double: Array

    @classmethod
    def of(cls, design: Array, residuals: Array, unit: NDArray[np.intp]) -> "Clustered":
        """Return the parts of a fit.

        design      derivatives of each row by the parameters, (rows, p)
        residuals   of each row
        unit        number of each row's unit
        """
        bread = np.linalg.pinv(design.T @ design, rcond=SINGULAR, hermitian=True).astype(np.float64)
        codes, counts = np.unique(unit, return_inverse=True, return_counts=True)[1:]
        order, starts = np.argsort(codes, kind="stable"), np.cumsum(counts) - counts
        p = design.shape[1]
        scores, single, double = np.zeros((len(counts), p)), *np.zeros((2, len(counts), p, p))
        for size in np.unique(counts):  # units of one size at once
            units = np.flatnonzero(counts == size)
            rows = order[starts[units, None] + np.arange(size)]
            X, r = design[rows], residuals[rows]
            adjusted = _adjustment(np.eye(size) - X @ bread @ X.transpose(0, 2, 1)) @ X
            scores[units] = np.einsum("gnp,gn->gp", adjusted, r) @ bread
            single[units] = X.transpose(0, 2, 1) @ adjusted
            double[units] = adjusted.transpose(0, 2, 1) @ adjusted
        return cls(bread, scores, single, double)

    def error(self, gradient: Array) -> tuple[float, float]:
        """Return the standard error of a function of the parameters with this gradient, (p,), and its degrees of
        freedom."""
        lever = self.bread @ gradient
        reach = self.single @ lever
        own = np.einsum("p,gpq,q->g", lever, self.double, lever)
        products = np.diag(own) - reach @ self.bread @ reach.T
        squares = float(np.square(products).sum())
        dof = float(np.trace(products)) ** 2 / squares if squares > 0 else 0.0
        return float(np.sqrt(np.square(self.scores @ gradient).sum())), dof


def _adjustment(left: Array) -> Array:
    """Return the inverse square roots of symmetric matrices (units, rows, rows), nothing where they have nothing."""
    values, vectors = np.linalg.eigh(left)
    roots = np.where(values > NOTHING, np.maximum(values, NOTHING) ** -0.5, 0.0)
    adjustment: Array = (vectors * roots[:, None, :]) @ vectors.transpose(0, 2, 1)
    return adjustment
