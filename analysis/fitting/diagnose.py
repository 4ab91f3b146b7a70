"""What a fit may claim: whether it is a minimum, whether the starts agree, and whether the data tell its parameters
apart.

A parameter is identified when moving it by its kind's factor (three for an exponent), with all others fitted again,
makes the objective worse than noise would: the profile is not flat. The scale of noise is kappa = E psi^2 / E psi',
with which objective / kappa acts as a log-likelihood (after Huber and Ronchetti, Robust Statistics, 2009), inflated
where the rows of a run move together.

    judge_fit(problem, u, noise_scale(problem, u, runs), solution, dof=235).status.value     # 'converged'
"""

import itertools
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.intervals.profile import covariance, held_optima, leaning
from isoflop.analysis.laws.declare import Kind
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import SAME_LEVEL, SPAN
from isoflop.analysis.solving.descent import Solution, expand
from isoflop.analysis.solving.problem import Problem


class _Word(StrEnum):
    """A word that says what it means."""

    sentence: str

    def __new__(cls, value: str, sentence: str) -> "_Word":
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member


class FitStatus(_Word):
    """How far a fit may be believed; a member is its word, and `sentence` says what the word means."""

    CONVERGED = "converged", "a minimum that enough starts reach, and rows that tell every parameter"
    AT_BOUND = "at_bound", "a parameter stands on its bound, or has no effect on any row"
    STARTS_DISAGREE = "starts_disagree", "too few starts reach the best minimum for it to be trusted"
    NOT_IDENTIFIED = (
        "not_identified",
        "other parameters fit the rows as well within the noise, or there are too few rows",
    )
    REFUSED = "refused", "there is no fit: the law is not defined on these rows, or they cannot be read as numbers"


class Predicts(_Word):
    """Whether a law predicts, which its hold-outs tell and its parameters do not; a member is its word."""

    YES = "yes", "at its hold-outs it erred by significantly less than half of the last value, and nothing came nearer"
    RIVALLED = "rivalled", "at its rolling hold-outs another law, or the straight line, came significantly nearer"
    NO = "no", "at its rolling hold-outs the last value came nearer, by more than the scatter of rows makes it"
    UNKNOWN = "unknown", "fewer than two hold-outs, none that reaches so far, or no gain over the last value to tell"


# of the starts, at least this share must reach the best objective
_AGREE = 0.05
# relative: objectives closer than this are the same optimum
_SAME = 1e-6
# a parameter whose effect on every prediction is below this share has vanished
VANISHED = 1e-7
SCALES = ("N", "n_", "D", "C")
# values of an axis that E + A x^-alpha needs
_FEWEST_LEVELS = 3
# a parameter with less than this share of a flat direction does not lean on it
_LEAST_PART = 1e-3
# an exponent between two columns below this does not make one follow the other
LEAST_SLOPE = 0.05


def at_optimum(objectives: Array, rows: int) -> int:
    """Return how many starts reach the best objective."""
    best = objectives.min()
    # residuals of 1e-9 are rounding in the data
    return int((objectives <= best * (1 + _SAME) + rows * 1e-18).sum())


class Standing(NamedTuple):
    """What a fit may claim.

    status         as the Fit has it
    reason         as the Fit has it
    flat           names of the parameters that the data do not identify; they have no interval
    alternatives   other places (k, free) that noise cannot tell from the optimum; an interval that misses one is none
    """

    status: FitStatus
    reason: str
    flat: frozenset[str] = frozenset()
    alternatives: Array = np.zeros((0, 0))


def judge_fit(problem: Problem, u: Array, kappa: float, solution: Solution, dof: int) -> Standing:
    """Judge what the optimum u (free,) of these starts may claim, on `dof` degrees of freedom."""
    from scipy.special import fdtri

    best = float(solution.objective.min())
    tried, reached = len(solution.objective), at_optimum(solution.objective, len(problem.target))
    limit = float(fdtri(1, max(dof, 1), 0.95))
    places, flat, sentences = _flat_profiles(problem, u, best, kappa, limit)
    for name, sentence in _hidden(problem, u, kappa, limit).items():
        sentences += [] if name in flat else [sentence]
        flat |= {name}
    flat |= leaning(problem, u, flat)
    cause, names = _uninformative(problem, u)
    if cause:
        sentences, flat = [cause], flat | names
    # starts that ended elsewhere, no worse than noise allows
    near = np.isfinite(solution.objective) & (2 * (solution.objective - best) / kappa < limit)
    alternatives = np.concatenate([solution.u[near], places])
    bound = _at_bound(problem, u)
    apart = tried > 1 and reached < max(2, _AGREE * tried)
    disagree = [f"only {reached} of {tried} starts reach the best objective"] if apart else []
    status = FitStatus.AT_BOUND if bound else FitStatus.CONVERGED
    status = FitStatus.NOT_IDENTIFIED if sentences else FitStatus.STARTS_DISAGREE if apart else status
    return Standing(status, "; ".join([*sentences, *disagree, *bound]), flat, alternatives)


def still_allowed(problem: Problem, u: Array, places: Array, kappa: float, dof: int) -> Array:
    """Return those of the places (k, free) that noise allows on these rows too, of which a part was judged."""
    from scipy.special import fdtri

    rise = np.array([expand(problem, x[None], None).f[0] for x in (*places, u)])
    rise = rise[:-1] - rise[-1]
    allowed: Array = places[2 * rise / kappa < float(fdtri(1, max(dof, 1), 0.95))]
    return allowed


def runs_needed(problem: Problem, u: Array, runs: NDArray[np.intp]) -> int:
    """Return the fewest runs for an interval: two more than the parameters that differences between runs identify."""
    _, jacobian = problem.linearise(u[None])
    slope = jacobian[0] if problem.objective.raw else jacobian[0] * problem.predict(u[None])[0]
    if problem.scale is not None:  # rows of a run that count differently differ in their weight alone
        slope = slope / problem.scale
    slope = slope / np.maximum(np.abs(slope).max(-1, keepdims=True), 1e-300)  # so that its square is a number
    count = np.bincount(runs)
    means = np.stack([np.bincount(runs, weights=row) for row in slope]) / count
    size = np.sqrt((slope**2).sum(-1)) + 1e-300
    within = (slope - means[:, runs]) / size[:, None]
    along_runs = int((np.linalg.eigvalsh(within @ within.T) > 1e-12).sum())
    return len(u) - along_runs + 2


def spare_runs(problem: Problem, u: Array, runs: NDArray[np.intp]) -> int:
    """Return the degrees of freedom between runs, at least one: runs beyond the parameters that only runs identify."""
    return max(int(runs.max()) + 1 - (runs_needed(problem, u, runs) - 2), 1)


def _at_bound(problem: Problem, u: Array) -> list[str]:
    """Return a sentence for each parameter that stands on its bound or has vanished."""
    low, high = problem.box
    _, jacobian = problem.linearise(u[None])
    effect = np.abs(jacobian[0]).max(-1)
    reasons = []
    for i, name in enumerate(problem.free):
        if u[i] <= low[i] or u[i] >= high[i]:
            reasons.append(f"{name} stands on its bound {u[i]:g}")
        elif problem.logs[i] and effect[i] < VANISHED * (np.median(problem.target) if problem.objective.raw else 1):
            reasons.append(f"{name} has no effect on any row")
    return reasons


def _uninformative(problem: Problem, u: Array) -> tuple[str, frozenset[str]]:
    """Return why rows at these places cannot identify the parameters, whatever their losses, and which; else ''."""
    if len(problem.target) <= len(u):
        cause = f"{len(problem.target)} rows leave nothing to judge {len(u)} parameters by"
        return cause, frozenset(problem.free)
    axes = [(c, x) for c, x in zip(problem.law.columns, problem.columns, strict=True) if c.startswith(SCALES)]
    for (one, x), (other, y) in itertools.combinations(axes, 2):
        if cause := locked(one, other, x, y):
            return cause, frozenset(problem.free)
    names = _indistinct(problem, u)
    single = [c for c, x in zip(problem.law.columns, problem.columns, strict=True) if np.ptp(x) == 0]
    if single:
        return f"{' and '.join(single)} {'has' if len(single) == 1 else 'have'} a single value", names
    if not names:
        return "", names
    few = [(c, k) for c, x in axes if (k := len(np.unique(x))) < _FEWEST_LEVELS]
    rest = f": {few[0][0]} has {few[0][1]} values, add a third" if few else ": the Jacobian has no full rank"
    return f"{', '.join(p for p in problem.free if p in names)} cannot be told apart{rest}", names


def locked(one: str, other: str, x: Array, y: Array) -> str:
    """Return a sentence if two columns are one axis: y follows a power of x to within the rounding of budgets."""
    if np.ptp(x) == 0:  # and not by its mean, which differs from equal logarithms in its last bit
        return ""
    log_x, log_y = np.log(x), np.log(y)
    around = log_x - log_x.mean()
    slope = float(around @ log_y / (around @ around))
    if abs(slope) < LEAST_SLOPE or np.ptp(log_y - slope * log_x) > np.log1p(SAME_LEVEL):
        return ""
    if np.ptp(log_y + log_x) <= np.log1p(SAME_LEVEL):
        return f"{one} {other} is the same in every row: add a second budget"
    if np.ptp(log_y - log_x) <= np.log1p(SAME_LEVEL):
        alone = ", or fit a law of compute alone by --law 'power_offset(C)'" if {one, other} == {"N", "D"} else ""
        ratio = float(np.exp((log_y - log_x).mean()))
        return f"{other} is {ratio:.2g} {one} in every row: add runs at a second ratio{alone}"
    return f"{other} follows {one}^{slope:.2g} in every row: add runs that vary {other} at the same {one}"


def _indistinct(problem: Problem, u: Array) -> frozenset[str]:
    """Return the parameters that take part in a direction along which no prediction changes, to first order."""
    low, high = problem.box
    local = expand(problem, u[None], None)
    inside = [i for i in range(len(u)) if low[i] < u[i] < high[i]]
    unit = 1 / np.sqrt(np.maximum(np.diag(local.major[0]), 1e-300))
    scaled = (local.major[0] * unit[:, None] * unit[None, :])[np.ix_(inside, inside)]
    values, vectors = np.linalg.eigh(scaled)
    # eigenvalues of the correlation of the Jacobian's columns: rounding, not data, below this
    part = np.abs(vectors[:, values < 1e-13]).max(1, initial=0.0)
    return frozenset(problem.free[i] for i, share in zip(inside, part, strict=True) if share > _LEAST_PART)


def _hidden(problem: Problem, u: Array, kappa: float, limit: float) -> dict[str, str]:
    """Return a sentence for each exponent that these rows could not identify if it were a usual one, told from its
    `flat`-th part by slope and noise: where an axis is short, noise looks like a large exponent."""
    sentences: dict[str, str] = {}
    if not is_short(problem):
        return sentences
    errors = np.sqrt(np.maximum(np.diag(covariance(problem, u, kappa)), 0.0))
    for name, error in zip(problem.free, errors, strict=True):
        kind = problem.law.params[name]
        if kind.usual and kind.flat and name not in problem.priors:
            usual = kind.usual[0]
            if ((1 - 1 / kind.flat) * usual) ** 2 < limit * error**2:
                told = f"could not tell {usual:g} from {usual / kind.flat:.2g}"
                sentences[name] = f"{name} has a standard error of {error:.2g}: these rows {told}"
    return sentences


def _flat_profiles(
    problem: Problem, u: Array, best: float, kappa: float, limit: float
) -> tuple[Array, frozenset[str], list[str]]:
    """Return places (k, free) far from u that noise allows, the parameters of flat profile, and a sentence for each."""
    places, flat, sentences = [np.zeros((0, len(u)))], set(), []
    distant = {name: _distant_values(problem, name, problem.kinds[name], u[i]) for i, name in enumerate(problem.free)}
    optima = iter(held_optima(problem, u, [(name, end) for name, ends in distant.items() for end in ends]))
    for name, ends in distant.items():
        kind = problem.law.params[name]
        held = [next(optima) for _ in ends]
        rises = [2 * (objective - best) / kappa for objective, _ in held]
        places += [place[None] for rise, (_, place) in zip(rises, held, strict=True) if rise < limit]
        if ends and (min(rises) < limit if kind.flat else max(rises) < limit):
            end = ends[int(np.argmin(rises))]
            flat.add(name)
            sentences.append(f"{name} could as well be {end:.3g}: the profile is flat within the noise")
    return np.concatenate(places), frozenset(flat), sentences


def _distant_values(problem: Problem, name: str, kind: Kind, u: float) -> list[float]:
    """Return values that the data should distinguish from the optimum."""
    if kind.flat:
        value = float(np.exp(u)) if kind.log else float(u)
        ends = [value / kind.flat, value * kind.flat]
        return [x for x in ends if kind.low < x < kind.high and x != value]
    if kind.linear and not kind.log and kind.low == 0:  # an irreducible loss: none, or nearly all of the least loss
        return [0.0, 0.98 * float(problem.target.min())]
    return []


def is_short(problem: Problem) -> bool:
    """Return whether rows span too little to identify an exponent: along an axis, or across two that go together."""
    axes = [np.log10(x) for c, x in zip(problem.law.columns, problem.columns, strict=True) if c.startswith(SCALES)]
    across = []
    for x, y in itertools.permutations([x - x.mean() for x in axes], 2):
        across.append(np.ptp(y - x * float(x @ y) / max(float(x @ x), 1e-300)))
    return any(span < SPAN for span in (*map(np.ptp, axes), *across))


def spans(problem: Problem) -> list[str]:
    """Return a note for each axis that is too short to identify an exponent well."""
    notes = []
    for name, x in zip(problem.law.columns, problem.columns, strict=True):
        if not name.startswith(SCALES):
            continue
        decades = float(np.log10(x.max() / x.min()))
        if decades < SPAN:
            notes.append(f"{name} spans {decades:.3g} decades, an exponent needs {SPAN}")
    return notes
