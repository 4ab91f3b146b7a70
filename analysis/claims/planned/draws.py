"""Simulated results of planned runs, in which a rule's quantity has a stated value and a stated spread.

    from isoflop.analysis.claims.region import Region

    rng = np.random.default_rng(0)
    rule = Rule("run_mean", Region(above=0), of=("probe.x",), effect=1.0, noise=0.1)
    drawn(runs, rule, rng)["probe.x"].mean()      # about 1

A drawer fills in the columns that a quantity reads; a quantity without a drawer has no power.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.claims.quantities.cells import DERIVED
from isoflop.analysis.claims.quantities.tuning import AS_GOOD
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.subjects import is_value
from isoflop.analysis.design.assumed_law import Truth
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.rows import joined
from isoflop.analysis.runs.runs import as_runs
from isoflop.errors import UserError

Array = NDArray[np.float64]
Columns = Mapping[str, Any]
# a loss, its floor and its exponent in compute, such as small runs have
LOSS, FLOOR, EXPONENT = 3.0, 1.5, 0.1
# assumed parameters of laws that have others than E, A, alpha, B, beta
TRUTHS: Mapping[str, Mapping[str, float]] = {
    "loss_to_loss": {"E2": 0.5, "K": 1.0, "E1": 0.5, "kappa": 1.0},
    "wasted_batch": {"b": 64.0, "p": 0.0, "q": 0.3},
}


@dataclass(frozen=True)
class _PlannedRows:
    rows: pd.DataFrame
    """A row for each mark of a run."""
    rule: Rule
    first: Array
    """1 for the first of what is compared, else 0, (rows,); 1 where nothing is."""
    rng: np.random.Generator

    @property
    def effect(self) -> float:
        return self.rule.effect or 0.0

    def normal(self, spread: float | None = None) -> Array:
        """Draw a normal number for each run, the same at all of its marks, (rows,); by default as the rule's noise."""
        runs = as_runs(self.rows)
        drawn = self.rng.normal(0, (self.rule.noise or 0.0) if spread is None else spread, runs.count)
        return np.asarray(drawn[runs.codes])

    def log(self, name: str) -> Array:
        """Return the logarithm of a column, derived ones too; UserError where it is absent or not above 0."""
        rows = self.rows
        if name in DERIVED and name not in rows and {*DERIVED[name][0]} <= {*rows}:
            rows = rows.assign(**{name: DERIVED[name][1](*(rows[c] for c in DERIVED[name][0]))})
        values = pd.to_numeric(rows[name], errors="coerce").to_numpy(float) if name in rows else np.zeros(len(rows))
        if not (values > 0).any():
            raise UserError(f"its runs have no numbers in the column {name}")
        return np.log(np.where(values > 0, values, np.nanmin(values[values > 0])))

    def column(self, values: Array) -> Columns:
        """Return the measured columns with these values; for a drop, 0 after the first mark."""
        rows, rule = self.rows, self.rule
        if rule.marks == "drop" and "mark" in rows:
            start = rows["mark"] == rows.groupby("run_id")["mark"].transform("min")
            values = np.where(start, np.maximum(values, 0.0), 0.0)
        # a source of derived columns that planned rows lack
        floor = {"floor": 1.0} if any("floor" in DERIVED[name][0] for name in rule.of if name in DERIVED) else {}
        return {**dict.fromkeys(rule.of, values), **({rule.less: 0.0} if rule.less else {}), **floor}

    @property
    def one(self) -> Array:
        """1 for the first of what is compared, or else of the families by name, (rows,)."""
        return self.first if self.rule.compare else (self.rows["family"] == self.rows["family"].min()).to_numpy(float)


Drawer = Callable[[_PlannedRows], Columns]


def drawn(rows: pd.DataFrame, rule: Rule, rng: np.random.Generator) -> pd.DataFrame:
    """Draw results for planned rows in which the quantity has the rule's effect; UserError where that cannot be."""
    if rule.effect is None:
        raise UserError("it states no effect:, the value of its quantity that power is computed for")
    if rule.quantity not in DRAWERS:
        raise UserError(f"no studies are drawn for quantity={rule.quantity}")
    first = np.ones(len(rows))
    for column, (value, _) in rule.compare.items():
        if column not in rows:
            raise UserError(f"its runs have no column {column}")
        first = first * is_value(rows, column, value).to_numpy(float)
    results: Columns = DRAWERS[rule.quantity](_PlannedRows(rows, rule, first, rng))
    return rows.assign(**{"status": "ok", "L": LOSS, **results})


def _mean(planned: _PlannedRows) -> Columns:
    """Draw numbers about the effect; of a pair, about 0 in its second."""
    return planned.column(planned.effect * planned.first + planned.normal())


def _factor(planned: _PlannedRows) -> Columns:
    """Draw positive numbers about the effect, with the spread in their logarithm; of a pair, about 1 in its second."""
    effect = math.log(planned.effect) if planned.effect > 0 else 0.0
    return planned.column(np.exp(effect * planned.first + planned.normal()))


def _ratio(planned: _PlannedRows) -> Columns:
    """Draw the effect in the first of a pair, with the spread, and 1 in its second."""
    return planned.column(np.where(planned.first > 0, planned.effect + planned.normal(), 1.0))


def _share(planned: _PlannedRows) -> Columns:
    """Draw runs of which the share `effect` exceeds the threshold."""
    runs = as_runs(planned.rows)
    above = planned.rng.random(runs.count)[runs.codes] < planned.effect
    return planned.column((planned.rule.threshold or 0.0) + np.where(above, 1.0, -1.0))


def _slope(planned: _PlannedRows) -> Columns:
    """Draw a column, or for log_slope its logarithm, that is linear in the logarithm of another."""
    y = planned.effect * planned.first * planned.log(planned.rule.against) + planned.normal()
    return planned.column(np.exp(y) if planned.rule.quantity.startswith("log_") else y)


def _correlated(planned: _PlannedRows) -> Columns:
    r, x, y = planned.effect, planned.normal(1.0), planned.normal(1.0)
    # well above 0, so that a drop is what was drawn
    return {**planned.column(10 + x), planned.rule.against: r * x + math.sqrt(1 - r * r) * y}


def _price(planned: _PlannedRows) -> Columns:
    """Draw a column that falls along the axis to the value at its middle, shifted by the effect."""
    rows, rule = planned.rows, planned.rule
    ((column, goal),) = rule.reach.items()
    x, shift = planned.log(rule.axis), planned.effect * planned.first
    if rule.against:
        shift = shift * planned.log(rule.against)
    elif rule.compare:
        shift = shift - planned.effect / 2  # half before the middle and half behind it
    middle = (x.min() + x.max()) / 2 + shift - (shift.min() + shift.max()) / 2
    # the curve of a seed moves as one
    codes, names = pd.factorize(joined(rows, [c for c in ("seed", *rule.compare, rule.against) if c in rows]))
    late = middle + planned.rng.normal(0, rule.noise or 0.0, len(names))[codes]
    return {column: goal * np.exp(-(x - late)), **({"floor": 1.0} if column in DERIVED else {})}


def _equal(planned: _PlannedRows) -> Columns:
    """Draw losses along an axis, or another column along the loss; those of the first differ by the effect."""
    rule = planned.rule
    x = planned.log("D" if rule.axis == "L" else rule.axis or "C")
    loss, gap = LOSS * np.exp(-EXPONENT * (x - x.mean())), np.exp(planned.effect * planned.one + planned.normal())
    return {"L": loss, rule.of[0]: loss * gap} if rule.of else {"L": loss * gap}


def _curves(planned: _PlannedRows) -> Columns:
    """Draw curves of runs over their marks that differ between sizes by the effect and between seeds by the noise."""
    rows = planned.rows
    sizes, codes = np.unique(rows["N"].to_numpy(float), return_inverse=True)
    off = planned.rng.normal(0, planned.effect, len(sizes))[codes] + planned.normal()
    C, end = rows["C"].to_numpy(float), rows.groupby("run_id")["C"].transform("max").to_numpy(float)
    return {"L": FLOOR + (C / C.max()) ** -EXPONENT * np.exp(np.where(end > C, off, 0.0)), "floor": FLOOR}


def _window(planned: _PlannedRows) -> Columns:
    """Draw losses that are a parabola of log lr, as wide as the effect at 1 % above its minimum."""
    x = np.log10(planned.rows["lr"].to_numpy(float))
    lowest = (x.min() + x.max()) / 2 + planned.normal(0.0)
    wide = max((planned.effect or 1.0) * (1 + planned.rng.normal(0, planned.rule.noise or 0.0)), 1e-3)
    return {"L": LOSS * np.exp(AS_GOOD * ((x - lowest) / (wide / 2)) ** 2)}


def _from_law(planned: _PlannedRows) -> Columns:
    """Draw targets that follow the law with a parameter at the effect; of a pair, the parameters differ by it."""
    rows, rule, law, effect = planned.rows, planned.rule, get_law(planned.rule.formula), planned.effect
    along_D = planned.log("D")
    loss = LOSS * np.exp(-EXPONENT * (along_D - along_D.min()) / 4)
    columns = [loss if c == "L" else rows[c].to_numpy(float) for c in law.columns]
    given = TRUTHS.get(law.name.partition("(")[0], {})
    assumed = {} if "kappa" in given else Truth.assumed(rows, "chinchilla" if given else law.name).params
    params: dict[str, Any] = {**assumed, **given}
    for name in rule.of if rule.quantity in ("law_parameter", "law_contrast") else ():
        if name not in params:
            raise UserError(f"no studies are drawn for {name}, which is not a parameter of {law.name} itself")
        params[name] = effect if rule.measures.subject == "family" else params[name] + effect * planned.one
    if rule.quantity == "local_contrast":
        params |= {name: params[name] + effect * planned.one for name in ("alpha", "beta") if name in params}
    y = np.asarray(law(*columns, **params), dtype=float)
    if rule.quantity == "effective_speedup":  # the first needs that much more compute
        y = y * np.exp(EXPONENT * effect * planned.one)
    if not np.isfinite(y).all() or (y <= 0).any():
        raise UserError(f"no loss follows {law.name} with {', '.join(rule.of)} at {effect:g} on these runs")
    return {"L": loss, law.target: y * np.exp(planned.normal())}


DRAWERS: Mapping[str, Drawer] = {
    **dict.fromkeys(("run_mean", "difference"), _mean),
    "geometric_mean": _factor,
    "ratio": _ratio,
    "share_above": _share,
    **dict.fromkeys(("slope", "log_slope"), _slope),
    "correlation": _correlated,
    **dict.fromkeys(("reach", "reach_ratio", "reach_slope", "reach_slope_difference"), _price),
    **dict.fromkeys(("loss_at_equal", "column_at_equal", "loss_contrast"), _equal),
    "collapse": _curves,
    "rate_window": _window,
    **dict.fromkeys(
        ("holdout_error", "whole_run_error", "law_parameter", "law_contrast", "local_contrast", "effective_speedup"),
        _from_law,
    ),
}
