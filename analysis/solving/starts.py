"""Where to start: the parameters that enter linearly are solved, only the others are drawn.

Given the nonlinear parameters, a law f = f0 + sum of w_j f_j is a least-squares problem in w (variable projection,
Golub and Pereyra 1973). The columns f_j are the law's own derivatives, so no law has to say more than that a parameter
is linear. Signs are kept by trying every subset of the positive ones: there are few.

    u0 = starts(problem, 64, seed=0)     # (64, free)
"""

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.declare import Kind
from isoflop.analysis.laws.dual_numbers import Array, Dual
from isoflop.analysis.solving.descent import MAX_STEPS, USUAL, Pace, Solution, minimise
from isoflop.analysis.solving.problem import Problem

# starts that go on where none has arrived in the usual steps
_FINALISTS = 8
# the first primes: bases of Halton's sequence
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)


def halton(count: int, dims: int, seed: int = 0) -> Array:
    """`count` points that fill the unit cube evenly (Halton 1960), shifted at random by the seed."""
    points = np.empty((count, dims))
    for d in range(dims):
        base = _PRIMES[d % len(_PRIMES)]
        left, scale = np.arange(1, count + 1), 1.0
        value = np.zeros(count)
        while left.any():
            scale /= base
            value += scale * (left % base)
            left = left // base
        points[:, d] = value
    return (points + np.random.default_rng(seed).random(dims)) % 1.0


def starts(problem: Problem, count: int, seed: int = 0) -> Array:
    """Return starts u (count, free): nonlinear parameters drawn in their ranges, linear ones solved, in the box."""
    kinds = {name: problem.kinds[name] for name in problem.free}
    drawn = [name for name, kind in kinds.items() if not kind.linear]
    solved = [name for name, kind in kinds.items() if kind.linear]
    cube = halton(count if drawn else 1, max(1, len(drawn)), seed)
    values = {name: _draw(cube[:, i : i + 1], kinds[name], problem) for i, name in enumerate(drawn)}
    if solved:
        values |= _solve_linear(problem, values, [(name, kinds[name]) for name in solved], len(cube))
    low, high = problem.box
    columns = [np.log(values[n]) if kinds[n].log else values[n] for n in problem.free]
    u = np.concatenate([np.broadcast_to(c, (len(cube), 1)) for c in columns], axis=1)
    inside: Array = np.clip(u, low, high)
    return inside


def _draw(cube: Array, kind: Kind, problem: Problem) -> Array:
    low, high = kind.start
    if kind.unit == "L":  # the low end of the losses where the range lies below one, else the high end
        unit = problem.target.min() if high <= 1 else problem.target.max()
        low, high = low * unit, high * unit
    elif kind.unit is not None:
        column = problem.columns[problem.law.arguments.index(kind.unit)]
        low, high = low * column.min(), high * column.max()
    if low > 0:
        even: Array = np.exp(np.log(low) + np.log(high / low) * cube)
        return even
    spaced: Array = low + (high - low) * cube
    return spaced


def _solve_linear(
    problem: Problem, drawn: dict[str, Array], linear: list[tuple[str, Kind]], count: int
) -> dict[str, Array]:
    """Solve least squares of the relative (or raw) residual for the linear parameters, each on its side of zero."""
    shape = (count, len(problem.target))
    duals: dict[str, Any] = dict(problem.fixed) | drawn
    zero = np.zeros((count, 1))
    # off zero, since a law may hold a linear parameter in a place where zero has no derivative
    duals |= {name: Dual(zero + 1.0, {i: np.ones((count, 1))}) for i, (name, _) in enumerate(linear)}
    with np.errstate(all="ignore"):
        f = problem.law(*problem.columns, **duals)
        f = np.log(f) if problem.law.log_linear else f
    parts = [np.broadcast_to(f.d.get(i, zero), shape) for i in range(len(linear))]
    target = np.log(problem.target) if problem.law.log_linear else problem.target
    scale = np.ones_like(target) if problem.objective.raw or problem.law.log_linear else target
    basis = np.stack(parts, axis=-1) / scale[:, None]  # (starts, rows, linear)
    rest = (target - (np.broadcast_to(f.value, shape) - sum(parts))) / scale
    basis, rest = np.nan_to_num(basis, posinf=0, neginf=0), np.nan_to_num(rest, posinf=0, neginf=0)
    best = _signed_least_squares(basis, rest, [kind.low == 0 for _, kind in linear])
    out = {}
    for i, (name, kind) in enumerate(linear):
        value = best[:, i : i + 1]
        if kind.log:  # a logarithm needs something: a thousandth of the target
            size = np.maximum(np.sqrt((basis[:, :, i] ** 2).mean(-1))[:, None], 1e-300)
            value = np.maximum(value, 1e-3 * np.sqrt((problem.target / scale) ** 2).mean() / size)
        out[name] = value
    return out


def _signed_least_squares(basis: Array, rest: Array, positive: list[bool]) -> Array:
    """Solve least squares (starts, linear) with some coefficients at or above zero, by trying every set."""
    norm = np.sqrt((basis**2).sum(1)) + 1e-300
    unit = basis / norm[:, None, :]
    gram = unit.transpose(0, 2, 1) @ unit
    right = (unit.transpose(0, 2, 1) @ rest[:, :, None])[:, :, 0]
    count, size = right.shape
    best, best_cost = np.zeros((count, size)), np.zeros(count)
    bound = [i for i in range(size) if positive[i]]
    for dropped in (c for k in range(len(bound) + 1) for c in combinations(bound, k)):
        used = [i for i in range(size) if i not in dropped]
        if not used:
            continue
        matrix = gram[:, used][:, :, used] + 1e-12 * np.eye(len(used))
        solution = np.linalg.solve(matrix, right[:, used, None])[:, :, 0]
        sound = (solution[:, [k for k, i in enumerate(used) if positive[i]]] >= 0).all(-1)
        # what the fit takes off the sum of squares
        cost = np.where(sound, -(solution * right[:, used]).sum(-1), np.inf)
        better = cost < best_cost
        best[better] = 0.0
        for k, i in enumerate(used):
            best[better, i] = solution[better, k]
        best_cost = np.where(better, cost, best_cost)
    coefficients: Array = best / norm
    return coefficients


def search(problem: Problem, u0: Array) -> Solution:
    """Minimise from every start; the best few go on for as long as a long valley takes."""
    first = minimise(problem, u0)
    order = np.argsort(first.objective)[:_FINALISTS]
    if first.done[order[0]] or not np.isfinite(first.objective[order[0]]):
        return first
    longer = minimise(problem, first.u[order], pace=Pace(steps=10 * MAX_STEPS))
    for mine, theirs in zip(first, longer, strict=True):
        mine[order] = theirs
    return first


def refit(problem: Problem, begin: Array, weights: NDArray[np.generic], pace: Pace = USUAL) -> Solution:
    """Minimise under each set of row weights (refits, rows) from every start in `begin` (starts, free), and return the
    lowest end of each refit: a row that is held out weighs 0, so all refits are one batch."""
    count, refits = len(begin), len(weights)
    rows = np.tile(weights.astype(float), (count, 1))
    ends = minimise(problem, np.repeat(begin, refits, axis=0), rows, pace)
    height = np.where(np.isfinite(ends.objective), ends.objective, np.inf).reshape(count, refits)
    best = height.argmin(0) * refits + np.arange(refits)
    return Solution(*(part[best] for part in ends))
