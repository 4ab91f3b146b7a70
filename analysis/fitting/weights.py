"""Rows weighed by the noise of seeds: where larger runs repeat better than small ones, they should count for more.

The noise is the scatter of ln L between runs that differ only in their seed. Few seeds tell little of one size, so it
is taken as a power of the law's sizes and data (noise_trend.py), and only where replicates tell it from none; else all
rows count alike.

    weighted([prepared], get_law("chinchilla"), "seed")[0].scale     # noise of the typical row over that of each row

Where no column says which rows are of one run, rows whose residuals are alike along D are joined into larger units.

    rows, notes = join_dependent(problem, u, prepared)
    rows.n_runs      # 6 where the 240 rows turn out to be points of six curves
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isoflop.analysis.fitting.diagnose import runs_needed
from isoflop.analysis.fitting.noise_trend import LEVELS, NoiseTrend, noise_trend
from isoflop.analysis.fitting.settings import NOISE
from isoflop.analysis.intervals.residuals import RARE, blocks, moran
from isoflop.analysis.laws.declare import Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.observations import Observations
from isoflop.analysis.runs.recognise import equal_knobs
from isoflop.analysis.solving.problem import Problem
from isoflop.errors import TooFewRowsError

# the columns of a law that seed noise may follow: the data, and counts of parameters or compute
_SCALE, _COUNTS = ("N", "D", "C"), ("n_",)


def weighted(parts: Sequence[Observations], law: Law, weights: str) -> list[Observations]:
    """Return the rows of groups with the scale of their residuals, if they are to be weighed.

    TooFewRowsError where replicates are asked for and tell nothing.
    """
    if weights == NOISE:
        return [_scaled(part, part.table.numbers([NOISE])[NOISE].to_numpy(float)) for part in parts]
    names = [name for name in law.columns if name in _SCALE or name.startswith(_COUNTS)] or list(law.columns[:1])
    trend = noise_trend(parts, names)
    if trend is None:
        lack = f"runs that differ only in their seed at {LEVELS} or more {' or '.join(names)}"
        if weights == "auto":
            return [_noted(part, f"rows weigh alike: there are no {lack}") for part in parts]
        raise TooFewRowsError(f"weights by the noise of seeds need {lack}: add seeds, or leave --weights out")
    if not trend.told:
        return [_noted(part, f"{trend}, not told from none: rows weigh alike") for part in parts]
    return [_by_trend(part, law, trend, number) for number, part in enumerate(parts)]


def _by_trend(part: Observations, law: Law, trend: NoiseTrend, number: int) -> Observations:
    """Return the rows of a group, weighed by its exponents."""
    exponents, doubt = np.zeros((2, len(law.columns)))
    places = [law.columns.index(name) for name in trend.names]
    exponents[places], doubt[places] = trend.exponents[number], trend.doubt
    noise = np.exp(np.log(np.stack(part.columns, -1)) @ exponents)
    part = replace(_scaled(part, noise), powers=(exponents, doubt))
    return _noted(part, f"rows weigh by it: {trend}")


def _scaled(part: Observations, noise: Array) -> Observations:
    """Return rows of this noise (rows,), their typical scale being 1."""
    return replace(part, scale=np.exp(np.log(noise).mean()) / noise)


def _noted(part: Observations, note: str) -> Observations:
    return replace(part, notes=[*part.notes, note])


def join_dependent(problem: Problem, u: Array, rows: Observations) -> tuple[Observations, list[str]]:
    """Join rows into larger units if neighbours along D are not independent; also return a note that says so.

    problem   on the rows, or on the part of them that Observations.part takes
    rows      every row its own run as far as columns tell, or nothing is done
    """
    count = len(rows.target)
    if rows.n_runs < count or len(rows.rows) != count:
        return rows, []
    sets = equal_knobs(rows.rows)
    if sets is None:
        return rows, []
    along, n_sets = rows.rows["D"].to_numpy(float), int(sets.max()) + 1
    part = replace(rows, target=along, runs=sets, n_runs=n_sets).part(len(problem.target))
    r, jacobian = problem.linearise(u[None])
    z, lag_one = moran(r[0], jacobian[0], part.runs, part.target)
    if z < RARE:
        return rows, []
    chance = f"Moran's I {z:.1f} sd above chance: points of curves, or a law that is off"
    excess = f"neighbours along D at equal knobs err alike ({chance})"
    if n_sets >= runs_needed(problem, u, part.runs):
        units, what = sets, f"the rows of each of {n_sets} sets of equal knobs are one unit of the intervals"
    else:
        units = blocks(sets, along, lag_one, runs_needed(problem, u, np.arange(len(problem.target))))
        what = f"blocks of rows along D, {int(units.max()) + 1} in all, are the units of the intervals"
    note = f"{excess}: {what}; --run names the column that tells runs apart"
    return replace(rows, runs=units, n_runs=int(units.max()) + 1), [note]
