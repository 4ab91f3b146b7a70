"""Rows that lie far from what runs of like size and data have: off a quadratic surface of the logarithms.

outlying(np.log(rows[["N", "D"]].to_numpy()), np.log(rows["L"].to_numpy()))     # (rows,): 0 for all but outliers
"""

import numpy as np

from isoflop.analysis.laws.dual_numbers import Array

# an outlier by the quantile of Student's t at this level, for all rows together (Bonferroni), ...
RARE = 0.01
# ... and at the least so many standard deviations: a quadratic of logarithms is no law
FAR = 5.0
# rows for each coefficient of the surface that outliers are measured from
ROWS_PER_TERM = 3
# rounds of reweighting towards least absolute deviations (Schlossmacher 1973)
ROUNDS = 40


def outlying(x: Array, y: Array, *, curves: bool = False) -> Array:
    """Return by how many standard deviations each row is an outlier, (rows,), signed; 0 for the other rows.

    x   (rows, axes) logarithms of size and data
    y   (rows,) logarithm of the loss
    curves   whether rows are points of curves, whose beginnings lie together off any quadratic; an outlier is off what
             its neighbours say, too
    """
    from scipy.special import stdtrit

    z = (x - x.mean(0)) / x.std(0)
    ones, crossed = np.ones((len(z), 1)), [z[:, i] * z[:, k] for i in range(z.shape[1]) for k in range(i + 1)]
    design = np.column_stack([ones, z, *crossed])
    if len(y) < ROWS_PER_TERM * design.shape[1]:
        design = np.column_stack([ones, z])
    spare = len(y) - design.shape[1]
    if spare < design.shape[1]:
        return np.zeros(len(y))
    surface, sd = _least_absolute(design, y)
    limit = max(FAR, float(stdtrit(spare, 1 - RARE / 2 / len(y))))
    far: Array = (y - design @ surface) / max(sd, 1e-9)
    for row in np.flatnonzero(np.abs(far) > limit) if curves else ():
        expected, scatter = _by_neighbours(z, far, int(row))
        alone = (far[row] - expected) / max(scatter, 1.0)
        far[row] = far[row] if abs(alone) > limit and alone * far[row] > 0 else 0.0
    return np.where(np.abs(far) > limit, far, 0.0)


def _by_neighbours(z: Array, values: Array, row: int) -> tuple[float, float]:
    """Return a row's value by a plane through the rows of like size and data, and their scatter about it."""
    count = min(ROWS_PER_TERM * (z.shape[1] + 1), len(z) - 1)
    near = np.argpartition(((z - z[row]) ** 2).sum(1), count)[: count + 1]
    near = near[near != row]
    plane, sd = _least_absolute(np.column_stack([np.ones(len(near)), z[near] - z[row]]), values[near])
    return float(plane[0]), sd


def _least_absolute(design: Array, y: Array) -> tuple[Array, float]:
    """Return the coefficients (terms,) of least absolute deviations of y (rows,), and the sd of a Gaussian that
    scatters like the rows about them."""
    weights = np.ones(len(y))
    for _ in range(ROUNDS):
        root = np.sqrt(weights)[:, None]
        coefficients = np.asarray(np.linalg.lstsq(design * root, y * root[:, 0], rcond=None)[0], dtype=float)
        r = y - design @ coefficients
        weights = 1 / np.maximum(np.abs(r), 1e-3 * np.median(np.abs(r)) + 1e-12)
    # least absolute deviations pass through as many rows as there are terms: these say nothing of the scatter; 1.4826
    # makes the median size of the others the sd of a Gaussian
    return coefficients, 1.4826 * float(np.median(np.sort(np.abs(r))[design.shape[1] :]))
