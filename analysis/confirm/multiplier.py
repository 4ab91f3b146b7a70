"""The compute multiplier of a change (Hernandez and Brown 2020, arXiv:2005.04305): how many times more compute the
baseline needs for the same loss, against C.

The baseline follows L = E + A C^-g, and ln of the multiplier one of FORMS of ln C, a straight line or one that bends.
Both are fitted together, by least squares of ln L. The two runs of a pair, and all marks along them, are one unit,
whose variance is CR2 of Bell and McCaffrey 2002 with Satterthwaite's degrees of freedom (Pustejovsky and Tipton 2018,
arXiv:1601.01981).

    x, new = np.log([1e15, 1e16, 1e17] * 2), np.repeat([False, True], 3)
    L = 2 + 50 * np.exp(-0.1 * (x + np.where(new, np.log(1.3), 0.0)))
    line = fit_form(Points(x, np.log(L), new, np.arange(6) % 3))
    float(np.exp(line.value(np.log(1e18))))      # 1.3
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.intervals.estimate import t_quantile
from isoflop.errors import FitError

Array = NDArray[np.float64]
# what counts as nothing among eigenvalues that are at most 1
NOTHING = 1e-8
# share of the largest eigenvalue of a design's products below which a direction is not seen
SINGULAR = 1e-12
# shares of the lowest loss that E is tried at, the distance to it halving about every fourth; and steps that follow
SHARES = 1 - np.geomspace(1, 0.005, 20)
STEPS = 12
# a step that takes less than this share of the squares away is the last; degrees of freedom from which t is used
ENOUGH, FEWEST = 1e-4, 0.5
# rows of one unit whose ln C differ by less are of one mark, whatever a change adds to a step
SAME = 0.7
# parameters: ln A, -g, and intercept and slope of the change's ln A at the largest C; then E
FALL, AT_TOP, TURN, FLOOR = 1, 2, 3, 4


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
        """Return the parts of a fit by derivatives (rows, p), residuals, and the number of each row's unit."""
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
        """Return the standard error of a function of the parameters by its gradient, (p,), and its dof."""
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


@dataclass(frozen=True)
class Points:
    """Losses of a baseline and of a change.

    x      ln C of each row
    y      ln L of each row
    new    whether the row is of the change
    unit   number of each row's unit: a run, or two that share seed and data order
    """

    x: Array
    y: Array
    new: NDArray[np.bool_]
    unit: NDArray[np.intp]

    @cached_property
    def top(self) -> float:
        """The largest ln C that both sides have reached."""
        return float(min(self.x[self.new].max(), self.x[~self.new].max()))

    @cached_property
    def span(self) -> float:
        """From the smallest to the largest ln C."""
        return float(np.ptp(self.x))


@dataclass(frozen=True)
class Uncertain:
    """An estimate of ln of a multiplier, or of its slope, and how well it is known.

    value   the estimate
    error   its standard error
    dof     degrees of freedom of Student's t
    """

    value: float
    error: float
    dof: float

    def ends(self, risk: float) -> tuple[float, float]:
        """Return the bounds, each of which errs in at most `risk` of all cases; infinite where runs are too few."""
        half = t_quantile(1 - 2 * risk, self.dof) * self.error if self.dof >= FEWEST else np.inf
        return self.value - half, self.value + half


@dataclass(frozen=True)
class Form:
    """A fitted form of ln multiplier in ln C, straight or bent.

    points   what was fitted
    bend     0 of a straight line; above 0 the rate at which it settles as C grows; below 0 that at which it departs
    params   ln A at the largest C, -g, the change's ln A there less the baseline's, its slope, and E
    """

    points: Points
    bend: float
    params: Array

    def value(self, x: float) -> float:
        """Return ln of the multiplier at ln C = x."""
        return float(self.values(np.array(x)))

    def values(self, x: Array) -> Array:
        """Return ln of the multiplier at each ln C."""
        values: Array = (
            self.params[AT_TOP] + self.params[TURN] * bent(x - self.points.top, self.bend, self.points.span)
        ) / self.params[FALL]
        return values

    def at(self, x: float) -> Uncertain:
        """Return ln of the multiplier at ln C = x with its error."""
        return Uncertain(self.value(x), *self._spread.error(self._gradient(x)))

    @property
    def slope(self) -> Uncertain:
        """By how much ln of the multiplier grows when ln C grows by 1, on average over the data."""
        top, low = self.points.top, self.points.top - self.points.span
        gradient = (self._gradient(top) - self._gradient(low)) / self.points.span
        return Uncertain((self.value(top) - self.value(low)) / self.points.span, *self._spread.error(gradient))

    def steepness(self, x: Array) -> Array:
        """Return by how much ln L of the baseline falls when ln C grows by 1, at each ln C."""
        above = np.exp(self.params[0] + self.params[FALL] * (x - self.points.top))
        steepness: Array = -self.params[FALL] * above / (above + self.params[FLOOR])
        return steepness

    def lacks(self, bend: float) -> Uncertain:
        """Return what a column of another bend adds to the fit: a form that lacks nothing has 0 within its error."""
        step, spread = self._beside(bend)
        return Uncertain(float(step[-1]), *spread.error(np.eye(len(step))[-1]))

    def turned(self, bend: float) -> Uncertain:
        """Return ln of the multiplier at the largest C where a column of another bend lets it rise and fall, to first
        order."""
        step, spread = self._beside(bend)
        gradient = np.append(self._gradient(self.points.top), 0.0)  # no bend moves what is at the largest C
        return Uncertain(self.value(self.points.top) + float(gradient @ step), *spread.error(gradient))

    def _beside(self, bend: float) -> tuple[Array, Clustered]:
        """Return the step of the free parameters and of a column of another bend, and what the units add to it."""
        points, free = self.points, self._free
        design = np.column_stack([self._design[:, free], points.new * bent(points.x - points.top, bend, points.span)])
        step = _solve(design, self._residuals)
        return step, Clustered.of(design, self._residuals - design @ step, points.unit)

    @property
    def measured(self) -> tuple[Array, Array]:
        """ln C and ln multiplier of each row of the change, less what the baseline's rows of its unit and C are off."""
        off, new = self._residuals, self.points.new
        rows = np.flatnonzero(new)
        near = (self.points.unit == self.points.unit[rows, None]) & ~new
        near &= np.abs(self.points.x - self.points.x[rows, None]) < SAME
        partner = (near @ off) / np.maximum(near.sum(1), 1)
        x = self.points.x[rows]
        return x, self.values(x) + (off[rows] - partner) / (self.params[FALL] * self._design[rows, 0])

    def _gradient(self, x: float) -> Array:
        """Return the derivatives of ln multiplier at x by the free parameters."""
        fall, u = self.params[FALL], float(bent(np.array(x - self.points.top), self.bend, self.points.span))
        return np.array([0.0, -self.value(x) / fall, 1 / fall, u / fall, 0.0])[self._free]

    @property
    def _free(self) -> NDArray[np.bool_]:
        """Which parameters were fitted: E is not where it stands at 0."""
        return np.array([True] * FLOOR + [self.params[FLOOR] > 0])

    @cached_property
    def _at_rows(self) -> tuple[Array, Array]:
        return _curves(self.params, columns(self.points, self.bend))

    @property
    def _design(self) -> Array:
        return self._at_rows[1]

    @property
    def _residuals(self) -> Array:
        return self.points.y - self._at_rows[0]

    @cached_property
    def _spread(self) -> Clustered:
        return Clustered.of(self._design[:, self._free], self._residuals, self.points.unit)


def bent(u: Array, bend: float, span: float) -> Array:
    """Return u, or what settles (bend above 0) or departs (below 0) as u grows, 0 at 0 and -span at -span."""
    return u if bend == 0 else -span * np.expm1(-bend * u) / np.expm1(bend * span)


def columns(points: Points, bend: float) -> Array:
    """Return what ln A, -g and the change's intercept and slope are multiplied by, (rows, 4)."""
    u = points.x - points.top
    return np.column_stack([np.ones_like(u), u, points.new, points.new * bent(u, bend, points.span)])


def fit_form(points: Points, bend: float = 0.0) -> Form:
    """Fit the baseline's curve and a form of ln multiplier in ln C; FitError where the losses do not fall with C."""
    X = columns(points, bend)
    params = _start(points, X)
    lowest = float(np.exp(points.y.min()))
    fitted, design = _curves(params, X)
    error = float(np.square(points.y - fitted).sum())
    for _ in range(STEPS if params[FLOOR] > 0 else 0):
        step = _solve(design, points.y - fitted)
        before = error
        for share in (1.0, 0.3, 0.1):
            moved = params + share * step
            moved[FLOOR] = np.clip(moved[FLOOR], 0.0, SHARES[-1] * lowest)
            there = _curves(moved, X)
            if (reached := float(np.square(points.y - there[0]).sum())) < error:
                params, error, (fitted, design) = moved, reached, there
                break
        if error > (1 - ENOUGH) * before:
            break
    if not params[FALL] < 0:
        raise FitError("the losses do not fall with C, so that no compute makes up for a difference; add larger runs")
    return Form(points, bend, params)


def _solve(design: Array, residuals: Array) -> Array:
    products = np.linalg.pinv(design.T @ design, rcond=SINGULAR, hermitian=True)
    step: Array = products @ (design.T @ residuals)
    return step


def _curves(params: Array, X: Array) -> tuple[Array, Array]:
    """Return ln L of each row, and its derivatives by the parameters (rows, 5)."""
    above = np.exp(np.minimum(X @ params[:FLOOR], 50.0))
    loss = params[FLOOR] + above
    return np.log(loss), np.column_stack([X * (above / loss)[:, None], 1 / loss])


def _start(points: Points, X: Array) -> Array:
    """Return the best of the least-squares fits of ln (L - E) over a grid of E; E = 0 of fewer than three levels."""
    loss = np.exp(points.y)
    floors = (SHARES if len(np.unique(np.round(points.x, 1))) > 2 else SHARES[:1]) * loss.min()
    above = loss - floors[:, None]
    weights = np.square(above / loss)
    products = (X[:, :, None] * X[:, None, :]).reshape(len(X), -1)
    inverse = np.linalg.pinv((weights @ products).reshape(-1, FLOOR, FLOOR), rcond=SINGULAR, hermitian=True)
    params = (inverse @ ((weights * np.log(above)) @ X)[:, :, None])[:, :, 0]
    fitted = np.log(floors[:, None] + np.exp(np.minimum(params @ X.T, 50.0)))
    errors = np.where(params[:, FALL] < 0, np.square(points.y - fitted).sum(1), np.inf)
    best = int(errors.argmin())
    return np.append(params[best], floors[best])
