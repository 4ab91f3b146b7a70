"""Needs: which runs a claim asks for, and in words which of them are missing.

needs = Needs(grid={"N": 6, "D": 6}, seeds=Seeds(3, {"N": 3}))
needs.missing(runs_of_one_family)
# ["3 of 6 N with at least 6 D each (18 runs missing)", "3 seeds at 1 of 3 N (4 runs missing)"]
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.runs.cells import seeds_by_level
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.schema import Bound, Example
from isoflop.wording import listed, suggest

Axis = Literal["N", "D", "C", "D_unique", "width", "depth", "seq_len"]
Count = Annotated[int, Bound(least=1)]
# what a table without a column to group by is called
ALL = "all runs"
# family or group -> phrases that say what its runs lack
Lacks = Mapping[str, list[str]]
# what grows along a run, from mark to mark
ALONG = ("D", "C")


@dataclass(frozen=True)
class Seeds:
    """How many seeds a claim needs of one configuration, and at how many levels of an axis."""

    count: Count
    """How many seeds."""
    at: Annotated[Mapping[Axis, Count], Bound(least=1, most=1), Example("{D: 2}")]
    """The axis, and the number of its levels with so many seeds."""


@dataclass(frozen=True)
class Needs:
    """The runs without which a claim is untested: families of the whole table, and the rest of every family."""

    families: Count = 1
    """At least so many families."""
    grid: Annotated[Mapping[Axis, Count], Bound(most=2), Example("{N: 6, D: 6}")] = field(default_factory=dict)
    """At least 6 N with at least 6 D each; with one axis, that many levels of it."""
    seeds: Annotated[Seeds | None, Example("{count: 3, at: {D: 2}}")] = None
    """At least 3 seeds of one configuration at 2 D or more."""
    span: Annotated[Mapping[Axis, Annotated[float, Bound(above=0)]], Example("{D: 1.5}")] = field(default_factory=dict)
    """At least 1.5 decades of an axis."""
    tuned: Annotated[Mapping[str, Count], Example("{lr: 3}")] = field(default_factory=dict)
    """At some size at least 3 values of a setting, the best of them neither the smallest nor the largest."""
    columns: Annotated[tuple[str, ...], Example("[lr]")] = ()
    """Columns that must have values."""

    @property
    def names(self) -> set[str]:
        """The columns that it looks at."""
        return {*self.grid, *self.span, *self.tuned, *self.columns, *(self.seeds.at if self.seeds else [])}

    def missing(self, runs: RunsLike) -> list[str]:
        """Return what one family's runs lack, a phrase each with the number of runs; empty where nothing."""
        rows = as_runs(runs).usable.frame
        if rows.empty:
            grid = " × ".join(f"{count} {axis}" for axis, count in self.grid.items()) or "any"
            return [f"no finished runs, needs {grid}"]
        absent = sorted(c for c in self.names if c not in rows or not rows[c].notna().any())
        phrases = []
        if absent:
            hint = "".join(suggest(c, map(str, rows.columns)) for c in absent if c not in rows)
            phrases += [f"no values in the column{'s' if len(absent) > 1 else ''} {', '.join(absent)}{hint}"]
        there = {*self.names} - {*absent}
        phrases += [_lacks_grid(rows, self.grid)] if {*self.grid} <= there else []
        phrases += [_lacks_seeds(rows, self.seeds)] if self.seeds and {*self.seeds.at} <= there else []
        phrases += [_lacks_span(rows, axis, decades) for axis, decades in self.span.items() if axis in there]
        tuned = [(knob, count) for knob, count in self.tuned.items() if knob in there and "N" in rows]
        phrases += [_lacks_tuning(rows, knob, count) for knob, count in tuned]
        return [phrase for phrase in phrases if phrase]


def tuned_rows(rows: pd.DataFrame, knobs: tuple[str, ...]) -> pd.DataFrame:
    """Return of every (family, N, D) the runs at the best value of each knob: the lowest mean loss over seeds.

    Their rungs do not say the knob, so that families are paired whichever value is the best of each.
    """
    for knob in knobs:
        cell = [c for c in ("family", "data", "N", "D") if c in rows]
        means = rows.groupby([*cell, knob], dropna=False)["L"].mean().reset_index()
        best = means.loc[means.groupby(cell, dropna=False)["L"].idxmin(), [*cell, knob]]
        rows = without_knob(rows.merge(best, on=[*cell, knob]), knob)
    return rows


def without_knob(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return rows whose rungs do not say the value of a column, so that runs which differ in nothing else share one."""
    knob = rf"(^| )((recipe|family|data)\.)?{re.escape(column)}=\S*"
    return rows.assign(rung=rows["rung"].replace(knob, "", regex=True)) if "rung" in rows else rows


def _lacks_grid(rows: pd.DataFrame, grid: Mapping[Axis, int]) -> str:
    if not grid:
        return ""
    *outer, (inner, count) = grid.items()
    inner_level = level_index(rows[inner])
    if not outer:
        have = int(inner_level.max()) + 1
        return "" if have >= count else f"{have} of {count} {inner} ({_lacking(rows, count - have, 1, inner)})"
    axis, wanted = outer[0]
    per_level = pd.Series(inner_level).groupby(level_index(rows[axis])).nunique().sort_values(ascending=False)
    full, short = _short(per_level.to_numpy(), count, wanted)
    if full >= wanted:
        return ""
    # marks of a run are at one size: each size takes a run, or each amount of data as many as there are sizes
    fewest = sum(n > 0 for n in short) if inner in ALONG else max(short)
    along = inner if inner in ALONG else axis
    missing = _lacking(rows, sum(short), fewest, along)
    return f"{full} of {wanted} {axis} with at least {count} {inner} each ({missing})"


def _lacks_seeds(rows: pd.DataFrame, seeds: Seeds | None) -> str:
    if seeds is None:
        return ""
    count, ((axis, wanted),) = seeds.count, seeds.at.items()
    full, short = _short(seeds_by_level(rows, axis), count, wanted)
    if full >= wanted:
        return ""
    return f"{count} seeds at {full} of {wanted} {axis} ({_lacking(rows, sum(short), max(short), axis)})"


def _short(per_level: NDArray[Any], count: int, wanted: int) -> tuple[int, list[int]]:
    """Return at how many levels there are enough, and how many are missing at each of the wanted levels."""
    short = [max(count - int(n), 0) for n in per_level[:wanted]]
    return int((per_level >= count).sum()), short + [count] * (wanted - len(short))


def _lacks_span(rows: pd.DataFrame, axis: str, decades: float) -> str:
    have = math.log10(float(rows[axis].max()) / float(rows[axis].min()))
    # budgets are rounded to whole steps, so a planned span may be a rounding short
    return (
        "" if have >= decades - math.log10(1.05) else f"{math.floor(10 * have) / 10:g} of {decades:g} decades of {axis}"
    )


def _lacks_tuning(rows: pd.DataFrame, knob: str, count: int) -> str:
    """Return what a search of the knob lacks: at some size the best value inside the grid."""
    for _, cell in rows.groupby(level_index(rows["N"])):
        loss = cell.groupby(knob)["L"].mean().sort_index()
        if len(loss) >= count and 0 < int(loss.to_numpy().argmin()) < len(loss) - 1:
            return ""
    most = int(rows.groupby(level_index(rows["N"]))[knob].nunique().max())
    return f"{most} of {count} {knob} tried at one N (the best must lie inside)"


def _lacking(rows: pd.DataFrame, points: int, fewest: int, along: str) -> str:
    """Return how much is missing: runs, or marks and the fewest runs with so many, where a run has several."""
    if along in ALONG and "run_id" in rows and as_runs(rows).count < len(rows):
        return f"{_count_of(points, 'mark')} missing, of {_count_of(fewest, 'run')} or more"
    return f"{_count_of(points, 'run')} missing"


def _count_of(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def lacking_in_words(lacks: Lacks) -> str:
    """Return what is missing, in words: what several families lack alike is said of them together."""
    by_phrase: dict[str, list[str]] = {}
    for name, phrases in lacks.items():
        for phrase in phrases:
            by_phrase.setdefault(phrase, []).append(name)
    by_names: dict[str, list[str]] = {}
    for phrase, names in by_phrase.items():
        verb = "each have" if names[1:] else "have" if names == [ALL] else "has"
        by_names.setdefault(f"{listed(names)} {verb}", []).append(phrase)
    return ". ".join(f"{who} {'; '.join(phrases)}" for who, phrases in by_names.items())
