"""Which law: the average of those that suit the columns, weighed by what they said of rows that they had not seen.

Weights are in proportion to the predictive density of the rolling hold-outs under each law (pseudo-BMA of Geisser and
Eddy 1979 by leave-future-out; Yao, Vehtari, Simpson and Gelman 2018, arXiv:1704.02030, section 3.4), each cut counting
as one row, since its errors go together, and the scale of errors learnt from the other cuts. In-sample fit has no say.
Weights that maximise the density of the mixture (stacking proper) were tried: from a few cuts they need a prior, whose
floor under a law that fails widened bands by a third.

    average = stack_of(Table(("N", "D"), ("N", "D"), columns, L), Objective())
    average.weights                        # {'multiplicative': 0.71, 'farseer': 0.24, ...}
    average.predict({"N": columns[0], "D": columns[1]})
"""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.analysis.fitting.search import search_optimum
from isoflop.analysis.fitting.settings import Settings
from isoflop.analysis.holdout.cuts import Cuts, FormError, errors_beyond, form_error, left_out_scores, roll, sizes_of
from isoflop.analysis.intervals.resampling import WARM
from isoflop.analysis.laws.catalogue import Law, get_law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.descent import minimise
from isoflop.analysis.solving.problem import Objective, Problem
from isoflop.analysis.solving.starts import starts
from isoflop.errors import FitError

# the laws that have won on held-out tables, by the arguments that they take (benchmarks/held_out.py, band_coverage.py)
DEFAULTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("x",): ("power", "power_offset", "m4", "bnsl"),
    ("N", "D"): ("chinchilla", "kaplan", "multiplicative", "farseer"),
    ("N", "D", "D_unique"): ("overfit_penalty", "repetition_penalty", "data_constrained"),
}
# a law may take no notice of this argument, and be weighed beside those that do
LEFT_OUT = {"D_unique"}
# ten rows for each of its nine parameters (Harrell 2015, Regression Modeling Strategies, 4.4): with fewer its starts
# disagree
ROWS_NEEDED = {"farseer": 90}
# rows of a longer table on which laws are searched and held out; the best start is then fitted to all
MOST_ROWS = 500
# starts of a law of an average: on public tables as many find the optimum that a fit's 64 find, and nobody is told
# the share of them that did
STARTS = 24
# averages remembered: one table is asked for many times
REMEMBERED = 32


@dataclass(frozen=True, eq=False)
class Table:
    """Rows to which several laws are fitted: their columns in the order of the arguments, and the target."""

    arguments: tuple[str, ...]
    names: tuple[str, ...]
    columns: tuple[Array, ...]
    target: Array
    scale: Array | None = None

    @property
    def key(self) -> str:
        """A digest of the rows."""
        parts = [*self.columns, self.target, *([] if self.scale is None else [self.scale])]
        digest = hashlib.sha256(repr((self.arguments, self.names)).encode())
        for part in parts:
            digest.update(np.ascontiguousarray(part, dtype=float).tobytes())
        return digest.hexdigest()

    def part(self) -> NDArray[np.intp]:
        """The numbers of all rows, or of MOST_ROWS drawn once and for all: every so many of a grid are a line."""
        if len(self.target) <= MOST_ROWS:
            return np.arange(len(self.target))
        return np.sort(np.random.default_rng(0).choice(len(self.target), MOST_ROWS, replace=False))

    def problem(self, law: Law, objective: Objective, *, thin: bool = True, **more: Any) -> Problem:
        """A law on a part of the rows, or on all."""
        part = self.part() if thin else np.arange(len(self.target))
        place = dict(zip(self.names, self.columns, strict=True))
        scale = None if self.scale is None else self.scale[part]
        columns = tuple(place[c][part] for c in law.columns)
        return Problem(law, columns, self.target[part], objective, scale=scale, **more)


@dataclass(frozen=True, eq=False)
class Member:
    """One law of an average, fitted to all rows, and how it did at the hold-outs."""

    law: Law
    problem: Problem
    u: Array
    noise: float
    errors: Array
    form: FormError

    def at(self, columns: dict[str, Array]) -> Array:
        """The law at columns by name; NaN where it is not defined."""
        with np.errstate(all="ignore"):
            return np.asarray(self.problem.at(self.u[None], [columns[c] for c in self.law.columns])[0])


@dataclass(frozen=True, eq=False)
class Stack:
    """Laws weighed by their rolling hold-outs."""

    members: tuple[Member, ...]
    shares: Array
    cuts: Cuts
    errors: Array
    form: FormError
    noise: float
    raw: bool

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each law by its name, largest first."""
        pairs = sorted(zip(self.shares, self.members, strict=True), key=lambda pair: -pair[0])
        return {member.law.name: float(share) for share, member in pairs}

    def predict(self, columns: dict[str, Array]) -> Array:
        """The average, of logarithms unless the loss is of raw residuals."""
        values, shares = self._defined(columns)
        mean = (shares * values).sum(0)
        return np.asarray(mean if self.raw else np.exp(mean))

    def disagreement(self, columns: dict[str, Array], value: Array) -> Array:
        """Weighed mean square by which the laws differ from `value`, on the scale of the residuals."""
        values, shares = self._defined(columns)
        with np.errstate(all="ignore"):
            gap: Array = (shares * (values - (value if self.raw else np.log(value))) ** 2).sum(0)
        return gap

    def _defined(self, columns: dict[str, Array]) -> tuple[Array, Array]:
        """Values (laws, places), and shares that leave out what is not defined at a place."""
        with np.errstate(all="ignore"):
            values = np.stack([m.at(columns) for m in self.members])
            values = values if self.raw else np.log(values)
        sound = np.isfinite(values)
        shares = self.shares[:, None] * sound
        total = shares.sum(0)
        return np.where(sound, values, 0.0), np.where(total > 0, shares, np.nan) / np.where(total > 0, total, 1.0)


def candidates(arguments: tuple[str, ...], names: Sequence[str], rows: int) -> list[Law]:
    """The default laws over these columns, which stand in the place of `arguments`."""
    place = dict(zip(arguments, names, strict=True))
    laws = []
    for needed, listed in DEFAULTS.items():
        if set(needed) <= set(arguments) and set(arguments) - set(needed) <= LEFT_OUT:
            over = [place[a] for a in needed]
            laws += [get_law(f"{name}({','.join(over)})") for name in listed if rows >= ROWS_NEEDED.get(name, 0)]
    return laws


def stack_of(table: Table, objective: Objective, sign: int = 1, laws: Sequence[Law] | None = None) -> Stack | None:
    """The average of the default laws (or of `laws`) over the columns of a table; None where none can be fitted.

    objective   what is minimised
    sign        1: weighed by the largest rows held out; -1: by the smallest
    """
    chosen = candidates(table.arguments, table.names, len(table.target)) if laws is None else list(laws)
    names = tuple(law.name for law in chosen)
    return _remembered(Keyed((table.key, repr(objective), sign, names), (table, objective, sign, chosen)))


@dataclass(frozen=True)
class Keyed:
    """What a result is made of, known by a key: one table is asked for many times."""

    key: tuple[Hashable, ...]
    parts: Any = field(compare=False)


@lru_cache(maxsize=REMEMBERED)
def _remembered(question: Keyed) -> Stack | None:
    table, objective, sign, laws = question.parts
    return _stack(table, objective, sign, laws)


def _stack(table: Table, objective: Objective, sign: int, laws: Sequence[Law]) -> Stack | None:
    if not laws:
        return None
    cuts = roll([c[table.part()] for c in table.columns], sizes_of(table.names), sign)
    members = [m for law in laws if (m := _member(table, law, objective, cuts)) is not None]
    if not members:
        return None
    shares = weigh(members, cuts)
    # the average at a cut is that of the laws that had rows enough there
    errors = np.stack([m.errors for m in members])
    told = ~np.isnan(errors)
    part = shares[:, None, None] * told
    with np.errstate(all="ignore"):
        mean = np.where(told.any(0), np.nansum(part * np.nan_to_num(errors), 0) / part.sum(0), np.nan)
    noise = float(np.sqrt((shares * np.array([m.noise**2 for m in members])).sum()))
    return Stack(tuple(members), shares, cuts, mean, form_error(mean, cuts, noise), noise, objective.raw)


def _member(table: Table, law: Law, objective: Objective, cuts: Cuts) -> Member | None:
    problem = table.problem(law, objective)
    if len(np.unique(np.stack(problem.columns, -1), axis=0)) <= len(law.params):
        return None
    settings = Settings(loss=("raw_" if objective.raw else "") + objective.loss, delta=objective.delta, interval="none")
    try:
        with np.errstate(all="ignore"):
            runs = np.arange(len(problem.target))
            u = search_optimum(problem, runs, settings, starts(problem, STARTS, settings.seed)).u
            every = table.problem(law, objective, thin=False)
            if len(every.target) > len(problem.target):
                u = minimise(every, u[None], lam=WARM).u[0]
            residuals = every.residuals(u[None])[0]
    except FitError:
        return None
    residuals = residuals if every.scale is None else residuals / every.scale
    noise = float(np.sqrt((residuals**2).sum() / max(len(residuals) - len(u), 1)))
    errors = errors_beyond(problem, u, cuts)
    return Member(law, problem, u, noise, errors, form_error(errors, cuts, noise))


def weigh(members: Sequence[Member], cuts: Cuts) -> Array:
    """The weights (laws,) from the predictive density of the hold-outs of each cut, learnt from the other cuts.

    Of n cuts n - 1 count, since one is used up in learning how large errors are: from a single cut weights are even. A
    law that had too few rows at a cut counts there as the worst of the others.
    """
    scores = np.stack([left_out_scores(m.errors, cuts, m.noise) for m in members], axis=-1)
    scores = scores[~np.isnan(scores).all(1)]
    if not len(scores):
        return np.full(len(members), 1 / len(members))
    scores = np.where(np.isnan(scores), np.nanmin(scores, axis=1, keepdims=True), scores)
    total = scores.sum(0) * (len(scores) - 1) / len(scores)
    shares = np.exp(total - total.max())
    return np.asarray(shares / shares.sum())
