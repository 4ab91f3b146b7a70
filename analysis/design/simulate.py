"""Simulate what a ladder of runs could resolve, before any money is spent: fits of many studies drawn from a stated
truth.

    truth = Truth.assumed(rows)                        # rows: N, D, C, run_id of one family's planned runs
    print(resolve(rows, truth, target_C=1e22))
    # L(N, D) = E + A N^-alpha + B D^-beta, assumed: alpha 0.34 and beta 0.37, ...; noise 0.50 %
    #   alpha  0.34 ± 0.022         sd 0.011     an interval in 30 of 30
    #   two families differ measurably where alpha differs by 0.043 (95% two-sided, power 80%)
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.arguments import Settings
from isoflop.analysis.design.assumed_law import Truth, best_split, planned
from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.declare import Law
from isoflop.analysis.runs.runs import as_runs
from isoflop.errors import FitError, UserError
from isoflop.wording import percent

# the fewest studies that estimate a spread: its own standard error is then a fifth (1 / sqrt(2 n))
FEWEST = 12
# studies at most, and the time after which no more are begun [s]
STUDIES, SECONDS = 100, 4.0
# of a bootstrap: its half-widths scatter by a twentieth (1 / sqrt(2 n)), little beside that between studies
RESAMPLES = 200
# 80 % power is the custom since Cohen 1988, Statistical Power Analysis; normal quantiles of .975 and .8
POWER = 0.8
# fields that are plain values
SAME = ("n_rows", "n_runs", "studies", "seconds", "level", "loss", "statuses", "reason")
# a half-width of a logarithm beyond which a share no longer stands for a factor (e^.2 is 1.22)
LARGE = 0.2


@dataclass(frozen=True)
class Resolved:
    """One quantity over the studies.

    truth        its true value
    half_width   the median half-width of its interval; None where most studies have none
    sd           the standard deviation of its estimates
    intervals    in how many studies it has an interval
    relative     whether half-width and sd are of the logarithm, so that 0.01 is 1 %
    """

    truth: float
    half_width: float | None
    sd: float | None
    intervals: int
    relative: bool = False


@dataclass(frozen=True, repr=False)
class Resolution:
    """What a design resolves.

    truth        what the studies are drawn from
    n_rows       planned rows
    n_runs       runs they belong to
    studies      simulated studies
    seconds      that they took
    level        coverage of the intervals
    loss         what the fits minimise
    C            the budget that is asked for [FLOPs]
    statuses     how many studies ended with each status
    quantities   the law's parameters and derived quantities, and for a budget its L_opt, N_opt, D_opt
    reason       why the design resolves nothing, in one sentence; empty where it does
    """

    truth: Truth
    n_rows: int
    n_runs: int
    studies: int = 0
    seconds: float = 0.0
    level: float = 0.95
    loss: str = "huber(0.001)"
    C: float | None = None
    statuses: Mapping[str, int] = field(default_factory=dict)
    quantities: Mapping[str, Resolved] = field(default_factory=dict)
    reason: str = ""

    @property
    def delta_alpha(self) -> float | None:
        """The smallest difference in alpha that two such families can show, two-sided at the level, for two independent
        fits: (z of level + z of power) sqrt(2) sd; None where most studies have no interval."""
        from scipy.special import ndtri

        alpha = self.quantities.get("alpha")
        if alpha is None or alpha.sd is None or alpha.half_width is None:
            return None
        return float((ndtri(0.5 + self.level / 2) + ndtri(POWER)) * np.sqrt(2) * alpha.sd)

    def to_json(self) -> dict[str, Any]:
        document = {name: getattr(self, name) for name in SAME} | {"statuses": dict(self.statuses)}
        document |= {"truth": vars(self.truth) | {"params": dict(self.truth.params)}, "target_C": self.C}
        document["quantities"] = {name: vars(resolved) for name, resolved in self.quantities.items()}
        return document | {"delta_alpha": self.delta_alpha}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Resolution":
        """Read a resolution from the plain values of `to_json`."""
        quantities = {name: Resolved(**resolved) for name, resolved in document["quantities"].items()}
        known = {name: document[name] for name in SAME}
        return cls(Truth(**document["truth"]), C=document["target_C"], quantities=quantities, **known)

    def __str__(self) -> str:
        lines = [f"{self.truth.form.formula}, {self.truth.source}"]
        counts = ", ".join(f"{n} {status}" for status, n in self.statuses.items())
        done = f"{self.studies} simulations in {self.seconds:.1f} s, fitted by {self.loss}: {counts}"
        lines.append(f"  {self.n_rows} rows of {self.n_runs} runs" + (f"; {done}" if self.studies else ""))
        width = max(map(len, self.quantities), default=0)
        for name, resolved in self.quantities.items():
            sd = f"sd {_shown(resolved.sd, resolved.relative)}"
            lines.append(
                f"  {name:<{width}}  {_between(resolved):<20} {sd:<12} "
                f"an interval in {resolved.intervals} of {self.studies}"
            )
        if self.C is not None:
            names = ", ".join(name for name in self.quantities if name.endswith("_opt"))
            lines.append(f"  {names or 'L_opt'}: at C={self.C:.3g}; % and ×÷ are relative")
        if self.delta_alpha is not None:
            difference = f"alpha differs by {self.delta_alpha:.2g} ({self.level:.0%} two-sided, power {POWER:.0%})"
            lines.append(f"  two families differ measurably where {difference}")
        return "\n".join(lines + ([f"  {self.reason}"] if self.reason else []))

    __repr__ = __str__


def resolve(
    rows: pd.DataFrame,
    truth: Truth,
    *,
    target_C: float | None = None,
    studies: int = STUDIES,
    seconds: float = SECONDS,
    seed: int = 0,
    **settings: Any,
) -> Resolution:
    """Simulate studies of the planned rows of one family, fit each, and return what they resolve.

    `rows` has the columns of the law and run_id, which the marks of a run share (without it every row is a run).
    Studies are made until there are `studies`, or until `seconds` are over and FEWEST are there; the same seed and
    number give the same result, whatever the order of the rows. `settings` are those of `fit` (loss, delta, interval,
    level, resamples: 200 here). UserError for a column that is missing, or a law that has no best split of target_C.
    """
    table, settings = planned(rows, truth.form), {"resamples": RESAMPLES} | settings
    if target_C is not None and best_split(truth.form, target_C, truth.params) is None:
        raise UserError(f"{truth.law} has no best split of target_C={target_C:g}; leave it out or choose chinchilla")
    options = Settings(**settings)
    options.check_names(truth.form)  # a setting that cannot be is refused, and does not count as a failed study
    loss = f"{options.loss}({options.delta:g})" if "huber" in options.loss else options.loss
    base = Resolution(truth, len(table), as_runs(table).count, level=options.level, loss=loss, C=target_C)
    free = len(truth.form.params) - len({**(settings.get("pin") or {}), **(settings.get("prior") or {})})
    if len(table) < free:
        need = f"{truth.law} has {free} parameters and needs at least as many rows"
        return replace(base, reason=f"{len(table)} rows are planned: {need}; add runs or choose a smaller law")
    begun, simulations = time.perf_counter(), list[_Study]()
    for i in range(studies):
        simulations.append(_study(table, base, np.random.default_rng([seed, i]), settings))
        if i + 1 >= FEWEST and time.perf_counter() - begun > seconds:
            break
    done = replace(base, studies=len(simulations), seconds=time.perf_counter() - begun, reason=_reason(simulations))
    statuses = dict(Counter(str(s.status) for s in simulations).most_common())
    return replace(done, statuses=statuses, quantities=_spread(base, simulations))


class _Study(NamedTuple):
    """One study.

    status   of its fit
    reason   why the status, or why there is no interval
    sides    of each quantity the estimate, or its logarithm, and the half-width of its interval, NaN and infinite where
             there is none
    """

    status: FitStatus
    reason: str
    sides: Mapping[str, tuple[float, float]]


def _study(table: pd.DataFrame, base: Resolution, rng: np.random.Generator, settings: Mapping[str, Any]) -> _Study:
    """Draw the losses of one study, and fit them."""
    truth = base.truth
    try:
        result = fit(table.assign(**{truth.form.target: truth.draw(table, rng)}), truth.form, **settings)
    except FitError as error:
        return _Study(FitStatus.REFUSED, str(error), {})
    estimates = result.params | result.derived | _at_budget(result, base.C)
    relative = _relative(truth.form)
    sides = {name: _sides(e, name not in relative, result.status) for name, e in estimates.items()}
    return _Study(result.status, result.reason or result.no_interval, sides)


def _at_budget(result: Fit, target_C: float | None) -> dict[str, Estimate]:
    """Return the best split of the budget and its loss, by the fit."""
    law = result.law
    if target_C is None:
        return {}
    names = [f"{name}_opt" for name in law.arguments if f"{name}_opt" in law.curves]

    def loss(**p: Any) -> Any:
        return law(*(best_split(law, target_C, p) or ()), **p)

    estimates = {"L_opt": result.quantity(loss, log=True)}
    for name in names:
        estimates[name] = result.quantity(lambda name=name, **p: law.curve(name, target_C, p), log=True)
    return estimates


def _sides(estimate: Estimate, linear: bool, status: str) -> tuple[float, float]:
    """Return the estimate and its half-width, of logarithms where not linear; none that claims would refuse."""
    value, low, high = (np.nan if x is None else float(x) for x in (estimate.value, estimate.low, estimate.high))
    if not linear:
        value, low, high = (np.log(x) if x > 0 else np.nan for x in (value, low, high))
    half = (high - low) / 2 if status == FitStatus.CONVERGED else np.nan
    return value, half if np.isfinite(half) else np.inf


def _spread(base: Resolution, studies: list[_Study]) -> dict[str, Resolved]:
    law, params = base.truth.form, dict(base.truth.params)
    true = params | {name: float(value) for name, value in law.derive(params).items()}
    if base.C is not None:
        split = best_split(law, base.C, params) or []
        true |= {"L_opt": float(law(*split, **params))}
        true |= {f"{name}_opt": float(x) for name, x in zip(law.arguments, split, strict=True)}
    out = {}
    for name in next((study.sides for study in studies if study.sides), {}):
        values, halves = np.array([study.sides.get(name, (np.nan, np.inf)) for study in studies]).T
        known, half = values[np.isfinite(values)], float(np.median(halves))
        out[name] = Resolved(
            true[name],
            half if np.isfinite(half) else None,
            float(known.std(ddof=1)) if len(known) > 1 else None,
            int(np.isfinite(halves).sum()),
            name in _relative(law),
        )
    return out


def _relative(law: Law) -> set[str]:
    """Return the quantities whose spread is that of their logarithm."""
    return {name for name, kind in law.params.items() if kind.log} | {"L_opt", "N_opt", "D_opt"}


def _reason(studies: list[_Study]) -> str:
    """Return why the design resolves little, where fewer than half of the studies have any interval."""
    without = [s for s in studies if not any(np.isfinite(half) for _, half in s.sides.values())]
    if 2 * len(without) <= len(studies):
        return ""
    status = Counter(s.status for s in without).most_common(1)[0][0]
    reason = next(s.reason for s in without if s.status == status)
    return f"{len(without)} of {len(studies)} studies have no interval, such as one that is {status}: {reason}"


def _between(resolved: Resolved) -> str:
    """Return the true value and the half-width: a number, a share, or a factor where it is large."""
    half = _shown(resolved.half_width, resolved.relative)
    return f"{resolved.truth:.4g} " + (half if half.startswith("×") else f"± {half}")


def _shown(spread: float | None, relative: bool) -> str:
    if spread is None:
        return "-"
    if not relative:
        return f"{spread:.2g}"
    if spread > LARGE:
        return f"×÷ {np.exp(spread):.3g}" if spread < np.log(1e3) else "×÷ >1000"
    return percent(spread, 1 if spread >= 0.01 else 2)
