"""Quantities that a claim may name: one function each, entered by name, from the runs of one subject to a number.

A quantity is a number with an interval, and checks that must hold beside it. It says no verdict: that is the region's.

    @quantity(percent=True)
    def holdout_error(study: Study) -> Measured: ...

    QUANTITIES["holdout_error"](Study(runs, law="power_offset(D)", axis="D", level=0.9)).high
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from isoflop import extensions
from isoflop.analysis.claims.region import Region
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit, FitError
from isoflop.analysis.tables.replicates import SeedNoise, level_index, points, seed_noise
from isoflop.analysis.testing.backtest import Backtest, Fold, backtest
from isoflop.wording import number, percent


@dataclass(frozen=True)
class Study:
    """What a quantity is asked: the runs of one subject (a family, or the two families of a pair) and how to look."""

    runs: pd.DataFrame
    law: str = ""
    axis: str = ""
    of: str = ""
    pair: tuple[str, ...] = ()
    level: float = 0.95
    region: Region | None = None
    memory: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A condition beside the number: held (True), failed (False), or not to be told from these runs (None)."""

    held: bool | None
    text: str


@dataclass(frozen=True)
class Measured:
    """A number, its interval (None: a bound that does not exist), the seed noise it was set against, and its checks."""

    value: float
    low: float | None
    high: float | None
    seed_sd: float | None = None
    checks: tuple[Check, ...] = ()
    reason: str = ""


class NotIdentified(Exception):  # noqa: N818 an outcome, not an error
    """The runs cannot say what the quantity is; the message is the reason."""


class NotThere(Exception):  # noqa: N818 an outcome, not an error
    """The runs that the quantity reads are not there; the message says which."""


# budgets are rounded up to whole steps: compute is matched where it differs by no more than this
MATCHED = 0.05
Quantity = Callable[[Study], Measured]
QUANTITIES: dict[str, Quantity] = {}


# quantities that are differences of ln L and are shown in per cent
PERCENT: set[str] = set()


def quantity(*, percent: bool = False) -> Callable[[Quantity], Quantity]:
    """Enter a function under its name; the first line of its docstring is what the report prints."""

    def enter(function: Quantity) -> Quantity:
        QUANTITIES[function.__name__] = function
        if percent:
            PERCENT.add(function.__name__)
        return function

    return enter


@quantity(percent=True)
def holdout_error(study: Study) -> Measured:
    """largest |ln(predicted / observed)| at the held-out largest size

    The prediction is fixed before the largest size is looked at, so what is uncertain is the expected loss there: it is
    known from n seeds to t σ_seed / √n. With several cells at the largest size the interval holds for the worst of them
    (Bonferroni over cells). Three checks belong to it: prediction intervals that cover, a line without E that does no
    better, and a loss that falls by more than the tolerance, since without a gain there is none to predict.
    """
    noise = seed_noise(study.runs)
    if noise.sd is None:
        raise NotThere("no cell has two seeds, so the seed noise is unknown")
    gain = _gain(study, study.region.band(noise.sd) if study.region else 0.0)
    test: Backtest = _remember(study, "backtest", lambda: backtest(study.runs, study.law, axis=study.axis))
    last = test.last
    if last.status in ("refused", "not_identified"):
        raise NotIdentified(last.reason if last.status == "refused" else f"{study.law}: {last.reason}")
    cells = _cell_errors(last, "error")
    half = stats.t.ppf(1 - (1 - study.level) / 2 / len(cells), noise.df) * noise.sd / np.sqrt(cells["n"])
    size = cells["error"].abs()
    place = int(size.to_numpy().argmax())
    worst = cells.iloc[place]
    checks = (gain, _covers(test), _no_better_line(last, noise))
    top = last.errors[study.axis].max()
    off = f"{percent(abs(math.expm1(worst['error'])), 2)} too {'high' if worst['error'] > 0 else 'low'}"
    seeds = f"{worst['n']:.0f} seed{'s' if worst['n'] > 1 else ''}"
    known = percent(float(half.iloc[place]), 2)
    reason = (
        f"from {study.axis} up to {number(last.cut)} ({last.n_runs} runs, fit {last.status.replace('_', ' ')}) "
        f"the loss at {number(top)} is predicted {off}; with {seeds} there it is known to ±{known} "
        f"(seed noise {percent(noise.sd, 2)})"
    )
    low, high = float((size - half).clip(lower=0).max()), float((size + half).max())
    return Measured(float(size.max()), low, high, noise.sd, checks, reason)


@quantity(percent=True)
def loss_contrast(study: Study) -> Measured:
    """mean Δ ln L between two families at matched compute

    Pairs of runs with equal (data, seed, rung); a rung counts once, as the mean over its seeds, and the t interval is
    over rungs: it speaks of ladders like this one and is as wide as the difference varies along it.
    """
    table: pd.DataFrame = _remember(study, "pairs", lambda: paired(study.runs, study.pair))
    by_rung = table.groupby("rung", sort=False).agg(C=("C", "first"), delta=("delta", "mean")).sort_values("C")
    if len(by_rung) < 3:
        raise NotThere(
            f"{len(by_rung)} rungs are shared by {' and '.join(study.pair)} at matched C, at least 3 are needed"
        )
    value, se = float(by_rung["delta"].mean()), float(by_rung["delta"].std() / math.sqrt(len(by_rung)))
    half = float(stats.t.ppf((1 + study.level) / 2, len(by_rung) - 1)) * se
    noise = _remember(study, "noise", lambda: pooled([seed_noise(part) for _, part in study.runs.groupby("family")]))
    ends = by_rung["delta"].groupby(level_index(by_rung["C"])).mean().iloc[[0, -1]]
    first, last = (percent(math.expm1(end), signed=True) for end in ends)
    reason = f"{first} at the smallest C, {last} at the largest ({len(table)} pairs on {len(by_rung)} rungs"
    reason += ")" if noise.sd is None else f", seed noise {percent(noise.sd, 2)})"
    return Measured(value, value - half, value + half, noise.sd, reason=reason)


@quantity()
def law_parameter(study: Study) -> Measured:
    """a parameter of the fitted law, or a quantity derived from it"""
    fitted = _identified(fit(points(study.runs), study.law, level=study.level))
    found = {**fitted.params, **fitted.derived}
    if study.of not in found:
        raise NotThere(f"law {study.law} has no {study.of}; it has {', '.join(found)}")
    estimate = found[study.of]
    if estimate.value is None:
        raise NotIdentified(f"{study.law} gives no {study.of}: {fitted.reason}")
    return Measured(estimate.value, estimate.low, estimate.high, reason=f"{study.law} on {fitted.n_runs} runs")


@quantity()
def law_contrast(study: Study) -> Measured:
    """difference of a parameter of the law between two families

    Runs paired on (data, seed, rung); the interval is the delete-one-pair jackknife with t on pairs − 1.
    """
    value, replicates = _remember(study, "jackknife", lambda: _paired_jackknife(study))
    if study.of not in value:
        raise NotThere(f"law {study.law} has no {study.of}; it has {', '.join(value)}")
    n = len(replicates)
    deltas = np.array([r[study.of] for r in replicates])
    se = math.sqrt((n - 1) / n * float(((deltas - deltas.mean()) ** 2).sum()))
    half = float(stats.t.ppf((1 + study.level) / 2, n - 1)) * se
    return Measured(value[study.of], value[study.of] - half, value[study.of] + half, reason=f"{n} pairs of runs")


@quantity()
def run_mean(study: Study) -> Measured:
    """mean over runs of a measured column"""
    rows = points(study.runs)
    if study.of not in rows or rows[study.of].isna().all():
        raise NotThere(f"no run has a value in the column {study.of}")
    values = rows.groupby("run_id")[study.of].mean() if "run_id" in rows else rows[study.of]
    n = len(values)
    mean = float(values.mean())
    if n < 2:
        return Measured(mean, None, None, reason="1 run")
    half = float(stats.t.ppf((1 + study.level) / 2, n - 1) * values.std() / math.sqrt(n))
    return Measured(mean, mean - half, mean + half, reason=f"{n} runs")


def paired(runs: pd.DataFrame, pair: tuple[str, ...]) -> pd.DataFrame:
    """Runs of two families joined on (data, seed, rung), C matched: delta = ln L of the first less the second."""
    key = ["data", "seed", "rung", *(["mark"] if "mark" in runs and runs["mark"].notna().any() else [])]
    absent = [c for c in (*key, "C") if c not in runs or runs[c].isna().all()]
    if absent:
        raise NotThere(f"no values in the column {', '.join(absent)}, by which runs are paired")
    rows = points(runs)
    one, two = (rows[rows["family"] == name].groupby(key).agg(L=("L", "mean"), C=("C", "mean")) for name in pair)
    both = pd.merge(one.reset_index(), two.reset_index(), on=key, suffixes=("_one", "_two"))
    both = both[np.abs(np.log(both["C_one"] / both["C_two"])) <= math.log1p(MATCHED)]
    return both.assign(delta=np.log(both["L_one"]) - np.log(both["L_two"]), C=np.sqrt(both["C_one"] * both["C_two"]))


def pooled(noises: list[SeedNoise]) -> SeedNoise:
    """Seed noise of several groups as one, weighted by degrees of freedom."""
    df = sum(n.df for n in noises)
    cells = pd.concat([n.cells for n in noises], ignore_index=True)
    if df == 0:
        return SeedNoise(None, 0, cells)
    return SeedNoise(math.sqrt(sum(n.df * n.sd**2 for n in noises if n.sd is not None) / df), df, cells)


def _remember(study: Study, key: str, make: Callable[[], Any]) -> Any:
    """What does not depend on level or parameter is made once for a subject."""
    if key not in study.memory:
        study.memory[key] = make()
    return study.memory[key]


def _cell_errors(fold: Fold, column: str) -> pd.DataFrame:
    """Mean error of each held-out cell (one N and D), and its number of runs."""
    key = [c for c in ("N", "D", "C") if c in fold.errors]
    grouped = fold.errors.groupby(key)[column]
    return pd.DataFrame({"error": grouped.mean(), "n": grouped.count()}).reset_index()


def _gain(study: Study, tolerance: float) -> Check:
    """Whether the loss falls along the axis by more than the tolerance."""
    rows = points(study.runs)
    loss = rows.assign(ln_L=np.log(rows["L"])).groupby(study.axis)["ln_L"].mean().sort_index()
    fall = float(loss.iloc[0] - loss.iloc[-1])
    if fall <= tolerance:
        raise NotIdentified(
            f"the loss falls by {percent(fall, 2)} over the range of {study.axis}, no more than the tolerance of "
            f"{percent(tolerance, 2)}: there is no gain to predict"
        )
    return Check(True, f"the loss falls by {percent(-math.expm1(-fall), 0)} over the range")


def _covers(test: Backtest) -> Check:
    """At least 80 % of held-out losses inside their 90 % interval; failed only where chance (5 %) is no explanation.

    The losses of one hold-out stand on one fit and miss together, so chance counts hold-outs and not losses.
    """
    inside, known = test.coverage
    if not known:
        return Check(None, "no prediction interval exists for any hold-out")
    within = f"their {percent(test.level, 0)} interval over {len(test.folds)} hold-outs"
    text = f"{inside} of {known} held-out losses inside {within}"
    if inside >= 0.8 * known:
        return Check(True, text)
    rows = test.rows.assign(hit=lambda r: (r["low"] <= r["L"]) & (r["L"] <= r["high"]))
    shares = rows[rows["low"].notna() & rows["high"].notna()].groupby("cut")["hit"].mean()
    chance = float(stats.binom.cdf((shares >= 0.8).sum(), len(shares), test.level))
    return Check(False if chance < 0.05 else None, f"{text} (80 % are asked for)")


def _no_better_line(fold: Fold, noise: SeedNoise) -> Check:
    """The law predicts no worse than the straight line without E by more than two seed standard deviations."""
    law, line = (float(_cell_errors(fold, c)["error"].abs().max()) for c in ("error", "error_line"))
    held = law - line <= 2 * (noise.sd or 0.0)
    return Check(held, f"the straight line without E is {percent(line, 2)} off")


def _identified(fitted: Fit) -> Fit:
    """The fit, or NotIdentified with its reason."""
    if fitted.status in ("not_identified", "starts_disagree", "at_bound"):
        raise NotIdentified(f"the fit is {fitted.status}: {fitted.reason}")
    return fitted


def _paired_jackknife(study: Study) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Difference of every parameter between the two families, on all pairs and with each pair left out."""
    table = paired(study.runs, study.pair)
    keys = pd.MultiIndex.from_frame(table[["data", "seed", "rung"]])
    rows = points(study.runs)
    rows = rows[pd.MultiIndex.from_frame(rows[["data", "seed", "rung"]]).isin(keys)]
    mine = pd.MultiIndex.from_frame(rows[["data", "seed", "rung"]])
    families: list[NDArray[np.bool_]] = [(rows["family"] == name).to_numpy() for name in study.pair]

    def difference(keep: NDArray[np.bool_]) -> dict[str, float]:
        one, two = (fit(rows[mask & keep], study.law, interval="none") for mask in families)
        return {name: one.values[name] - two.values[name] for name in one.values}

    for name, mask in zip(study.pair, families, strict=True):
        try:
            _identified(fit(rows[mask], study.law))
        except NotIdentified as outcome:
            raise NotIdentified(f"{name}: {outcome}") from None
        except FitError as error:
            raise NotIdentified(f"{name}: {error}") from None
    everything = np.ones(len(rows), dtype=bool)
    return difference(everything), [difference(~(mine == key)) for key in keys.unique()]


extensions.load("quantities")
