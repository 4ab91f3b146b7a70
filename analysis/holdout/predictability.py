"""Judge whether a law predicts by its rolling hold-outs, whatever the status of its parameters.

    predictability(fit(rows, "chinchilla"))     # Predictability(predicts='yes', reason='at 6 hold-outs, ...')

A law is set beside the naive guesses (the last value, the straight line through the logarithms), the laws that suit the
same columns, and the scatter of rows, by F tests of mean squares in which a cut is one degree of freedom.

unknown   fewer than two hold-outs, or none that reaches as far as is asked, within a factor of two
no        the last value comes nearer, and that is no chance of rows or of refits of few rows
rivalled  another law or the straight line is significantly nearer
yes       otherwise, where it errs by significantly less than half of the last value's error
unknown   no significant gain over the last value, last hold-outs that err in one direction, or repeats taken for new
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import fdtri

from isoflop.analysis.fitting.diagnose import Predicts
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.average import Average
from isoflop.analysis.holdout.backtest import last_value, log_line
from isoflop.analysis.holdout.bands import look_back
from isoflop.analysis.holdout.cuts import Fold, distance, mean_square, sizes_of
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.observations import repeated
from isoflop.analysis.solving.problem import Problem
from isoflop.wording import number, percent

# hold-outs that a verdict needs: with one, F(1, 1) has no power
FEWEST_CUTS = 2
# one-sided level of the test that another guess came nearer
RARE = 0.05
# share of the last value's error: a law that does not halve it adds little to the last value
HALF = 0.5
# a place may lie this much farther beyond the rows than any hold-out did, a natural logarithm
FARTHER = np.log(2.0)
LAST, LINE = "the last value", "the straight line"
# a curve leaves its law where as many of its last hold-outs err in one direction, each by this many standard errors: so
# did 4 % of 240 simulated curves whose law holds
LEANING, SURE = 3, 1.28
_TARGET = "_target"


@dataclass(frozen=True)
class Predictability:
    """Whether a law predicts, and why.

    predicts   yes, rivalled, no or unknown
    reason     why, with what it erred by
    error      root mean square of its errors at the hold-outs, each cut alike; None without any
    cuts       how many hold-outs there were
    """

    predicts: Predicts
    reason: str
    error: float | None = None
    cuts: int = 0


@np.errstate(all="ignore")  # a distant guess may overflow
def predictability(fit: Fit | Average, at: Mapping[str, float] | None = None) -> Predictability:
    """Return whether a law or an average predicts, by hold-outs in the direction of a place; unknown without a fit."""
    names = fit.law.columns
    place = [np.array([float(at[c])]) for c in names] if at else []
    sizes, rows = sizes_of(names), [fit.rows[c].to_numpy(float) for c in names] if at else []
    far = {sign: float(distance(place, rows, sizes, sign)[0]) if at else 0.0 for sign in (1, -1)}
    sign = -1 if far[-1] > far[1] else 1
    known = look_back(fit, sign)
    if known is None:
        return Predictability(Predicts.UNKNOWN, fit.reason)
    tested = max((float(f.distance.max()) for f in known.folds if f.counts), default=0.0)
    if 0 < tested < far[sign] - FARTHER:
        text = f"it lies a factor of {np.exp(far[sign]):.3g} beyond the runs, and no hold-out more than"
        return Predictability(Predicts.UNKNOWN, f"{text} {np.exp(tested):.3g}")
    # cuts along one column hold out what is larger there, be the run as large as those that were fitted: they count
    # where the scale of a run, as in a table of one budget, has too few
    first = known.cuts.scale if known.cuts.scale >= FEWEST_CUTS else len(known.cuts)
    rivals = {m.law.name: _mean_squares(m.folds[:first]) for m in (known.stack.members if known.stack else ())}
    rivals.pop(fit.law.name, None)
    naive = _naive_squares(known.problem, known.folds[:first])
    mine, chance = _mean_squares(known.folds[:first]), _chance(known.folds[:first], _scatter(fit))
    verdict = judge(mine, rivals, naive, chance, raw=known.problem.objective.raw)
    leaning = lean(known.folds[:first], _scatter(fit), raw=known.problem.objective.raw) if len(names) == 1 else ""
    blind = repeated(fit.rows) if "D" in names and "D_unique" not in names else []
    return unsure(verdict, leaning or "".join(blind))


def unsure(verdict: Predictability, leaning: str) -> Predictability:
    """Return a verdict that is not yes where hold-outs lean to one side."""
    if verdict.predicts is not Predicts.YES or not leaning:
        return verdict
    return replace(verdict, predicts=Predicts.UNKNOWN, reason=f"{verdict.reason}; but {leaning}")


def lean(folds: Sequence[Fold], noise: float, *, raw: bool = False) -> str:
    """Return words for last hold-outs that all err in one direction, by more than scatter and few rows make of it."""
    last = [fold for fold in folds if fold.counts][-LEANING:]
    means = np.array([np.nanmean(fold.residuals) for fold in last])
    held = np.array([np.isfinite(fold.residuals).sum() for fold in last])
    errors = np.sqrt(noise**2 / held + [np.nanmean(fold.own) for fold in last])
    if len(last) < LEANING or not ((means > SURE * errors).all() or (means < -SURE * errors).all()):
        return ""
    sizes = ", ".join(number(abs(x)) if raw else percent(abs(x), 2) for x in means)
    return f"its last {LEANING} hold-outs are all too {'high' if means[0] > 0 else 'low'}, by {sizes}"


def _chance(folds: Sequence[Fold], noise: float) -> float:
    """Return the root mean square error that the scatter of rows makes, and how few rows the refits saw."""
    own = [float(np.nanmean(fold.own)) for fold in folds if fold.counts]
    return float(np.sqrt(noise**2 + np.mean(own or [0.0])))


def _scatter(fit: Fit | Average) -> float:
    """Return the scatter of a row about a fitted law or an average of laws, an infinity where there is no fit."""
    if isinstance(fit, Average):
        return fit.stack.noise if fit.stack else float("inf")
    return fit.optimum.noise.pooled if fit.optimum else float("inf")


def judge(
    mine: Array, laws: dict[str, Array], naive: dict[str, Array], noise: float, *, raw: bool = False
) -> Predictability:
    """Judge mean squares (cuts,) of errors of a law, others and naive guesses, NaN of no fit, by the rows' noise."""
    cuts = int(np.isfinite(mine).sum())
    if cuts < FEWEST_CUTS:
        few = "one hold-out alone proves nothing" if cuts else "no row could be held out"
        return Predictability(Predicts.UNKNOWN, f"{few}: add runs at other sizes or amounts of data", None, cuts)
    error, limit = float(np.sqrt(np.nanmean(mine))), float(fdtri(cuts, cuts, 1 - RARE))
    say = number if raw else lambda x: percent(x, 2)
    text = f"at {cuts} hold-outs, each weighing alike, it errs by {say(error)}"
    squares = {name: float(e[np.isfinite(mine)].mean()) for name, e in naive.items()}
    last = f"{LAST} by {say(float(np.sqrt(squares[LAST])))}"
    if error**2 > max(squares[LAST], limit * noise**2):
        return Predictability(Predicts.NO, f"{text}, {last}, and rows scatter by {say(noise)}", error, cuts)
    others = laws | {name: e for name, e in naive.items() if name != LAST}
    if (near := _nearest(mine, others)) is not None:
        return Predictability(Predicts.RIVALLED, f"{text}, {near[0]} by {say(near[1])}", error, cuts)
    if HALF**2 * squares[LAST] > limit * error**2:
        return Predictability(Predicts.YES, f"{text}, {last}", error, cuts)
    return Predictability(Predicts.UNKNOWN, f"{text}, {last}: no significant gain", error, cuts)


def _nearest(mine: Array, others: dict[str, Array]) -> tuple[str, float] | None:
    """Return the guess that errs by significantly less, by the F test, and by how much; None where none does."""
    best = None
    for name, theirs in others.items():
        both = np.isfinite(mine) & np.isfinite(theirs)
        if (count := int(both.sum())) < FEWEST_CUTS:
            continue
        square = float(theirs[both].mean())
        if mine[both].mean() > square * fdtri(count, count, 1 - RARE) and (best is None or square < best[1]):
            best = name, square
    return best and (best[0], float(np.sqrt(best[1])))


def _naive_squares(problem: Problem, folds: Sequence[Fold]) -> dict[str, Array]:
    """Return mean squares (cuts,) of the errors of the last value and of the straight line through the logarithms."""
    names = list(problem.law.columns)
    # under a name of its own: a law of the loss has L among its columns
    rows = pd.DataFrame(dict(zip(names, problem.columns, strict=True)) | {_TARGET: problem.target})
    scale = sum(np.log(rows[c]) for c, size in zip(names, sizes_of(names), strict=True) if size)
    squares: dict[str, list[float]] = {LAST: [], LINE: []}
    with np.errstate(all="ignore"):  # sizes may span more than the doubles do
        rows["_scale"] = np.exp(scale - np.mean(scale))
        for fold in folds:
            train, test = rows[fold.fitted], rows[~fold.fitted]
            last = last_value(train, test, [*names, "_scale"], "_scale", _TARGET)
            guesses = {LAST: last, LINE: log_line(train, test, names, _TARGET)}
            for name, guess in guesses.items():
                observed = problem.target[~fold.fitted]
                gap = guess - observed if problem.objective.raw else np.log(guess) - np.log(observed)
                squares[name].append(mean_square(gap))
    return {name: np.array(values) for name, values in squares.items()}


def _mean_squares(folds: Sequence[Fold]) -> Array:
    """Return the mean square of the errors of each cut (cuts,); NaN where a cut was not fitted."""
    return np.array([fold.mean_square for fold in folds])
