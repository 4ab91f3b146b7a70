"""The subjects of a rule, each with a verdict of its own: families or groups by `by`, pairs, or two compared values.

from isoflop.analysis.claims.region import Region

rule = Rule("difference", Region(above=0), of=("L",), compare={"family": ("lstm", "transformer")})
compared(scope(runs, rule), rule)      # of each group its name, the pair, and the runs of both
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.claims.declare import Pair, Sample, Untested, require_columns
from isoflop.analysis.claims.needs import ALL, Lacks, lacking_in_words, tuned_rows, without_knob
from isoflop.analysis.claims.rule import ENDS, Rule, Value
from isoflop.analysis.fitting.fit import Fits
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.cells import well_tuned
from isoflop.analysis.runs.rows import finished, joined
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.analysis.runs.where import conditions
from isoflop.errors import UserError

# the name of a group -> its runs
Groups = dict[str, Runs]
# a group, the two of it that are compared, and the runs of both; of an interaction twice, to be subtracted
Comparison = tuple[str, Pair, list[tuple[Runs, Runs]]]
# pairs of families that a claim about their laws is judged for: each takes two fits and their jackknife
MOST_FITTED_PAIRS = 200
# families that a claim about their laws is judged for: each takes the fits of its hold-outs
MOST_FITTED_FAMILIES = 40


def of_families(runs: RunsLike) -> Runs:
    """Return the rows that name a family, as text; a table without families is one family, called by its file."""
    runs = as_runs(runs)
    if "family" not in runs or runs["family"].isna().all():
        return runs.with_columns(family=Path(runs.source).stem or ALL)
    named = runs["family"].notna()
    if named.all() and isinstance(runs["family"].dtype, pd.StringDtype):
        return runs
    rows = runs.frame[named]
    return runs.with_frame(rows.assign(family=rows["family"].astype(str)))


def scope(runs: RunsLike, rule: Rule) -> Groups:
    """Return the runs that a rule is about, by group: `where`, then `at` in each; Untested where there are none."""
    rows = of_families(runs)
    require_columns(rows.frame, [condition.column for condition in conditions(rule.where)])
    if rule.where:
        try:
            rows = rows.select(rule.where)
        except UserError as error:
            raise UserError(f"where: {error}") from None
    groups = _groups(_of_one_text(rows, rule), rule)
    for column, place in rule.at.items():
        require_columns(rows.frame, [column])
        groups = {name: _at(group, column, place) for name, group in groups.items()}
    groups = {name: group for name, group in groups.items() if len(group)}
    if not groups:
        raise Untested(f"no runs where {rule.where or 'a family is named'}")
    return groups


def _of_one_text(rows: Runs, rule: Rule) -> Runs:
    """Return, for a law of losses on a further held-out set, L.NAME, the rows of the text that most rows have."""
    target = get_law(rule.formula).target if rule.law else ""
    content = f"data.content.{target.removeprefix('L.')}"
    if not target.startswith("L.") or content not in rows or rows[content].nunique() < 2:
        return rows
    return rows.with_frame(rows.frame[rows[content] == rows[content].mode()[0]])


def _groups(rows: Runs, rule: Rule) -> Groups:
    by = ("family",) if "family" in rule.compare else rule.by
    if by != ("family",):
        require_columns(rows.frame, by)
    if not by:
        return {ALL: rows}
    names = rows["family"] if by == ("family",) else joined(rows.frame, by, ", ")
    return {str(name): rows.with_frame(group) for name, group in rows.frame.groupby(names.to_numpy(), sort=True)}


def _at(group: Runs, column: str, place: str | float) -> Runs:
    """Return the runs of a group where a column has the value that `at` means; of an even number the lower middle."""
    levels = sorted(group[column].dropna().unique())
    if isinstance(place, str):
        index = {"smallest": 0, "middle": (len(levels) - 1) // 2, "largest": len(levels) - 1}[place]
        place = float(levels[index]) if levels else float("nan")
    return group.with_frame(group.frame[group[column] == float(place)])


def compared(groups: Groups, rule: Rule) -> list[Comparison]:
    """Return the two values that are compared, in each group; Untested where no group has both."""
    whole = pd.concat([group.frame for group in groups.values()])
    require_columns(whole, [*rule.compare])
    if not rule.by or "family" in rule.compare:
        groups = {"": next(iter(groups.values())).with_frame(whole)}
    (column, values), *second = rule.compare.items()
    pair = compared_names(rule)
    if second:
        pair = Pair(*(f"({pair}) of {_name(second[0][0], value)}" for value in second[0][1]))
    comparisons: list[Comparison] = []
    for name, group in groups.items():
        # of an interaction, the first difference at either value of the second column
        tables = [_having(group, other, value) for other, both in second for value in both] or [group]
        sides = [(_side(table, column, values[0]), _side(table, column, values[1])) for table in tables]
        if all(len(side) for both in sides for side in both):
            comparisons.append((name, pair, sides))
    if not comparisons:
        wanted = [f"{name} = {first} and {other}" for name, (first, other) in rule.compare.items()]
        raise Untested(
            f"no runs{f' where {rule.where}' if rule.where else ''} have {' with '.join(wanted)} side by side"
        )
    return comparisons


def compared_names(rule: Rule) -> Pair:
    """Return what the two values of the first compared column are called."""
    column, values = next(iter(rule.compare.items()))
    return Pair(*(_name(column, value) for value in values))


def _having(runs: Runs, column: str, value: Value) -> Runs:
    return runs.with_frame(runs.frame[is_value(runs.frame, column, value)])


def _side(runs: Runs, column: str, value: Value) -> Runs:
    """Return the rows with one of the two values; their rung no longer says which."""
    side = _having(runs, column, value)
    return side if column == "family" else side.with_frame(without_knob(side.frame, column))


def is_value(rows: pd.DataFrame, column: str, value: Value) -> pd.Series:
    """Return which rows have a value in a column."""
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
    return value if isinstance(value, str) and value not in ENDS else f"{column}={value}"


def _sample_of(runs: Runs, rule: Rule, fits: Fits, pair: Pair | None = None, sides: tuple[Runs, ...] = ()) -> Sample:
    """Return the runs of one subject as a quantity sees them."""
    keys = {name: getattr(rule, name) for name in ("axis", "level", "region", "point", "against", "reach", "less")}
    keys |= {"threshold": math.nan if rule.threshold is None else rule.threshold, "marks": rule.marks or ""}
    compared = tuple(rule.compare) or (rule.by if pair else ())
    return Sample(runs, rule.formula, pair=pair or Pair(), compared=compared, sides=sides, fits=fits, **keys)


def _usable_part(runs: Runs, rule: Rule) -> Runs:
    """Return the rows that count; of several rates the best, for a law or where the rule needs them tuned."""
    usable = runs.usable
    rows = tuned_rows(usable.frame, tuple(rule.needs.tuned))
    rows = well_tuned(rows, get_law(rule.formula).columns) if rule.law else rows
    return usable if rows is usable.frame else usable.with_frame(rows)


class SubjectCase(NamedTuple):
    """What gets a verdict of its own, and the runs that it is measured on."""

    name: str | Pair
    """The family, or the two that are compared."""
    samples: tuple[Sample, ...] = ()
    """Its runs; of an interaction twice, to be subtracted."""
    lack: str = ""
    """Why it is not measured."""
    group: str = ""
    """The group that both of a pair belong to."""


def cases(runs: RunsLike, rule: Rule, fits: Fits | None = None) -> tuple[Iterable[SubjectCase], Lacks, str]:
    """Return what gets a verdict, what each family lacks, what did not finish, in words; Untested of too few."""
    runs = as_runs(runs)
    fits, target = fits or Fits(runs), get_law(rule.formula).target if rule.law else ""
    about = scope, runs, rule.where, rule.by, *rule.at.items(), "family" in rule.compare, target
    groups = fits.once(about, lambda: scope(runs, rule))  # the same for rules about the same runs
    if rule.compare:
        return _compared_cases(compared(groups, rule), rule, fits), {}, ""
    pairs = rule.measures.subject == "pair"
    wanted = max(rule.needs.families, 2 if pairs else 1)
    whole = scope(runs, replace(rule, at={})) if rule.needs.names & {*rule.at} else groups  # `at` leaves one value
    lacks = {name: rule.needs.missing(group) for name, group in whole.items()}
    if len(groups) < wanted:
        few = f"needs {wanted} families, and the runs have {len(groups)}: {', '.join(groups) or 'none'}"
        raise Untested(". ".join(filter(None, [few, lacking_in_words(lacks)])))
    each = _pairs(groups, lacks, rule, fits) if pairs else _families(groups, lacks, rule, fits)
    return each, lacks, _unfinished(groups)


def _families(groups: Groups, lacks: Lacks, rule: Rule, fits: Fits) -> Iterator[SubjectCase]:
    able = sum(not missing for missing in lacks.values())
    too_many = "law" in rule.measures.needs and able > MOST_FITTED_FAMILIES
    for name in sorted(lacks):
        if too_many:
            most = f"at most {MOST_FITTED_FAMILIES} are judged; choose some with --where"
            yield SubjectCase(name, lack=f"{able} families, each of which takes several fits, and {most}")
        elif lacks[name]:
            yield SubjectCase(name, lack=lacking_in_words({name: lacks[name]}))
        else:
            yield SubjectCase(name, (_sample_of(_usable_part(groups[name], rule), rule, fits),))


def _pairs(groups: Groups, lacks: Lacks, rule: Rule, fits: Fits) -> Iterator[SubjectCase]:
    """Yield every pair of families; the runs of one family are prepared once."""
    able = [name for name, missing in lacks.items() if not missing]
    fitted = _most_runs(groups, able) if "law" in rule.measures.needs else able
    sides = {name: _usable_part(groups[name], rule) for name in able}
    ends = dict(zip(sides, np.cumsum([len(side) for side in sides.values()]), strict=True))
    together = pd.concat([side.frame for side in sides.values()]) if sides else pd.DataFrame()
    for pair in itertools.starmap(Pair, itertools.combinations(sorted(lacks), 2)):
        if not {*pair} <= {*able}:
            yield SubjectCase(pair, lack=lacking_in_words({name: lacks[name] for name in pair}))
        elif not {*pair} <= {*fitted}:
            many = len(able) * (len(able) - 1) // 2
            most = f"those of the {len(fitted)} families with the most runs are judged; choose others with --where"
            yield SubjectCase(pair, lack=f"of {many} pairs of families, each of which takes dozens of fits, {most}")
        else:
            both = sides[pair.first], sides[pair.second]
            places = [np.arange(ends[name] - len(sides[name]), ends[name]) for name in pair]
            runs = both[0].with_frame(together.take(np.concatenate(places)))
            yield SubjectCase(pair, (_sample_of(runs, rule, fits, pair, both),))


def _most_runs(groups: Groups, names: Sequence[str]) -> list[str]:
    """Return the families with the most finished runs, as many as have no more than MOST_FITTED_PAIRS pairs."""
    most = (1 + math.isqrt(1 + 8 * MOST_FITTED_PAIRS)) // 2  # the largest n of n (n - 1) / 2 pairs
    return sorted(names, key=lambda name: (-len(groups[name].usable), name))[:most]


def _compared_cases(comparisons: Sequence[Comparison], rule: Rule, fits: Fits) -> Iterator[SubjectCase]:
    together = bool(rule.needs.names & {*rule.compare})  # one side has one value of what is compared
    names = compared_names(rule)
    for group, pair, tables in comparisons:
        both = [first.with_frame(pd.concat([first.frame, second.frame])) for first, second in tables]
        asked = [side for two in tables for side in zip(names, two, strict=True)]
        asked = [(str(pair), runs) for runs in both] if together else asked
        missing = {name: phrases for name, side in asked if (phrases := rule.needs.missing(side))}
        if missing:
            yield SubjectCase(pair, lack=lacking_in_words(missing), group=group)
        elif any(first.frame.index.equals(second.frame.index) for first, second in tables):
            yield SubjectCase(pair, lack=f"{' and '.join(names)} are the same runs", group=group)
        else:
            yield SubjectCase(pair, tuple(_sample_of_two(two, names, rule, fits) for two in tables), group=group)


def _sample_of_two(two: tuple[Runs, Runs], names: Pair, rule: Rule, fits: Fits) -> Sample:
    first, second = (_usable_part(side, rule) for side in two)
    return _sample_of(first.with_frame(pd.concat([first.frame, second.frame])), rule, fits, names, (first, second))


def _unfinished(groups: Groups) -> str:
    """Return how many runs did not finish, in words, each once whatever its marks; empty where all did."""
    counts = {}
    for name, group in groups.items():
        ended = group.frame[~finished(group.frame)]
        named = "run_id" in ended and ended["run_id"].notna().all()
        counts[name] = ended["run_id"].nunique() if named else len(ended)
    lost = [f"{count} of {name}" for name, count in counts.items() if count]
    return f". Unfinished, not counted: {', '.join(lost)}" if lost else ""
