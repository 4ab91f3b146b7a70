"""The final loss of runs at work, predicted with an interval from the finished runs of their family on their data.

A law of what varies among the finished runs has a band for a new run that covers noise, parameters and the error of its
form. A run's own curve is not used: it does not show what cooling down will still gain.

    from pathlib import Path

    from isoflop.sweeps.ledger import entries

    runs = list(entries(Path("runs")))
    running, finished = ([run for run in runs if run.state == state] for state in ("running", "ok"))
    Predictor().of(running, finished)      # a Prediction for each run at work, by its run_id
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isoflop import record
from isoflop.errors import FitError, UserError
from isoflop.sweeps.ledger import Entry

if TYPE_CHECKING:
    from isoflop.analysis.fitting.result import Fit

# coverage of the interval
LEVEL = 0.9
# finished rows to which a law is fitted: of more, the last; a look at a sweep must stay cheap
MOST_ROWS = 300


@dataclass(frozen=True)
class Prediction:
    """A loss that a run may end at, with its interval; or why that is unknown."""

    reason: str = ""
    """Why it is unknown; empty if it is not."""
    value: float | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"unknown: {self.reason}"
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


class Predictor:
    """Predicts repeatedly while a sweep runs; a law is refitted when another of its runs has finished."""

    def __init__(self) -> None:
        self.fits: dict[Hashable, tuple[int, Fit | str]] = {}

    def of(self, running: Sequence[Entry], finished: Iterable[Entry]) -> dict[str, Prediction]:
        """Return a prediction for every run at work by the finished ones, by its run_id."""
        rows: dict[Hashable, list[record.Row]] = {}
        for entry in finished if running else ():
            for row in entry.rows:
                rows.setdefault((row["family"], row["data"]), []).append(row)
        return {entry.run_id: self._of_run(entry, rows) for entry in running}

    def _of_run(self, entry: Entry, finished: dict[Hashable, list[record.Row]]) -> Prediction:
        try:
            config = entry.config
        except UserError as error:
            return Prediction(str(error))
        if config.plan is None:
            return Prediction("the run's size was not counted beforehand")
        kind = (config.names.family, config.names.data)
        rows = finished.get(kind, [])
        count, fitted = self.fits.get(kind, (-1, ""))
        if count != len(rows):
            fitted = _fit_law(rows)
            self.fits[kind] = len(rows), fitted
        return Prediction(fitted) if isinstance(fitted, str) else _predict(fitted, config.plan.N, config.plan.D)


def _fit_law(rows: list[record.Row]) -> "Fit | str":
    """Return the law that suits what varies among finished runs of one family and data, or why none does."""
    import pandas as pd

    from isoflop.analysis.fitting.fit import fit
    from isoflop.analysis.runs.cells import choose_law, searched_knobs
    from isoflop.analysis.runs.rows import usable

    if not rows:
        return "no run of its family and data has finished"
    table = usable(pd.DataFrame(rows[-MOST_ROWS:]))
    if knobs := list(searched_knobs(table)):
        return f"the finished runs search {', '.join(knobs)}, of which a law knows nothing"
    law = choose_law(table)
    if law is None:
        return "the finished runs of its family and data have fewer than 3 sizes and amounts of data"
    try:
        return fit(table, law)
    except FitError as error:
        return str(error)


def _predict(fitted: "Fit", N: float, D: float) -> Prediction:
    """Predict the loss of a run of this size and data, if hold-outs give the error of the law's form."""
    import pandas as pd

    from isoflop.analysis.holdout.bands import FORM, bands

    place = {"N": float(N), "D": float(D)}
    for name in set(place) - set(fitted.law.columns):  # a law of D holds for the one size that was run
        if set(fitted.rows[name].astype(float)) != {place[name]}:
            return Prediction(f"the finished runs have a single {name}, and this run has another")
    band = bands(fitted, pd.DataFrame([place]), LEVEL, rivals=False).iloc[0]
    if FORM not in str(band["band"]):
        return Prediction("the finished runs are too few to hold some out")
    return Prediction("", float(band["value"]), float(band["low"]), float(band["high"]))
