"""Several changes against one baseline of a table of runs: verdicts, as one screen of text and as JSON.

found = confirm(runs, ["family"], base="lstm", changes=["transformer"], target=1e23)
print(found)
found.code        # 0 scales, 3 does not, 4 undecided
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isoflop.analysis.confirm.decide import Criterion, Judgement, Verdict, decide
from isoflop.analysis.confirm.pairs import Sides, sides
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.errors import UserError
from isoflop.wording import number

# exit codes; 1 and 2 are those of every verb
CODES = {Verdict.SCALES: 0, Verdict.DOES_NOT: 3, Verdict.UNDECIDED: 4}
# what a multiplier and its trend need: levels of C on both sides, and units
LEVELS, UNITS = 2, 3
# what each form of ln multiplier in ln C is
FORMS = ("straight", "departing", "settling")
SAID = {
    Verdict.SCALES: "the lower bound at the target is above 1",
    Verdict.DOES_NOT: "the upper bound at the target is below {worth:g}, what would be worth it",
    Verdict.UNDECIDED: "the interval at the target holds both 1 or less and {worth:g} or more",
}


@dataclass(frozen=True)
class Confirmation:
    """What is known of one change."""

    base: str
    """The name of the baseline."""
    change: str
    """The name of the change."""
    runs: Sides
    """The runs of both."""
    decision: Judgement | None
    """What they say; None where they are too few."""
    rule: Criterion
    """When a verdict is given."""
    target: float
    """The C of the target."""

    @property
    def verdict(self) -> Verdict:
        return self.decision.verdict if self.decision else Verdict.UNDECIDED

    @property
    def top(self) -> float:
        """The largest C that both have reached."""
        return float(np.exp(self.runs.points.top))

    @property
    def brief(self) -> str:
        known, top = self.decision, number(self.top)
        return f"{known.largest} at C = {top}, {known.target} at the target, {self.verdict}" if known else "-"

    @property
    def needs(self) -> str:
        """What would decide; empty where it is decided."""
        if self.decision is None:
            return f"at least {LEVELS} C and {UNITS} pairs (or runs a side), better 4 C with 2 seeds each"
        return "" if self.verdict is not Verdict.UNDECIDED else _needs(self.decision, self.runs)

    @property
    def rests_on(self) -> tuple[str, ...]:
        """What an answer at the target rests on, in sentences."""
        if self.decision is None:
            return ()
        decades = f"{self.runs.points.span / np.log(10):.1f} decades"
        known = ", ".join(name for name, refuted in self.forms.items() if not refuted)
        ways = f"those that the data allow: {known}" if known else "all, though the data refute each"
        return (
            f"a target {number(self.target / self.top)} times the largest C, from {decades} of data",
            f"ln multiplier going on up to it or stopping at the largest C; of its forms {ways}",
        )

    @property
    def forms(self) -> dict[str, bool]:
        """Whether the data refute each form of ln multiplier in ln C; settling, at each of its rates."""
        if self.decision is None:
            return {}
        straight, departing, *settling = self.decision.refuted
        return dict(zip(FORMS, (straight, departing, all(settling)), strict=True))

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"change": self.change, "verdict": self.verdict.value, "pairs": self.runs.pairs}
        found |= {"top": self.top, "units": self.runs.units, "levels": self.runs.levels}
        found |= {"beyond": self.target / self.top}
        known = self.decision
        estimates = (known.largest, known.target, known.slope) if known else (Estimate(None),) * 3
        found |= {k: vars(e) for k, e in zip(("at_largest", "at_target", "slope"), estimates, strict=True)}
        found |= {"trend": known.trend if known else "unknown", "refuted": self.forms}
        return found | {"rests_on": list(self.rests_on), "needs": self.needs, "notes": list(self.runs.notes)}

    def __str__(self) -> str:
        lines = (f"  {name:<11}{text}" for name, text in self._lines())
        return "\n".join([f"{self.change} against {self.base}", *lines])

    def _lines(self) -> Iterator[tuple[str, str]]:
        known, alone, top = self.decision, self.runs.alone, number(self.top)
        more = f" and {alone} runs without a partner" if alone else ""
        yield "runs", f"{self.runs.pairs} pairs{more}, at {self.runs.levels} C up to {top} FLOPs"
        if known:
            largest = f"multiplier {_shown(known.largest)} at C = {top}"
            yield "at largest", f"{largest}: the baseline's compute over its own"
            yield "at target", f"multiplier {_shown(known.target)} at C = {number(self.target)}"
            yield "trend", f"{known.trend}: ln multiplier moves by {_shown(known.slope)} for each e-fold of C"
        why = SAID[self.verdict].format(worth=self.rule.worth) if known else "too few runs"
        yield "verdict", f"{self.verdict.value}: {why}"
        yield from (("rests on", text) for text in self.rests_on)
        yield from (("needs", text) for text in [self.needs] if text)
        yield from (("note", text) for text in self.runs.notes)


@dataclass(frozen=True)
class Confirmations:
    """What is known of each change."""

    changes: tuple[Confirmation, ...]
    """A result for each change."""
    rule: Criterion
    """When a verdict is given."""
    base: str = field(default="")
    """The name of the baseline."""

    @property
    def code(self) -> int:
        """The exit code: that of the best verdict, scales before undecided before does_not."""
        order = (Verdict.SCALES, Verdict.UNDECIDED, Verdict.DOES_NOT)
        return CODES[min((c.verdict for c in self.changes), key=order.index)]

    def to_json(self) -> dict[str, Any]:
        rule = {"worth": self.rule.worth, "risk": self.rule.risk, "look": self.rule.look, "looks": self.rule.looks}
        target = self.changes[0].target
        about = {"base": self.base, "target_C": target, **rule, "bound_risk": self.rule.now}
        return about | {"changes": [change.to_json() for change in self.changes]}

    def __str__(self) -> str:
        bound = f"Each bound errs in at most {_percent(self.rule.now)}{self._spent}."
        return "\n\n".join([*map(str, self.changes), bound])

    @property
    def _spent(self) -> str:
        parts = [f"look {self.rule.look} of {self.rule.looks}"] if self.rule.looks > 1 else []
        parts += [f"{self.rule.changes} changes (Bonferroni)"] if self.rule.changes > 1 else []
        return f", of {_percent(self.rule.risk)} in all: {' and '.join(parts)}" if parts else ""


def confirm(
    runs: RunsLike,
    by: Sequence[str],
    base: str,
    changes: Sequence[str],
    target: float,
    rule: Criterion | None = None,
) -> Confirmations:
    """Return whether changes scale: their compute multiplier over the baseline at a target, with verdicts.

    runs      a table with a row for each run, or for each mark of a run
    by        the columns whose values name the groups
    base      the name of the baseline's group
    changes   the names of the changes' groups, which share the baseline
    target    the C at which to know the multiplier
    rule      when a verdict is given; by default at one look, at a chance of .05, shared by the changes named here

    UserError where groups do not compare, or the target lies below the data.
    """
    if not changes:
        raise UserError("no change is named; write --change NAME, once for each")
    if len(set(changes)) < len(changes):
        raise UserError(f"--change names {next(c for c in changes if list(changes).count(c) > 1)} twice; name it once")
    rule = rule or Criterion()
    rule = replace(rule, changes=max(rule.changes, len(changes)))
    table = as_runs(runs)
    return Confirmations(tuple(_confirm(table, by, base, change, target, rule) for change in changes), rule, base)


def _confirm(table: Any, by: Sequence[str], base: str, change: str, target: float, rule: Criterion) -> Confirmation:
    two = sides(table, by, base, change)
    points = two.points
    if target < np.exp(points.top) * (1 - 1e-9):
        top = f"{np.exp(points.top):.3g}"
        raise UserError(f"--target-C {target:g} lies below the largest C of both {base} and {change}, {top}; give more")
    few = two.levels < LEVELS or two.fewest < UNITS
    return Confirmation(base, change, two, None if few else decide(points, float(np.log(target)), rule), rule, target)


def _needs(decision: Judgement, runs: Sides) -> str:
    """Return how many more pairs like these would decide, if the estimates stay as they are."""
    values = [way.value for way in decision.ways]
    worst = max(decision.ways, key=lambda way: way.ends(decision.rule.now)[1] - way.value)
    half = worst.ends(decision.rule.now)[1] - worst.value
    gap = max(min(values), float(np.log(decision.rule.worth)) - max(values))
    if not (gap > 0 and np.isfinite(half)):
        return "larger runs, nearer to the target: more of these would not decide"
    times = (half / gap) ** 2
    more = max(int(np.ceil(runs.units * (times - 1))), 1)
    return f"about {number(more)} more pairs or runs like these {runs.units}, or larger ones"


def _shown(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    ends = ("-" if end is None else f"{end:.3g}" for end in (estimate.low, estimate.high))
    return f"{estimate.value:.3g} ({' to '.join(ends)})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
