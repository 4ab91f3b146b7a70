"""Parameters that all groups share: one problem over all rows, whose own parameters carry the group's name.

The joint law takes the number of the group as one more column; the optimiser, the status and the intervals are those
of any other law. Starts come from fits of the groups alone with the shared parameters held at values between theirs.

    fits = fit_shared(runs, get_law("chinchilla"), ["family"], ["E"], Settings())
    {f.by["family"]: f.params["E"].value for f in fits}      # the same for all
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting import diagnose as identify
from isoflop.analysis.fitting.answer import answer, estimates, in_words, unfitted, vary
from isoflop.analysis.fitting.pipeline import MOST_ROWS, Optimum, Settings, optimum, polish, problem_of
from isoflop.analysis.fitting.result import Estimate, Fit, FitError, TooFewRowsError
from isoflop.analysis.fitting.weights import weighted
from isoflop.analysis.intervals.profile import profile_intervals
from isoflop.analysis.laws.catalogue import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.descent import Problem, minimise
from isoflop.analysis.solving.starts import halton, starts
from isoflop.analysis.tables.rows import Prepared, groups, number_runs, prepare

# starts of each group alone, and of the joint problem
ALONE, JOINT = 24, 16
# a p below this is said
LEVEL = 0.01

Label = dict[str, Any]


def fit_shared(runs: pd.DataFrame, law: Law, by: Sequence[str], share: Sequence[str], settings: Settings) -> list[Fit]:
    """A fit for each group of equal `by`, all with one value of the parameters in `share`."""
    _check(law, by, share, settings)
    labels, parts, refused = [], [], []
    for label, rows in groups(runs, by):
        part = prepare(rows, law, settings.run)
        try:
            parts.append(_sound(weighted(part, law, settings.weights), law, share, settings))
            labels.append(label)
        except TooFewRowsError as error:
            refused.append(unfitted(part, law, settings, label, str(error)))
    with np.errstate(all="ignore"):  # as in a fit of one group
        fitted = _fit(law, share, settings, labels, parts) if parts else []
    names = [label for label, _ in groups(runs, by)]
    return sorted([*fitted, *refused], key=lambda f: names.index(f.by))


def _check(law: Law, by: Sequence[str], share: Sequence[str], settings: Settings) -> None:
    settings.of(law)
    if not by:
        raise FitError(f"--share {','.join(share)} needs groups that share it: add --by family")
    for name in share:
        if name not in law.params:
            raise FitError(f"law {law.name} has no parameter {name!r} to share; it has {', '.join(law.params)}")


def _sound(part: Prepared, law: Law, share: Sequence[str], settings: Settings) -> Prepared:
    """The rows of a group that can tell the parameters of its own."""
    own = [p for p in law.params if p not in share and p not in (settings.pin or {})]
    if len(part.target) < len(own):
        raise TooFewRowsError(
            f"{len(part.target)} rows are too few for {', '.join(own)}, which are not shared; add runs, or share more"
        )
    return part


def joint_law(law: Law, share: Sequence[str], names: Sequence[str]) -> Law:
    """The law over all groups: its last column is the number of the group, its own parameters are alpha[mlp] ..."""

    def function(*columns: Any, **params: Any) -> Any:
        masks = [columns[-1] == i for i in range(len(names))]
        given = {}
        for p in law.params:
            each = [params[_own(p, share, name)] * mask for name, mask in zip(names, masks, strict=True)]
            given[p] = params[p] if p in share else sum(each[1:], start=each[0])
        return law(*columns[:-1], **given)

    kinds = {_own(p, share, name): kind for name in names for p, kind in law.params.items()}
    return replace(
        law,
        function=function,
        columns=(*law.columns, "group"),
        arguments=(*law.arguments, "group"),
        params=kinds,
        derived={},
        curves={},
    )


def _own(param: str, share: Sequence[str], name: str) -> str:
    return param if param in share else f"{param}[{name}]"


def _fit(law: Law, share: Sequence[str], settings: Settings, labels: list[Label], parts: list[Prepared]) -> list[Fit]:
    names = [", ".join(str(v) for v in label.values()) for label in labels]
    whole = _together(parts, settings)
    spelled = {p: [_own(p, share, n) for n in names] for p in law.params}
    pin = {joint: v for p, v in (settings.pin or {}).items() for joint in spelled[p]}
    prior = {joint: v for p, v in (settings.prior or {}).items() for joint in spelled[p]}
    problem = problem_of(whole, joint_law(law, share, names), replace(settings, pin=pin, prior=None))
    alone = [problem_of(part, law, replace(settings, prior=None)) for part in parts]
    found = optimum(problem, whole.runs, settings, _joint_starts(problem, alone, share, names, settings), prior)
    judged = identify.judge_fit(found.problem, found.u, found.kappa, found.solution, whole.n_runs - len(problem.free))
    problem, u = polish(found.problem, found.u)
    spread, method, said = vary(problem, u, whole, settings)
    joint = profile_intervals(problem, u, settings.level) if method == "profile" else None
    if joint is None:
        joint, missing = estimates(problem, u, spread, settings.level, judged)
        said += in_words(missing)
    else:
        said.append("derived quantities have no profile interval where parameters are shared")
    said = [f"{', '.join(share)} shared by {len(parts)} groups", *_apart(found, alone, share, names), *said]
    fits = []
    for label, name, part, one in zip(labels, names, parts, alone, strict=True):
        index = [problem.free.index(_own(p, share, name)) for p in one.free]
        mine = replace(one, objective=problem.objective)
        drawn = None if spread is None else replace(spread, draws=spread.draws[:, index])
        own = judged._replace(alternatives=judged.alternatives[:, index])
        notes = [*part.notes, *identify.spans(mine), *said]
        params = {p: joint[_own(p, share, name)] for p in law.params}
        fits.append(_one(mine, u[index], part, settings, label, found, own, notes, (drawn, method), params))
    return fits


def _apart(found: Optimum, alone: list[Problem], share: Sequence[str], names: list[str]) -> list[str]:
    """A note where the groups fit better apart than noise explains: what is shared is not one for all."""
    from scipy.special import fdtrc

    joint, total = found.problem, 0.0
    free = [p for p in share if p in alone[0].free]
    for name, one in zip(names, alone, strict=True):
        mine = replace(one, objective=joint.objective)
        u0 = found.u[[joint.free.index(_own(p, share, name)) for p in one.free]]
        total += float(minimise(mine, np.stack([u0, _least(one, 0)])).objective.min())
    spare, dof = (
        len(free) * (len(alone) - 1),
        max(len(joint.target) - len(free) * (len(alone) - 1) - len(joint.free), 1),
    )
    if spare == 0 or joint.priors:
        return []
    rise = 2 * (float(found.solution.objective.min()) - total) / found.kappa / spare
    p = float(fdtrc(spare, dof, max(rise, 0.0)))
    return [
        f"apart, the groups fit better than noise explains (p = {p:.1g}): {', '.join(free)} may not be one for all"
    ] * (p < LEVEL)


def _one(
    problem: Problem,
    u: Array,
    part: Prepared,
    settings: Settings,
    label: Label,
    found: Optimum,
    judged: identify.Standing,
    notes: list[str],
    varied: tuple[Any, str],
    params: Mapping[str, Estimate],
) -> Fit:
    """The answer of one group; derived quantities have no profile interval, which would need the joint problem."""
    method = "profile" if varied[1] == "profile" else ""
    built = answer(
        problem, u, part, settings, label,
        found=found, judged=judged, notes=notes, varied=(varied[0], "none" if method else varied[1]),
        params=dict(params),
    )  # fmt: skip
    return replace(built, interval=method or built.interval)


def _together(parts: list[Prepared], settings: Settings) -> Prepared:
    """The rows of all groups, with the number of the group as the last column."""
    rows = pd.concat([p.rows for p in parts])
    count = sum(len(p.target) for p in parts)
    if count > MOST_ROWS:
        raise FitError(f"{count} rows are too many to share parameters over; {MOST_ROWS} are the most")
    codes, n_runs = number_runs(rows, settings.run)
    columns = [np.concatenate(cs) for cs in zip(*(p.columns for p in parts), strict=True)]
    group = np.repeat(np.arange(float(len(parts))), [len(p.target) for p in parts])
    target = np.concatenate([p.target for p in parts])
    scales = [np.ones(len(p.target)) if p.scale is None else p.scale for p in parts]
    scale = None if all(p.scale is None for p in parts) else np.concatenate(scales)
    return Prepared(rows, (*columns, group), target, codes, n_runs, [], [], scale)


def _joint_starts(
    problem: Problem, alone: list[Problem], share: Sequence[str], names: list[str], settings: Settings
) -> Array:
    """Starts (JOINT, free): shared parameters between the values that the groups have alone, the others fitted to
    that."""
    free = [p for p in share if p in alone[0].free]
    first = [_least(one, settings.seed) for one in alone]
    apart = np.array([[u[one.free.index(p)] for p in free] for u, one in zip(first, alone, strict=True)])
    low, high = apart.min(0), apart.max(0)
    between = low + (high - low) * halton(max(JOINT - len(apart), 4), max(len(free), 1), settings.seed)[:, : len(free)]
    out = []
    for values in np.concatenate([apart, between])[: max(JOINT, len(apart))]:
        u = np.empty(len(problem.free))
        at = dict(zip(free, values, strict=True))
        for name, one in zip(names, alone, strict=True):
            fixed = {p: float(np.exp(v)) if one.law.params[p].log else float(v) for p, v in at.items()}
            held = replace(one, fixed=dict(one.fixed) | fixed)
            mine = dict(zip(held.free, _least(held, settings.seed), strict=True)) if held.free else {}
            for p, value in (mine | at).items():
                u[problem.free.index(_own(p, share, name))] = value
        out.append(u)
    return np.array(out)


def _least(problem: Problem, seed: int) -> Array:
    found = minimise(problem, starts(problem, ALONE, seed))
    best: Array = found.u[int(found.objective.argmin())]
    return best
