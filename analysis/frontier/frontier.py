"""The compute-optimal frontier by three approaches side by side: envelope, isoFLOP minima, parametric.

Exponents come from N_opt = G C^a over the budgets that count, with a delete-one-run jackknife of the whole procedure.
Hoffmann et al. 2022, arXiv:2203.15556, section 3. Which budgets count is in analysis/frontier/isoflop_minima.py, what a
law then says of spending compute in analysis/frontier/allocation.py.

    result = frontier(read_runs("runs.csv"), target=[1e21], inference_tokens=1e12)
    result.budgets[["C", "N_opt", "used", "reason"]]
    result.approaches["isoflop"].a         # Estimate(value=0.49, low=0.46, high=0.52)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.arguments import describe
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.fitting.settings import Settings
from isoflop.analysis.fitting.status import FitStatus
from isoflop.analysis.frontier import allocation
from isoflop.analysis.frontier.isoflop_minima import (
    BINS,
    BUDGETS,
    SIZES,
    Find,
    best_run,
    isoflop,
    parabola,
    powers,
    tune,
)
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.flops import TRAIN
from isoflop.analysis.tables.replicates import level_index
from isoflop.analysis.tables.rows import usable_numbers
from isoflop.errors import FitError
from isoflop.files import records

# C/(N D) that differs from 6 by more than this share gets a note
COUNTED = 0.05
# knobs that may have been searched at each size and budget
KNOBS = ("lr", "batch")


@dataclass(frozen=True)
class Approach:
    """N_opt = G C^a and D_opt ~ C^b by one approach.

    a           exponent of the best size
    b           exponent of the best amount of data
    G           the best size at C = 1 [parameters]; None where there is no power
    n_budgets   budgets that count
    reason      why there is no power, or what is weak; empty for a sound one
    """

    a: Estimate
    b: Estimate
    G: float | None
    n_budgets: int
    reason: str = ""

    def N_opt(self, C: float) -> float | None:
        """The best size at compute C [FLOPs]."""
        return None if self.G is None or self.a.value is None else self.G * C**self.a.value


@dataclass(frozen=True)
class Frontier:
    """The compute-optimal frontier by three approaches, and what they say of the budgets asked for.

    budgets      a row for each budget: C, sizes, N_opt, D_opt, D_per_N, L_opt, whether it is used, and why not
    approaches   envelope, isoflop and parametric by name
    cells        a row for each size at a budget whose knobs were searched: the best value, whether it is on the edge
    target       for each budget asked for and each approach: N, D, the loss with a band, the excess over the law's best
    deviations   by the law at `C`: what a size other than the best costs
    served       by the law: the same loss for the least compute in training and serving
    C            the largest budget asked for, else the largest that was run [FLOPs]; None without a law
    notes        what is odd about the runs
    """

    budgets: pd.DataFrame
    approaches: dict[str, Approach] = field(default_factory=dict)
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    target: pd.DataFrame = field(default_factory=pd.DataFrame)
    deviations: pd.DataFrame = field(default_factory=pd.DataFrame)
    served: pd.DataFrame = field(default_factory=pd.DataFrame)
    C: float | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of `isoflop frontier --json`."""
        tables = {name: records(getattr(self, name)) for name in ("budgets", "cells", "target", "deviations", "served")}
        approaches = {
            name: {"a": vars(x.a), "b": vars(x.b), "G": x.G, "n_budgets": x.n_budgets, "reason": x.reason}
            for name, x in self.approaches.items()
        }
        return {**tables, "approaches": approaches, "C": self.C, "notes": list(self.notes)}

    def __str__(self) -> str:
        lines = [_table(self.budgets.drop(columns="bend")), "", "N_opt = G C^a, D_opt ~ C^b"]
        for name, x in self.approaches.items():
            reason = f"; {x.reason}" if x.reason else ""
            lines.append(f"  {name:<11} a {x.a}   b {x.b}   {x.n_budgets} budgets{reason}")
        edges = self.cells[self.cells["edge"] != ""] if len(self.cells) else self.cells
        titled = (
            ("sizes whose best knob lies on the edge of what was tried, and that are refused", edges),
            ("at the budgets asked for, by the law for each approach's split", self.target),
            (f"what another size costs at C={self.C or 0:.3g}, by the law", self.deviations),
            ("served later: the same loss for the least compute in all", self.served),
        )
        for title, table in titled:
            if len(table):
                lines += ["", title, _table(table)]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


@describe("runs", "level", "target", "inference_tokens", options="those of `fit`, for the parametric approach")
def frontier(
    runs: pd.DataFrame,
    *,
    level: float = 0.95,
    target: Sequence[float] = (),
    inference_tokens: float | None = None,
    **options: Any,
) -> Frontier:
    """The three approaches on the runs of one group; FitError where they lack a column or are too few."""
    Settings(level=level, **options)  # an option that cannot be is no reason against one approach
    table = _table_of(runs)
    tuned, cells = tune(table, KNOBS)
    law_fit, parametric = _parametric(
        runs.loc[tuned.index[tuned["edges"] == 0]] if len(cells) else runs, level, options
    )
    approaches = {
        "envelope": _approach(tuned, np.floor(np.log10(tuned["C"]) * BINS), best_run, level),
        "isoflop": _approach(tuned, tuned["budget"], parabola, level),
        "parametric": parametric,
    }
    notes = [*map(str, runs.attrs.get("notes", ()))]
    per = float((table["C"] / table["N"] / table["D"]).median())
    if abs(per / TRAIN - 1) > COUNTED:
        notes.append(
            f"the law splits C as 6 N D; here C/(N D) is {per:.3g}, so its N_opt is of C {per / TRAIN:.3g} times as "
            "large"
        )
    result = Frontier(isoflop(tuned), approaches, cells, notes=tuple(notes))
    if law_fit is None:
        return result
    return _add_budgets(result, law_fit, target, inference_tokens, level)


def _add_budgets(
    result: Frontier, law_fit: Fit, budgets: Sequence[float], tokens: float | None, level: float
) -> Frontier:
    """What the law says of the budgets that are asked for."""
    C = float(max(budgets)) if budgets else float(result.budgets["C"].max())
    rows = []
    for at in budgets:
        splits: dict[str, tuple[float, float] | None] = {}
        for name, approach in result.approaches.items():
            N = approach.N_opt(at)
            splits[name] = None if N is None else (N, at / TRAIN / N)
        rows.append(allocation.target(law_fit, at, splits, level))
    served = [] if tokens is None else [{"C": at, **allocation.served(law_fit, at, tokens)} for at in budgets or [C]]
    return replace(
        result,
        C=C,
        target=pd.concat(rows, ignore_index=True) if rows else result.target,
        deviations=allocation.deviations(law_fit, C, level),
        served=pd.DataFrame(served),
    )


def _table_of(runs: pd.DataFrame) -> pd.DataFrame:
    """N, D, C, L and the searched knobs of the finished runs, with the number of the run and of the budget."""
    missing = [c for c in ("N", "D", "C", "L") if c not in runs]
    if missing:
        raise FitError(
            f"a frontier needs the columns N, D, C, L; there is no {' and no '.join(missing)}: see --columns"
        )
    rows = usable_numbers(runs, ["N", "D", "C", "L"])
    if len(rows) < SIZES:
        raise FitError(
            f"{len(rows)} finished rows are too few for a frontier; it needs {SIZES} sizes at {BUDGETS} budgets"
        )
    unit = rows["run_id"] if "run_id" in rows else pd.Series(range(len(rows)), index=rows.index)
    knobs = [k for k in KNOBS if k in rows and pd.api.types.is_numeric_dtype(rows[k]) and rows[k].notna().all()]
    table = rows[["N", "D", "C", "L", *knobs]].astype(float).assign(unit=pd.factorize(unit)[0])
    return table.assign(budget=level_index(table["C"]))


def _approach(table: pd.DataFrame, by: pd.Series, find: Find, level: float) -> Approach:
    """Powers of C through the minima that `find` gives, with a jackknife over runs."""
    through_all, half, count = powers(table, by, find, level)
    none = Estimate(None)
    if through_all is None:
        return Approach(none, none, None, count, f"{count} budgets have an interior minimum, a power needs {BUDGETS}")
    G, a, b = (float(v) for v in through_all)
    if half is None:
        few = "without some single run too few budgets have a minimum, so no interval"
        return Approach(Estimate(a), Estimate(b), float(np.exp(G)), count, few)
    width = [float(h) for h in half]
    ends = Estimate(a, a - width[0], a + width[0]), Estimate(b, b - width[1], b + width[1])
    return Approach(*ends, float(np.exp(G)), count)


def _parametric(runs: pd.DataFrame, level: float, options: dict[str, Any]) -> tuple[Fit | None, Approach]:
    try:
        law_fit = fit(runs, "chinchilla", level=level, **options)
    except FitError as error:
        return None, Approach(Estimate(None), Estimate(None), None, 0, str(error))
    # N_opt(1) = G 6^-a: the coefficient of C and not of C/6
    with np.errstate(all="ignore"):  # a law at its bound has no best split
        G = float(law_fit.law.curve("N_opt", 1.0, {k: np.float64(v) for k, v in law_fit.values.items()}))
    reason = "; ".join(
        x for x in (law_fit.status if law_fit.status != FitStatus.CONVERGED else "", law_fit.explanation) if x
    )
    a, b = law_fit.derived["a"], law_fit.derived["b"]
    if not (np.isfinite(G) and G > 0):
        return None, Approach(a, b, None, int(law_fit.rows["C"].nunique()), f"no best split; {reason}")
    return law_fit, Approach(a, b, G, int(law_fit.rows["C"].nunique()), reason)


def _table(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False, float_format="{:.4g}".format)
