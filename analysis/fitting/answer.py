"""From an optimum to an answer: intervals by the method that the design allows, and in words why one is not there.

spread, method, why = vary(problem, u, prepared, settings)
params, missing = estimates(problem, u, spread, level=0.95)
missing     # {'R_D': (Estimate(15.4, 5.1, None), '12.0% of the resamples are without end')}
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from isoflop.analysis.fitting import diagnose as identify
from isoflop.analysis.fitting.pipeline import LOSSES, Optimum, Settings, spread_of
from isoflop.analysis.fitting.result import Estimate, Fit, Starts
from isoflop.analysis.intervals import resampling as uncertainty
from isoflop.analysis.intervals.mixed_model import mixed
from isoflop.analysis.intervals.profile import derived_intervals, leans_on, profile_intervals
from isoflop.analysis.intervals.scatter import scatter
from isoflop.analysis.laws.catalogue import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.descent import Problem
from isoflop.analysis.tables.rows import Prepared

# what has no interval, and why
Missing = Mapping[str, tuple[Estimate, str]]


def vary(
    problem: Problem, u: Array, prepared: Prepared, settings: Settings
) -> tuple[uncertainty.Spread | None, str, list[str]]:
    """How the optimum varies from one set of runs to another, by which method, and what has to be said of it."""
    if settings.interval == "none":
        return None, "none", []
    need = identify.runs_needed(problem, u, prepared.runs)
    if prepared.n_runs < need:
        told = f"the {need - 2} parameters that only runs can tell + 2"
        return None, "none", [f"{prepared.n_runs} runs are fewer than {told}, so no interval"]
    method = settings.interval
    if method == "auto":
        residuals = problem.residuals(u[None])[0]
        narrow = problem.objective.loss == "l1" or problem.objective.delta < spread_of(residuals, len(u))
        method = "bootstrap" if narrow and problem.objective.loss != "l2" else "jackknife"
    said = uncertainty.shortcuts(method, len(prepared.target), len(u), prepared.n_runs, settings.resamples)
    if method == "jackknife":
        return uncertainty.jackknife(problem, u, prepared.runs), method, said
    if method == "mixed":
        return mixed(problem, u, prepared.runs), method, said
    if method == "profile":
        rows = "" if prepared.n_runs == len(prepared.target) else f", though they belong to {prepared.n_runs} runs"
        return None, method, [f"profile intervals take rows as independent{rows}"]
    return uncertainty.bootstrap(problem, u, prepared.runs, settings.resamples, settings.seed), method, said


def estimates(
    problem: Problem,
    u: Array,
    spread: uncertainty.Spread | None,
    level: float,
    standing: identify.Standing,
) -> tuple[dict[str, Estimate], Missing]:
    """Every parameter with its interval, and those without one."""
    values = problem.params(u)
    drawn = None if spread is None else problem.params(spread.draws)
    elsewhere = problem.params(standing.alternatives) if len(standing.alternatives) else {}
    found, missing = {}, {}
    for name, kind in problem.law.params.items():
        if name in problem.fixed:
            found[name] = Estimate(float(problem.fixed[name]))
            continue
        if name in standing.flat:
            found[name] = Estimate(float(values[name]))
            if drawn is not None:
                missing[name] = found[name], "the data do not identify it"
            continue
        draws = None if drawn is None else drawn[name]
        found[name], why = uncertainty.bounded(
            float(values[name]),
            draws,
            spread,
            level,
            log=kind.log,
            low=kind.low,
            high=kind.high,
            elsewhere=elsewhere.get(name),
        )
        if why:
            missing[name] = found[name], why
    return found, missing


def in_words(missing: Missing) -> list[str]:
    """A sentence for each cause: no interval for E, A: 5.9% of the resamples are without a minimum."""
    said: dict[tuple[str, str], list[str]] = {}
    for name, (estimate, why) in missing.items():
        none = [side for side in ("low", "high") if getattr(estimate, side) is None]
        what = "no interval for" if len(none) == 2 else f"no {'lower' if none == ['low'] else 'upper'} bound of"
        said.setdefault((what, why), []).append(name)
    return [f"{what} {', '.join(names)}: {why}" for (what, why), names in said.items()]


def answer(
    problem: Problem,
    u: Array,
    prepared: Prepared,
    settings: Settings,
    by: dict[str, Any],
    *,
    found: Optimum,
    judged: identify.Standing,
    notes: list[str],
    varied: tuple[uncertainty.Spread | None, str],
    params: dict[str, Estimate] | None = None,
) -> Fit:
    """The Fit of an optimum u (free,): `judged` is its status and reason, `varied` its spread and the method;
    `params` are given where the intervals are those of another problem."""
    spread, method = varied
    missing: dict[str, tuple[Estimate, str]] = {}
    if params is None and method == "profile":
        params = profile_intervals(problem, u, settings.level)
    elif params is None:
        params, lost = estimates(problem, u, spread, settings.level, judged)
        missing |= lost
    built = replace(
        _standing(problem, u, prepared, found, unfitted(prepared, problem.law, settings, by, "")),
        params=params,
        spread=spread,
        status=judged.status,
        alternatives=judged.alternatives,
    )
    derived = {}
    for name in problem.law.derived:
        derived[name], why = built.measured(lambda name=name, **p: problem.law.derive(p)[name])
        if spread is not None and leans_on(problem, u, name, judged.flat):
            derived[name], why = Estimate(derived[name].value), "the data do not identify it"
        if why:
            missing[name] = derived[name], why
    if method == "profile":
        derived = derived_intervals(problem, u, settings.level)
    known = [e for e in (params | derived).values() if e.low is not None or e.high is not None]
    notes = [*notes, *in_words(missing)]
    reason = "; ".join([*([judged.reason] if judged.reason else []), *notes])
    return replace(built, derived=derived, interval=method if known else "none", notes=tuple(notes), reason=reason)


def _standing(problem: Problem, u: Array, prepared: Prepared, found: Optimum, empty: Fit) -> Fit:
    """The answer as far as the optimum tells it: objective, starts, the scatter of the rows."""
    residuals = problem.residuals(u[None])[0]
    reached = identify.at_optimum(found.solution.objective, len(found.problem.target))
    plain = residuals if problem.scale is None else residuals / problem.scale
    return replace(
        empty,
        objective=float(problem.objective.total(residuals)),
        gradient_norm=float(found.solution.decrement[found.best]),
        starts=Starts(len(found.solution.objective), reached),
        problem=problem,
        u=u,
        noise=scatter(plain, prepared.columns, prepared.runs, len(problem.free)),
    )


def unfitted(prepared: Prepared, law: Law, settings: Settings, by: dict[str, Any], reason: str) -> Fit:
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
