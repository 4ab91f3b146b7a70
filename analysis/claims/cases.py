"""Cases: what gets a verdict of its own under a rule: families or other groups, pairs of them, or two compared values.

from isoflop.analysis.claims.region import Region

rule = Rule("run_mean", Region(above=0), of=("L",))
[str(case.name) for case in cases(runs, rule)[0]]      # the families
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.claims.declare import Pair, Sample, Untested
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.subjects import Comparison, Groups, compared, compared_names, sample_of, scope, usable_part
from isoflop.analysis.claims.verdict import Lacks, lacking_in_words
from isoflop.analysis.fitting.fits import Fits
from isoflop.analysis.runs.rows import finished
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs

# pairs of families that a claim about their laws is judged for: each takes two fits and their jackknife
MOST_FITTED_PAIRS = 200
# families that a claim about their laws is judged for: each takes the fits of its hold-outs
MOST_FITTED_FAMILIES = 40


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
    """Return what gets a verdict under a rule, what each family lacks, and how many runs did not finish, in words.

    Untested where there are no such runs, or too few families.
    """
    runs = as_runs(runs)
    fits, groups = fits or Fits(runs), scope(runs, rule)
    if rule.compare:
        return _compared_cases(compared(groups, rule), rule, fits), {}, ""
    pairs = rule.measures.subject == "pair"
    wanted = max(rule.needs.families, 2 if pairs else 1)
    if len(groups) < wanted:
        raise Untested(f"needs {wanted} families, and the runs have {len(groups)}: {', '.join(groups) or 'none'}")
    whole = scope(runs, replace(rule, at={})) if rule.needs.names & {*rule.at} else groups  # `at` leaves one value
    lacks = {name: rule.needs.missing(group) for name, group in whole.items()}
    each = _pairs(groups, lacks, rule, fits) if pairs else _families(groups, lacks, rule, fits)
    return each, lacks, _unfinished(groups)


def _families(groups: Groups, lacks: Lacks, rule: Rule, fits: Fits) -> Iterator[SubjectCase]:
    """Yield every family."""
    able = sum(not missing for missing in lacks.values())
    too_many = "law" in rule.measures.needs and able > MOST_FITTED_FAMILIES
    for name in sorted(lacks):
        if too_many:
            most = f"at most {MOST_FITTED_FAMILIES} are judged; choose some with --where"
            yield SubjectCase(name, lack=f"{able} families, each of which takes several fits, and {most}")
        elif lacks[name]:
            yield SubjectCase(name, lack=lacking_in_words({name: lacks[name]}))
        else:
            yield SubjectCase(name, (sample_of(usable_part(groups[name], rule), rule, fits),))


def _pairs(groups: Groups, lacks: Lacks, rule: Rule, fits: Fits) -> Iterator[SubjectCase]:
    """Yield every pair of families; the runs of one family are prepared once."""
    able = [name for name, missing in lacks.items() if not missing]
    fitted = _most_runs(groups, able) if "law" in rule.measures.needs else able
    sides = {name: usable_part(groups[name], rule) for name in able}
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
            yield SubjectCase(pair, (sample_of(runs, rule, fits, pair, both),))


def _most_runs(groups: Groups, names: Sequence[str]) -> list[str]:
    """Return the families with the most finished runs, as many as have no more than MOST_FITTED_PAIRS pairs.

    How many runs a family has does not depend on how its losses compare, so these pairs are a fair share of all.
    """
    most = (1 + math.isqrt(1 + 8 * MOST_FITTED_PAIRS)) // 2  # the largest n of n (n - 1) / 2 pairs
    return sorted(names, key=lambda name: (-len(groups[name].usable), name))[:most]


def _compared_cases(comparisons: Sequence[Comparison], rule: Rule, fits: Fits) -> Iterator[SubjectCase]:
    """Yield the two values that are compared, in every group."""
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
    first, second = (usable_part(side, rule) for side in two)
    return sample_of(first.with_frame(pd.concat([first.frame, second.frame])), rule, fits, names, (first, second))


def _unfinished(groups: Groups) -> str:
    """Return how many runs did not finish, in words, each once whatever its marks; empty where all did."""
    counts = {}
    for name, group in groups.items():
        ended = group.frame[~finished(group.frame)]
        named = "run_id" in ended and ended["run_id"].notna().all()
        counts[name] = ended["run_id"].nunique() if named else len(ended)
    lost = [f"{count} of {name}" for name, count in counts.items() if count]
    return f". Unfinished, not counted: {', '.join(lost)}" if lost else ""
