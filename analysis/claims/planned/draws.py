"""Simulated results of planned runs, in which a rule's quantity has a stated value and a stated spread.

A drawer fills in the columns that a quantity reads: `effect` is the value that the quantity then has on average,
`noise` the standard deviation between runs. A quantity without a drawer has no power.

    rng = np.random.default_rng(0)
    rule = Rule("run_mean", Region(above=0), of=("probe.x",), effect=1.0, noise=0.1)
    drawn(runs, rule, rng)["probe.x"].mean()      # about 1
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.claims.quantities.cells import DERIVED
from isoflop.analysis.claims.quantities.tuning import AS_GOOD
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.subjects import is_value
from isoflop.analysis.design.assumed_law import Truth
from isoflop.analysis.laws.catalogue import get_law
from isoflop.analysis.runs.rows import joined
from isoflop.analysis.runs.runs import as_runs
from isoflop.errors import UserError

Array = NDArray[np.float64]
Columns = Mapping[str, Any]
Drawer = Callable[[pd.DataFrame, Rule, Array, np.random.Generator], Columns]
# a loss, its floor and its exponent in compute, such as small runs have
LOSS, FLOOR, EXPONENT = 3.0, 1.5, 0.1


def drawn(rows: pd.DataFrame, rule: Rule, rng: np.random.Generator) -> pd.DataFrame:
    """Draw results for planned rows in which the quantity has the rule's effect; UserError where that cannot be."""
    if rule.effect is None:
        raise UserError("it states no effect:, the value of its quantity that power is computed for")
    if rule.quantity not in DRAWERS:
        raise UserError(f"no studies are drawn for quantity={rule.quantity}")
    first = np.ones(len(rows))
    for column, (one, _) in rule.compare.items():
        if column not in rows:
            raise UserError(f"its runs have no column {column}")
        first = first * is_value(rows, column, one).to_numpy(float)
    results: dict[str, Any] = {"status": "ok", "L": LOSS}
    results |= DRAWERS[rule.quantity](rows, rule, first, rng)
    return rows.assign(**results)


def _by_run(rows: pd.DataFrame, rng: np.random.Generator, noise: float) -> Array:
    """Draw a normal number for each run, the same at all of its marks."""
    numbered = as_runs(rows)
    runs, count = numbered.codes, numbered.count
    return np.asarray(rng.normal(0, noise, count)[runs])


def _column(rule: Rule, rows: pd.DataFrame, values: Array) -> Columns:
    """Return the measured columns with these values; for a drop, 0 after the first mark."""
    if rule.marks == "drop" and "mark" in rows:
        start = rows["mark"] == rows.groupby("run_id")["mark"].transform("min")
        values = np.where(start, np.maximum(values, 0.0), 0.0)
    less = {rule.less: 0.0} if rule.less else {}
    return {**dict.fromkeys(rule.of, values), **less, **_sources(rule)}


def _sources(rule: Rule) -> Columns:
    """Return the sources of derived columns that planned rows lack."""
    return {source: 1.0 for name in rule.of if name in DERIVED for source in DERIVED[name][0] if source == "floor"}


def mean(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
    """Draw numbers about the effect; of a pair, about 0 in its second."""
    effect = rule.effect or 0.0
    return _column(rule, rows, effect * first + _by_run(rows, rng, rule.noise or 0.0))


def factor(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
    """Draw positive numbers about the effect, with the spread in their logarithm; of a pair, about 1 in its second."""
    effect = math.log(rule.effect or 1.0) if (rule.effect or 0.0) > 0 else 0.0
    return _column(rule, rows, np.exp(effect * first + _by_run(rows, rng, rule.noise or 0.0)))


def ratio(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
    """Draw the effect in the first of a pair, with the spread, and 1 in its second."""
    about = (rule.effect or 0.0) + _by_run(rows, rng, rule.noise or 0.0)
    return _column(rule, rows, np.where(first > 0, about, 1.0))


def share(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
    """Draw runs of which the share `effect` exceeds the threshold."""
    numbered = as_runs(rows)
    runs, count = numbered.codes, numbered.count
    above = rng.random(count)[runs] < (rule.effect or 0.0)
    return _column(rule, rows, (rule.threshold or 0.0) + np.where(above, 1.0, -1.0))


def sloped(logarithm: bool) -> Drawer:
    """Return a drawer of a column, or of its logarithm, that is linear in the logarithm of another."""

    def draw(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
        x = _positive(rows, rule.against)
        y = (rule.effect or 0.0) * first * x + _by_run(rows, rng, rule.noise or 0.0)
        return _column(rule, rows, np.exp(y) if logarithm else y)

    return draw


def correlated(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
    """Draw two columns of that correlation."""
    r = rule.effect or 0.0
    one, two = _by_run(rows, rng, 1.0), _by_run(rows, rng, 1.0)
    # well above 0, so that a drop is what was drawn
    return {**_column(rule, rows, 10 + one), rule.against: r * one + math.sqrt(1 - r * r) * two}


def price(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
    """Draw a column that falls along the axis to the value at its middle, shifted by the effect."""
    ((column, goal),) = rule.reach.items()
    x = _positive(rows, rule.axis)
    shift = (rule.effect or 0.0) * first
    if rule.against:
        shift = shift * _positive(rows, rule.against)
    elif rule.compare:
        shift = shift - (rule.effect or 0.0) / 2  # half before the middle and half behind it
    middle = (x.min() + x.max()) / 2 + shift - (shift.min() + shift.max()) / 2
    # the curve of a seed moves as one
    key = [c for c in ("seed", *rule.compare, rule.against) if c in rows]
    curve = joined(rows, key)
    codes, names = pd.factorize(curve)
    late = middle + rng.normal(0, rule.noise or 0.0, len(names))[codes]
    return {column: goal * np.exp(-(x - late)), **({"floor": 1.0} if column in DERIVED else {})}


def equal(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
    """Draw losses along an axis; those of the first differ by the effect."""
    x = _positive(rows, rule.axis)
    noise = _by_run(rows, rng, rule.noise or 0.0)
    return {"L": LOSS * np.exp(-EXPONENT * (x - x.mean()) + (rule.effect or 0.0) * first + noise)}


def matched(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
    """Draw losses along C; those of the first family in alphabetical order differ by the effect from all others."""
    one = first if rule.compare else (rows["family"] == rows["family"].min()).to_numpy(float)
    return equal(rows, replace(rule, axis="C"), one, rng)


def curves(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
    """Draw curves of runs over their marks that differ between sizes by the effect and between seeds by the noise."""
    sizes, codes = np.unique(rows["N"].to_numpy(float), return_inverse=True)
    off = rng.normal(0, rule.effect or 0.0, len(sizes))[codes] + _by_run(rows, rng, rule.noise or 0.0)
    C = rows["C"].to_numpy(float)
    end = rows.groupby("run_id")["C"].transform("max").to_numpy(float)
    return {"L": FLOOR + (C / C.max()) ** -EXPONENT * np.exp(np.where(end > C, off, 0.0)), "floor": FLOOR}


def window(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
    """Draw losses that are a parabola of log lr, as wide as the effect at 1 % above its minimum."""
    x = np.log10(rows["lr"].to_numpy(float))
    foot = (x.min() + x.max()) / 2 + _by_run(rows, rng, 0.0)
    wide = max((rule.effect or 1.0) * (1 + rng.normal(0, rule.noise or 0.0)), 1e-3)
    return {"L": LOSS * np.exp(AS_GOOD * ((x - foot) / (wide / 2)) ** 2)}


# assumed parameters of laws that have others than E, A, alpha, B, beta
TRUTHS: Mapping[str, Mapping[str, float]] = {
    "loss_to_loss": {"E2": 0.5, "K": 1.0, "E1": 0.5, "kappa": 1.0},
    "wasted_batch": {"b": 64.0, "p": 0.0, "q": 0.3},
}


def from_law(rows: pd.DataFrame, rule: Rule, first: Array, rng: np.random.Generator) -> Columns:
    """Draw targets that follow the law with a parameter at the effect; of a pair, the parameters differ by it."""
    law, noise = get_law(rule.formula), rule.noise or 0.0
    one = first if rule.compare else (rows["family"] == rows["family"].min()).to_numpy(float)
    loss = LOSS * np.exp(-EXPONENT * (_positive(rows, "D") - _positive(rows, "D").min()) / 4)
    columns = [loss if c == "L" else rows[c].to_numpy(float) for c in law.columns]
    params: dict[str, Any] = _truth(rows, rule)
    for name in rule.of if rule.quantity in ("law_parameter", "law_contrast") else ():
        if name not in params:
            raise UserError(f"no studies are drawn for {name}, which is not a parameter of {law.name} itself")
        moved = (rule.effect or 0.0) * one
        params[name] = (rule.effect or 0.0) if rule.measures.subject == "family" else params[name] + moved
    if rule.quantity == "local_contrast":
        params |= {name: params[name] + (rule.effect or 0.0) * one for name in ("alpha", "beta") if name in params}
    y = np.asarray(law(*columns, **params), dtype=float)
    if rule.quantity == "effective_speedup":  # the first needs that much more compute
        y = y * np.exp(EXPONENT * (rule.effect or 0.0) * one)
    if not np.isfinite(y).all() or (y <= 0).any():
        raise UserError(f"no loss follows {law.name} with {rule.of[0]} at {rule.effect:g} on these runs")
    return {"L": loss, law.target: y * np.exp(_by_run(rows, rng, noise))}


def _truth(rows: pd.DataFrame, rule: Rule) -> dict[str, Any]:
    """Return parameters of the law that suit the runs."""
    law = get_law(rule.formula)
    given = TRUTHS.get(law.name.partition("(")[0], {})
    if "kappa" in given:
        return dict(given)
    general = "chinchilla" if given else law.name
    return {**Truth.assumed(rows, general).params, **given}


def _positive(rows: pd.DataFrame, name: str) -> Array:
    """Return the logarithm of a column, derived ones too; UserError where it is absent or not above 0."""
    if name in DERIVED and name not in rows:
        sources, function, _ = DERIVED[name]
        if {*sources} <= {*rows}:
            rows = rows.assign(**{name: function(*(rows[c] for c in sources))})
    values = pd.to_numeric(rows[name], errors="coerce").to_numpy(float) if name in rows else np.zeros(len(rows))
    if not (values > 0).any():
        raise UserError(f"its runs have no numbers in the column {name}")
    return np.log(np.where(values > 0, values, np.nanmin(values[values > 0])))


DRAWERS: Mapping[str, Drawer] = {
    "run_mean": mean,
    "difference": mean,
    "geometric_mean": factor,
    "ratio": ratio,
    "share_above": share,
    "slope": sloped(logarithm=False),
    "log_slope": sloped(logarithm=True),
    "log_slope_difference": sloped(logarithm=True),
    "correlation": correlated,
    "reach": price,
    "reach_ratio": price,
    "reach_slope": price,
    "reach_slope_difference": price,
    "loss_at_equal": equal,
    "loss_contrast": matched,
    "collapse": curves,
    "rate_window": window,
    "holdout_error": from_law,
    "law_parameter": from_law,
    "law_contrast": from_law,
    "local_contrast": from_law,
    "effective_speedup": from_law,
}
