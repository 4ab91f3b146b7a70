"""Answers that theory gives: a parameter of a law beside its known value, for a study that calibrates the laboratory.

    known = read_known([{"name": "G1", "title": "data", "law": "power(D)", "of": "alpha", "theory": 0.5}], "a.yaml")
    runs = pd.DataFrame({"D": [10.0, 100.0, 1000.0, 1e4], "L": [1.0, 0.32, 0.1, 0.032]})
    [result.verdict.word for result in compare_with_theory(runs, known)]       # ['supported']

An estimate agrees with theory where it lies within `near`, or where theory lies in its 95 % interval and that is narrow
enough to say something. An interval that holds theory but is wider decides nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.catalogue import get_law
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.analysis.runs.where import conditions, filtered
from isoflop.checks import is_number
from isoflop.errors import FitError, UserError

# an exponent is right within .03, or inside an interval of a half-width of at most .05 (docs/data.md, Known exponents)
NEAR, WIDEST = 0.03, 0.05 / 0.03
TEXTS = ("name", "title", "law", "of", "where", "by")


@dataclass(frozen=True)
class Known:
    """What theory says of one parameter of one law on some of the runs."""

    name: str
    """Which known answer it is, such as G1; several may share it."""
    title: str
    """What is measured, in a few words."""
    law: str
    """The law that is fitted."""
    of: str
    """Its parameter, or a quantity that follows from them."""
    theory: float | str
    """The value that theory gives, or the column that holds it."""
    where: str = ""
    """Which rows, as in --where."""
    by: str = ""
    """A column of whose every value there is a fit of its own."""
    near: float = NEAR
    """The largest difference that is right whatever the interval; of theory's value where `relative`."""
    relative: bool = False
    """Whether `near` is a share of theory's value."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of the law that are others of the table, {D: oracle.degrees}."""


@dataclass(frozen=True)
class Result:
    """A known answer beside the estimate."""

    known: Known
    subject: str
    """The value of the column `by`; empty where there is none."""
    theory: float
    estimate: Estimate
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
        """What was measured, and of whom."""
        return f"{self.known.title}, {self.subject}" if self.subject else self.known.title

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        estimate = {"estimate": self.estimate.value, "low": self.estimate.low, "high": self.estimate.high}
        who = {"name": self.known.name, "title": self.title, "law": self.known.law, "of": self.known.of}
        return {**who, "theory": self.theory, **estimate, "verdict": self.verdict.value, "reason": self.reason}


def read_known(given: Any, where: str) -> tuple[Known, ...]:
    """The known answers of a study's yaml; UserError naming `where` and the key."""
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise UserError(f"{where}: study.known must be a list of mappings, each with name, title, law, of, theory")
    return tuple(_read(one, f"{where}: study.known[{number}]") for number, one in enumerate(given))


def _read(given: Mapping[Any, Any], where: str) -> Known:
    keys = tuple(Known.__dataclass_fields__)
    if unknown := [key for key in given if key not in keys]:
        raise UserError(f"{where} has no key {unknown[0]!r}; it may have {', '.join(keys)}")
    if missing := [key for key in keys[:5] if key not in given]:
        raise UserError(f"{where}: the key {missing[0]} is missing")
    for key in TEXTS:
        if not isinstance(given.get(key, ""), str):
            raise UserError(f"{where}: {key}={given[key]!r} must be a text")
    if not is_number(given["theory"]) and not isinstance(given["theory"], str):
        raise UserError(f"{where}: theory={given['theory']!r} must be a number, or the column that holds it")
    if not is_number(near := given.get("near", NEAR)) or near <= 0:
        raise UserError(f"{where}: near={near!r} must be a number above 0")
    columns = given.get("columns", {})
    if not isinstance(columns, Mapping) or not all(isinstance(x, str) for x in (*columns, *columns.values())):
        raise UserError(f"{where}: columns={columns!r} must name columns of the table, such as {{D: oracle.degrees}}")
    conditions(given.get("where", ""))
    law = get_law(given["law"])
    if given["of"] not in (names := [*law.params, *law.derived]):
        raise UserError(f"{where}: of={given['of']!r} is not a parameter of {law.name}; it has {', '.join(names)}")
    return Known(**{**given, "columns": dict(columns), "relative": bool(given.get("relative", False))})


def compare_with_theory(runs: RunsLike, known: Sequence[Known]) -> Iterator[Result]:
    """Theory beside estimate, a result for each known answer, or for each value of its column `by`."""
    runs = as_runs(runs).frame
    for one in known:
        rows = filtered(runs, one.where) if one.where else runs
        if not one.by:
            yield _result(rows, one, "")
            continue
        for subject, group in rows.groupby(one.by):
            yield _result(group, one, str(subject))


def _result(rows: pd.DataFrame, known: Known, subject: str) -> Result:
    theory = known.theory if isinstance(known.theory, float | int) else float(rows[known.theory].iloc[0])
    table = rows.assign(**{name: rows[column] for name, column in known.columns.items()})
    try:
        fitted = fit(table, known.law)
    except FitError as error:
        return Result(known, subject, theory, Estimate(None), str(error))
    if fitted.unidentified:  # several values fit alike, and which of them a search ends at says nothing
        return Result(known, subject, theory, Estimate(None), fitted.reason)
    return Result(known, subject, theory, (fitted.params | fitted.derived)[known.of], fitted.reason)
