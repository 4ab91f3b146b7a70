"""Every fit of these runs, made once: what a claim has fitted, a table, a figure and a scorecard find again.

    fits = Fits(as_runs(runs))
    lstm = fits.runs.select("family = 'lstm'")
    fits.law("chinchilla", lstm).params["alpha"]
    fits.law("chinchilla", lstm, by={"family": "lstm"}).params        # the same fit: one search
    fits.local("chinchilla", lstm).estimates["local_exponent_N"]
    fits.once(("largest", lstm), lambda: len(lstm))                   # whatever else follows from these fits

It is handed on explicitly, and lives as long as the runs that it is made for.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from isoflop.analysis.fitting.fit import fit_rows, key_of, observed
from isoflop.analysis.fitting.local import Local
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.fitting.settings import Settings
from isoflop.analysis.laws.catalogue import Law, get_law
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs

Made = TypeVar("Made")


class Fits:
    """The fits of a table of runs, or of parts of it, and what was made with them."""

    def __init__(self, runs: RunsLike, settings: Settings | None = None) -> None:
        """Start without any fit.

        runs      the table that is fitted where no part of it is named
        settings  the options of a fit where the call gives no others
        """
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
        rows = observed(as_runs(self.runs if runs is None else runs), law, settings)
        key = key_of(law, rows, settings)
        if near is not None and key not in self._made:
            return fit_rows(law, rows, settings, by, near)
        if key is None:
            return fit_rows(law, rows, settings, by)
        known = self.once(key, lambda: fit_rows(law, rows, settings, {}))
        return replace(known, by=by, rows=rows.rows, params=dict(known.params), derived=dict(known.derived))

    def local(
        self, law: str | Law, runs: RunsLike | None = None, at: Mapping[str, float] | None = None, **options: Any
    ) -> Local:
        """Return slopes, loss and best split of a law's fit at a point among the runs, as `Fit.local` does."""
        return self.law(law, runs, **options).local(at)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` gave for this key when it was first asked for, or its error again.

        key   what the result depends on; Runs and Fits compare by identity, and may be part of it
        """
        if key not in self._made:
            try:
                self._made[key] = make(), None
            except Exception as error:
                self._made[key] = None, error
        made, refusal = self._made[key]
        if refusal is not None:
            raise refusal
        return made  # type: ignore[no-any-return]
