"""The level of a run about a law, and its slope, followed look by look (Kalman 1960).

The level is that of ln L less what the law says. Its slope along ln D wanders; the fall of the rate moves it, too, as
the law errs by a share of that effect. A fault is a step in the level, at an unknown time and of an unknown size: the
mean over both of its likelihood ratio is a martingale where there is none, so that the chance that it ever passes
1/risk is at most `risk`, however often one looks (Ville 1939; Robbins and Siegmund 1970).

    looks = pd.DataFrame({"D": D, "gap": gap, "effect": 0.0})
    Filter(looks, Drift(share=0.01, slope=1e-4, tilt=1e-4, noise=1e-6), mean=0.0, sd=0.01).evidence()
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from scipy.stats import norm
from scipy.stats import t as student

from isoflop.analysis.laws.dual_numbers import Array

# parts of a run that are one look each
LOOKS = 200
# sd of ln L of the faults that are looked for, and how far one look may count [sd], as Huber's: a spike is no fault
FAULT, LARGEST = 0.01, 4.0
# looks before a fault is thought of, and how many the scatter of the smaller runs is worth beside the run's own
FIRST, PRIOR_LOOKS = 8, 10.0
# what smaller runs may teach, sd: errors of the law as a share of the rate's effect, of which a few falls of the rate
# cannot say that they are less than a tenth; and the wander of a slope in ln D of one
SHARES, SLOPES = (0.1, 0.2, 0.4), np.geomspace(0.0005, 0.25, 19)


class Drift(NamedTuple):
    """How runs go about the law, in variances of ln L."""

    share: Any
    """Of the error of the effect of the rate, as a share of it."""
    slope: Any
    """Of the change of the slope in one of ln D."""
    tilt: float
    """Of the slope at the beginning: a law of sizes may be off by one."""
    noise: float
    """Of a look."""


class State(NamedTuple):
    """The level, its slope, and the error of the rate's effect as a share of it: means, (..., 3), and covariance."""

    mean: Array
    covariance: Array

    @classmethod
    def begun(cls, drift: Drift, level: float, variance: float) -> "State":
        """Return the state of a level that is known to a variance, and nothing else."""
        grid = np.shape(drift.slope)
        covariance = np.zeros((*grid, 3, 3))
        covariance[..., 0, 0], covariance[..., 1, 1], covariance[..., 2, 2] = variance, drift.tilt, drift.share
        return cls(np.full((*grid, 3), [level, 0.0, 0.0]), covariance)

    def moved(self, drift: Drift, d: float, move: float) -> "State":
        """Return the state after a step d of ln D, in which the rate's effect changes by `move`."""
        onward = _onward(d)
        covariance = onward @ self.covariance @ onward.T
        # of a slope that wanders; and the effect may come sooner or later than the law says
        covariance[..., :2, :2] += np.multiply.outer(drift.slope, [[d**3 / 3, d**2 / 2], [d**2 / 2, d]])
        covariance[..., 0, 0] += drift.share * move**2
        return State(self.mean @ onward.T, covariance)

    def gap(self, effect: float) -> tuple[Any, Any]:
        """Return the mean and the variance of the gap where the rate has an effect."""
        sees = np.array([1.0, 0.0, effect])
        return self.mean @ sees, self.covariance @ sees @ sees


def _onward(d: float) -> Array:
    return np.array([[1.0, d, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


class Seen(NamedTuple):
    """One look: the gap that was expected, its variance, the surprise as far as it counts, and the state's gain."""

    expected: Any
    spread: Any
    surprise: Any
    gain: Array


class Filter:
    """The looks of a run (D, gap, effect), filtered from a level on that is known to an sd."""

    def __init__(self, looks: pd.DataFrame, drift: Drift, mean: float, sd: float) -> None:
        x, self.effects = np.log(looks["D"].to_numpy(float)), looks["effect"].to_numpy(float)
        self.gaps, self.drift = looks["gap"].to_numpy(float), drift
        self.steps, self.moves = np.diff(x, prepend=x[0]), np.diff(self.effects, prepend=self.effects[0])
        self.noise = self._noises()
        self.seen = list(self._run(0, State.begun(drift, mean, sd**2)))

    def _noises(self) -> Array:
        """Return the variance of each look, by the smaller runs and by the run's own looks before it."""
        noises, total = [], PRIOR_LOOKS * self.drift.noise
        for k in range(len(self.gaps)):
            noises.append(max(total / (PRIOR_LOOKS + max(k - 2, 0)), 1e-10))
            if k >= 2:  # a second difference has six times the variance, and one of a step counts as any large one
                own = (self.gaps[k] - 2 * self.gaps[k - 1] + self.gaps[k - 2]) ** 2 / 6
                total += min(own, LARGEST**2 * noises[-1])
        return np.array(noises)

    def _run(self, first: int, state: State) -> Iterator[Seen]:
        """Filter the looks from one on."""
        for k in range(first, len(self.gaps)):
            state = state.moved(self.drift, self.steps[k], self.moves[k]) if k > first else state
            sees = np.array([1.0, 0.0, self.effects[k]])
            expected, along = state.mean @ sees, state.covariance @ sees
            spread = along @ sees + self.noise[k]
            surprise = self.gaps[k] - expected
            weight = np.minimum(1.0, LARGEST * spread**0.5 / np.maximum(np.abs(surprise), 1e-12))
            gain = (weight / spread)[..., None] * along
            yield Seen(expected, spread, weight * surprise, gain)
            covariance = state.covariance - gain[..., :, None] * along[..., None, :]
            state = State(state.mean + gain * surprise[..., None], covariance)
        self.last = state

    def after(self, since: int | None) -> State:
        """Return the state after the last look; after a fault the level begins anew."""
        if since is not None:
            list(self._run(since, State.begun(self.drift, float(self.gaps[since]), FAULT**2)))
        return self.last

    def likelihood(self) -> Any:
        """Return ln of the likelihood of the looks after the first few, as robust as the filter."""
        return sum(-np.log(at.spread) / 2 - at.surprise**2 / at.spread / 2 for at in self.seen[FIRST:])

    def evidence(self) -> Array:
        """Return after each look the logarithm of the mean over all faults of their likelihood ratio."""
        count, logs = len(self.gaps), []
        self.information, self.score = np.zeros(count), np.zeros(count)
        # a run may be off from its beginning; of other faults not before the scatter is known
        possible = (np.arange(count) >= FIRST) | (np.arange(count) == 0)
        followed = np.zeros((count, 3))  # what the filter has taken of each fault into its state
        for k, at in enumerate(self.seen):
            followed = followed @ _onward(self.steps[k]).T
            begun = possible & (np.arange(count) <= k)
            missed = np.where(begun, 1 - followed @ [1.0, 0.0, self.effects[k]], 0.0)
            self.information += missed**2 / at.spread
            self.score += missed * at.surprise / at.spread
            followed = followed + missed[:, None] * at.gain
            ratios, prior = self._ratios()[begun], 1 / max(LOOKS, count)
            none = 1 - len(ratios) * prior
            logs.append(logsumexp(np.append(ratios, 0), b=np.append(np.full(len(ratios), prior), none)))
        return np.array(logs)

    def _ratios(self) -> Array:
        """Return the logarithm of the likelihood ratio of a step at each look, its size normal with sd FAULT."""
        weight = 1 + FAULT**2 * self.information
        return 0.5 * self.score**2 * FAULT**2 / weight - 0.5 * np.log(weight)

    def changed(self) -> tuple[int, float]:
        """Return the likeliest look of the fault, and its size."""
        since = int(np.argmax(self._ratios()))
        return since, float(self.score[since] * FAULT**2 / (1 + FAULT**2 * self.information[since]))

    def visible(self, looks: int, risk: float) -> float:
        """Return the size of a fault that began so many looks ago, and that would be found now."""
        known = FAULT**2 * self.information[-looks]
        needed = 2 * (np.log(LOOKS / risk) + np.log(1 + known) / 2)
        return float(FAULT * np.sqrt(needed * (1 + known)) / max(known, 1e-12))


def taught(runs: list[pd.DataFrame]) -> Drift:
    """Return the mean drift of what the looks of runs leave possible, over a grid that is even in logarithms; each run
    is one draw of how far runs drift, so that few leave more open (Student's t beside a normal number)."""
    share, slope = (grid.ravel() ** 2 for grid in np.meshgrid(SHARES, SLOPES))
    gaps = [looks["gap"].to_numpy(float) for looks in runs]
    noises = [_scatter(gap) ** 2 for gap in gaps]
    slopes = [np.polyfit(np.log(looks["D"]), gap, 1)[0] for looks, gap in zip(runs, gaps, strict=True)]
    few = (student.ppf(0.975, len(runs)) / norm.ppf(0.975)) ** 2
    tilt = float(few * np.mean(np.square(slopes)))
    likelihoods = [
        Filter(looks, Drift(share, slope, tilt, noise), gap[0], noise**0.5).likelihood()
        for looks, gap, noise in zip(runs, gaps, noises, strict=True)
    ]
    weights = np.exp(sum(likelihoods) - logsumexp(sum(likelihoods)))
    return Drift(float(few * weights @ share), float(few * weights @ slope), tilt, float(np.mean(noises)))


def _scatter(y: Array) -> float:
    """Return the sd of a look by second differences, of which none counts for more than three sd."""
    squares = (y[2:] - 2 * y[1:-1] + y[:-2]) ** 2 / 6
    # the median of a squared normal number is .455
    return float(np.sqrt(np.mean(np.minimum(squares, 9 * np.median(squares) / 0.455)))) if len(squares) else 0.0
