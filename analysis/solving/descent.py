"""One optimiser for every law: a batched, robust Gauss-Newton that carries all starts and all resamples at once.

    problem = Problem(law, columns, L, Objective("huber", 1e-3))
    solution = minimise(problem, u0)          # u0 (starts, free)

Rows carry weights, so that a resample of runs, a deleted run and a held-out row are one problem under other weights.
The step solves (Hn + lam Hs) du = -g: Hn is Newton's matrix (rows inside delta), Hs that of the quadratic which touches
Huber's loss from above (weights delta/|r| outside), a majorant, so a large lam always descends; and since it shrinks
along the step, a strong correlation of A and alpha costs nothing. Levenberg 1944, Marquardt 1963; Huber and Ronchetti,
Robust Statistics (2009); the box as in Bertsekas 1982, Projected Newton methods.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.problem import Problem

# elements of one Jacobian worked on at once: small enough for a core's cache
_CHUNK = 150_000
# a block of 31 MB that is freed at once: glibc keeps freed memory up to twice the largest such block (mallopt(3), up to
# 32 MB), where by default it would give it back after each step, and take it again page by page
np.empty(31 << 17)
# a problem is done when a full step would lower the objective by less than this share of it
TOLERANCE = 1e-13
# ... or by less than this, times the sum of weights: residuals at the noise of doubles, where the rows hold no noise
# at all
_EXACT = 1e-28
MAX_STEPS = 200
# steps after which the problems that still move are few enough to be gathered
_EARLY = 12
# ... and pieces may be this much larger, since most of their problems soon end
_TOGETHER = 4
# the damping of a step too small to lower the objective in doubles
_STUCK = 1e12
# a coordinate is at its bound where the box leaves it less than this share of its step (Bertsekas's epsilon)
_JAMMED = 1e-2


class Solution(NamedTuple):
    """Where each problem ended: u (problems, free), objective, Newton decrement over it, whether it is a minimum."""

    u: Array
    objective: Array
    decrement: Array
    done: NDArray[np.bool_]


class _Local(NamedTuple):
    """The objective around u: value, gradient, Newton's matrix, the majorant's matrix."""

    f: Array
    g: Array
    newton: Array
    major: Array

    def put(self, at: Any, other: "_Local", take: Any) -> None:
        for mine, theirs in zip(self, other, strict=True):
            mine[at] = theirs[take]

    def take(self, at: Any) -> "_Local":
        return _Local(*(x[at] for x in self))


class _Moving(NamedTuple):
    """Problems that still move: where they are, their box, damping and its growth, sum of weights, weights of rows."""

    u: Array
    low: Array
    high: Array
    lam: Array
    grow: Array
    total: Array
    weights: Array | None

    def take(self, at: Any) -> "_Moving":
        u, low, high, lam, grow, total = (x[at] for x in self[:6])
        return _Moving(u, low, high, lam, grow, total, None if self.weights is None else self.weights[at])


def expand(problem: Problem, u: Array, weights: Array | None) -> _Local:
    """Return value, gradient and both matrices of the objective at u; infinite where the law is not defined there."""
    value, jacobian = problem.slopes(u)
    rho, psi, inside, major = problem.objective.terms(problem.errors(value))
    if weights is not None:
        rho, psi = rho * weights, psi * weights
        inside, major = weights if inside is None else inside * weights, None if major is None else major * weights
    elif inside is None:
        inside = np.ones((1, len(problem.target)))
    f = rho.sum(-1)
    g = (jacobian @ problem.at_places(psi, 1)[:, :, None])[:, :, 0]
    turned = jacobian.transpose(0, 2, 1)
    newton = (jacobian * problem.at_places(inside, 2)[:, None, :]) @ turned
    above = newton.copy() if major is None else (jacobian * problem.at_places(major, 2)[:, None, :]) @ turned
    for name, prior in problem.priors.items():
        i = problem.free.index(name)
        slope = np.exp(u[:, i]) if problem.logs[i] else np.ones(len(u))
        gap = (np.exp(u[:, i]) if problem.logs[i] else u[:, i]) - prior.mean
        f = f + prior.weight * gap**2 / 2
        g[:, i] += prior.weight * gap * slope
        newton[:, i, i] += prior.weight * slope**2
        above[:, i, i] += prior.weight * slope**2
    bad = ~np.isfinite(f + g.sum(-1) + above.sum((-1, -2)))
    if bad.any():
        f = np.where(bad, np.inf, f)
        g[bad], newton[bad], above[bad] = 0.0, 0.0, np.eye(g.shape[1])
    return _Local(f, g, newton, above)


class Pace(NamedTuple):
    """How a search goes: its first damping, its most steps, and the gain of a full step at which it is done."""

    lam: float = 1.0
    steps: int = MAX_STEPS
    tolerance: float = TOLERANCE


# from any start, and from near the optimum, where a search begins close to Newton
USUAL, WARM = Pace(), Pace(lam=1e-3)


def minimise(
    problem: Problem,
    u0: Array,
    weights: Array | None = None,
    pace: Pace = USUAL,
    box: tuple[Array, Array] | None = None,
) -> Solution:
    """Minimise from every row of u0 (problems, free), under weights (problems, rows) or (1, rows) or none; along the
    straight coordinates of a law that names some.

    box: the lowest and highest u of each problem, (problems, free) each; by default those of the law. Where they are
    one number, that coordinate is held.
    """
    if box is None and problem.straightened is not None:
        return _along_straight(problem, u0, weights, pace)
    if problem.places is None and problem.by_place is not None:
        problem, order = problem.by_place
        weights = None if weights is None else weights[:, order]
    count, rows = len(u0), len(problem.target)
    low, high = (np.broadcast_to(ends, u0.shape) for ends in box or problem.box)
    weights = None if weights is None else np.broadcast_to(weights, (count, rows))
    total = np.full(count, float(rows)) if weights is None else weights.sum(-1)
    damping = np.full(count, float(pace.lam))
    state = _Moving(np.array(u0, dtype=float), low, high, damping, np.full(count, 4.0), total, weights)
    end = Solution(state.u, np.full(count, np.inf), np.full(count, np.inf), np.zeros(count, dtype=bool))
    active = np.arange(count)
    with np.errstate(all="ignore"):
        # in pieces that fit a core's cache for as long as many move, then those that are left together
        for most, elements in ((min(_EARLY, pace.steps), _CHUNK), (pace.steps - _EARLY, _TOGETHER * _CHUNK)):
            if most <= 0 or not len(active):
                break
            size = max(1, elements // max(1, u0.shape[1] * rows))
            for piece in (active[first : first + size] for first in range(0, len(active), size)):
                part, damping[piece] = _descend(problem, state.take(piece), most, pace.tolerance)
                for mine, theirs in zip(end, part, strict=True):
                    mine[piece] = theirs
            active = active[~end.done[active] & np.isfinite(end.objective[active]) & (damping[active] <= _STUCK)]
    return end


def _along_straight(problem: Problem, u0: Array, weights: Array | None, pace: Pace) -> Solution:
    """Minimise in the law's straight coordinates, which know no bounds; what leaves the box goes on from its side."""
    assert problem.straightened is not None
    with np.errstate(all="ignore"):
        end = minimise(problem.straightened, problem.coordinates(u0), weights, pace)
        end = end._replace(u=problem.coordinates(end.u, back=True))
    low, high = problem.box
    out = np.flatnonzero(~end.done | ((end.u < low) | (end.u > high)).any(-1))
    if len(out):
        given = weights if weights is None or len(weights) == 1 else weights[out]
        inside = minimise(problem, np.clip(end.u[out], low, high), given, pace, problem.box)
        for mine, theirs in zip(end, inside, strict=True):
            mine[out] = theirs
    return end


def _descend(problem: Problem, state: _Moving, steps: int, tolerance: float) -> tuple[Solution, Array]:
    """Return where each problem is after these steps, and its damping; those that still move are kept side by side."""
    count = len(state.u)
    state = state._replace(u=np.clip(state.u, state.low, state.high))
    here = expand(problem, state.u, state.weights)
    u, lam, f = state.u, state.lam.copy(), here.f.copy()
    decrement, done = np.full(count, np.inf), np.zeros(count, dtype=bool)
    active = np.arange(count)
    if not (sound := np.isfinite(f)).all():
        active, here, state = active[sound], here.take(sound), state.take(sound)
    for _ in range(steps):
        if not len(active):
            break
        here, state, decrement[active], done[active] = _advance(problem, here, state, tolerance)
        # a step too small to lower the objective in doubles ends the search where it stands
        over = done[active] | (state.lam > _STUCK)
        if over.any():
            ended = active[over]
            u[ended], f[ended], lam[ended] = state.u[over], here.f[over], state.lam[over]
            active, here, state = active[~over], here.take(~over), state.take(~over)
    u[active], f[active], lam[active] = state.u, here.f, state.lam
    share = decrement / np.maximum(f, 1e-300)
    done |= share < 1e-8
    return Solution(u, f, share, done), lam


def _advance(
    problem: Problem, here: _Local, state: _Moving, tolerance: float
) -> tuple[_Local, _Moving, Array, NDArray[np.bool_]]:
    """Take one step of every problem; return where each is, what a full step would gain, and if that is nothing."""
    step, decrease = _step(here, state.u, state.lam, state.low, state.high)
    arrived = decrease <= tolerance * here.f + _EXACT * state.total
    at = np.minimum(np.maximum(state.u + step, state.low), state.high)
    trial = expand(problem, at, state.weights)
    step = at - state.u
    foreseen = -(here.g * step).sum(-1) - 0.5 * (step[:, None, :] @ here.newton @ step[:, :, None])[:, 0, 0]
    gain = here.f - trial.f
    better = gain > 0
    lam, grow = _damping(state.lam, state.grow, gain / np.where(foreseen > 0, foreseen, np.inf), better)
    if better.all():
        here = trial
    else:
        at = np.where(better[:, None], at, state.u)
        here.put(better, trial, better)
    return here, state._replace(u=at, lam=lam, grow=grow), decrease, arrived


def _damping(lam: Array, grow: Array, ratio: Array, better: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return the damping after a step that gained this ratio of what was foreseen, and its growth at the next refusal:
    Nielsen 1999, Damping parameter in Marquardt's method, eq. 2.4."""
    bent = 2 * np.minimum(np.maximum(ratio, 0.0), 1.0) - 1
    shrunk = lam * np.maximum(0.2, 1 - bent * bent * bent)
    grown = np.maximum(lam * grow, 1e-6)
    return np.maximum(np.where(better, shrunk, grown), 1e-12), np.where(better, 4.0, 2 * grow)


def _step(now: _Local, u: Array, lam: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Return the step of each problem, and by how much a step under the majorant would lower the objective."""
    g = now.g
    held = ((u <= low) & (g > 0)) | ((u >= high) & (g < 0))
    matrix = now.newton + lam[:, None, None] * now.major
    diagonal = _diagonal(matrix)
    diagonal += _diagonal(now.major) * (1e-13 + 1e-4 * np.minimum(lam, 1e4))[:, None]
    diagonal[diagonal == 0] = 1.0
    step = _held_step(matrix, g, held, np.zeros_like(g))
    # a step that the box cuts short at once is no descent for the others: they are solved with it at its bound
    target = np.minimum(np.maximum(u + step, low), high) - u
    jammed = np.abs(target) < _JAMMED * np.abs(step)
    out = (jammed & ~held).any(-1)
    if out.any():
        held = (held | jammed)[out]
        step[out] = _held_step(matrix[out], g[out], held, np.where(held, target[out], 0.0))
    return step, (1 + lam) * -(g * step).sum(-1)


def _held_step(matrix: Array, g: Array, held: NDArray[np.bool_], given: Array) -> Array:
    """Return the least of the quadratic model over the coordinates that are not held; those that are move as given."""
    if held.any():
        g = np.where(held, -given, g + (matrix @ given[:, :, None])[:, :, 0])
        matrix = np.where(held[:, :, None] | held[:, None, :], 0.0, matrix) + held[:, :, None] * np.eye(g.shape[1])
    # in units of each parameter's curvature, so that a solve is as exact as doubles allow
    unit = 1 / np.sqrt(_diagonal(matrix))
    scaled = matrix * unit[:, :, None] * unit[:, None, :]
    _diagonal(scaled)[:] += 1e-15
    step: Array = np.where(held, given, -_solve(scaled, g * unit) * unit)
    return step


def _diagonal(matrices: Array) -> Array:
    count, size, _ = matrices.shape
    return matrices.reshape(count, size * size)[:, :: size + 1]


def _solve(matrix: Array, right: Array) -> Array:
    try:
        solved = np.linalg.solve(matrix, right[:, :, None])
    except np.linalg.LinAlgError:
        solved = np.linalg.solve(matrix + 1e-9 * np.eye(matrix.shape[-1]), right[:, :, None])
    return np.asarray(solved[:, :, 0], dtype=np.float64)
