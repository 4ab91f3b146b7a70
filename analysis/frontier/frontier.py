"""The compute-optimal frontier by three approaches side by side: envelope, isoFLOP minima, parametric.

Exponents come from N_opt = G C^a over the budgets that count, with a delete-one-run jackknife of the whole procedure.
Hoffmann et al. 2022, arXiv:2203.15556, section 3. Which budgets count is in analysis/frontier/isoflop_minima.py, what a
law then says of spending compute in analysis/frontier/allocation.py.

    found = frontier(read_runs("runs.csv"), target=[1e21], inference_tokens=1e12)
    found.budgets[["C", "N_opt", "used", "reason"]]
    found.approaches["isoflop"].a          # Estimate(value=0.49, low=0.46, high=0.52)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit
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
from isoflop.analysis.tables.replicates import level_index
from isoflop.analysis.tables.rows import usable_numbers
from isoflop.errors import FitError

# budgets are rounded up to whole steps: values closer than this are one level of C
SAME_LEVEL = 0.1
# C/(N D) this share off six is said
COUNTED = 0.05
# knobs that may have been searched at each size and budget
KNOBS = ("lr", "batch")


@dataclass(frozen=True)
class Approach:
    """N_opt = G C^a and D_opt ~ C^b by one approach; `reason` says why there is none, or what is weak."""

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
    """Every budget, used or refused, the cells whose knobs were searched, the three approaches, and what they say of
    the budgets asked for; `deviations` and `served` are of the law, at the largest budget asked for or run."""

    budgets: pd.DataFrame
    approaches: dict[str, Approach] = field(default_factory=dict)
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    target: pd.DataFrame = field(default_factory=pd.DataFrame)
    deviations: pd.DataFrame = field(default_factory=pd.DataFrame)
    served: pd.DataFrame = field(default_factory=pd.DataFrame)
    C: float | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The answer of `isoflop frontier --json`."""
        said: dict[str, Any] = {
            name: [{k: _plain(v) for k, v in row.items()} for row in getattr(self, name).to_dict("records")]
            for name in ("budgets", "cells", "target", "deviations", "served")
        }
        approaches = {
            name: {"a": vars(x.a), "b": vars(x.b), "G": x.G, "n_budgets": x.n_budgets, "reason": x.reason}
            for name, x in self.approaches.items()
        }
        return {**said, "approaches": approaches, "C": self.C, "notes": list(self.notes)}

    def __str__(self) -> str:
        lines = [_table(self.budgets.drop(columns="bend")), "", "N_opt = G C^a, D_opt ~ C^b"]
        for name, x in self.approaches.items():
            said = f"  {name:<11} a {x.a}   b {x.b}   {x.n_budgets} budgets"
            lines.append(said + (f"; {x.reason}" if x.reason else ""))
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


def frontier(
    runs: pd.DataFrame,
    *,
    level: float = 0.95,
    target: Sequence[float] = (),
    inference_tokens: float | None = None,
    **how: Any,
) -> Frontier:
    """The three approaches on the runs of one group; `how` goes to the parametric fit.

    `target` are budgets C to say N, D and L for; `inference_tokens` how many tokens will be served in all.
    """
    table = _table_of(runs)
    tuned, cells = tune(table, KNOBS)
    answer, parametric = _parametric(runs.loc[tuned.index[tuned["edges"] == 0]] if len(cells) else runs, level, how)
    approaches = {
        "envelope": _approach(tuned, np.floor(np.log10(tuned["C"]) * BINS), best_run, level),
        "isoflop": _approach(tuned, tuned["budget"], parabola, level),
        "parametric": parametric,
    }
    notes = [*map(str, runs.attrs.get("notes", ()))]
    per = float((table["C"] / table["N"] / table["D"]).median())
    if abs(per / allocation.TRAIN - 1) > COUNTED:
        notes.append(
            f"the law splits C as 6 N D; here C/(N D) is {per:.3g}, so its N_opt is of C {per / 6:.3g} times as large"
        )
    found = Frontier(isoflop(tuned), approaches, cells, notes=tuple(notes))
    if answer is None:
        return found
    return _say(found, answer, target, inference_tokens, level)


def _say(found: Frontier, answer: Fit, budgets: Sequence[float], tokens: float | None, level: float) -> Frontier:
    """What the law says of the budgets that are asked for."""
    C = float(max(budgets)) if budgets else float(found.budgets["C"].max())
    rows = []
    for at in budgets:
        splits: dict[str, tuple[float, float] | None] = {}
        for name, approach in found.approaches.items():
            N = approach.N_opt(at)
            splits[name] = None if N is None else (N, at / allocation.TRAIN / N)
        rows.append(allocation.target(answer, at, splits, level))
    served = [] if tokens is None else [{"C": at, **allocation.served(answer, at, tokens)} for at in budgets or [C]]
    return replace(
        found,
        C=C,
        target=pd.concat(rows, ignore_index=True) if rows else found.target,
        deviations=allocation.deviations(answer, C, level),
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
    return table.assign(budget=level_index(table["C"], SAME_LEVEL))


def _approach(table: pd.DataFrame, by: pd.Series, find: Find, level: float) -> Approach:
    """Powers of C through the minima that `find` gives, with a jackknife over runs."""
    whole, half, count = powers(table, by, find, level)
    none = Estimate(None)
    if whole is None:
        return Approach(none, none, None, count, f"{count} budgets have an interior minimum, a power needs {BUDGETS}")
    G, a, b = (float(v) for v in whole)
    if half is None:
        few = "without some single run too few budgets have a minimum, so no interval"
        return Approach(Estimate(a), Estimate(b), float(np.exp(G)), count, few)
    width = [float(h) for h in half]
    ends = Estimate(a, a - width[0], a + width[0]), Estimate(b, b - width[1], b + width[1])
    return Approach(*ends, float(np.exp(G)), count)


def _parametric(runs: pd.DataFrame, level: float, how: dict[str, Any]) -> tuple[Fit | None, Approach]:
    try:
        answer = fit(runs, "chinchilla", level=level, **how)
    except FitError as error:
        return None, Approach(Estimate(None), Estimate(None), None, 0, str(error))
    # N_opt(1) = G 6^-a: the coefficient of C and not of C/6
    with np.errstate(all="ignore"):  # a law at its bound has no best split
        G = float(answer.law.curve("N_opt", 1.0, {k: np.float64(v) for k, v in answer.values.items()}))
    reason = "; ".join(
        x for x in (answer.status if answer.status != FitStatus.CONVERGED else "", answer.explanation) if x
    )
    a, b = answer.derived["a"], answer.derived["b"]
    if not (np.isfinite(G) and G > 0):
        return None, Approach(a, b, None, int(answer.rows["C"].nunique()), f"no best split; {reason}")
    return answer, Approach(a, b, G, int(answer.rows["C"].nunique()), reason)


def _table(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False, float_format="{:.4g}".format)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value
