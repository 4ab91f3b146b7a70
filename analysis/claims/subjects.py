"""Which runs a rule is about, in groups, and the two values of a column that it compares.

A group is a family unless the rule's `by` names other columns; the column `family` of what a quantity sees names the
group, or the two that are compared, whatever column they come from.

    rule = Rule("difference", Region(above=0), of=("L",), compare={"family": ("lstm", "transformer")})
    compared(scope(runs, rule), rule)      # of each group its name, the pair, and the runs of both
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.claims.declare import Pair, Part, Sample, Untested, require_columns
from isoflop.analysis.claims.needs import tuned_rows
from isoflop.analysis.claims.rule import ENDS, Rule, Value
from isoflop.analysis.laws.catalogue import get_law
from isoflop.analysis.runs.rows import joined, usable
from isoflop.analysis.runs.tune import well_tuned
from isoflop.analysis.runs.where import conditions, filtered
from isoflop.errors import UserError

# what a table without a column to group by is called
ALL = "all runs"
# a group, the two of it that are compared, and their runs; of an interaction twice, to be subtracted
Comparison = tuple[str, Pair, tuple[pd.DataFrame, ...]]


def of_families(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that name a family, as text; a table without families is one family, called by its file."""
    if "family" not in runs or runs["family"].isna().all():
        return runs.assign(family=Path(str(runs.attrs.get("source", ALL))).stem or ALL)
    named = runs["family"].notna()
    if named.all() and isinstance(runs["family"].dtype, pd.StringDtype):
        return runs
    rows = runs[named]
    return rows.assign(family=rows["family"].astype(str))


def scope(runs: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """The rows that the claim is about: `where`, then `at` in each group; `family` names the group."""
    rows = of_families(runs)
    require_columns(rows, [condition.column for condition in conditions(rule.where)])
    if rule.where:
        try:
            rows = filtered(rows, rule.where)
        except UserError as error:
            raise UserError(f"where: {error}") from None
    rows = _grouped_by(_of_one_text(rows, rule), rule.by, (*rule.compare,))
    for column, place in rule.at.items():
        require_columns(rows, [column])
        rows = rows[rows[column] == rows["family"].map(_places(rows, column, place))]
    if rows.empty:
        raise Untested(f"no runs where {rule.where or 'a family is named'}")
    return rows


def _of_one_text(rows: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """Of losses on a further held-out set, L.NAME, those on the text that most rows have, where it was changed."""
    target = get_law(rule.formula).target if rule.law else ""
    content = f"data.content.{target.removeprefix('L.')}"
    if not target.startswith("L.") or content not in rows or rows[content].nunique() < 2:
        return rows
    of_one_content: pd.DataFrame = rows[rows[content] == rows[content].mode()[0]]
    return of_one_content


def _grouped_by(rows: pd.DataFrame, by: tuple[str, ...], compare: tuple[str, ...]) -> pd.DataFrame:
    """The rows with `family` as the name of their group, and the family itself as a choice of each run."""
    if by == ("family",) or "family" in compare:
        return rows
    require_columns(rows, by)
    names = joined(rows, by, ", ") if by else ALL
    return rows.assign(**{"family.name": rows["family"]}).assign(family=names)


def _places(rows: pd.DataFrame, column: str, place: str | float) -> dict[str, float]:
    """For each family the value of the column that `at` means; of an even number of values the lower middle."""
    values = {str(name): sorted(part[column].dropna().unique()) for name, part in rows.groupby("family")}
    if not isinstance(place, str):
        return dict.fromkeys(values, float(place))
    index = {"smallest": lambda n: 0, "middle": lambda n: (n - 1) // 2, "largest": lambda n: n - 1}[place]
    return {name: float(levels[index(len(levels))]) if levels else float("nan") for name, levels in values.items()}


def compared(rows: pd.DataFrame, rule: Rule) -> list[Comparison]:
    """Return the two values that are compared, in each group; Untested where no group has both."""
    (column, values), *second = rule.compare.items()
    require_columns(rows, [*rule.compare])
    groups = rows.groupby("family", sort=True) if rule.by and "family" not in rule.compare else [("", rows)]
    comparisons = []
    for group, members in groups:
        # of an interaction, the first difference at either value of the second column
        tables = [members[is_value(members, other, value)] for other, both in second for value in both] or [members]
        labelled = [_labelled(table, column, values) for table in tables]
        pair = Pair(*(_name(column, value) for value in values))
        if second:
            pair = Pair(*(f"({pair}) of {_name(second[0][0], value)}" for value in second[0][1]))
        if all(table["family"].nunique() == 2 for table in labelled):
            comparisons.append((str(group), pair, tuple(labelled)))
    if not comparisons:
        wanted = [f"{name} = {first} and {other}" for name, (first, other) in rule.compare.items()]
        raise Untested(
            f"no runs{f' where {rule.where}' if rule.where else ''} have {' with '.join(wanted)} side by side"
        )
    return comparisons


def _labelled(rows: pd.DataFrame, column: str, values: tuple[Value, Value]) -> pd.DataFrame:
    """The rows with one of the two values, which `family` names; a rung no longer says which."""
    parts = []
    for value in values:
        part = rows[is_value(rows, column, value)]
        if column != "family" and "rung" in part:
            short = {rung: _without(rung, column) for rung in part["rung"].unique()}
            part = part.assign(rung=part["rung"].map(short))
        parts.append(part.assign(family=_name(column, value)))
    return pd.concat(parts)


def _without(rung: Any, column: str) -> Any:
    """A place in a ladder without what is compared, so that what is alike but for that is in one place."""
    if not isinstance(rung, str):
        return rung
    words = [word for word in rung.split(" ") if word.partition("=")[0].removeprefix("recipe.") != column]
    dial = {f"family.{column}", f"data.{column}"}
    return " ".join(word for word in words if word.partition("=")[0] not in dial)


def is_value(rows: pd.DataFrame, column: str, value: Value) -> pd.Series:
    """Which rows have a value in a column."""
    cells = rows[column]
    if value is None:
        return cells.isna()
    if isinstance(value, bool):
        return cells.astype(str).str.lower() == str(value).lower()
    if isinstance(value, str) and value in ENDS:
        numbers = pd.to_numeric(cells, errors="coerce")
        end: float = numbers.min() if value == ENDS[0] else numbers.max()
        return numbers.eq(end)
    if isinstance(value, str):
        return cells.astype(str) == value
    return pd.Series(np.isclose(pd.to_numeric(cells, errors="coerce"), float(value)), index=rows.index)


def _name(column: str, value: Value) -> str:
    """What one of a pair is called."""
    return value if isinstance(value, str) and value not in ENDS else f"{column}={value}"


def sample_of(rows: pd.DataFrame, rule: Rule, pair: Pair | None = None, both: tuple[Part, ...] = ()) -> Sample:
    """The runs of one subject as a quantity sees them."""
    return Sample(
        rows,
        rule.formula,
        rule.axis,
        pair or Pair(),
        rule.level,
        rule.region,
        rule.point,
        against=rule.against,
        threshold=float("nan") if rule.threshold is None else rule.threshold,
        reach=rule.reach,
        less=rule.less,
        marks=rule.marks or "",
        compared=(*(rule.compare or ("family",)), "family"),
        both=both,
    )


def usable_part(rows: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """The rows that count; of several rates and the like the best, for a law or where the claim needs them tuned."""
    rows = tuned_rows(usable(rows), tuple(rule.needs.tuned))
    return well_tuned(rows, get_law(rule.formula).columns) if rule.law else rows
