"""Which law: the average of those that suit the columns, weighed by what they said of rows that they had not seen.

    mean = stack_laws(Problem(law, columns, L, Objective()))
    mean.weights                           # {'multiplicative': 0.71, 'farseer': 0.24, ...}
    mean.predict({"N": columns[0], "D": columns[1]})

Weights are in proportion to the predictive density of the rolling hold-outs (pseudo-BMA of Geisser and Eddy 1979 by
leave-future-out; Yao, Vehtari, Simpson and Gelman 2018, arXiv:1704.02030, section 3.4), each cut counting as one row,
and the scale of errors learnt from the other cuts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from isoflop.analysis.arguments import Settings
from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.optimum import search_optimum
from isoflop.analysis.holdout.cuts import Cuts, Fold, leverage, refit_folds, roll, sizes_of, thin
from isoflop.analysis.holdout.form_error import FormError, form_error, left_out_scores
from isoflop.analysis.laws.declare import Law, get_law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.descent import WARM, minimise
from isoflop.analysis.solving.problem import Problem
from isoflop.analysis.solving.starts import starts
from isoflop.errors import FitError

# the laws that have won on held-out tables, by the arguments that they take (benchmarks/held_out.py, band_coverage.py)
DEFAULTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("x",): ("power", "power_offset", "m4", "bnsl"),
    ("N", "D"): ("chinchilla", "kaplan", "multiplicative", "farseer"),
    ("N", "D", "D_unique"): ("overfit_penalty", "repetition_penalty", "data_constrained"),
}
# a law may ignore this argument, and be weighed beside those that use it
LEFT_OUT = {"D_unique"}
# ten rows for each of its nine parameters (Harrell 2015, Regression Modeling Strategies, 4.4): with fewer its starts
# disagree
ROWS_NEEDED = {"farseer": 90}
# starts of a law of an average: on public tables as many find the optimum that a fit's 64 find, and the share of them
# that did is not reported
STARTS = 24


@dataclass(frozen=True, eq=False)
class Member:
    """One law of an average, fitted to all rows, and how it did at the hold-outs.

    law       the law
    problem   it on the rows of the hold-outs
    u         its optimum on all rows, (free,)
    noise     the scatter of a row about it
    folds     one for each cut
    form      how fast its errors grow beyond them
    """

    law: Law
    problem: Problem
    u: Array
    noise: float
    folds: list[Fold]
    form: FormError

    def at(self, columns: dict[str, Array]) -> Array:
        """Return the law at columns by name; NaN where it is not defined."""
        with np.errstate(all="ignore"):
            return np.asarray(self.problem.at(self.u[None], [columns[c] for c in self.law.columns])[0])

    def own(self, columns: dict[str, Array]) -> Array:
        """Return the variance (places,) of the law for the few rows that it saw."""
        places = [columns[c] for c in self.law.columns]
        every = np.ones((1, len(self.problem.target)), dtype=bool)
        return np.asarray(self.noise**2 * leverage(self.problem, self.u, every, places)[0])


@dataclass(frozen=True, eq=False)
class Stack:
    """Laws weighed by their rolling hold-outs.

    members   the laws
    shares    (laws,) their weights
    cuts      the hold-outs
    folds     the average at each of them
    form      how fast its errors grow beyond them
    noise     the scatter of a row about it
    raw       whether residuals are of the target itself, and not of its logarithm
    """

    members: tuple[Member, ...]
    shares: Array
    cuts: Cuts
    folds: list[Fold]
    form: FormError
    noise: float
    raw: bool

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each law by its name, largest first."""
        pairs = sorted(zip(self.shares, self.members, strict=True), key=lambda pair: -pair[0])
        return {member.law.name: float(share) for share, member in pairs}

    def predict(self, columns: dict[str, Array]) -> Array:
        """Return the average, of logarithms unless the loss is of raw residuals."""
        values, shares = self._defined(columns)
        mean = (shares * values).sum(0)
        return np.asarray(mean if self.raw else np.exp(mean))

    def disagreement(self, columns: dict[str, Array], value: Array) -> Array:
        """Return the weighed mean square by which the laws differ from `value`, on the scale of the residuals."""
        values, shares = self._defined(columns)
        with np.errstate(all="ignore"):
            gap: Array = (shares * (values - (value if self.raw else np.log(value))) ** 2).sum(0)
        return gap

    def own(self, columns: dict[str, Array]) -> Array:
        """Return the variance (places,) of the average for the few rows that its laws saw, as that of their errors."""
        with np.errstate(all="ignore"):
            own = np.stack([m.own(columns) for m in self.members])
        shares = self.shares[:, None] * np.isfinite(own)
        return np.asarray((shares * np.nan_to_num(own, posinf=0.0)).sum(0) / np.maximum(shares.sum(0), 1e-300))

    def _defined(self, columns: dict[str, Array]) -> tuple[Array, Array]:
        """Return values (laws, places), and shares that leave out what is not defined at a place."""
        with np.errstate(all="ignore"):
            values = np.stack([m.at(columns) for m in self.members])
            values = values if self.raw else np.log(values)
        sound = np.isfinite(values)
        shares = self.shares[:, None] * sound
        total = shares.sum(0)
        return np.where(sound, values, 0.0), np.where(total > 0, shares, np.nan) / np.where(total > 0, total, 1.0)


def candidates(arguments: Sequence[str], names: Sequence[str], rows: int) -> list[Law]:
    """Return the default laws over these columns, which stand for `arguments`."""
    column = dict(zip(arguments, names, strict=True))
    laws = []
    for needed, listed in DEFAULTS.items():
        if set(needed) <= set(arguments) and set(arguments) - set(needed) <= LEFT_OUT:
            over = [column[a] for a in needed]
            laws += [get_law(f"{name}({','.join(over)})") for name in listed if rows >= ROWS_NEEDED.get(name, 0)]
    return laws


def stack_laws(rows: Problem, sign: int = 1, laws: Sequence[Law] | None = None) -> Stack | None:
    """Fit the default laws (or `laws`) to the columns and target of any law on the rows, and weigh them by the largest
    rows held out (sign -1: the smallest); None where none can be fitted."""
    if laws is None:
        laws = candidates(rows.law.arguments, rows.law.columns, len(rows.target))
    cuts = roll(thin(rows).columns, sizes_of(rows.law.columns), sign)
    members = [m for law in laws if (m := _member(rows, law, cuts)) is not None]
    if not members:
        return None
    shares = weigh([m.folds for m in members], [m.noise for m in members])
    folds = [average([m.folds[k] for m in members], shares) for k in range(len(cuts))]
    noise = float(np.sqrt((shares * np.array([m.noise**2 for m in members])).sum()))
    return Stack(tuple(members), shares, cuts, folds, form_error(folds, noise), noise, rows.objective.raw)


def average(folds: Sequence[Fold], shares: Array) -> Fold:
    """Average the folds of several laws at one cut, those that had rows enough there."""
    counts = np.array([fold.counts for fold in folds])
    if not (total := shares[counts].sum()) > 0:
        nothing = np.full(len(folds[0].fitted), np.nan)
        reason = "no law could be refitted"
        return replace(folds[0], status=FitStatus.REFUSED, reason=reason, residuals=nothing, own=nothing)
    residuals, own = (np.stack([getattr(fold, x) for fold in folds])[counts] for x in ("residuals", "own"))
    noises = np.array([[fold.noise**2] for fold in folds])[counts]
    mean, variance, noise = ((shares[counts, None] * x).sum(0) / total for x in (residuals, own, noises))
    known = {"residuals": mean, "own": variance, "noise": float(np.sqrt(noise[0]))}
    return replace(folds[0], status=FitStatus.CONVERGED, reason="", **known)


def _member(rows: Problem, law: Law, cuts: Cuts) -> Member | None:
    """Fit one law and hold out; None where it has too few rows."""
    named, objective = dict(zip(rows.law.columns, rows.columns, strict=True)), rows.objective
    every = replace(rows, law=law, columns=tuple(named[c] for c in law.columns), fixed={}, priors={})
    problem = thin(every)
    if len(np.unique(np.stack(problem.columns, -1), axis=0)) <= len(law.params):
        return None
    settings = Settings(loss=("raw_" if objective.raw else "") + objective.loss, delta=objective.delta, interval="none")
    try:
        with np.errstate(all="ignore"):
            runs = np.arange(len(problem.target))
            u = search_optimum(problem, runs, settings, starts(problem, STARTS, settings.seed)).u
            if len(every.target) > len(problem.target):
                u = minimise(every, u[None], pace=WARM).u[0]
            residuals = every.residuals(u[None])[0]
    except FitError:
        return None
    residuals = residuals if every.scale is None else residuals / every.scale
    noise = float(np.sqrt((residuals**2).sum() / max(len(residuals) - len(u), 1)))
    folds = refit_folds(problem, u, cuts, noise)
    return Member(law, problem, u, noise, folds, form_error(folds, noise))


def weigh(folds: Sequence[Sequence[Fold]], noises: Sequence[float]) -> Array:
    """Return the weights (laws,) from the predictive density of the hold-outs of each cut, learnt from the other cuts,
    so that of n cuts n - 1 count. A law that had too few rows at a cut counts there as the worst of the others."""
    scores = np.stack([left_out_scores(mine, noise) for mine, noise in zip(folds, noises, strict=True)], axis=-1)
    scores = scores[~np.isnan(scores).all(1)]
    if not len(scores):
        return np.full(len(folds), 1 / len(folds))
    scores = np.where(np.isnan(scores), np.nanmin(scores, axis=1, keepdims=True), scores)
    total = scores.sum(0) * (len(scores) - 1) / len(scores)
    shares = np.exp(total - total.max())
    return np.asarray(shares / shares.sum())
