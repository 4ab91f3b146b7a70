"""From prepared rows to a Fit, for one group and for several that share parameters: search, status, intervals.

fit_together(Groups(law, (), (Group({}, prepared),)), Settings())     # [Fit]
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from isoflop.analysis.arguments import Settings
from isoflop.analysis.fitting.diagnose import (
    FitStatus,
    Standing,
    at_optimum,
    is_short,
    judge_fit,
    runs_needed,
    spans,
    spare_runs,
    still_allowed,
)
from isoflop.analysis.fitting.groups import Group, Groups
from isoflop.analysis.fitting.optimum import (
    FEW_ROWS,
    MOST_ROWS,
    Optimum,
    Search,
    Starts,
    on_all_rows,
    polish,
    problem_of,
    search_optimum,
    spread_of,
)
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.intervals.estimate import Estimate, Scale, Spread, bounded
from isoflop.analysis.intervals.profile import covariance, ends_of, leans_on, noise_scale
from isoflop.analysis.intervals.resampling import bootstrap, jackknife, shortcuts
from isoflop.analysis.intervals.residuals import influence_notes, known_scatter, scatter, trend
from isoflop.analysis.laws.declare import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.observations import Observations
from isoflop.analysis.solving.descent import minimise
from isoflop.analysis.solving.problem import Problem

# why a number has no interval, whatever the resamples say
_UNIDENTIFIED = "the data do not determine them"
_LEVEL = "rows at one place differ by more than the law misses them: separate what they mix by --by, or fit --loss l2"
# derived quantities that lie inside (0, 1)
SHARES = ("a", "b")


class _Variation(NamedTuple):
    """The spread of an optimum, its method, notes, and the reason where there can be no interval."""

    spread: Spread | None
    method: str
    notes: list[str]
    none: str = ""


@dataclass(frozen=True)
class _Solved:
    """What the fits of all groups have in common: the search, what it may claim, the optimum on all rows."""

    search: Search
    standing: Standing
    problem: Problem
    u: Array
    variation: _Variation
    notes: list[str]


def fit_together(groups: Groups, settings: Settings, near: Array | None = None) -> list[Fit]:
    """Fit all groups, from the optimum `near` (k, free) of a similar problem if given; TooFewRowsError for few rows."""
    rows, joint = groups.rows(), groups.joint_settings(settings)
    part = rows if groups.share else rows.part(FEW_ROWS)
    problem = problem_of(part, groups.joint_law(), joint)
    alone = groups.problems(settings) if groups.share else []
    ended = search_optimum(problem, part.runs, joint, groups.starts(problem, alone, settings), near)
    rows, dependent = _joined(ended, rows)
    if dependent:
        part = rows if groups.share else rows.part(FEW_ROWS)
        ended = replace(ended, kappa=noise_scale(ended.problem, ended.u, part.runs))
    standing = _judge(ended, part)
    if standing.flat and len(part.target) < len(rows.target):  # more rows may tell what these do not
        part = rows.part(MOST_ROWS)
        problem, _ = on_all_rows(ended.problem, ended.u, part)
        solution = minimise(problem, ended.solution.u)  # from where the starts ended on fewer
        best = solution.u[int(solution.objective.argmin())]
        ended = Search(problem, solution, noise_scale(problem, best, part.runs))
        standing = _judge(ended, part)
    problem, u = ended.problem, ended.u
    notes = [*settings.notes, *groups.notes(ended, alone), *dependent, *([_LEVEL] if ended.level else [])]
    if len(part.target) < len(rows.target):
        problem, u = on_all_rows(problem, u, rows)
        places = np.clip(standing.alternatives + (u - ended.u), *problem.box)  # the optimum has moved with them
        places = still_allowed(
            problem, u, places, noise_scale(problem, u, rows.runs), spare_runs(problem, u, rows.runs)
        )
        standing = standing._replace(alternatives=places)
        notes.append(f"starts and status on {len(part.target)} of the {len(rows.target)} rows, values on all")
    problem, u = polish(problem, u)
    if settings.interval != "none":
        notes += influence_notes(problem, u, rows)
    solved = _Solved(ended, standing, problem, u, vary(problem, u, rows, settings), notes)
    joint_params = _parameters(solved, settings.level)
    own = [replace(one, objective=problem.objective) for one in alone] or [problem]
    return [_fit_of(g, groups, one, solved, settings, joint_params) for g, one in zip(groups.groups, own, strict=True)]


def _joined(ended: Search, rows: Observations) -> tuple[Observations, list[str]]:
    """Join rows into larger units where no column names runs and neighbours along D are not independent."""
    if rows.table.run is not None or "run_id" in rows.table:
        return rows, []
    from isoflop.analysis.fitting.noise_trend import join_dependent

    return join_dependent(ended.problem, ended.u, rows)


def _judge(ended: Search, part: Observations) -> Standing:
    spare = spare_runs(ended.problem, ended.u, part.runs)
    return judge_fit(ended.problem, ended.u, ended.kappa, ended.solution, spare)


def _fit_of(
    group: Group,
    groups: Groups,
    problem: Problem,
    solved: _Solved,
    settings: Settings,
    joint: dict[str, tuple[Estimate, str]],
) -> Fit:
    """Return the Fit of one group under its own problem, from the estimates of the joint one."""
    names = {p: groups.joint_name(p, group) for p in groups.law.params}
    params, why = {p: joint[name][0] for p, name in names.items()}, {p: joint[name][1] for p, name in names.items()}
    optimum = _optimum(problem, group.rows, solved, groups.places(solved.problem, group))
    notes = [*group.rows.notes, *spans(problem), *solved.notes, *solved.variation.notes]
    flat = {p for p, name in names.items() if name in solved.standing.flat}
    derived, gaps = _derived(optimum, flat, settings.level)
    why |= gaps
    estimates, objectives = params | derived, solved.search.solution.objective
    sentences = _describe_gaps({name: (estimates[name], text) for name, text in why.items() if text})
    known = any(e.low is not None or e.high is not None for e in estimates.values())
    misses = problem.log_target - np.log(problem.predict(optimum.u[None])[0])
    lack = trend(misses, dict(zip(groups.law.columns, problem.columns, strict=True)))
    return Fit(
        **_about(group, groups.law, settings),
        status=solved.standing.status,
        reason=solved.standing.reason,
        params=params,
        derived=derived,
        objective=float(problem.objective.total(problem.residuals(optimum.u[None])[0])),
        gradient_norm=float(solved.search.solution.decrement[solved.search.best]),
        starts=Starts(len(objectives), at_optimum(objectives, len(solved.search.problem.target))),
        interval=solved.variation.method if known else "none",
        notes=(*notes, *sentences, *filter(None, [lack])),
        lack=lack,
        no_interval=solved.variation.none or next(iter(sentences), ""),
        optimum=optimum,
    )


def unfitted(group: Group, law: Law, settings: Settings, reason: str) -> Fit:
    """Return a Fit without values, for a group that cannot be fitted, and why."""
    return Fit(
        **_about(group, law, settings),
        status=FitStatus.NOT_IDENTIFIED,
        reason=reason,
        params={name: Estimate(None) for name in law.params},
        derived={name: Estimate(None) for name in law.derived},
        objective=None,
        gradient_norm=None,
        starts=Starts(0, 0),
        interval="none",
    )


def _about(group: Group, law: Law, settings: Settings) -> dict[str, Any]:
    """Return what a Fit says of its rows and options, whatever comes of the fit."""
    rows = group.rows
    return {
        "law": law, "by": group.label, "loss": settings.loss, "delta": settings.shown_delta, "level": settings.level,
        "n_rows": len(rows.target), "n_runs": rows.n_runs, "rows": rows.rows, "excluded": rows.excluded,
    }  # fmt: skip


def _optimum(problem: Problem, rows: Observations, solved: _Solved, places: list[int]) -> Optimum:
    """Return a group's optimum, its free parameters at these places of the joint one, and its rows' scatter."""
    u, spread = solved.u[places], solved.variation.spread
    residuals = problem.residuals(u[None])[0]
    unscaled = residuals if problem.scale is None else residuals / problem.scale
    if rows.powers is None:
        noise = scatter(unscaled, rows.columns, rows.runs, len(places))
    else:
        noise = known_scatter(unscaled, rows.columns, rows.powers, len(places))
    alternatives = solved.standing.alternatives[:, places]
    if spread is not None:
        least = None if spread.covariance is None else spread.covariance[np.ix_(places, places)]
        held = None if spread.held is None else spread.held[:, places]
        spread = replace(spread, draws=spread.draws[:, places], covariance=least, held=held)
    return Optimum(problem, u, noise, spread, alternatives)


def vary(problem: Problem, u: Array, rows: Observations, settings: Settings) -> _Variation:
    """Return how the optimum u (free,) varies from one set of runs to another, by the method that the design allows."""
    if settings.interval == "none":
        return _Variation(None, "none", [])
    need = runs_needed(problem, u, rows.runs)
    if rows.n_runs < need:
        enough = f"the {need - 2} parameters that only runs can tell + 2"
        none = f"{rows.n_runs} runs are fewer than {enough}, so no interval"
        return _Variation(None, "none", [none], none)
    method = settings.interval
    if method == "auto":
        residuals = problem.residuals(u[None])[0]
        narrow = problem.objective.loss == "l1" or problem.objective.delta < spread_of(residuals, len(u))
        method = "bootstrap" if narrow and problem.objective.loss != "l2" else "jackknife"
    notes = shortcuts(method, len(rows.target), len(u), rows.n_runs, settings.resamples)
    if method == "jackknife":
        spread = jackknife(problem, u, rows.runs)
    else:
        spread = bootstrap(problem, u, rows.runs, settings.resamples, settings.seed)
        # a fit near least absolute deviations goes through as many rows as it has parameters: they tell no scatter
        least = None
        if is_short(problem) and not problem.priors:
            least = covariance(problem, u, noise_scale(problem, u, rows.runs))
        spread = replace(spread, dof=spare_runs(problem, u, rows.runs), covariance=least)
    held = ends_of(problem, u, rows.runs, settings.level, spread.dof)
    return _Variation(replace(spread, held=held), method, notes)


def _parameters(solved: _Solved, level: float) -> dict[str, tuple[Estimate, str]]:
    """Return every parameter of the joint law with its interval, and why a bound does not exist."""
    problem, u, spread = solved.problem, solved.u, solved.variation.spread
    values = problem.params(u)
    draws = None if spread is None else problem.params(spread.draws)
    alternatives = solved.standing.alternatives
    elsewhere = problem.params(alternatives) if len(alternatives) else {}
    ends = {} if spread is None or spread.held is None else problem.params(spread.held)
    estimates = {}
    for name, kind in problem.kinds.items():
        if name in problem.fixed:
            estimates[name] = Estimate(float(problem.fixed[name])), ""
        elif name in solved.standing.flat:
            estimates[name] = Estimate(float(values[name])), "" if draws is None else _UNIDENTIFIED
        else:
            value, scale, least = float(values[name]), Scale(kind.log, kind.low, kind.high), 0.0
            drawn = None if draws is None else draws[name]
            if spread is not None and spread.covariance is not None:
                i = problem.free.index(name)
                least = float(np.sqrt(spread.covariance[i, i])) * (value if kind.log else 1.0)
            estimate, why = bounded(value, drawn, spread, level, scale, elsewhere.get(name), least)
            estimates[name] = (estimate.widened(ends[name]) if name in ends else estimate), why
    return estimates


def _derived(optimum: Optimum, flat: Collection[str], level: float) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Return every derived quantity with its interval, and why there is none; `flat` are not identified."""
    law, estimates, missing = optimum.problem.law, {}, {}
    for name in law.derived:
        # a and b are shares of one exponent: C = 6 N D makes a + b = 1
        estimates[name], missing[name] = optimum.measure(
            lambda name=name, **p: law.derive(p)[name], level, share=name in SHARES
        )
        value = estimates[name].value
        edge = name in SHARES and not 0 < (value or 0.0) < 1  # an exponent stands on its bound
        if edge or leans_on(optimum.problem, optimum.u, name, flat):
            # a split that is not identified is no advice
            value = None if name in SHARES else value
            estimates[name], missing[name] = Estimate(value), "" if optimum.spread is None else _UNIDENTIFIED
    return estimates, missing


def _describe_gaps(missing: Mapping[str, tuple[Estimate, str]]) -> list[str]:
    """Return a sentence for each cause: no interval for E, A: noise allows 0.3 as well."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, (estimate, why) in missing.items():
        absent = [side for side in ("low", "high") if getattr(estimate, side) is None]
        what = "no interval for" if len(absent) == 2 else f"no {'lower' if absent == ['low'] else 'upper'} bound of"
        names.setdefault((what, why), []).append(name)
    return [f"{what} {', '.join(listed)}: {why}" for (what, why), listed in names.items()]
