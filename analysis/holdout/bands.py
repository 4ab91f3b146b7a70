"""Put bands around runs that have not been made: noise, parameters and the error of the law's form.

    bands(fit(rows, "chinchilla"), pd.DataFrame({"N": [1e9], "D": [2e10]}))      # value, low, high, band

The error of the form is learnt twice, and the larger counts: from the law's own rolling hold-outs, scaled to the
distance asked for (form_error.py), and from how far the laws that did well at theirs lie from it (stacking.py). Noise,
parameters and form add up, and Student's t has the degrees of freedom of their sum (Satterthwaite 1946).
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from isoflop.analysis.fitting.optimum import Optimum
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.average import Average
from isoflop.analysis.holdout.cuts import Cuts, Fold, distance, leverage, outside, refit_folds, roll, sizes_of, thin
from isoflop.analysis.holdout.form_error import FormError, form_error
from isoflop.analysis.holdout.stacking import Member, Stack, stack_laws
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.solving.problem import Objective, Problem

# what a band may contain, in the order in which it is written
NOISE, PARAMETERS, FORM = "noise", "parameters", "form"
# of an average of laws, where no row can be held out
LAWS = "how far the laws lie apart"
# a band of more than this factor to either side, or than twice the range of nine tenths of the losses, says nothing
WIDEST = 10.0
# optima closer than this are one that two searches found
SAME_PLACE = 1e-6


@dataclass(frozen=True, eq=False)
class _Hindsight:
    """What hold-outs in one direction say of a law or an average.

    cuts      the hold-outs
    form      how fast errors grow beyond them
    stack     the laws that suit the columns, weighed by theirs; None where there are none
    folds     what the law or the average said at each cut
    problem   a law on the rows of the hold-outs
    """

    cuts: Cuts
    form: FormError
    stack: Stack | None
    folds: list[Fold]
    problem: Problem


def look_back(fit: Fit | Average, sign: int = 1, *, rivals: bool = True) -> _Hindsight | None:
    """Hold out the rows above the others (sign -1: below), by `rivals` too, once for each fit; None without one."""
    if not isinstance(fit, Average):
        if (optimum := fit.optimum) is None:
            return None
        if (sign, rivals) not in optimum.remembered:
            optimum.remembered[sign, rivals] = _learn(optimum, sign, rivals)
        known: _Hindsight = optimum.remembered[sign, rivals]
        return known
    if fit.stack is None:
        return None
    # below the smallest rows the laws and their weights are the same, only the hold-outs differ
    held = (fit.stack if sign == 1 else fit.below) or fit.stack
    return _Hindsight(held.cuts, held.form, fit.stack, held.folds, fit.stack.members[0].problem)


def _learn(optimum: Optimum, sign: int, rivals: bool) -> _Hindsight:
    """Hold rows out of a law, and of those that suit its columns where `rivals` are asked for."""
    problem = optimum.problem
    few = thin(problem)
    cuts = roll(few.columns, sizes_of(problem.law.columns), sign)
    plain = problem.objective
    if plain.loss == "l1":  # other laws beside it take Huber's default in place of least absolute deviations
        plain = Objective("huber", 1e-3, plain.raw)
    stack = stack_laws(replace(problem, objective=plain), sign) if rivals and len(cuts) else None
    member = _member_of(stack, optimum) if plain == problem.objective else None
    folds = refit_folds(few, optimum.u, cuts, optimum.noise.pooled) if member is None else member.folds
    form = form_error(folds, optimum.noise.pooled)
    return _Hindsight(cuts, form, stack if form.cuts else None, folds, few)


def _member_of(stack: Stack | None, optimum: Optimum) -> Member | None:
    """Return the law itself among those of the stack, where it ended at the same place: its hold-outs are the same."""
    problem = optimum.problem
    if stack is None or problem.fixed or problem.priors:
        return None
    same = (m for m in stack.members if m.law.name == problem.law.name)
    return next((m for m in same if np.allclose(m.u, optimum.u, rtol=SAME_PLACE, atol=SAME_PLACE)), None)


@dataclass(frozen=True)
class Variances:
    """Variances of a band at some places, and their degrees of freedom; those of the form NaN where none was learnt."""

    raw: bool
    noise: Array
    noise_dof: float
    parameters: Array
    parameters_dof: Array | float
    form: Array
    form_dof: Array
    name: str = PARAMETERS

    def half(self, level: float) -> Array:
        """Return half the width on the scale of the residuals; NaN where neither parameters nor form are known."""
        parameters, form = np.nan_to_num(self.parameters), np.nan_to_num(self.form)
        total = self.noise + parameters + form
        with np.errstate(all="ignore"):  # without any scatter there is no share of it
            shares = self.noise**2 / self.noise_dof + parameters**2 / self.parameters_dof
            joint = total**2 / (shares + np.where(form > 0, form**2 / self.form_dof, 0.0))
        joint = np.where(np.isfinite(joint), np.maximum(joint, 1.0), self.noise_dof)
        half = stdtrit(joint, 0.5 + level / 2) * np.sqrt(total)
        return np.where(np.isnan(self.parameters) & np.isnan(self.form), np.nan, half)

    def contents(self) -> NDArray[np.object_]:
        """Return what each band contains, in words; empty where there is none."""
        texts = [
            "" if not (p or f) else " + ".join([NOISE, PARAMETERS, FORM] if f else [NOISE, self.name])
            for p, f in zip(~np.isnan(self.parameters), ~np.isnan(self.form), strict=True)
        ]
        return np.array(texts, dtype=object)


@np.errstate(all="ignore")  # a value that overflows has no band
def bands(fit: Fit | Average, frame: pd.DataFrame, level: float = 0.9, *, rivals: bool = True) -> pd.DataFrame:
    """Return value, low and high for a new run at the rows of `frame`, and `band`: what they contain.

    rivals   whether the error of the form is learnt from other laws too, which takes their fits

    NaN bounds where there are neither resamples nor hold-outs, and where they would miss what the data allow as well.
    """
    value = fit.predict(frame)
    columns = [frame[c].to_numpy(float) for c in fit.law.columns]
    bounds, contents = np.full((2, len(frame)), np.nan), np.full(len(frame), "", dtype=object)
    form, dof = form_variance(fit, value, columns, rivals=rivals)
    if (variances := _variances(fit, value, columns, form, dof)) is not None:
        half, logs = variances.half(level), np.log(fit.rows[fit.law.target].to_numpy(float))
        seen = np.ptp(np.quantile(logs, [0.05, 0.95]))  # one loss of 1e300 makes no band
        half = half if variances.raw else np.where(half > max(np.log(WIDEST), 2 * seen), np.nan, half)
        bounds = np.stack(
            [value - half, value + half] if variances.raw else [value * np.exp(-half), value * np.exp(half)]
        )
        if not isinstance(fit, Average) and fit.optimum is not None:
            bounds[:, fit.optimum.missed(value, columns, bounds)] = np.nan
        if not isinstance(fit, Average):
            bounds = fit.law.inside(bounds, fit.values, fit.rows[fit.law.target])
        contents = np.where(np.isnan(bounds).any(0), "", variances.contents())
    return pd.DataFrame({"value": value, "low": bounds[0], "high": bounds[1], "band": contents}, index=frame.index)


def _variances(fit: Fit | Average, value: Array, columns: list[Array], form: Array, dof: Array) -> Variances | None:
    """Return the variances of a law, or of an average by its Jacobians, given those of the form; None without a fit."""
    if isinstance(fit, Average):
        if fit.stack is None or fit.table is None:
            return None
        stack, count = fit.stack, len(fit.stack.members)
        places = dict(zip(fit.table.law.columns, columns, strict=True))
        apart = stack.disagreement(places, value)
        noise, spare = np.full(len(value), stack.noise**2), max(len(fit.table.target) - count, 1)
        own, bare = stack.own(places), np.isnan(form)
        own_dof = np.where(bare, max(count - 1, 1), spare)
        return Variances(stack.raw, noise, spare, np.where(bare, apart, own), own_dof, form, dof, LAWS)
    if (optimum := fit.optimum) is None:
        return None
    noise, spare = optimum.noise.at(columns) ** 2, max(len(optimum.problem.target) - len(optimum.u), 1)
    error = optimum.error(columns, by_run=fit.n_runs == fit.n_rows)
    if optimum.spread is None and not np.isnan(form).all():  # without resamples, what the Jacobian says
        every = np.ones((1, len(optimum.problem.target)), dtype=bool)
        own = optimum.noise.pooled * np.sqrt(leverage(optimum.problem, optimum.u, every, columns)[0])
        error = np.where(np.isnan(form), np.nan, own)
    error_dof = spare if optimum.spread is None else optimum.spread.dof
    return Variances(optimum.problem.objective.raw, noise, spare, error**2, error_dof, form, dof)


def form_variance(
    fit: Fit | Average, value: Array, columns: list[Array], *, rivals: bool = True
) -> tuple[Array, Array]:
    """Return squared scales (rows,) of the form's error and degrees of freedom; NaN where no hold-out reaches."""
    variance, dof = np.full(len(value), np.nan), np.zeros(len(value))
    optimum = None if isinstance(fit, Average) else fit.optimum
    rows = fit.table if isinstance(fit, Average) else None if optimum is None else optimum.problem
    if rows is None:
        return variance, dof
    names, sizes = rows.law.columns, sizes_of(rows.law.columns)
    far = {sign: distance(columns, rows.columns, sizes, sign) for sign in (1, -1)}
    new = outside(columns, rows.columns, 1) | outside(columns, rows.columns, -1)
    for sign, here in ((1, far[1] >= far[-1]), (-1, far[1] < far[-1])):
        if not here.any() or (learnt := look_back(fit, sign, rivals=rivals)) is None:
            continue
        # in a column that no hold-out leaves, nothing is known of what lies beyond
        known = here & (learnt.form.cuts > 0) & ~(new & ~learnt.cuts.beyond).any(1)
        form, freedom = learnt.form.student(far[sign])
        if learnt.stack is not None:
            apart = learnt.stack.disagreement(dict(zip(names, columns, strict=True)), value)
            # of the cuts that weigh the laws one is used up in learning how large errors are
            form, freedom = np.fmax(form, apart), np.where(apart > form, max(learnt.form.cuts - 1, 1), freedom)
        variance[known], dof[known] = form[known], freedom[known]
    return variance, dof
