"""The view: everything that a report and its figures show, worked out once from the runs.

view = look(read_runs("runs.csv"))
view.laws["lstm"].status, view.verdicts[0].verdict
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from numpy.typing import ArrayLike

from isoflop import record
from isoflop.analysis.claims.claim import Claim, load_claims
from isoflop.analysis.claims.judge import judge, sound_table
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.claims.subjects import of_families
from isoflop.analysis.claims.verdict import ClaimVerdict
from isoflop.analysis.fitting.diagnose import locked
from isoflop.analysis.fitting.fit import Fits
from isoflop.analysis.fitting.local import Local
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.frontier.frontier import Frontier, frontier
from isoflop.analysis.holdout.backtest import HeldOut, hold_largest_out
from isoflop.analysis.runs.cells import CELL, SEARCHED, SeedNoise
from isoflop.analysis.runs.levels import LEVELS, Layout, layout, level_index
from isoflop.analysis.runs.observations import MIXTURES, mixed, units
from isoflop.analysis.runs.recognise import unnamed
from isoflop.analysis.runs.rows import finished
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import FitError, UserError
from isoflop.wording import MOST_NAMED, distinct_names

if TYPE_CHECKING:
    from isoflop.analysis.claims.forecasts import JudgedForecast

# characters of a reason that the ledger shows
REASON = 300
# columns, beside those of the record, of an exponent that theory gives (scaling/data/synthetic)
THEORY = "data.alpha_"
# panels of a figure; all families are in the tables
MOST_FAMILIES = 24
# layouts in which several sizes may share a compute
BUDGETED = ("isoflop", "grid", "scattered")
# columns beside those of the record that figures read: measurements by probes, and theory's exponents
MEASURED = ("probe.", THEORY)
# rows of a family from which a hold-out is drawn: the standard error of their mean is a fourteenth of their scatter
MOST_HELD = 200


@dataclass(frozen=True)
class View:
    """All that the page and its figures show."""

    runs: Runs
    """The table as it was read, unfinished runs included."""
    best: Runs
    """Its usable rows that name a family; where knobs were searched, those at the best value of each size and data."""
    families: tuple[str, ...]
    """The families, sorted."""
    verdicts: tuple[ClaimVerdict, ...]
    """A verdict for each claim."""
    laws: Mapping[str, Fit] = field(default_factory=dict)
    """For each family the law on all its rows."""
    held: Mapping[str, HeldOut] = field(default_factory=dict)
    """For each family that figures show, the same law with the largest C held out."""
    local: Mapping[str, Local] = field(default_factory=dict)
    """For each family slopes, loss and best split of its law at a point among its runs."""
    forecast: "JudgedForecast | None" = None
    """A forecast that was made before some of the runs, and its outcome."""
    noise: Mapping[str, SeedNoise] = field(default_factory=dict)
    """For each family the scatter of ln L over seeds."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """For each family that could not be fitted, the reason."""
    unheld: Mapping[str, str] = field(default_factory=dict)
    """For each family that was fitted and has no hold-out, the reason."""
    searched: pd.DataFrame = field(default_factory=pd.DataFrame)
    """All usable rows, at every value of a searched knob."""
    layout: Layout | None = None
    """Where the runs stand: isoFLOP budgets, a grid, a ladder, one axis, marks; None without a run."""
    notes: tuple[str, ...] = ()
    """What is odd about the table, or was assumed of it."""
    stated: bool = False
    """Whether the claims were chosen for these runs, as those of a study are."""
    fits: Fits = field(default_factory=lambda: Fits(pd.DataFrame()))
    """Every fit of these runs that claims, tables and figures share."""

    @property
    def rows(self) -> pd.DataFrame:
        """The rows of `best`."""
        return self.best.frame

    @cached_property
    def frontiers(self) -> dict[str, Frontier]:
        """For each family that has N, D, C and budgets, the frontier as `isoflop frontier` gives it."""
        if self.layout is None or self.layout.kind not in BUDGETED:
            return {}
        results = {}
        for family in self.families:
            law = self.laws.get(family)
            try:
                results[family] = frontier(self.compared(family), law_fit=law if self.splits(family) else None)
            except FitError:
                continue
        return results

    @property
    def no_frontier(self) -> str:
        """Why no family has budgets; empty where one has."""
        if self.frontiers:
            return ""
        kind = self.layout.kind if self.layout else "no"
        return f"the runs are laid out as {kind}, without budgets of several sizes" if kind not in BUDGETED else ""

    def compared(self, family: str) -> pd.DataFrame:
        """Return the rows of one family, with C = 6 N D where they have no C."""
        return self.best.groups[family].with_compute.frame

    def tested(self, family: str) -> Fit:
        """Return the law of a family on at most MOST_HELD rows, to be compared with other laws."""
        law = self.laws[family]
        few = _few(law.rows)
        return law if few is law.rows else self.fits.law(law.law.name, few, by={"family": family}, interval="none")

    def splits(self, family: str) -> bool:
        """Return whether the law of this family has a best size and amount of data for each compute."""
        return family in self.laws and "a" in self.laws[family].derived

    @property
    def loss_unit(self) -> str:
        """The unit of the losses, for axes and sentences."""
        return self.best.loss_unit


def look(runs: RunsLike, claims: Any = None, forecast: Path | None = None, tune: Sequence[str] = ()) -> View:
    """Judge the claims and fit a law to each family; a family that cannot be fitted is in `refused` with the reason.

    claims    a folder of claims, one yaml, or a list of claims; default those that ship
    forecast  a file of `isoflop forecast`
    tune      knobs that were searched; by default those that take several values at one size and amount of data
    """
    table = as_runs(runs)
    table = table.with_frame(_named_for_page(table.frame))
    if "L" in table and not finished(table.frame).any():
        return _without_results(table, claims)
    table = sound_table(table)
    searched = _columns_of_page(_with_runs(of_families(table).usable), tune)
    best = _best(searched, tune)
    judged_forecast = None
    if forecast is not None:
        from isoflop.analysis.claims.forecasts import judge_forecast

        judged_forecast = judge_forecast(forecast, table)
    fits = Fits(best)
    judged = table
    if best is not searched:
        judged = table.take(table.frame.index.isin(best.frame.index) | ~finished(table.frame))
    view = View(
        table, best, tuple(best.groups), tuple(judge(judged, claims, fits)), searched=searched.frame,
        forecast=judged_forecast,
        layout=_layout(best), notes=_notes(best, table), stated=claims is not None, fits=fits,
    )  # fmt: skip
    return _with_laws(view)


def _with_laws(view: View) -> View:
    laws: dict[str, Fit] = {}
    held: dict[str, HeldOut] = {}
    refused: dict[str, str] = {}
    unheld: dict[str, str] = {}
    shown = most_runs(view.rows)
    for family, part in view.best.groups.items():
        law = _law(part.frame)
        try:
            laws[family] = view.fits.law(law, part, by={"family": family})
        except FitError as error:
            refused[family] = str(error)
            continue
        if family in shown and "C" in part and part["C"].notna().all():
            try:
                held[family] = hold_largest_out(_few(part.frame), law, laws[family], view.fits)
            except FitError as error:
                unheld[family] = str(error)
    noise = {family: part.seed_noise for family, part in view.best.groups.items()}
    local = {family: law.local(bent=family in shown) for family, law in laws.items()}
    return replace(view, laws=laws, held=held, refused=refused, unheld=unheld, noise=noise, local=local)


def _few(rows: pd.DataFrame) -> pd.DataFrame:
    return rows if len(rows) <= MOST_HELD else rows.sample(MOST_HELD, random_state=0)


def most_runs(rows: pd.DataFrame, most: int = MOST_FAMILIES) -> set[str]:
    """Return the `most` families with the most rows, which figures show."""
    return set(rows["family"].value_counts(sort=True).index[:most])


def _with_runs(runs: Runs) -> Runs:
    """Return the rows with a run_id where runs are recognised by another column, as a fit recognises them."""
    if "run_id" in runs or not runs.recognised.note:
        return runs
    return runs.with_columns(runs.recognised.note, run_id=runs.codes.astype(str))


def _columns_of_page(runs: Runs, tune: Sequence[str]) -> Runs:
    """Return the rows with every column that a page reads, or that distinguishes cells."""
    knobs = {*SEARCHED, *CELL, *MIXTURES, *tune, *runs.cell_columns}
    names = [c for c in runs.frame if record.column(str(c)) is not None or str(c).startswith(MEASURED) or c in knobs]
    return runs.with_frame(runs.frame[names].copy())


def _best(runs: Runs, tune: Sequence[str]) -> Runs:
    """Return the rows at the best value of every searched knob."""
    knobs = list(tune) or list(runs.searched)
    try:
        return runs.tuned(knobs) if knobs else runs
    except UserError:
        if tune:
            raise
        return runs


def _notes(runs: Runs, table: Runs) -> tuple[str, ...]:
    asked = [*table.left_out, *unnamed(table.frame)]
    odd = [note for _, part in runs.frame.groupby("family") for note in units(part)]
    return tuple(dict.fromkeys(map(str, (*runs.notes, *asked, *odd, *mixed(table)))))


def _layout(runs: Runs) -> Layout | None:
    complete = any(c in runs and runs[c].notna().all() for c in ("N", "D", "C"))
    return runs.layout if len(runs) and complete else None


def _named_for_page(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the table with words that fit a page: printable, on one line, cut to a length, and still distinct."""
    words = {}
    for name in runs.columns.intersection(list(record.COLUMNS)):
        column = runs[name]
        if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
            text = column.map(str, na_action="ignore")
            most = REASON if name == "reason" else MOST_NAMED
            words[name] = text.map(distinct_names(text.dropna().unique(), most), na_action="ignore")
    return runs.assign(**words)


def _without_results(runs: Runs, claims: Any) -> View:
    """Return the view of a table none of whose runs finished: a ledger, and claims that are not tested."""
    to_judge: Sequence[Claim] = load_claims(claims) if claims is None or isinstance(claims, str | Path) else claims
    verdicts = tuple(ClaimVerdict(VerdictKind.UNTESTED, "no run finished", claim=c) for c in to_judge)
    named = of_families(runs)
    return View(runs, named.with_frame(named.frame.iloc[:0]), tuple(named.groups), verdicts, notes=runs.notes)


def _law(rows: pd.DataFrame) -> str:
    """Choose the law of what the runs vary: of size and data, of compute where one follows the other, or of one."""
    columns = {c: rows[c].to_numpy(float) for c in ("N", "D", "C") if c in rows and rows[c].notna().all()}
    varied = [c for c, x in columns.items() if _levels(x) > 1]
    if {"N", "D"} <= set(varied):
        one_axis = layout(rows).kind == "ladder" or locked("N", "D", columns["N"], columns["D"])
        return "power_offset(C)" if one_axis and _levels(columns.get("C", [])) >= LEVELS else "chinchilla"
    return f"power_offset({varied[0]})" if varied else "power_offset(D)"


def _levels(values: ArrayLike) -> int:
    return int(level_index(values).max(initial=-1)) + 1
