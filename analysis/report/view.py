"""The view: everything that a report and its figures show, worked out once from the runs.

view = look(read_runs("runs.csv"))
view.laws["lstm"].status, view.verdicts[0].verdict
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from isoflop import record
from isoflop.analysis.claims.judge import Verdict, judge, of_families
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.result import Fit, FitError
from isoflop.analysis.tables.replicates import SeedNoise, level_index, points, seed_noise
from isoflop.analysis.tables.rows import finished
from isoflop.analysis.testing.backtest import Fold, hold_out
from isoflop.errors import UserError

# the law that the report draws where the runs span sizes and data, and the one for a single size
LAWS = (("chinchilla", ("N", "D")), ("power_offset(D)", ("D",)))


@dataclass(frozen=True)
class View:
    """All that the page and its figures show."""

    runs: pd.DataFrame
    """The table as it was read, unfinished runs included."""
    rows: pd.DataFrame
    """Its usable rows that name a family."""
    families: tuple[str, ...]
    """The families, sorted."""
    verdicts: tuple[Verdict, ...]
    """A verdict for each claim."""
    laws: Mapping[str, Fit] = field(default_factory=dict)
    """For each family the law on all its rows."""
    held: Mapping[str, Fold] = field(default_factory=dict)
    """For each family the same law with the largest C held out."""
    noise: Mapping[str, SeedNoise] = field(default_factory=dict)
    """For each family the scatter of ln L over seeds."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """For each family that could not be fitted, why."""

    @property
    def unfinished(self) -> pd.DataFrame:
        """The rows of runs that left no result."""
        return self.runs[~finished(self.runs)]

    @property
    def loss_unit(self) -> str:
        """The unit of the losses, for axes and sentences."""
        return record.loss_unit(self.rows)


def look(runs: pd.DataFrame, claims: Any = None) -> View:
    """Judge the claims and fit a law to each family; a family that cannot be fitted is in `refused` with the reason.

    claims  a folder of claims, one yaml, or a list of claims; default those that ship
    """
    verdicts = tuple(judge(runs, claims))
    rows = points(of_families(runs))
    if rows.empty:
        raise UserError(f"{runs.attrs.get('source', 'the table')} has no finished run with a family and a loss")
    families = tuple(sorted(rows["family"].unique()))
    laws: dict[str, Fit] = {}
    held: dict[str, Fold] = {}
    refused: dict[str, str] = {}
    for family in families:
        part = rows[rows["family"] == family]
        law = _law(part)
        try:
            laws[family] = fit(part, law, by={"family": family})
            if "C" in part and part["C"].notna().all():
                held[family] = _largest_out(part, law)
        except FitError as error:
            refused[family] = str(error)
    noise = {family: seed_noise(rows[rows["family"] == family]) for family in families}
    return View(runs, rows, families, verdicts, laws, held, noise, refused)


def _law(rows: pd.DataFrame) -> str:
    """The largest law whose columns the runs vary at three or more levels."""
    for law, columns in LAWS:
        if all(c in rows and rows[c].notna().all() and _levels(rows[c]) >= 3 for c in columns):
            return law
    return LAWS[-1][0]


def _levels(values: Sequence[float] | pd.Series) -> int:
    return int(level_index(values).max(initial=-1)) + 1


def _largest_out(rows: pd.DataFrame, law: str) -> Fold:
    """The law fitted without the largest C, at every run; `held` marks those it has not seen."""
    index = level_index(rows["C"])
    if index.max() < 2:
        raise FitError(f"{int(index.max()) + 1} different C: nothing can be held out, 3 are needed")
    fold = hold_out(rows[index < index.max()], rows.assign(held=index == index.max()), law, axis="C")
    if fold.status == "refused":
        raise FitError(fold.reason)
    return fold
