"""Average the laws that suit the columns, weighed by their rolling hold-outs: `--law best`.

average = average_laws(rows, "best")           # or "best(D)", "best(n_total,D)"
average.stack.weights                          # {'multiplicative': 0.71, 'farseer': 0.24, ...}
average.predict(pd.DataFrame({"N": [1e9], "D": [2e10]}))
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.arguments import LOSSES, Settings
from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.fit import observed
from isoflop.analysis.holdout.stacking import DEFAULTS, Stack, candidates, stack_laws
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.declare import TRAIN, Law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import LEVELS, level_index
from isoflop.analysis.runs.runs import Label, Runs, RunsLike, as_runs
from isoflop.analysis.solving.problem import Objective, Problem
from isoflop.errors import FitError, UserError

NAME = "best"
_CALL = re.compile(r"\s*(?:([^~]*[^~\s])\s*~\s*)?best\s*(?:\(([^()]*)\))?\s*")
# sizes tried for the best split of a budget, over the range of the rows and this factor beyond it on both sides
SIZES_TRIED, FARTHER = 2001, 1e3


@dataclass(frozen=True, eq=False)
class Average:
    """An average of laws, with the methods of a Fit that the verbs use; it has no parameters of its own.

    law        its columns, target and formula, as a law without parameters
    by         the label of the group
    stack      the laws and their weights; None where there is no fit
    table      the rows, and the objective under which each law is fitted; None without a fit
    rows       the usable rows themselves
    n_runs     how many runs they are of
    """

    law: Law
    by: dict[str, Any]
    stack: Stack | None
    table: Problem | None
    status: FitStatus
    reason: str
    rows: pd.DataFrame
    n_runs: int
    notes: tuple[str, ...] = ()

    @property
    def objective(self) -> float | None:
        """1 where there is a fit; an average has no objective of its own."""
        return None if self.stack is None else 1.0

    @cached_property
    def below(self) -> Stack | None:
        """The same laws weighed by the smallest rows held out; None where there is no fit."""
        if self.stack is None or self.table is None:
            return None
        return stack_laws(self.table, -1, [member.law for member in self.stack.members])

    @property
    def explanation(self) -> str:
        """The reason of the status and the notes, as one text."""
        return "; ".join(filter(None, [self.reason, *self.notes]))

    def predict(self, frame: pd.DataFrame) -> Array:
        """Predict the target at the rows of `frame`, in its units."""
        if self.stack is None:
            raise FitError(f"{self.law.name} could not be fitted ({self.explanation}), so it predicts nothing")
        return self.stack.predict({c: frame[c].to_numpy(float) for c in self.law.columns})

    def quantity(self, function: Any, *, level: float | None = None, log: bool = False) -> Estimate:
        """Return a function of no parameters: a number without an interval."""
        return Estimate(float(np.squeeze(function())))

    def curve(self, name: str, C: Any, level: float | None = None) -> pd.DataFrame:
        """Return N_opt or D_opt at compute C [FLOPs], without an interval."""
        value = np.atleast_1d(self.law.curve(name, np.asarray(C, dtype=float), {}))
        return pd.DataFrame({"C": np.atleast_1d(C), "value": value, "low": np.nan, "high": np.nan}, dtype=float)


def names_average(law: Any) -> bool:
    """Return whether a text names the average of laws."""
    return isinstance(law, str) and _CALL.fullmatch(law) is not None


def law_of(runs: RunsLike, text: str = NAME) -> Law:
    """Return the columns and the target of an average on these runs, as a law without parameters."""
    return _law(*_read(as_runs(runs), text, None))


def _read(runs: Runs, text: str, target: str | None) -> tuple[list[str], str]:
    """Return columns and target of a text such as 'accuracy ~ best(C)'."""
    match = _CALL.fullmatch(text)
    target = target or (match and match[1]) or "L"
    if match and match[2]:
        return [c.strip() for c in match[2].split(",")], target
    return _columns(runs, target), target


def default_laws(runs: RunsLike) -> list[str]:
    """Return the laws that `compare` takes where none are named: those that suit the columns, and their average."""
    names = _columns(as_runs(runs), "L")
    laws = [law.name for law in candidates(_arguments(names), names, len(runs))]
    return [*laws, *(["chinchilla_tied"] if len(names) > 1 else []), f"{NAME}({','.join(names)})"]


def average_groups(
    runs: RunsLike, law: str = NAME, *, by: Sequence[str] = (), target: str | None = None, **options: Any
) -> list[Average]:
    """Average the default laws on each group of equal `by`.

    target    the column to predict; that of the text by default
    options   loss, delta, run and weights, as of `fit`; FitError for those that only one law can have; others do not
              matter
    """
    for name in ("pin", "prior", "share"):
        if options.get(name):
            raise FitError(f"{NAME} averages laws of different parameters, so it takes no --{name}; name one law")
    known = {k: options[k] for k in ("loss", "delta", "run", "weights") if k in options}
    settings = Settings(interval="none", **known)
    groups = as_runs(runs).by(by)
    averages: dict[Label, Average] = {}
    refused: dict[Label, FitError] = {}
    for label, rows in groups.items():
        try:
            averages[label] = _average(rows, law, settings, target)
        except FitError as error:
            refused[label] = error
    if not averages:
        raise next(iter(refused.values()))
    some = replace(next(iter(averages.values())), stack=None, table=None, status=FitStatus.REFUSED, n_runs=0)
    for label, reason in refused.items():
        averages[label] = replace(some, by=label.by, reason=str(reason), rows=groups[label].frame)
    return [averages[label] for label in groups]


def average_laws(runs: RunsLike, law: str = NAME, **options: Any) -> Average:
    """Average the default laws on these runs; FitError where none of them can be fitted."""
    average = average_groups(runs, law, **options)[0]
    if average.stack is None:
        raise FitError(average.reason)
    return average


def _average(runs: Runs, text: str, settings: Settings, target: str | None) -> Average:
    names, target = _read(runs, text, target)
    arguments, law = _arguments(names), _law(names, target)
    prepared = observed(runs, law, settings)
    kind, raw = LOSSES[settings.loss]
    objective = Objective("huber" if kind == "l1" else kind, settings.delta, raw)
    table = Problem(law, prepared.columns, prepared.target, objective, scale=prepared.scale)
    laws = [c.of(target) for c in candidates(arguments, names, len(prepared.target))]
    stack = stack_laws(table, laws=laws)
    notes = tuple(prepared.notes)
    if stack is None:
        reason = f"{len(prepared.target)} rows are too few for any of {', '.join(DEFAULTS[arguments])}; add runs"
        status = FitStatus.NOT_IDENTIFIED
    else:
        shares = ", ".join(f"{name} {weight:.0%}" for name, weight in stack.weights.items() if weight >= 0.005)
        law, notes = _law(names, target, stack), (f"average of {shares}", *notes)
        status, reason = FitStatus.CONVERGED, ""
    return Average(law, runs.label.by, stack, table, status, reason, prepared.rows, prepared.n_runs, notes)


def _columns(runs: Runs, target: str) -> list[str]:
    """Return what the losses follow: N and D (and D_unique where data repeat), else the one column that varies."""
    sizes = [name for name in ("N", "D", "C") if name != target]
    rows = runs.numbers([], NAME, blank=sizes).frame
    levels = {c: len(set(level_index(rows[c]))) for c in sizes if c in rows and (rows[c] > 0).mean() > 0.5}
    if min(levels.get("N", 0), levels.get("D", 0)) >= LEVELS:
        unique = pd.to_numeric(rows["D_unique"], errors="coerce") if "D_unique" in rows else None
        repeats = unique is not None and (unique > 0).all() and (unique < 0.99 * rows["D"].astype(float)).any()
        return ["N", "D", "D_unique"] if repeats else ["N", "D"]
    if not levels:
        raise FitError(f"{NAME} needs a column N, D or C of numbers above 0; name one, as in --law 'best(step)'")
    return [max(levels, key=lambda name: levels[name])]


def _arguments(names: Sequence[str]) -> tuple[str, ...]:
    for arguments in DEFAULTS:
        if len(arguments) == len(names):
            return arguments
    raise UserError(f"{NAME} takes one to three columns, best(D), best(N,D), best(N,D,D_unique), not {len(names)}")


def _law(names: Sequence[str], target: str, stack: Stack | None = None) -> Law:
    """Return the average as a law without parameters; of a law without a stack only columns and target are asked."""

    def mean(*columns: Any) -> Any:
        assert stack is not None
        columns = np.broadcast_arrays(*columns)
        places = {n: np.atleast_1d(c).astype(float) for n, c in zip(names, columns, strict=True)}
        return stack.predict(places).reshape(columns[0].shape)

    def N_opt(C: Any) -> Any:
        assert stack is not None
        N = stack.members[0].problem.columns[0]
        sizes = np.geomspace(N.min() / FARTHER, N.max() * FARTHER, SIZES_TRIED)
        return np.vectorize(lambda c: float(sizes[int(np.nanargmin(mean(sizes, c / TRAIN / sizes)))]))(C)

    def D_opt(C: Any) -> Any:
        return C / TRAIN / N_opt(C)

    arguments = _arguments(names)
    curves: Mapping[str, Any] = {"N_opt": N_opt, "D_opt": D_opt} if stack and arguments == ("N", "D") else {}
    formula = f"{target}({', '.join(names)}) = average of {', '.join(stack.weights) if stack else 'laws'}"
    source = "Yao et al. 2018, arXiv:1704.02030"
    return Law(f"{NAME}({','.join(names)})", mean, tuple(names), {}, formula, source, {}, curves, target, arguments)
