"""Groups that are fitted together: one alone, or several that have some parameters in common.

    together = Groups(law, ("E",), (Group({"family": "mlp"}, mlp), Group({"family": "lstm"}, lstm)))
    together.joint_law().params     # E, A[mlp], alpha[mlp], ..., A[lstm], ...

The joint law takes the number of the group as one more column, and its own parameters carry the group's name. Starts
come from fits of the groups alone with the shared parameters held at values between theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.arguments import Settings
from isoflop.analysis.fitting.optimum import MOST_ROWS, Search, problem_of
from isoflop.analysis.laws.declare import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.observations import Observations
from isoflop.analysis.solving.descent import minimise
from isoflop.analysis.solving.problem import Problem
from isoflop.analysis.solving.starts import halton, starts
from isoflop.errors import FitError, TooFewRowsError

# starts of each group alone, and of the joint problem
ALONE, JOINT = 24, 16
# a p below this makes a note
LEVEL = 0.01


class Group(NamedTuple):
    """The label of a group ({'family': 'mlp'}, empty for all rows) and its rows."""

    label: dict[str, Any]
    rows: Observations

    @property
    def name(self) -> str:
        """The label as it stands in the names of parameters."""
        return ", ".join(str(value) for value in self.label.values())


@dataclass(frozen=True)
class Groups:
    """A law, the parameters that all groups share (none for a group alone), and the groups."""

    law: Law
    share: tuple[str, ...]
    groups: tuple[Group, ...]

    def __len__(self) -> int:
        return len(self.groups)

    def joint_name(self, param: str, group: Group) -> str:
        """Return the name of a group's parameter in the joint law."""
        return param if param in self.share or not self.share else f"{param}[{group.name}]"

    def joint_law(self) -> Law:
        """Return the law over all groups."""
        if not self.share:
            return self.law
        law, groups = self.law, self.groups

        def function(*columns: Any, **params: Any) -> Any:
            masks = [columns[-1] == i for i in range(len(groups))]
            given = {}
            for p in law.params:
                each = [params[self.joint_name(p, group)] * mask for group, mask in zip(groups, masks, strict=True)]
                given[p] = params[p] if p in self.share else sum(each[1:], start=each[0])
            return law(*columns[:-1], **given)

        kinds = {self.joint_name(p, group): kind for group in groups for p, kind in law.params.items()}
        columns, arguments = (*law.columns, "group"), (*law.arguments, "group")
        return replace(
            law, function=function, columns=columns, arguments=arguments, params=kinds, derived={}, curves={},
            straight=None,
        )  # fmt: skip

    def joint_settings(self, settings: Settings) -> Settings:
        """Return the settings with pins and priors under their joint names."""
        pin = {self.joint_name(p, g): value for p, value in (settings.pin or {}).items() for g in self.groups}
        prior = {self.joint_name(p, g): value for p, value in (settings.prior or {}).items() for g in self.groups}
        return replace(settings, pin=pin, prior=prior)

    def rows(self) -> Observations:
        """Return the rows of all groups, with the number of the group as the last column if parameters are shared."""
        if not self.share:
            return self.groups[0].rows
        parts = [group.rows for group in self.groups]
        table = replace(parts[0].table, frame=pd.concat([p.rows for p in parts]))
        counts = [len(p.target) for p in parts]
        if sum(counts) > MOST_ROWS:
            raise FitError(f"{sum(counts)} rows are too many to share parameters over; {MOST_ROWS} are the most")
        columns = [np.concatenate(cs) for cs in zip(*(p.columns for p in parts), strict=True)]
        number = np.repeat(np.arange(float(len(parts))), counts)
        target = np.concatenate([p.target for p in parts])
        scales = [np.ones(len(p.target)) if p.scale is None else p.scale for p in parts]
        scale = None if all(p.scale is None for p in parts) else np.concatenate(scales)
        return Observations(table, (*columns, number), target, table.codes, table.count, [], [], scale)

    def problems(self, settings: Settings) -> list[Problem]:
        """Return the problem of each group alone."""
        return [problem_of(group.rows, self.law, replace(settings, prior=None)) for group in self.groups]

    def places(self, joint: Problem, group: Group) -> list[int]:
        """Return the positions of a group's free parameters among those of the joint problem."""
        names = [self.joint_name(p, group) for p in self.law.params]
        return [joint.free.index(name) for name in names if name in joint.free]

    def starts(self, joint: Problem, alone: list[Problem], settings: Settings) -> Array | None:
        """Return starts (JOINT, free): shared parameters between the values of the groups alone, the others fitted to
        that; None for a group alone, which starts as any problem does."""
        if not self.share:
            return None
        free = [p for p in self.share if p in alone[0].free]
        first = [_least(one, settings.seed) for one in alone]
        apart = np.array([[u[one.free.index(p)] for p in free] for u, one in zip(first, alone, strict=True)])
        low, high = apart.min(0), apart.max(0)
        cube = halton(max(JOINT - len(apart), 4), max(len(free), 1), settings.seed)[:, : len(free)]
        values = np.concatenate([apart, low + (high - low) * cube])[: max(JOINT, len(apart))]
        return np.array([self._start(joint, alone, dict(zip(free, row, strict=True)), settings.seed) for row in values])

    def _start(self, joint: Problem, alone: list[Problem], shared: dict[str, float], seed: int) -> Array:
        """Return one start (free,): the groups fitted alone with the shared parameters held at these u."""
        u = np.empty(len(joint.free))
        for group, one in zip(self.groups, alone, strict=True):
            held = {p: float(np.exp(v)) if one.law.params[p].log else float(v) for p, v in shared.items()}
            rest = replace(one, fixed=dict(one.fixed) | held)
            own = dict(zip(rest.free, _least(rest, seed), strict=True)) if rest.free else {}
            for p, value in (own | shared).items():
                u[joint.free.index(self.joint_name(p, group))] = value
        return u

    def notes(self, ended: Search, alone: list[Problem]) -> list[str]:
        """Return notes on what is shared by how many, and on whether it should be: the groups may fit better apart."""
        if not self.share:
            return []
        notes = [f"{', '.join(self.share)} shared by {len(self)} groups"]
        free = [p for p in self.share if p in alone[0].free]
        spare = len(free) * (len(alone) - 1)
        if spare == 0 or ended.problem.priors:
            return notes
        p = self._p_of_apart(ended, alone, spare)
        if p < LEVEL:
            names = ", ".join(free)
            notes.append(f"the groups fit better apart than noise says (p = {p:.1g}): {names} may not be one for all")
        return notes

    def _p_of_apart(self, ended: Search, alone: list[Problem], spare: int) -> float:
        """Return p of the F test of one value of the shared parameters against one for each group."""
        from scipy.special import fdtrc

        joint, total = ended.problem, 0.0
        for group, one in zip(self.groups, alone, strict=True):
            own = replace(one, objective=joint.objective)
            u0 = ended.u[self.places(joint, group)]
            total += float(minimise(own, np.stack([u0, _least(one, 0)])).objective.min())
        dof = max(len(joint.target) - spare - len(joint.free), 1)
        rise = 2 * (float(ended.solution.objective.min()) - total) / ended.kappa / spare
        return float(fdtrc(spare, dof, max(rise, 0.0)))


def check_share(law: Law, by: Sequence[str], share: Sequence[str]) -> None:
    """Raise FitError if parameters cannot be shared so."""
    if share and not by:
        raise FitError(f"--share {','.join(share)} needs groups that share it: add --by family")
    for name in share:
        if name not in law.params:
            raise FitError(f"law {law.name} has no parameter {name!r} to share; it has {', '.join(law.params)}")


def check_own_rows(rows: Observations, law: Law, share: Sequence[str], settings: Settings) -> None:
    """Raise TooFewRowsError if a group that shares parameters cannot identify its own."""
    own = [p for p in law.params if p not in share and p not in (settings.pin or {})]
    if share and len(rows.target) < len(own):
        raise TooFewRowsError(f"{len(rows.target)} rows are too few for {', '.join(own)}; add runs, or share more")


def _least(problem: Problem, seed: int) -> Array:
    """Return where the best of a few starts ends, (free,)."""
    ends = minimise(problem, starts(problem, ALONE, seed))
    return np.asarray(ends.u[int(ends.objective.argmin())])
