"""Answers that theory gives: a parameter of a law beside its known value, for a study that calibrates the laboratory.

    known = read_known([{"name": "G1", "title": "data", "law": "power(D)", "of": "alpha", "theory": 0.5}], "a.yaml")
    runs = pd.DataFrame({"D": [10.0, 100.0, 1000.0, 1e4], "L": [1.0, 0.32, 0.1, 0.032]})
    [result.verdict.word for result in compare_with_theory(runs, known)]       # ['supported']

An estimate agrees with theory within `near`, or where theory lies in its 95 % interval and that is narrow enough.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import pandas as pd

from isoflop.analysis.claims.declare import Untested
from isoflop.analysis.claims.quantities.cells import of_runs
from isoflop.analysis.claims.quantities.columns import t_interval
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.analysis.runs.where import conditions
from isoflop.errors import FitError, UserError
from isoflop.schema import Bound, Checked, Example, read

# an exponent is right within .03, or inside an interval of a half-width of at most .05 (docs/data.md)
NEAR, WIDEST = 0.03, 0.05 / 0.03


@dataclass(frozen=True)
class KnownAnswer:
    """What theory says of one parameter of one law, or of one column, on some of the runs."""

    name: str
    """Which known answer it is, such as G1; several may share it."""
    title: str
    """What is measured, in a few words."""
    of: str
    """Its parameter, or what follows from them; without a law, the column whose mean over the ends of runs is meant."""
    theory: float | str
    """The value that theory gives, or the column that holds it."""
    law: Annotated[str, Checked(get_law)] = ""
    """The law that is fitted, if any."""
    where: Annotated[str, Checked(conditions)] = ""
    """Which rows, as in --where."""
    by: str = ""
    """A column; each of its values has a fit of its own."""
    near: Annotated[float, Bound(above=0)] = NEAR
    """The largest difference that agrees whatever the interval; a share of theory's value where `relative`."""
    relative: bool = False
    """Whether `near` is a share of theory's value."""
    columns: Annotated[Mapping[str, str], Example("{D: oracle.degrees}")] = field(default_factory=dict)
    """The columns of the table that stand for columns of the law."""

    def __post_init__(self) -> None:
        if self.law and self.of not in (names := [*(law := get_law(self.law)).params, *law.derived]):
            raise UserError(f"of={self.of!r} is not a parameter of {law.name}; it has {', '.join(names)}")


@dataclass(frozen=True)
class KnownAnswerResult:
    """A known answer beside the estimate."""

    known: KnownAnswer
    """The known answer."""
    subject: str
    """The value of the column `by`; empty where there is none."""
    theory: float
    """The value that theory gives for it."""
    estimate: Estimate
    """The parameter of the fitted law."""
    reason: str = ""
    """Why there is no estimate."""

    @property
    def verdict(self) -> VerdictKind:
        """Whether the estimate agrees with theory."""
        value, low, high = self.estimate.value, self.estimate.low, self.estimate.high
        if value is None:
            return VerdictKind.NOT_IDENTIFIED
        near = self.known.near * (abs(self.theory) if self.known.relative else 1)
        if abs(value - self.theory) <= near:
            return VerdictKind.SUPPORTED
        if low is None or high is None or not low <= self.theory <= high:
            return VerdictKind.REFUTED
        return VerdictKind.SUPPORTED if (high - low) / 2 <= WIDEST * near else VerdictKind.INCONCLUSIVE

    @property
    def title(self) -> str:
        return f"{self.known.title}, {self.subject}" if self.subject else self.known.title

    def to_json(self) -> dict[str, Any]:
        estimate = {"estimate": self.estimate.value, "low": self.estimate.low, "high": self.estimate.high}
        who = {"name": self.known.name, "title": self.title, "law": self.known.law, "of": self.known.of}
        return {**who, "theory": self.theory, **estimate, "verdict": self.verdict.value, "reason": self.reason}


def read_known(given: Sequence[Any], where: str) -> tuple[KnownAnswer, ...]:
    """Return the known answers of a study's yaml; UserError naming `where` and the key."""
    return tuple(read(KnownAnswer, answer, f"{where}: study.known[{number}]") for number, answer in enumerate(given, 1))


def compare_with_theory(runs: RunsLike, known: Sequence[KnownAnswer]) -> Iterator[KnownAnswerResult]:
    """Yield theory beside estimate, a result for each known answer, or for each value of its column `by`."""
    runs = as_runs(runs)
    for answer in known:
        rows = (runs.select(answer.where) if answer.where else runs).frame
        for subject, group in rows.groupby(answer.by) if answer.by else [("", rows)]:
            yield _result(group, answer, str(subject))


def _result(rows: pd.DataFrame, known: KnownAnswer, subject: str) -> KnownAnswerResult:
    theory = known.theory if isinstance(known.theory, float | int) else float(rows[known.theory].iloc[0])
    table = rows.assign(**{name: rows[column] for name, column in known.columns.items()})
    try:
        if not known.law:
            mean = t_interval(of_runs(table, known.of, "last")["value"].to_numpy(float), 0.95)
            return KnownAnswerResult(known, subject, theory, Estimate(*mean))
        fitted = fit(table, known.law)
    except (FitError, Untested) as error:
        return KnownAnswerResult(known, subject, theory, Estimate(None), str(error))
    # where several values fit alike, which of them a search ends at says nothing
    found = Estimate(None) if fitted.unidentified else (fitted.params | fitted.derived)[known.of]
    return KnownAnswerResult(known, subject, theory, found, fitted.reason)
