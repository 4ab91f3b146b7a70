"""Fit a law to runs: starts, one batched optimiser, a status in words, intervals whose unit is the run.

runs = read_runs("runs.csv")
print(fit(runs, "chinchilla"))                       # a table
for each in fit_groups(runs, "power_offset(D)", by=["family"]): print(each)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis import identify, uncertainty
from analysis.duals import Array
from analysis.laws import Law, get_law
from analysis.mixed import mixed
from analysis.noise import scatter
from analysis.prepare import Prepared, groups, prepare
from analysis.profile import noise_scale, profile_intervals
from analysis.result import Estimate, Fit, FitError, Starts, TooFewRowsError
from analysis.solver import Objective, Prior, Problem, Solution, minimise, search
from analysis.starts import starts

__all__ = ["LOSSES", "Estimate", "Fit", "FitError", "fit", "fit_groups"]

# name -> (loss, of raw residuals); the raw ones compare L itself, in its own unit
LOSSES = {
    "huber": ("huber", False),
    "l1": ("l1", False),
    "l2": ("l2", False),
    "raw_huber": ("huber", True),
    "raw_l1": ("l1", True),
    "raw_l2": ("l2", True),
}
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

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise FitError(f"loss {self.loss!r} is not one of {', '.join(LOSSES)}")
        if self.interval not in uncertainty.METHODS:
            raise FitError(f"interval {self.interval!r} is not one of {', '.join(uncertainty.METHODS)}")
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


def fit(
    runs: pd.DataFrame,
    law: str | Law = "chinchilla",
    *,
    loss: str = "huber",
    delta: float = 1e-3,
    interval: str = "auto",
    level: float = 0.95,
    resamples: int = 1000,
    run: str | None = None,
    pin: Mapping[str, float] | None = None,
    prior: Mapping[str, tuple[float, float]] | None = None,
    seed: int = 0,
    by: dict[str, Any] | None = None,
) -> Fit:
    """Fit `law` to the rows of `runs`; FitError where that has no meaning, a status where the answer is weak.

    `pin` holds parameters at values; `prior` gives some a mean and a standard error; `by` is a label for the answer.
    """
    settings = Settings(loss, delta, interval, level, resamples, run, pin, prior, seed)
    law = get_law(law)
    with np.errstate(all="ignore"):  # a search may wander where a law overflows; what it brings back is finite
        return _fit(prepare(runs, law, settings.run), law, settings, by or {})


def fit_groups(runs: pd.DataFrame, law: str | Law = "chinchilla", *, by: Sequence[str] = (), **same: Any) -> list[Fit]:
    """A fit for each group of equal `by`; a group of too few rows has an answer without values, and the reason."""
    settings, law = Settings(**same), get_law(law)
    answers = []
    for label, rows in groups(runs, by):
        prepared = prepare(rows, law, settings.run)
        try:
            with np.errstate(all="ignore"):
                answers.append(_fit(prepared, law, settings, label))
        except TooFewRowsError as error:
            answers.append(_unfitted(prepared, law, settings, label, str(error)))
    return answers


def _fit(prepared: Prepared, law: Law, settings: Settings, by: dict[str, Any]) -> Fit:
    part = prepared.part(MOST_ROWS)
    problem, solution, kappa = _solve(part, law, settings)
    best, free = int(solution.objective.argmin()), len(problem.free)
    status, reason = identify.judge_fit(problem, solution.u[best], kappa, solution, part.n_runs - free)
    u = solution.u[best]
    if part is not prepared:
        problem, u = _whole(problem, u, prepared)
    problem, u = _polish(problem, u, settings)
    residuals = problem.residuals(u[None])[0]
    spread, method, why = _spread(problem, u, residuals, prepared, settings)
    notes = [*prepared.notes, *identify.spans(problem), *_ignored(settings), *([why] if why else [])]
    answer = replace(
        _unfitted(prepared, law, settings, by, "; ".join([reason] * bool(reason) + notes)),
        status=status,
        params=profile_intervals(problem, u, settings.level)
        if method == "profile"
        else _estimates(problem, u, spread, settings.level),
        objective=float(problem.objective.total(residuals)),
        gradient_norm=float(solution.decrement[best]),
        starts=Starts(len(solution.objective), identify.at_optimum(solution.objective, len(residuals))),
        interval=method,
        notes=tuple(notes),
        problem=problem,
        u=u,
        spread=spread,
        noise=scatter(residuals, prepared.columns, prepared.runs, free),
    )
    derived = {name: answer.quantity(lambda name=name, **p: law.derive(p)[name]) for name in law.derived}
    return replace(answer, derived=derived)


def _whole(problem: Problem, u: Array, prepared: Prepared) -> tuple[Problem, Array]:
    """The problem on all rows, from the optimum on a part of them."""
    whole = replace(problem, columns=prepared.columns, target=prepared.target)
    if problem.priors:
        kappa = noise_scale(whole, u, prepared.runs)
        priors = {k: prior._replace(weight=kappa / prior.error**2) for k, prior in problem.priors.items()}
        whole = replace(whole, priors=priors)
    return whole, minimise(whole, u[None], lam=uncertainty.WARM).u[0]


def _ignored(settings: Settings) -> list[str]:
    loss = LOSSES[settings.loss][0]
    return [f"delta is ignored: {settings.loss} has none"] if loss != "huber" and settings.delta != 1e-3 else []


def _solve(prepared: Prepared, law: Law, settings: Settings) -> tuple[Problem, Solution, float]:
    """The problem, where its starts ended, and the scale of its noise."""
    fixed, prior = dict(settings.pin or {}), settings.prior or {}
    for name in [*fixed, *prior]:
        if name not in law.params:
            raise FitError(f"law {law.name} has no parameter {name!r}; it has {', '.join(law.params)}")
    problem = Problem(law, prepared.columns, prepared.target, Objective("l2", 1.0, LOSSES[settings.loss][1]), fixed)
    if not problem.free:
        raise FitError(f"every parameter of {law.name} is pinned; leave one free")
    if len(prepared.target) + len(prior) < len(problem.free):
        need = f"{law.name} has {len(problem.free)} parameters and needs as many rows at the least"
        raise TooFewRowsError(
            f"{len(prepared.target)} rows are too few: {need}; add runs, pin some or choose a smaller law"
        )
    problem = replace(problem, objective=_objective(problem, settings))
    u0 = starts(problem, STARTS, settings.seed)
    solution = search(problem, u0)
    if not np.isfinite(solution.objective).any():
        raise FitError(f"{law.name} is not defined at any start on these rows; look at their units")
    kappa = noise_scale(problem, solution.u[int(solution.objective.argmin())], prepared.runs)
    for _ in range(3 if prior else 0):  # a prior weighs against the noise, which the fit itself tells
        problem = replace(
            problem, priors={k: Prior(mean, kappa / error**2, error) for k, (mean, error) in prior.items()}
        )
        solution = search(problem, u0)
        kappa = noise_scale(problem, solution.u[int(solution.objective.argmin())], prepared.runs)
    return problem, solution, kappa


def _objective(problem: Problem, settings: Settings) -> Objective:
    loss, raw = LOSSES[settings.loss]
    if loss != "l1":
        return Objective(loss, settings.delta, raw)
    scatter = _scatter(problem, minimise(problem, starts(problem, STARTS, settings.seed)))
    return Objective("l1", max(L1_LADDER[0] * scatter, 1e-12), raw)


def _scatter(problem: Problem, solution: Solution) -> float:
    best = solution.u[int(solution.objective.argmin())]
    return _mad(problem.residuals(best[None])[0], len(best))


def _mad(residuals: Array, free: int) -> float:
    """Scale of the residuals by their median size (1.4826 makes it the sd of a Gaussian), as of n - free of them."""
    n = len(residuals)
    return float(1.4826 * np.median(np.abs(residuals)) * np.sqrt(n / max(n - free, 1)))


def _polish(problem: Problem, u: Array, settings: Settings) -> tuple[Problem, Array]:
    """Follow least absolute deviations down to its corner; any other loss is there already."""
    if problem.objective.loss != "l1":
        return problem, u
    start = problem.objective.delta
    for rung in L1_LADDER[1:]:
        delta = start * rung / L1_LADDER[0]
        sharper = replace(problem, objective=replace(problem.objective, delta=delta))
        u = minimise(sharper, u[None]).u[0]
    return replace(problem, objective=replace(problem.objective, delta=start * L1_RESAMPLES / L1_LADDER[0])), u


def _spread(
    problem: Problem, u: Array, residuals: Array, prepared: Prepared, settings: Settings
) -> tuple[uncertainty.Spread | None, str, str]:
    """How the optimum varies, by which method, and why not where it does not."""
    free = len(problem.free)
    if settings.interval == "none":
        return None, "none", ""
    need = identify.runs_needed(problem, u, prepared.runs)
    if prepared.n_runs < need:
        told = f"the {need - 2} parameters that only runs can tell + 2"
        return None, "none", f"{prepared.n_runs} runs are fewer than {told}, so no interval"
    method = settings.interval
    if method == "auto":
        narrow = problem.objective.loss == "l1" or problem.objective.delta < _mad(residuals, free)
        method = "bootstrap" if narrow and problem.objective.loss != "l2" else "jackknife"
    if method == "jackknife":
        return uncertainty.jackknife(problem, u, prepared.runs), method, ""
    if method == "mixed":
        return mixed(problem, u, prepared.runs), method, ""
    if method == "profile":
        return None, method, "profile intervals take rows as independent, and derived quantities have none"
    return uncertainty.bootstrap(problem, u, prepared.runs, settings.resamples, settings.seed), method, ""


def _estimates(problem: Problem, u: Array, spread: uncertainty.Spread | None, level: float) -> dict[str, Estimate]:
    values = problem.params(u)
    drawn = None if spread is None else problem.params(spread.draws)
    out = {}
    for name, kind in problem.law.params.items():
        if name in problem.fixed:
            out[name] = Estimate(float(problem.fixed[name]))
            continue
        draws = None if drawn is None else drawn[name]
        out[name] = uncertainty.estimate(
            float(values[name]), draws, spread, level, log=kind.log, low=kind.low, high=kind.high
        )
    return out


def _unfitted(prepared: Prepared, law: Law, settings: Settings, by: dict[str, Any], reason: str) -> Fit:
    """An answer without values, for a group that cannot be fitted."""
    return Fit(
        law=law,
        by=by,
        loss=settings.loss,
        delta=settings.delta if LOSSES[settings.loss][0] == "huber" else None,
        status="not_identified",
        reason=reason,
        params={name: Estimate(None) for name in law.params},
        derived={name: Estimate(None) for name in law.derived},
        objective=None,
        gradient_norm=None,
        starts=Starts(0, 0),
        n_rows=len(prepared.target),
        n_runs=prepared.n_runs,
        rows=prepared.rows,
        excluded=prepared.excluded,
        interval="none",
        level=settings.level,
    )
