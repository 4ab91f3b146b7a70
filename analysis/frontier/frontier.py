"""The compute-optimal frontier by three approaches side by side: envelope, isoFLOP minima, parametric.

    result = frontier(read_runs("runs.csv"), target=[1e21], inference_tokens=1e12)
    result.budgets[["C", "N_opt", "used", "reason"]]
    result.approaches["isoflop"].a         # Estimate(value=0.49, low=0.46, high=0.52)

Exponents come from N_opt = G C^a over the budgets that count (isoflop_minima.py). A parabola is biased where the loss
along a budget is no parabola (arXiv:2603.22339): what it is off by, if the law holds, is printed beside its column.
Hoffmann et al. 2022, arXiv:2203.15556, section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.arguments import Settings, describe
from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.frontier import allocation
from isoflop.analysis.frontier.decision import Approach, Decision, Request, decide, envelope, through_minima
from isoflop.analysis.frontier.isoflop_minima import BUDGETS, SIZES, isoflop, least_on_budget
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.declare import TRAIN
from isoflop.analysis.runs.cells import tune as best_rows
from isoflop.analysis.runs.levels import level_index, stand_apart
from isoflop.analysis.runs.observations import mixtures, odd_split, units
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import FitError
from isoflop.files import records
from isoflop.wording import short

# C/(N D) that differs from 6 by more than this share gets a note
_COUNTED = 0.05
# knobs that may have been searched at each size and budget
_KNOBS = ("lr", "batch")


@dataclass(frozen=True)
class Frontier:
    """The compute-optimal frontier by three approaches, and what they say of the budgets asked for.

    budgets      a row for each budget: C, sizes, N_opt, D_opt, D_per_N, L_opt, bias (of N_opt, relative, if the law
                 holds), whether it is used, and why not
    approaches   envelope, isoflop and parametric by name
    cells        a row for each size at a budget whose knobs were searched: the best value, whether it is on the edge
    target       for each budget asked for and each approach: N, D, the loss with a band, the excess over the law's best
    deviations   by the law at `C`: what a size other than the best costs
    served       by the law: the same loss for the least compute in training and serving
    C            the largest budget asked for, else the largest that was run [FLOPs]; None without a law
    notes        what is odd about the runs
    questions    what is odd about their units, which comes before all else
    request      what was asked, for `decisions`
    """

    budgets: pd.DataFrame
    approaches: dict[str, Approach] = field(default_factory=dict)
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    target: pd.DataFrame = field(default_factory=pd.DataFrame)
    deviations: pd.DataFrame = field(default_factory=pd.DataFrame)
    served: pd.DataFrame = field(default_factory=pd.DataFrame)
    C: float | None = None
    notes: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    request: Request = field(default_factory=Request)

    @cached_property
    def decisions(self) -> list[Decision]:
        """What to train: for each budget asked for, else for the largest that was run."""
        run = float(self.budgets["C"].min()), float(self.budgets["C"].max())
        saving = {row["C"]: row for row in records(self.served)}
        made = [decide(self.request, self.approaches, C, run) for C in self.request.budgets or [run[1]]]
        return [replace(decision, saving=saving.get(decision.C)) for decision in made]

    def to_json(self) -> dict[str, Any]:
        """Return the document of `isoflop frontier --json`."""
        tables = {name: records(getattr(self, name)) for name in ("budgets", "cells", "target", "deviations", "served")}
        approaches = {
            name: {"a": vars(x.a), "b": vars(x.b), "G": x.G, "n_budgets": x.n_budgets, "reason": x.reason}
            | ({} if x.bias_a is None else {"bias_a": x.bias_a})
            for name, x in self.approaches.items()
        }
        made = [decision.to_json() for decision in self.decisions]
        notes = [*self.notes, *self.questions]
        return {"decisions": made, **tables, "approaches": approaches, "C": self.C, "notes": notes}

    def __str__(self) -> str:
        used = self.budgets["used"].astype(bool)
        lines = [*map(str, self.decisions), *(f"First: {question}" for question in self.questions), ""]
        if used.any():
            lines += ["minima of budgets", _table(self.budgets[used].drop(columns=["bend", "used", "reason"]))]
        for reason, refused in self.budgets[~used].groupby("reason"):
            lines.append(f"refused, C = {', '.join(map(short, refused['C']))}: {reason}")
        lines += ["", "N_opt = G C^a, D_opt ~ C^b"]
        for name, x in self.approaches.items():
            reason = f"; {x.reason}" if x.reason else ""
            bias = "" if x.bias_a is None else f"; its a is off by {x.bias_a:+.2g} if the law holds"
            noun = "value" if name == "parametric" else "budget"
            counted = f"{x.n_budgets} {noun}{'' if x.n_budgets == 1 else 's'}{' of C' * (name == 'parametric')}"
            lines.append(f"  {name:<11} a {x.a}   b {x.b}   {counted}{bias}{reason}")
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


@describe(
    "runs",
    "level",
    "target",
    "inference_tokens",
    "tune",
    price="price of a FLOP, for what the budgets cost",
    law_fit="Chinchilla's law as it was fitted to these runs; default it is fitted here",
    options="those of `fit`, for the parametric approach",
)
def frontier(
    runs: RunsLike,
    *,
    level: float = 0.95,
    target: Sequence[float] = (),
    inference_tokens: float | None = None,
    price: float | None = None,
    tune: Sequence[str] = (),
    law_fit: Fit | None = None,
    **options: Any,
) -> Frontier:
    """Find the best size for each compute by three approaches, lr and batch at their best where they were searched;
    FitError if the runs lack a column or are too few."""
    Settings(level=level, **options)  # an option that cannot be is no reason against one approach
    runs = as_runs(runs, options.get("run")).with_compute
    table = _table_of(runs, [*_KNOBS, *tune])
    tuned, cells = best_rows(table, [*_KNOBS, *tune], table.groupby(["budget", "N"]).ngroup())
    best = runs.with_frame(runs.frame.loc[tuned.index[tuned["edges"] == 0]]) if len(cells) else runs
    law_fit, parametric = _parametric(best, level, options, None if len(cells) else law_fit)
    budgets = isoflop(tuned).assign(bias=np.nan)
    by_budget = through_minima(tuned, budgets, level)
    approaches = {"envelope": envelope(tuned, level), "isoflop": by_budget, "parametric": parametric}
    if law_fit is not None:
        budgets, approaches["isoflop"] = _add_bias(budgets, approaches["isoflop"], tuned, law_fit)
    asked = Request(target, level, law_fit, runs.loss_unit, price)
    said = tuple(_notes(runs, table)), tuple(units(runs.frame))
    result = Frontier(budgets, approaches, cells, notes=said[0], questions=said[1], request=asked)
    if law_fit is None or not law_fit.splits:
        return result
    return _add_budgets(result, runs, law_fit, target, inference_tokens, level)


def _notes(runs: Runs, table: pd.DataFrame) -> list[str]:
    notes = list(dict.fromkeys([*runs.notes, *runs.left_out, *mixtures(runs.usable.frame).values()]))
    per = float((table["C"] / table["N"] / table["D"]).median())
    if abs(per / TRAIN - 1) > _COUNTED:
        notes.append(
            f"the law splits C as 6 N D; here C/(N D) is {per:.3g}, so its N_opt is of C {per / TRAIN:.3g} times as "
            "large"
        )
    return notes


def _add_budgets(
    result: Frontier, runs: Runs, law_fit: Fit, budgets: Sequence[float], tokens: float | None, level: float
) -> Frontier:
    """Add what the law says of the budgets that are asked for."""
    C = float(max(budgets)) if budgets else float(result.budgets["C"].max())
    rows = []
    for at in budgets:
        splits: dict[str, tuple[float, float] | None] = {}
        for name, approach in result.approaches.items():
            N = approach.N_opt(at)
            splits[name] = None if N is None else (N, at / TRAIN / N)
        rows.append(allocation.target(law_fit, at, splits, level))
    best = [x.N_opt(C) for x in result.approaches.values()]
    odd = [odd_split(runs.frame, N, C / TRAIN / N) for N in best if N]
    served = [] if tokens is None else [{"C": at, **allocation.served(law_fit, at, tokens)} for at in budgets or [C]]
    return replace(
        result,
        C=C,
        questions=(*result.questions, *filter(None, dict.fromkeys(odd))),
        target=pd.concat(rows, ignore_index=True) if rows else result.target,
        deviations=allocation.deviations(law_fit, C, level),
        served=pd.DataFrame(served),
    )


def _table_of(runs: Runs, knobs: Sequence[str]) -> pd.DataFrame:
    """Return N, D, C, L, searched knobs, run (`unit`) and budget of the finished rows; whether budgets stand apart."""
    for knob in knobs:
        if knob not in _KNOBS and knob not in runs:
            raise FitError(f"--tune {knob}: no such column; there are {', '.join(map(str, runs.frame.columns[:30]))}")
    counted = runs.numbers(["N", "D", "C", "L"], "a frontier")
    rows = counted.frame
    if len(rows) < SIZES:
        raise FitError(f"{len(rows)} finished rows are too few; a frontier needs {SIZES} sizes at {BUDGETS} budgets")
    knobs = [k for k in dict.fromkeys(knobs) if k in rows and rows[k].notna().all()]
    knobs = [k for k in knobs if pd.api.types.is_numeric_dtype(rows[k])]
    table = rows[["N", "D", "C", "L", *knobs]].astype(float).assign(unit=counted.codes)
    return table.assign(budget=level_index(table["C"]), apart=stand_apart(table["C"], table["N"]))


def _add_bias(
    budgets: pd.DataFrame, approach: Approach, table: pd.DataFrame, law_fit: Fit
) -> tuple[pd.DataFrame, Approach]:
    """Add the error of the parabolas if the law holds: they are drawn through the law's own losses at the same places,
    and set against the law's least loss on each budget (arXiv:2603.22339)."""

    def loss(N: Any, D: Any) -> Any:
        return law_fit.law(N, D, **law_fit.values)

    with np.errstate(all="ignore"):
        exact = table.assign(L=loss(table["N"].to_numpy(), table["D"].to_numpy()))
        drawn = isoflop(exact)["N_opt"].to_numpy(float)
        least = np.array([least_on_budget(loss, part) for _, part in table.groupby("budget")])
    bias = drawn / least - 1
    used = budgets["used"].to_numpy(bool) & np.isfinite(bias)
    if approach.a.value is not None and used.sum() >= BUDGETS:
        off = np.polyfit(np.log(budgets["C"].to_numpy(float)[used]), np.log1p(bias[used]), 1)[0]
        approach = replace(approach, bias_a=float(off))
    return budgets.assign(bias=bias), approach


def _parametric(runs: Runs, level: float, options: dict[str, Any], law_fit: Fit | None) -> tuple[Fit | None, Approach]:
    try:
        law_fit = law_fit or fit(runs, "chinchilla", level=level, **options)
    except FitError as error:
        return None, Approach(Estimate(None), Estimate(None), None, 0, str(error))
    # N_opt(1) = G 6^-a: the coefficient of C and not of C/6
    with np.errstate(all="ignore"):  # a law at its bound has no best split
        G = float(law_fit.law.curve("N_opt", 1.0, {k: np.float64(v) for k, v in law_fit.values.items()}))
    status = "" if law_fit.status == FitStatus.CONVERGED else str(law_fit.status)
    own = {*runs.notes, *units(runs.frame), *mixtures(law_fit.rows).values()}  # of the frontier
    reason = "; ".join(filter(None, [status, law_fit.reason, *(note for note in law_fit.notes if note not in own)]))
    a, b = law_fit.derived["a"], law_fit.derived["b"]
    if not law_fit.splits:
        return law_fit, Approach(Estimate(None), Estimate(None), None, int(law_fit.rows["C"].nunique()), reason)
    if not (np.isfinite(G) and G > 0):
        return None, Approach(a, b, None, int(law_fit.rows["C"].nunique()), f"no best split; {reason}")
    return law_fit, Approach(a, b, G, int(law_fit.rows["C"].nunique()), reason)


def _table(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False, float_format="{:.4g}".format, na_rep="-")
