"""Cases: what gets a verdict of its own under a rule: families or other groups, pairs of them, or two compared values.

rule = Rule("run_mean", Region(above=0), of=("L",))
[str(case.name) for case in cases(runs, rule).each]      # the families
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.claims.declare import Pair, Part, Sample, Untested
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.subjects import Comparison, compared, sample_of, scope, usable_part
from isoflop.analysis.claims.verdict import Lacks, lacking_in_words
from isoflop.analysis.runs.rows import finished, usable

# pairs of families that a claim about their laws is judged for: each takes two fits and their jackknife
MOST_FITTED_PAIRS = 200
# families that a claim about their laws is judged for: each takes the fits of its hold-outs
MOST_FITTED_FAMILIES = 40


class Case(NamedTuple):
    """What gets a verdict of its own, and the runs that it is measured on."""

    name: str | Pair
    """The family, or the two that are compared."""
    samples: tuple[Sample, ...] = ()
    """Its runs; of an interaction twice, to be subtracted."""
    lack: str = ""
    """Why it is not measured."""
    group: str = ""
    """The group that both of a pair belong to."""


class Cases(NamedTuple):
    """All that gets a verdict under a rule."""

    each: Iterable[Case]
    """The cases, cut out of the table one by one."""
    lacks: Lacks
    """What the runs of each family lack."""
    unfinished: str
    """How many runs did not finish, in words."""


def cases(runs: pd.DataFrame, rule: Rule) -> Cases:
    """Return what gets a verdict under a rule; Untested where there are no such runs, or too few families."""
    rows = scope(runs, rule)
    if rule.compare:
        return Cases(_compared_cases(compared(rows, rule), rule), {}, "")
    families, pairs = sorted(rows["family"].unique()), rule.measures.subject == "pair"
    wanted = max(rule.needs.families, 2 if pairs else 1)
    if len(families) < wanted:
        raise Untested(f"needs {wanted} families, and the runs have {len(families)}: {', '.join(families) or 'none'}")
    whole = scope(runs, replace(rule, at={})) if rule.needs.names & {*rule.at} else rows  # `at` leaves one value
    counted = usable(whole)
    parts = dict(iter(counted.groupby("family")))
    names = sorted(whole["family"].unique())
    lacks = {str(name): rule.needs.lacking(parts.get(name, counted.iloc[:0])) for name in names}
    return Cases((_pairs if pairs else _families)(rows, lacks, rule), lacks, _unfinished(rows))


def _families(rows: pd.DataFrame, lacks: Lacks, rule: Rule) -> Iterator[Case]:
    """Yield every family."""
    able = sum(not missing for missing in lacks.values())
    too_many = "law" in rule.measures.needs and able > MOST_FITTED_FAMILIES
    for family in sorted(lacks):
        if too_many:
            most = f"at most {MOST_FITTED_FAMILIES} are judged; choose some with --where"
            yield Case(family, lack=f"{able} families, each of which takes several fits, and {most}")
        elif lacks[family]:
            yield Case(family, lack=lacking_in_words({family: lacks[family]}))
        else:
            yield Case(family, (sample_of(usable_part(rows[rows["family"] == family], rule), rule),))


def _pairs(rows: pd.DataFrame, lacks: Lacks, rule: Rule) -> Iterator[Case]:
    """Yield every pair of families; the runs of one family are prepared once."""
    able = [name for name, missing in lacks.items() if not missing]
    fitted = _most_runs(rows, able) if "law" in rule.measures.needs else able
    parts = {name: Part(usable_part(rows[rows["family"] == name], rule)) for name in able}
    rows = pd.concat([part.runs for part in parts.values()]) if parts else rows
    ends = dict(zip(parts, np.cumsum([len(part.runs) for part in parts.values()]), strict=True))
    for pair in itertools.starmap(Pair, itertools.combinations(sorted(lacks), 2)):
        if not {*pair} <= {*able}:
            yield Case(pair, lack=lacking_in_words({name: lacks[name] for name in pair}))
        elif not {*pair} <= {*fitted}:
            many = len(able) * (len(able) - 1) // 2
            most = f"those of the {len(fitted)} families with the most runs are judged; choose others with --where"
            yield Case(pair, lack=f"of {many} pairs of families, each of which takes dozens of fits, {most}")
        else:
            both = tuple(parts[name] for name in pair)
            places = [np.arange(ends[name] - len(parts[name].runs), ends[name]) for name in pair]
            yield Case(pair, (sample_of(rows.take(np.concatenate(places)), rule, pair, both),))


def _most_runs(rows: pd.DataFrame, families: Sequence[str]) -> list[str]:
    """Return the families with the most finished runs, as many as have no more than MOST_FITTED_PAIRS pairs.

    How many runs a family has does not depend on how its losses compare, so these pairs are a fair share of all.
    """
    most = (1 + math.isqrt(1 + 8 * MOST_FITTED_PAIRS)) // 2  # the largest n of n (n - 1) / 2 pairs
    counts = usable(rows).groupby("family").size()
    return sorted(families, key=lambda name: (-counts[name], name))[:most]


def _compared_cases(comparisons: Sequence[Comparison], rule: Rule) -> Iterator[Case]:
    """Yield the two values that are compared, in every group."""
    together = bool(rule.needs.names & {*rule.compare})  # one side has one value of what is compared
    for group, pair, tables in comparisons:
        sides = [(pair, rows) for rows in tables] if together else [x for rows in tables for x in _sides(rows)]
        missing = {str(name): phrases for name, side in sides if (phrases := rule.needs.missing(side))}
        if missing:
            yield Case(pair, lack=lacking_in_words(missing), group=group)
        else:
            both = [Pair(*dict.fromkeys(rows["family"])) for rows in tables]
            samples = (sample_of(usable_part(rows, rule), rule, two) for rows, two in zip(tables, both, strict=True))
            yield Case(pair, tuple(samples), group=group)


def _sides(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield from ((str(name), side) for name, side in rows.groupby("family", sort=False))


def _unfinished(rows: pd.DataFrame) -> str:
    """Return how many runs did not finish, in words, each once whatever its marks; empty where all did."""
    ended = rows[~finished(rows)]
    named = "run_id" in ended and ended["run_id"].notna().all()
    lost = (ended.drop_duplicates("run_id") if named else ended).groupby("family").size()
    return f". Unfinished, not counted: {', '.join(f'{n} of {name}' for name, n in lost.items())}" if len(lost) else ""
