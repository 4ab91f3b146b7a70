"""Fit a law to runs: starts, one batched optimiser, a status in words, intervals whose unit is the run.

runs = read_runs("runs.csv")
print(fit(runs, "chinchilla"))                       # a table
for each in fit_groups(runs, "power_offset(D)", by=["family"]): print(each)
fit_groups(runs, "chinchilla", by=["family"], share=["E"])     # one E for all families
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_integer_dtype

from isoflop.analysis.arguments import describe
from isoflop.analysis.fitting.groups import Group, Groups, check_own_rows, check_share
from isoflop.analysis.fitting.pipeline import fit_together, unfitted
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.fitting.settings import DELTA, Settings
from isoflop.analysis.fitting.status import FitStatus
from isoflop.analysis.fitting.weights import weighted
from isoflop.analysis.laws.catalogue import Law, get_law
from isoflop.analysis.runs.rows import Prepared, groups, prepare
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.analysis.runs.tune import searched_notes
from isoflop.errors import FitError, TooFewRowsError

__all__ = ["Fit", "FitError", "fit", "fit_groups", "fit_near"]

# fits remembered, without their rows: claims, tables and figures ask for the same
REMEMBERED = 64
_KNOWN: dict[tuple[Hashable, ...], Fit] = {}
# places beside the optimum of another fit at which a search near it begins too
MOST_PLACES = 3
OPTIONS = ("loss", "delta", "interval", "level", "resamples", "run", "pin", "prior", "seed", "weights")


@describe("runs", "law", *OPTIONS, by="the label of the Fit, such as {'family': 'mlp'}; selects no rows")
def fit(
    runs: RunsLike,
    law: str | Law = "chinchilla",
    *,
    loss: str = "huber",
    delta: float = DELTA,
    interval: str = "auto",
    level: float = 0.95,
    resamples: int = 1000,
    run: str | None = None,
    pin: Mapping[str, float] | None = None,
    prior: Mapping[str, tuple[float, float]] | None = None,
    seed: int = 0,
    weights: str = "none",
    by: dict[str, Any] | None = None,
) -> Fit:
    """Fit `law` to the usable rows of `runs`.

    FitError where that has no meaning (an option that cannot be, a column that is missing, fewer rows than parameters);
    a status and notes where the result is weak.
    """
    runs = as_runs(runs).frame
    return _fit(runs, law, Settings(loss, delta, interval, level, resamples, run, pin, prior, seed, weights), by)


def fit_near(runs: RunsLike, law: str | Law, near: Fit, *, by: dict[str, Any] | None = None, **options: Any) -> Fit:
    """Fit almost the same rows or with almost the same `options` as another fit of the law, in less time.

    The search begins where that of `near` ended, at what noise could not tell from it and at a few fresh starts; in
    full where these disagree.
    """
    return _fit(as_runs(runs).frame, law, Settings(**options), by, near)


def observed(runs: Runs, law: Law, settings: Settings) -> Prepared:
    """Return the rows that a fit stands on, weighed as the settings say; FitError where there are none."""
    with np.errstate(all="ignore"):
        return weighted(prepare(runs.frame, law, settings.run), law, settings.weights)


def fit_rows(law: Law, rows: Prepared, settings: Settings, by: dict[str, Any], near: Fit | None = None) -> Fit:
    """Fit a law to prepared rows: from fresh starts, or beside the optimum of another fit as in `fit_near`."""
    groups = Groups(law, (), (Group(by, rows),))
    with np.errstate(all="ignore"):  # a search may wander where a law overflows; what it brings back is finite
        if near is not None and near.optimum is not None:
            places = np.concatenate([near.optimum.u[None], near.optimum.alternatives[:MOST_PLACES]])
            result = fit_together(groups, settings, places)[0]
            if result.status != FitStatus.STARTS_DISAGREE:
                return result
        return fit_together(groups, settings)[0]


def _fit(
    runs: pd.DataFrame, law: str | Law, settings: Settings, by: dict[str, Any] | None, near: Fit | None = None
) -> Fit:
    """Return a fit that is remembered, or else a new one, which is remembered where no other fit is near."""
    law = get_law(law)
    rows = observed(as_runs(runs), law, settings)
    key = _key(law, rows, settings)
    if key is None or key not in _KNOWN:
        result = fit_rows(law, rows, settings, by or {}, near)
        if key is None or near is not None:
            return result
        while len(_KNOWN) >= REMEMBERED:
            _KNOWN.pop(next(iter(_KNOWN)))
        _KNOWN[key] = replace(result, rows=rows.rows.iloc[:0])
    known = _KNOWN[key]
    return replace(known, by=by or {}, rows=rows.rows, params=dict(known.params), derived=dict(known.derived))


def _key(law: Law, rows: Prepared, settings: Settings) -> tuple[Hashable, ...] | None:
    """What a fit depends on; None where no run_id tells runs apart, since any other column may have a say then."""
    if "run_id" not in rows.rows or not is_integer_dtype(rows.rows.index):
        return None
    digest = hashlib.sha256()
    for part in (*rows.columns, rows.target, rows.runs, *([] if rows.scale is None else [rows.scale])):
        digest.update(np.ascontiguousarray(part).tobytes())
    digest.update(np.ascontiguousarray(rows.rows.index.to_numpy(np.int64)).tobytes())  # notes name rows by their line
    where = rows.rows.attrs.get("source")
    words = repr((settings, rows.n_runs, rows.excluded, rows.notes, searched_notes(rows.rows), where))
    return law.name, law.function, law.source, words, digest.hexdigest()


@describe("runs", "law", "by", "share", options="those of `fit`: " + ", ".join(OPTIONS))
def fit_groups(
    runs: RunsLike,
    law: str | Law = "chinchilla",
    *,
    by: Sequence[str] = (),
    share: Sequence[str] = (),
    **options: Any,
) -> list[Fit]:
    """A Fit for each group of equal `by`, in the order of the groups.

    A group of too few rows has a Fit without values, and the reason. Parameters in `share` are fitted together.
    """
    runs = as_runs(runs).frame
    settings, law = Settings(**options), get_law(law)
    settings.check_names(law)
    check_share(law, by, share)
    fits: dict[int, Fit] = {}
    ready: dict[int, Group] = {}
    with np.errstate(all="ignore"):  # as in a fit of one group
        for number, (label, rows) in enumerate(groups(runs, by)):
            group = Group(label, prepare(rows, law, settings.run))
            try:
                check_own_rows(group.rows, law, share, settings)
                ready[number] = Group(label, weighted(group.rows, law, settings.weights))
            except TooFewRowsError as error:
                fits[number] = unfitted(group, law, settings, str(error))
        sets = [list(ready)] if share else [[number] for number in ready]
        for numbers in filter(None, sets):
            members = tuple(ready[number] for number in numbers)
            try:
                done = fit_together(Groups(law, tuple(share), members), settings)
            except TooFewRowsError as error:
                done = [unfitted(group, law, settings, str(error)) for group in members]
            fits |= dict(zip(numbers, done, strict=True))
    return [fits[number] for number in sorted(fits)]
