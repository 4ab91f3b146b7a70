"""What to train for a compute, in one sentence: size, data, expected loss, and on what that rests.

    from isoflop.analysis.frontier.frontier import frontier

    print(frontier(read_runs("runs.csv"), target=[1e21]).decisions[0])
    # At 1e21 FLOPs: N 2.1B (2B to 2.3B), D 78B; expected loss 2.64 (2.61 to 2.66); 30 % more or less N costs 0.17 % ...

The size is the law's where it is identified, else that of the isoFLOP minima, else of the envelope. Its interval covers
both of law and minima, if they exist: the two err for different reasons (arXiv:2603.22339).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.frontier.isoflop_minima import BINS, BUDGETS, best_run, influence, power_through, spare_rows
from isoflop.analysis.holdout.predict import predict
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.declare import TRAIN
from isoflop.wording import count, number, percent, short

# a size by mistake this many times too large or too small
DETOUR = 1.3
# a share of the loss below which a decision names none
_LEAST = 1e-4
# a compute beyond the runs by less than this factor is among them
BEYOND = 1.05
# the end of an interval of N over its beginning from which it helps nobody to choose
WIDEST = 1e4


@dataclass(frozen=True)
class Approach:
    """N_opt = G C^a and D_opt ~ C^b by one approach.

    a           exponent of the best size
    b           exponent of the best amount of data
    G           the best size at C = 1 [parameters]; None where there is no power
    n_budgets   budgets that count
    reason      why there is no power, or what is weak; empty for a sound one
    bias_a      by how much a is off if the parametric law holds; None where that is not known
    half_size   half-width of the interval of ln N_opt at ln C; None where there is no interval
    """

    a: Estimate
    b: Estimate
    G: float | None
    n_budgets: int
    reason: str = ""
    bias_a: float | None = None
    half_size: Callable[[float], float] | None = None

    def size_at(self, C: float) -> Estimate:
        """Return the best size at compute C [FLOPs] with its interval."""
        N = self.N_opt(C)
        if N is None or self.half_size is None:
            return Estimate(N)
        half = self.half_size(float(np.log(C)))
        return Estimate(N, N * float(np.exp(-half)), N * float(np.exp(half)))

    def N_opt(self, C: float) -> float | None:
        """Return the best size at compute C [FLOPs]."""
        return None if self.G is None or self.a.value is None else self.G * C**self.a.value


def envelope(table: pd.DataFrame, level: float) -> Approach:
    """Fit a power through the best run of each bin of C; its interval is from the scatter about the line."""
    best = pd.DataFrame([best_run(part) for _, part in table.groupby(np.floor(np.log10(table["C"]) * BINS))])
    best = best[best["used"].astype(bool)]
    return _approach(best, None, len(best) - 2, level)


def through_minima(table: pd.DataFrame, budgets: pd.DataFrame, level: float) -> Approach:
    """Fit a power through the parabolas' vertices; its interval is from what every run adds to their errors."""
    used = budgets["used"].to_numpy(bool)
    parts = [part for (_, part), use in zip(table.groupby("budget"), used, strict=True) if use]
    return _approach(budgets[used], [influence(part) for part in parts], sum(map(spare_rows, parts)), level)


def _approach(minima: pd.DataFrame, influences: list[pd.DataFrame] | None, spare: int, level: float) -> Approach:
    power = power_through(minima, influences, spare, level)
    none = Estimate(None)
    if power is None:
        count = len(minima)
        have = "budget has" if count == 1 else "budgets have"
        return Approach(none, none, None, count, f"{count} {have} an interior minimum, a power needs {BUDGETS}")
    G, count = float(np.exp(power.ln_g)), len(minima)
    if power.half_a is None or power.half_b is None:
        few = "every parabola goes through all its points, so no interval"
        return Approach(Estimate(power.a), Estimate(power.b), G, count, few)
    a = Estimate(power.a, power.a - power.half_a, power.a + power.half_a)
    b = Estimate(power.b, power.b - power.half_b, power.b + power.half_b)
    return Approach(a, b, G, count, half_size=power.half_size)


@dataclass(frozen=True)
class Request:
    """What a frontier was asked.

    budgets   computes to decide for [FLOPs]; none for the largest that was run
    level     coverage of the intervals
    law_fit   the law of the parametric approach; None where there is none
    unit      the unit of the loss
    price     price of a FLOP; None where it does not matter
    """

    budgets: Sequence[float] = ()
    level: float = 0.95
    law_fit: Fit | None = None
    unit: str = ""
    price: float | None = None


@dataclass(frozen=True)
class Decision:
    """The size and data to train for a compute.

    C        training compute [FLOPs]
    N        the best size with its interval [parameters]
    D        the data that C then pays for [targets]; its bounds go with those of N in reverse
    L        the loss to expect of a new run, with its band; None where no law is identified
    detour   relative rise of the loss with N DETOUR times too large or too small; None where no law is identified
    beyond   C over the largest C of the runs
    by       what the size rests on: law, isoflop or envelope
    reason   why there is no size, or why there is no loss; empty where there are both
    unit     the unit of the loss, as in "nats per target"; empty where it is unknown
    saving   with tokens to be served: the size and data that reach the same loss for the least compute in all, and the
             share that this saves
    below    the smallest C of the runs, over C
    money    what C costs, by the price and the speed that were given
    """

    C: float
    N: Estimate
    D: Estimate
    L: Estimate
    detour: float | None
    beyond: float
    by: str
    reason: str = ""
    unit: str = ""
    saving: dict[str, float] | None = None
    money: float | None = None
    below: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the decision as a document."""
        return vars(self) | {name: vars(getattr(self, name)) for name in ("N", "D", "L")}

    def __str__(self) -> str:
        if self.N.value is None:
            return f"At {short(self.C)} FLOPs no size can be chosen: {self.reason}."
        said = [f"N {_sizes(self.N)}", f"D {_sizes(self.D)}"]
        text = f"At {short(self.C)} FLOPs: {', '.join(said)}"
        if self.L.value is not None:
            band = "" if self.L.low is None else f" ({self.L.low:.3f} to {self.L.high:.3f})"
            text += f"; expected loss {self.L.value:.3f}{band}{f' {self.unit}' * bool(self.unit)}"
        if self.detour is not None:
            cost = f"up to {percent(self.detour, 2)}" if self.detour > _LEAST else f"less than {percent(_LEAST, 2)}"
            text += f"; {percent(DETOUR - 1, 0)} more or less N costs {cost} of the loss"
        text += f"; {self._rests()}."
        if self.reason:
            text += f"\nNo loss is predicted: {self.reason}."
        if self.money is not None:
            text += f"\nTraining costs {self.money:,.2f} in the currency of the price."
        if self.saving is not None:
            served, N, D = (count(self.saving[name]) for name in ("tokens", "N", "D"))
            text += f"\nWith {served} tokens served, N {N} and D {D} reach the same loss for "
            text += f"{percent(self.saving['saved'], 0)} less compute in all."
        return text

    def _rests(self) -> str:
        what = {"law": "by the law", "isoflop": "by the isoFLOP minima", "envelope": "by the envelope of the runs"}
        where = "within the C of the runs"
        if self.beyond > BEYOND:
            where = f"on an extrapolation to {number(self.beyond)} times the largest C of the runs"
        if self.below > BEYOND:
            where = f"on an extrapolation to {number(self.below)} times below the smallest C of the runs"
        return f"{what[self.by]}, {where}"


def decide(request: Request, approaches: dict[str, Any], C: float, run: tuple[float, float]) -> Decision:
    """Return the decision for a compute C [FLOPs], from the Approach of `envelope`, `isoflop` and `parametric`, and the
    smallest and largest C that was run."""
    beyond, below = C / run[1], run[0] / C
    law_fit, level = request.law_fit, request.level
    sizes = {"isoflop": approaches["isoflop"].size_at(C), "envelope": approaches["envelope"].size_at(C)}
    law = law_fit if law_fit is not None and law_fit.splits else None
    if law is not None:
        curve = law.curve("N_opt", C, level).iloc[0]
        sizes["law"] = Estimate(*(float(curve[side]) for side in ("value", "low", "high")))
    money = None if request.price is None else C * request.price
    bounded = {name: size for name, size in sizes.items() if size.low is not None and size.high is not None}
    known = {name: size for name, size in bounded.items() if (size.high or 0.0) < WIDEST * (size.low or 0.0)}
    # the envelope is biased: it stands in for what is missing, not for what is wide
    order = ("law", "isoflop") if {"law", "isoflop"} & set(bounded) else ("envelope",)
    by = next((name for name in order if name in known), "")
    wide = f"the best size is not known to a factor of {WIDEST:g}"
    weak = approaches["parametric"].reason or (wide if "law" in bounded else "the law is not identified")
    if not by:
        none = Estimate(None)
        reason = f"{approaches['isoflop'].reason or f'by the minima, {wide}'}; by the law, {weak}"
        return Decision(C, none, none, none, None, beyond, "", reason, below=below)
    counted = [known[name] for name in ({"law", "isoflop"} & set(known) or {by})]
    low, high = min(x.low or 0.0 for x in counted), max(x.high or 0.0 for x in counted)
    size = known[by].value or 0.0
    N, D = Estimate(size, low, high), Estimate(*(C / TRAIN / x for x in (size, high, low)))
    if law is None:
        return Decision(C, N, D, Estimate(None), None, beyond, by, weak, money=money, below=below)
    L = predict(law, {"C": C, "N": size}, level)[law.law.target]
    return Decision(C, N, D, L, _detour(law, C), beyond, by, unit=request.unit, money=money, below=below)


def _detour(law: Fit, C: float) -> float:
    """Return by which share the loss rises with a size DETOUR times too large or too small, the worse of the two."""
    N, D = (float(law.law.curve(name, C, law.values)) for name in ("N_opt", "D_opt"))
    losses = [float(law.law(N * factor, D / factor, **law.values)) for factor in (1.0, DETOUR, 1 / DETOUR)]
    return float(np.max(losses[1:]) / losses[0] - 1)


def _sizes(size: Estimate) -> str:
    bounds = "" if size.low is None or size.high is None else f" ({count(size.low)} to {count(size.high)})"
    return f"{count(size.value or 0.0)}{bounds}"
