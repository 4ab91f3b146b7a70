"""What is minimised: a law on the columns of some rows, what is free in it, its loss, what is known beforehand.

The unknowns of a problem are u (free,): the logarithm of a parameter that is searched so, the parameter itself
otherwise, in a box. Residuals are log f - log L (or f - L), the loss is Huber's (or half the square).

    problem = Problem(law, columns, L, Objective("huber", 1e-3))
    problem.residuals(u[None])      # (1, rows)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.declare import Kind, Law
from isoflop.analysis.laws.dual_numbers import Array, Dual

# rows at one place, in the mean, from which evaluating a law once for all of them pays
_REPEATS = 2


@dataclass(frozen=True)
class Objective:
    """Huber's loss inside and outside delta, or half the square; of log residuals, or of raw ones."""

    loss: str = "huber"
    delta: float = 1e-3
    raw: bool = False

    def terms(self, r: Array) -> tuple[Array, Array, Array | None, Array | None]:
        """Return for residuals r the loss, its slope, Newton's weight and the majorant's (None where both are one)."""
        if self.loss == "l2":
            return 0.5 * r * r, r, None, None
        size = np.abs(r)
        clipped = np.minimum(size, self.delta)
        return (
            clipped * (size - 0.5 * clipped),
            np.copysign(clipped, r),
            (size <= self.delta).astype(float),
            self.delta / np.maximum(size, self.delta),
        )

    def total(self, r: Array, weights: Array | float = 1.0) -> Array:
        """Return the objective as it is published: the sum over rows (of |r| for l1)."""
        rho = np.abs(r) if self.loss == "l1" else self.terms(r)[0]
        total: Array = (weights * rho).sum(-1)
        return total


class _Places(NamedTuple):
    """Where rows stand that are sorted by it: a law is the same for all rows of a place."""

    columns: tuple[Array, ...]  # of each place, (places,) each
    first: NDArray[np.intp]  # row of each place, (places,)
    of: NDArray[np.intp]  # the place of each row, (rows,)


class Prior(NamedTuple):
    """A Gaussian prior on a parameter, in units of the objective: weight * (value - mean)^2 / 2."""

    mean: float
    weight: float
    error: float


@dataclass(frozen=True)
class Problem:
    """A law on the columns of some rows, what is free in it, and what is minimised."""

    law: Law
    columns: tuple[Array, ...]
    target: Array
    objective: Objective
    fixed: Mapping[str, float] = field(default_factory=dict)
    priors: Mapping[str, Prior] = field(default_factory=dict)
    scale: Array | None = None  # of each row's residual: 1 / its noise, in units of the typical noise
    places: _Places | None = None  # where the rows are sorted by place

    @cached_property
    def free(self) -> list[str]:
        return [name for name in self.law.params if name not in self.fixed]

    @cached_property
    def logs(self) -> NDArray[np.bool_]:
        return np.array([self.law.params[name].log for name in self.free], dtype=bool)

    @cached_property
    def kinds(self) -> Mapping[str, Kind]:
        """The law's parameters; where the loss itself is compared and may be below 0, an irreducible loss may, too."""
        free, kinds = self.objective.raw and self.target.min() <= 0, self.law.params.items()
        return {n: replace(k, low=-np.inf) if free and k.linear and not k.log else k for n, k in kinds}

    @cached_property
    def box(self) -> tuple[Array, Array]:
        """Lowest and highest u, (free,) each."""
        kinds = [self.kinds[name] for name in self.free]
        low, high = np.array([k.low for k in kinds]), np.array([k.high for k in kinds])
        with np.errstate(all="ignore"):  # of a scale of any size, 0 and infinity
            return np.where(self.logs, np.log(low), low), np.where(self.logs, np.log(high), high)

    @cached_property
    def centre(self) -> list[float]:
        """The mean of each column, of logarithms."""
        return [float(np.exp(np.log(column).mean())) for column in self.columns]

    @cached_property
    def log_target(self) -> Array:
        """Logarithms of the target, (rows,)."""
        return np.asarray(np.log(self.target))

    @property
    def in_order(self) -> "Problem":
        """The problem with its rows in the order of their columns and target."""
        return self.taken(np.lexsort((self.target, *self.columns)))

    def taken(self, rows: NDArray[np.intp]) -> "Problem":
        """The problem on some of its rows, by their positions."""
        columns, scale = tuple(c[rows] for c in self.columns), None if self.scale is None else self.scale[rows]
        return replace(self, columns=columns, target=self.target[rows], scale=scale)

    def params(self, u: Array) -> dict[str, Any]:
        """Return parameters by name at u (..., free): arrays (...) for the free ones, floats for the pinned."""
        values = np.where(self.logs, np.exp(np.where(self.logs, u, 0.0)), u)
        return {name: values[..., i] for i, name in enumerate(self.free)} | dict(self.fixed)

    def predict(self, u: Array) -> Array:
        """Return predictions (problems, rows) at u (problems, free)."""
        return self.at(u, self.columns)

    def at(self, u: Array, columns: Sequence[Array]) -> Array:
        """Return predictions (problems, rows) at u (problems, free) on other columns."""
        params = {k: v[:, None] if np.ndim(v) else v for k, v in self.params(u).items()}
        return np.broadcast_to(self.law(*columns, **params), (len(u), len(columns[0])))

    @cached_property
    def by_place(self) -> "tuple[Problem, NDArray[np.intp]] | None":
        """The problem with its rows sorted by place, and their order; None where few rows share a place."""
        places, of = np.unique(np.stack(self.columns), axis=1, return_inverse=True)
        if _REPEATS * places.shape[1] > len(of):
            return None
        order = np.argsort(of.reshape(-1), kind="stable")
        of = of.reshape(-1)[order]
        standing = _Places(tuple(places), np.flatnonzero(np.diff(of, prepend=-1)), of)
        return replace(self.taken(order), places=standing), order

    def residuals(self, u: Array) -> Array:
        """Return residuals (problems, rows) at u (problems, free)."""
        return self.errors(self.predict(u))

    def errors(self, f: Array) -> Array:
        """Return residuals (problems, rows) of predictions at the rows or, if those are sorted, at their places."""
        f = f if self.objective.raw else np.log(f)
        f = f if self.places is None or f.shape[1] == len(self.target) else f[:, self.places.of]
        r: Array = f - (self.target if self.objective.raw else self.log_target)
        return r if self.scale is None else r * self.scale

    def slopes(self, u: Array) -> tuple[Array, Array]:
        """Return predictions (problems, rows) at u (problems, free), and the Jacobian (problems, free, rows) of
        residuals of scale 1; if rows are sorted by place, at the places."""
        columns = self.columns if self.places is None else self.places.columns
        duals: dict[str, Any] = dict(self.fixed)
        for i, name in enumerate(self.free):
            value = np.exp(u[:, i : i + 1]) if self.logs[i] else u[:, i : i + 1]
            duals[name] = Dual(value, {i: value if self.logs[i] else np.ones_like(value)})
        f = self.law.function(*columns, **duals)
        value = np.broadcast_to(f.value, (len(u), len(columns[0])))
        jacobian = np.zeros((len(u), len(self.free), len(columns[0])))
        scale = 1.0 if self.objective.raw else 1.0 / value
        for i, part in f.d.items():
            np.multiply(part, scale, out=jacobian[:, i])
        return value, jacobian

    def linearise(self, u: Array) -> tuple[Array, Array]:
        """Return residuals (problems, rows) and their Jacobian (problems, free, rows) at u (problems, free)."""
        value, jacobian = self.slopes(u)
        jacobian = jacobian if self.places is None else jacobian[:, :, self.places.of]
        return self.errors(value), jacobian if self.scale is None else jacobian * self.scale

    def at_places(self, x: Array, power: int) -> Array:
        """Return what rows (problems, rows) add to each place, times a power of their scale, if they are sorted."""
        x = x if self.scale is None else x * self.scale**power
        return x if self.places is None else np.add.reduceat(x, self.places.first, axis=1)

    @cached_property
    def straightened(self) -> "Problem | None":
        """The same problem in straight coordinates, without bounds; None without any, or with pins or priors."""
        law, straight = self.law, self.law.straight
        if straight is None or self.fixed or self.priors:
            return None

        def function(*columns: Any, **p: Any) -> Any:
            return law(*columns, **p | straight.back(*self.centre, **p))

        kinds = dict(law.params) | dict.fromkeys(straight.names, Kind())
        return replace(self, law=replace(law, function=function, params=kinds, straight=None))

    def coordinates(self, u: Array, *, back: bool = False) -> Array:
        """Return the straight coordinates of u (problems, free), or with `back` the u of straight coordinates."""
        straight, other = self.law.straight, self.straightened
        assert straight is not None
        assert other is not None
        values = (other if back else self).params(u)
        new = (straight.back if back else straight.to)(*self.centre, **values)
        at = u.copy()
        for name, value in new.items():
            i = self.free.index(name)
            at[:, i] = np.log(value) if back and self.logs[i] else value
        return at
