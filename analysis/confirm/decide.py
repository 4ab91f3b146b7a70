"""The verdict on a change: what its multiplier is at the largest measured C and at a target, and what that decides.

ln of the multiplier is a straight line in ln C where both sides share E; it departs from one where the change has an
irreducible loss of its own, and settles where an advantage is one of small models. Each form that the runs do not
refute counts, where it goes on up to the target and where it stops at the largest C. A verdict must hold in every way
to go on, each at the full chance (Berger 1982, doi:10.1080/00401706.1982.10487790).

By the k-th of K planned looks at unfinished data the share (k / K)^POWER of the chance is spent (Kim and DeMets 1987,
doi:10.1093/biomet/74.1.149), by the joint distribution of all, a Brownian motion looked at K times (Lan and DeMets
1983, doi:10.1093/biomet/70.3.659), and Student's t (Jennison and Turnbull 2000, Group Sequential Methods, 3.8). The
chance holds wherever one stops, as long as no look adds more information than earlier ones did on average.

    x, new = np.log([1e15, 1e16, 1e17, 1e18] * 2), np.repeat([False, True], 4)
    points = Points(x, np.log(2 + 50 * np.exp(-0.1 * x) - 0.01 * new), new, np.arange(8) % 4)
    decide(points, np.log(1e19), Criterion(worth=1.05)).verdict
    [round(level(0.05, look, 3), 4) for look in (1, 2, 3)]      # [0.0056, 0.0193, 0.0409]
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from scipy.special import ndtr, ndtri

from isoflop.analysis.confirm.multiplier import FALL, Form, Points, Uncertain, fit_form
from isoflop.analysis.intervals.estimate import Estimate, t_quantile
from isoflop.errors import UserError

# early looks are cheap in chance and rarely decide: benchmarks/confirm_rates.py
POWER = 2.0
# points of the motion at one look, and how many standard deviations of the last they reach
POINTS, REACH = 601, 7.0
# rates at which a form settles, over the span of the data, from late to early: the true rate is a nuisance, whose
# confidence set is what the data do not refute of a grid fine enough for precise marks (docs/evidence/confirm.md)
SETTLES = np.geomspace(1.5, 12.0, 25)
# a form is refuted where a true one would look so in one of a hundred cases
REFUTED = 0.01


def spent(risk: float, look: int, looks: int) -> float:
    """Return what of the chance `risk` of a false verdict is spent at the look of this number, from 1."""
    return float(risk * ((look / looks) ** POWER - ((look - 1) / looks) ** POWER))


def level(risk: float, look: int, looks: int) -> float:
    """Return the level at which the look of this number tests, so that all looks together err in `risk` of cases."""
    x = np.linspace(-REACH, REACH, POINTS)
    step = 2 * REACH / (POINTS - 1)
    # time is counted in looks, so that each adds a normal variable of variance 1
    before = np.exp(-np.square(x * looks**0.5) / 2) * step * (looks / (2 * np.pi)) ** 0.5
    kernel = np.exp(-np.square((x[:, None] - x) * looks**0.5) / 2) * step * (looks / (2 * np.pi)) ** 0.5
    edge = float(-ndtri(spent(risk, 1, looks)) / looks**0.5)
    for number in range(2, look + 1):
        before = kernel @ (before * np.clip((edge - x) / step + 0.5, 0.0, 1.0))  # what lies below the edge
        beyond = np.log(np.maximum(np.cumsum(before[::-1])[::-1] - before / 2, 1e-300))
        edge = float(np.interp(-np.log(spent(risk, number, looks)), -beyond, x))
    return float(ndtr(-edge * (looks / look) ** 0.5))


class Verdict(StrEnum):
    """What the runs say of a change at the target."""

    SCALES = "scales"
    """The multiplier at the target is above 1."""
    DOES_NOT = "does_not"
    """The multiplier at the target is below what would be worth it."""
    UNDECIDED = "undecided"
    """Neither is known."""


@dataclass(frozen=True)
class Criterion:
    """When a verdict is given.

    worth    the multiplier at the target from which a change is worth it, at least 1
    risk     the largest chance of a false `scales`, and of a false `does_not`, over all looks and changes
    look     number of this look, from 1
    looks    how many are planned
    changes  how many changes are compared with one baseline (Bonferroni)
    """

    worth: float = 1.05
    risk: float = 0.05
    look: int = 1
    looks: int = 1
    changes: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.worth < np.inf:
            raise UserError(f"--worth {self.worth:g} is not a multiplier of at least 1; write --worth 1.05")
        if not 0 < self.risk < 0.5:
            raise UserError(f"--risk {self.risk:g} is not a chance between 0 and .5; write --risk 0.05")
        if not 1 <= self.look <= self.looks:
            raise UserError(f"--look {self.look} is not one of the --looks {self.looks} planned; number them from 1")

    @cached_property
    def now(self) -> float:
        """The chance that each bound errs at this look."""
        return level(self.risk / self.changes, self.look, self.looks)


@dataclass(frozen=True)
class Judgement:
    """What is known of one change.

    forms    what ln of the multiplier may be by the data: a straight line first
    refuted  whether the data refute each form
    goal     ln C of the target
    rule     when a verdict is given
    """

    forms: tuple[Form, ...]
    refuted: tuple[bool, ...]
    goal: float
    rule: Criterion

    @property
    def line(self) -> Form:
        return self.forms[0]

    @property
    def allowed(self) -> list[Form]:
        """The forms that the data do not refute; all of them where none is left."""
        kept = [form for form, refuted in zip(self.forms, self.refuted, strict=True) if not refuted]
        return kept or list(self.forms)

    @cached_property
    def largest(self) -> Estimate:
        """The multiplier at the largest measured C."""
        return self._over([form.at(form.points.top) for form in self.allowed])

    @cached_property
    def target(self) -> Estimate:
        """The multiplier at the target by the first form, with an interval that holds every way to go on."""
        return self._over(self.ways)

    @cached_property
    def ways(self) -> list[Uncertain]:
        """ln of the multiplier at the target where each form goes on, and where it stops at the largest C; where a
        straight line is refuted, also where ln multiplier stops there after it has risen and fallen."""
        on = [form.at(x) for x in (self.goal, self.line.points.top) for form in self.allowed]
        return [*on, self.line.turned(SETTLES[0] / self.line.points.span)] if self.refuted[0] else on

    @cached_property
    def slope(self) -> Estimate:
        """The slope of ln multiplier in ln C over the data."""
        slope = self.allowed[0].slope
        return Estimate(slope.value, *(x if np.isfinite(x) else None for x in slope.ends(self.rule.now)))

    @property
    def trend(self) -> str:
        """Whether the multiplier grows, shrinks or stays with C, or that this is unknown."""
        low, high = self.allowed[0].slope.ends(self.rule.now)
        # what it may change by over the measured C and still be called the same, wherever the target is
        same = np.log(self.rule.worth) / max(self.line.points.span, 1.0)
        return "grows" if low > 0 else "shrinks" if high < 0 else "stays" if -same < low <= high < same else "unknown"

    @cached_property
    def verdict(self) -> Verdict:
        """What the interval at the target decides."""
        low, high = self.target.low, self.target.high
        if low is not None and low > 1:
            return Verdict.SCALES
        return Verdict.DOES_NOT if high is not None and high < self.rule.worth else Verdict.UNDECIDED

    def _over(self, ways: list[Uncertain]) -> Estimate:
        """Return the first of several multipliers and the interval over all; a bound beyond any number is None."""
        ends = [way.ends(self.rule.now) for way in ways]
        bounds = min(low for low, _ in ends), max(high for _, high in ends)
        return Estimate(float(np.exp(ways[0].value)), *(float(np.exp(x)) if abs(x) < 700 else None for x in bounds))


def decide(points: Points, goal: float, rule: Criterion) -> Judgement:
    """Return what the points say of a change at ln C = `goal`; FitError where the losses do not fall with C."""
    line = fit_form(points)
    settling = [rate / points.span for rate in SETTLES]
    # a higher irreducible loss takes from ln multiplier what grows as C^g, to first order
    forms = (line, *(fit_form(points, bend) for bend in (float(line.params[FALL]), *settling)))
    return Judgement(forms, tuple(_refuted(form, settling[0] if form.bend <= 0 else 0.0) for form in forms), goal, rule)


def _refuted(form: Form, other: float) -> bool:
    lacks = form.lacks(other)
    return lacks.dof >= 1 and abs(lacks.value) > t_quantile(1 - REFUTED, lacks.dof) * lacks.error > 0
