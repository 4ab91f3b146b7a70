"""Fit a law to runs: starts, one batched optimiser, a status in words, intervals whose unit is the run.

    print(fit(read_runs("runs.csv"), "chinchilla"))                # a table
    fit_groups(runs, "chinchilla", by=["family"], share=["E"])     # one E for all families

Fits are those of a table and of its parts, each made once, for claims, figures and scorecards alike.

    fits = Fits(as_runs(runs))
    lstm = fits.runs.select("family = 'lstm'")
    fits.law("chinchilla", lstm).params["alpha"]
    fits.law("chinchilla", lstm, by={"family": "lstm"}).params        # the same fit: one search
    fits.once(("largest", lstm), lambda: len(lstm))                   # whatever else follows from these fits
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from pandas.api.types import is_integer_dtype

from isoflop.analysis.arguments import DELTA, Settings, describe
from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.groups import Group, Groups, check_own_rows, check_share
from isoflop.analysis.fitting.pipeline import fit_together, unfitted
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.laws.declare import Law, get_law
from isoflop.analysis.runs.cells import searched_notes
from isoflop.analysis.runs.observations import Observations, mixtures, repeated, unfinished, units
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import FitError, TooFewRowsError

__all__ = ["Fit", "FitError", "fit", "fit_groups", "fit_near"]

# places beside the optimum of another fit at which a search near it begins too
_MOST_PLACES = 3
Made = TypeVar("Made")
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
    law, settings = get_law(law), Settings(loss, delta, interval, level, resamples, run, pin, prior, seed, weights)
    return fit_rows(law, observed(as_runs(runs), law, settings), settings, by or {})


def fit_near(runs: RunsLike, law: str | Law, near: Fit, *, by: dict[str, Any] | None = None, **options: Any) -> Fit:
    """Fit almost the same rows or with almost the same `options` as another fit of the law, in less time: the search
    begins where that of `near` ended, and is made in full where a few fresh starts disagree."""
    law, settings = get_law(law), Settings(**options)
    return fit_rows(law, observed(as_runs(runs), law, settings), settings, by or {}, near)


def fit_quickly(runs: RunsLike, law: Law, **options: Any) -> Fit:
    """Fit as `fit` does, from a few starts, which may disagree."""
    settings, nowhere = Settings(**options), np.empty((0, len(law.params)))
    rows = observed(as_runs(runs), law, settings)
    with np.errstate(all="ignore"):
        return fit_together(Groups(law, (), (Group({}, rows),)), settings, nowhere)[0]


def observe(runs: Runs, law: Law, loss: str = "", words: bool = True) -> Observations:
    """Return what a law is fitted to; of a sweep over the setting that the law predicts, the best of each cell. Under a
    raw `loss` the target of a law that has an E may have any sign; `words` as in `mixtures`."""
    needed, sweep = [*law.columns, law.target], False
    raw = law.target if loss.startswith("raw") and "E" in law.params else ""
    if law.target != "L":
        from isoflop.analysis.runs.observations import best_settings, is_sweep

        sweep = is_sweep(runs.frame, law.columns, law.target)
    table = runs.numbers([*needed, "L"] if sweep else needed, law.name, raw=raw)
    if sweep:
        best, sentence = best_settings(table.frame, law.columns, law.target)
        table = replace(table.with_frame(best, sentence), lines=False)
    rows = table.frame
    notes = [*table.notes, *mixtures(rows, words=words).values(), *units(rows)]
    notes += [] if "D_unique" in law.columns or "D" not in law.columns else repeated(rows)
    notes += [*filter(None, [table.recognised.note]), *unfinished(table), *searched_notes(table.searched)]
    columns = tuple(rows[c].to_numpy(float) for c in law.columns)
    target = rows[law.target].to_numpy(float)
    return Observations(table, columns, target, table.codes, table.count, runs.excluded, notes)


def observed(runs: Runs, law: Law, settings: Settings, words: bool = True) -> Observations:
    """Return what a law is fitted to, weighed as the settings say; FitError where there is nothing."""
    rows = observe(as_runs(runs, settings.run), law, settings.loss, words)
    return _weighted([rows], law, settings)[0]


def _weighted(parts: list[Observations], law: Law, settings: Settings) -> list[Observations]:
    if settings.weights == "none" or not parts:
        return parts
    from isoflop.analysis.fitting.noise_trend import weighted

    with np.errstate(all="ignore"):
        return weighted(parts, law, settings.weights)


def fit_rows(law: Law, rows: Observations, settings: Settings, by: dict[str, Any], near: Fit | None = None) -> Fit:
    """Fit a law to prepared rows: from fresh starts, or beside the optimum of another fit as in `fit_near`."""
    groups = Groups(law, (), (Group(by, rows),))
    with np.errstate(all="ignore"):  # a search may wander where a law overflows; what it brings back is finite
        if near is not None and near.optimum is not None:
            places = np.concatenate([near.optimum.u[None], near.optimum.alternatives[:_MOST_PLACES]])
            result = fit_together(groups, settings, places)[0]
            if result.status != FitStatus.STARTS_DISAGREE:
                return result
        return fit_together(groups, settings)[0]


def _key_of(law: Law, rows: Observations, settings: Settings) -> tuple[Hashable, ...] | None:
    """Return what a fit depends on; None where no run_id names runs, since any other column may have a say then."""
    if "run_id" not in rows.table or not is_integer_dtype(rows.rows.index):
        return None
    arrays = (*rows.columns, rows.target, rows.runs, *([] if rows.scale is None else [rows.scale]))
    # notes name rows by their line
    numbers = b"".join(np.ascontiguousarray(x).tobytes() for x in (*arrays, rows.rows.index.to_numpy(np.int64)))
    words = repr((settings, rows.excluded, rows.notes, rows.table.source))
    return law.name, law.function, law.source, rows.n_runs, words, numbers


@describe("runs", "law", "by", "share", options="those of `fit`: " + ", ".join(OPTIONS))
def fit_groups(
    runs: RunsLike,
    law: str | Law = "chinchilla",
    *,
    by: Sequence[str] = (),
    share: Sequence[str] = (),
    **options: Any,
) -> list[Fit]:
    """Fit a law to each group of equal `by`, in the order of the groups.

    A group of too few rows has a Fit without values, and the reason. Parameters in `share` are fitted together.
    """
    settings, law = Settings(**options), get_law(law)
    settings.check_names(law)
    check_share(law, by, share)
    fits: dict[int, Fit] = {}
    ready: dict[int, Group] = {}
    with np.errstate(all="ignore"):  # as in a fit of one group
        for number, (label, part) in enumerate(as_runs(runs, settings.run).by(by).items()):
            group = Group(label.by, observe(part, law, settings.loss))
            try:
                check_own_rows(group.rows, law, share, settings)
                ready[number] = group
            except TooFewRowsError as error:
                fits[number] = unfitted(group, law, settings, str(error))
        weighed = _weighted([group.rows for group in ready.values()], law, settings)
        ready = {k: group._replace(rows=rows) for (k, group), rows in zip(ready.items(), weighed, strict=True)}
        sets = [list(ready)] if share else [[number] for number in ready]
        for numbers in filter(None, sets):
            members = tuple(ready[number] for number in numbers)
            try:
                done = fit_together(Groups(law, tuple(share), members), settings)
            except TooFewRowsError as error:
                done = [unfitted(group, law, settings, str(error)) for group in members]
            fits |= dict(zip(numbers, done, strict=True))
    return [fits[number] for number in sorted(fits)]


class Fits:
    """The fits of a table of runs, or of parts of it, and what was made with them."""

    def __init__(self, runs: RunsLike, settings: Settings | None = None) -> None:
        """Start without any fit; runs and settings are those of a fit that names no others."""
        self.runs: Runs = as_runs(runs)
        self.settings = settings or Settings()
        self._made: dict[Hashable, Any] = {}

    def law(self, law: str | Law, runs: RunsLike | None = None, *, near: Fit | None = None, **options: Any) -> Fit:
        """Return the fit of a law to the runs, or to a part of them; FitError as `fit` has it.

        near      another fit of the law to almost the same rows, from whose optimum a search begins, as in `fit_near`
        options   `by` and those of `fit`, where they differ from the settings
        """
        law, by = get_law(law), options.pop("by", {})
        settings = replace(self.settings, **options) if options else self.settings
        part = as_runs(self.runs if runs is None else runs)
        asked = observed, part, law.name, law.function, repr(settings)
        rows = self.once(asked, lambda: observed(part, law, settings, words=False))
        key = _key_of(law, rows, settings)
        if near is not None and key not in self._made:
            return fit_rows(law, rows, settings, by, near)
        if key is None:
            return fit_rows(law, rows, settings, by)
        known = self.once(key, lambda: fit_rows(law, rows, settings, {}))
        return replace(known, by=by, rows=rows.rows, params=dict(known.params), derived=dict(known.derived))

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` gave for this key (Runs compare by identity) when first asked for, or its error."""
        if key not in self._made:
            try:
                self._made[key] = make(), None
            except Exception as error:
                self._made[key] = None, error
        made, refusal = self._made[key]
        if refusal is not None:
            raise refusal
        return made  # type: ignore[no-any-return]
