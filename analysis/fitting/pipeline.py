"""The optimum of a law on prepared rows: settings, starts, objective, and what is special to least absolute deviations.

found = optimum(problem_of(prepared, law, settings), prepared.runs, settings)
found.solution.u[found.best], found.kappa     # where the best start ended, and the scale of the noise
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.intervals import resampling as uncertainty
from isoflop.analysis.intervals.profile import noise_scale
from isoflop.analysis.laws.catalogue import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.descent import Objective, Prior, Problem, Solution, minimise, search
from isoflop.analysis.solving.starts import starts
from isoflop.analysis.tables.rows import Prepared
from isoflop.errors import FitError, TooFewRowsError

# name -> (loss, of raw residuals); the raw ones compare L itself, in its own unit
LOSSES = {
    "huber": ("huber", False),
    "l1": ("l1", False),
    "l2": ("l2", False),
    "raw_huber": ("huber", True),
    "raw_l1": ("l1", True),
    "raw_l2": ("l2", True),
}
WEIGHTS = ("none", "seed")
STARTS = 64
# rows that starts and profiles see of a longer table; the best of them is then fitted to all of it
MOST_ROWS = 20_000
# least absolute deviations as Huber's loss of a vanishing delta, in units of the scatter: down this ladder, from the
# best start
L1_LADDER = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
# ... and at this step of it for resamples, where the rest of the way is far below their scatter
L1_RESAMPLES = 1e-2


@dataclass(frozen=True)
class Settings:
    """How to fit, apart from what."""

    loss: str = "huber"
    delta: float = 1e-3
    interval: str = "auto"
    level: float = 0.95
    resamples: int = 1000
    run: str | None = None
    pin: Mapping[str, float] | None = None
    prior: Mapping[str, tuple[float, float]] | None = None
    seed: int = 0
    weights: str = "none"

    def __post_init__(self) -> None:
        for name, allowed in (("loss", tuple(LOSSES)), ("interval", uncertainty.METHODS), ("weights", WEIGHTS)):
            if getattr(self, name) not in allowed:
                raise FitError(f"{name} {getattr(self, name)!r} is not one of {', '.join(allowed)}")
        if not self.delta > 0:
            raise FitError(f"delta={self.delta:g} is not above 0; the default is 1e-3")
        if not 0 < self.level < 1:
            raise FitError(f"level={self.level:g} is not between 0 and 1; the default is 0.95")
        if self.resamples < 10:
            raise FitError(f"resamples={self.resamples} is too few for an interval; give 200 or more")
        for name, (mean, error) in (self.prior or {}).items():
            if not (error > 0 and np.isfinite(mean)):
                raise FitError(
                    f"prior {name}={mean:g}:{error:g} needs a standard error above 0: --prior {name}=1.7:0.1"
                )

    def of(self, law: Law) -> None:
        """FitError where a parameter is named that the law has not."""
        for name in [*(self.pin or {}), *(self.prior or {})]:
            if name not in law.params:
                raise FitError(f"law {law.name} has no parameter {name!r}; it has {', '.join(law.params)}")


@dataclass(frozen=True)
class Optimum:
    """The problem, where its starts ended, the best of them, and the scale of the noise."""

    problem: Problem
    solution: Solution
    kappa: float

    @property
    def best(self) -> int:
        return int(self.solution.objective.argmin())

    @property
    def u(self) -> Array:
        best: Array = self.solution.u[self.best]
        return best


def problem_of(prepared: Prepared, law: Law, settings: Settings) -> Problem:
    """The rows under the law, least squares for the time being; an error where there are too few of them."""
    settings.of(law)
    objective = Objective("l2", 1.0, LOSSES[settings.loss][1])
    fixed = dict(settings.pin or {})
    problem = Problem(law, prepared.columns, prepared.target, objective, fixed, scale=prepared.scale)
    if not problem.free:
        raise FitError(f"every parameter of {law.name} is pinned; leave one free")
    if len(prepared.target) + len(settings.prior or {}) < len(problem.free):
        need = f"{law.name} has {len(problem.free)} parameters and needs as many rows at the least"
        raise TooFewRowsError(
            f"{len(prepared.target)} rows are too few: {need}; add runs, pin some or choose a smaller law"
        )
    return problem


def optimum(
    problem: Problem,
    runs: NDArray[np.intp],
    settings: Settings,
    u0: Array | None = None,
    prior: Mapping[str, tuple[float, float]] | None = None,
) -> Optimum:
    """Minimise under the objective of the settings, from fresh starts or from u0 (starts, free)."""
    prior = prior or {}
    problem = replace(problem, objective=_objective(problem, settings, u0))
    u0 = starts(problem, STARTS, settings.seed) if u0 is None else u0
    found = _search(problem, u0, runs)
    for _ in range(3 if prior else 0):  # a prior weighs against the noise, which the fit itself tells
        weighed = {k: Prior(mean, found.kappa / error**2, error) for k, (mean, error) in prior.items()}
        found = _search(replace(problem, priors=weighed), u0, runs)
    return found


def _search(problem: Problem, u0: Array, runs: NDArray[np.intp]) -> Optimum:
    solution = search(problem, u0)
    if not np.isfinite(solution.objective).any():
        raise FitError(f"{problem.law.name} is not defined at any start on these rows; look at their units")
    return Optimum(problem, solution, noise_scale(problem, solution.u[int(solution.objective.argmin())], runs))


def _objective(problem: Problem, settings: Settings, u0: Array | None) -> Objective:
    loss, raw = LOSSES[settings.loss]
    if loss != "l1":
        return Objective(loss, settings.delta, raw)
    found = minimise(problem, starts(problem, STARTS, settings.seed) if u0 is None else u0)
    best = found.u[int(found.objective.argmin())]
    scatter = spread_of(problem.residuals(best[None])[0], len(best))
    return Objective("l1", max(L1_LADDER[0] * scatter, 1e-12), raw)


def spread_of(residuals: Array, free: int) -> float:
    """Scale of the residuals by their median size (1.4826 makes it the sd of a Gaussian), as of n - free of them."""
    n = len(residuals)
    return float(1.4826 * np.median(np.abs(residuals)) * np.sqrt(n / max(n - free, 1)))


def on_all_rows(problem: Problem, u: Array, prepared: Prepared) -> tuple[Problem, Array]:
    """The problem on all rows, from the optimum on a part of them."""
    whole = replace(problem, columns=prepared.columns, target=prepared.target, scale=prepared.scale)
    if problem.priors:
        kappa = noise_scale(whole, u, prepared.runs)
        priors = {k: prior._replace(weight=kappa / prior.error**2) for k, prior in problem.priors.items()}
        whole = replace(whole, priors=priors)
    return whole, minimise(whole, u[None], lam=uncertainty.WARM).u[0]


def polish(problem: Problem, u: Array) -> tuple[Problem, Array]:
    """Follow least absolute deviations down to its corner; any other loss is there already."""
    if problem.objective.loss != "l1":
        return problem, u
    start = problem.objective.delta
    for rung in L1_LADDER[1:]:
        delta = start * rung / L1_LADDER[0]
        sharper = replace(problem, objective=replace(problem.objective, delta=delta))
        u = minimise(sharper, u[None]).u[0]
    return replace(problem, objective=replace(problem.objective, delta=start * L1_RESAMPLES / L1_LADDER[0])), u
