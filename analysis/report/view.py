"""The view: everything that a report and its figures show, worked out once from the runs.

view = look(read_runs("runs.csv"))
view.laws["lstm"].status, view.verdicts[0].verdict
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from isoflop import record
from isoflop.analysis.claims.claim import Claim, load_claims
from isoflop.analysis.claims.forecasts import JudgedForecast, judge_forecast
from isoflop.analysis.claims.judge import judge, of_families, sound_table
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.claims.verdict import ClaimVerdict
from isoflop.analysis.fitting.diagnose import locked
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.fitting.local import Local
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.frontier.frontier import Frontier, frontier
from isoflop.analysis.holdout.backtest import HeldOut, hold_out
from isoflop.analysis.runs.cells import (
    CELL,
    SEARCHED,
    SeedNoise,
    cell_columns,
    searched_knobs,
    seed_noise,
)
from isoflop.analysis.runs.formats import read_table
from isoflop.analysis.runs.levels import LEVELS, Layout, layout, level_index
from isoflop.analysis.runs.recognise import recognise_runs
from isoflop.analysis.runs.rows import MIXTURES, finished, mixtures, number_runs, units, usable, with_compute
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.errors import FitError, UserError
from isoflop.wording import MOST_NAMED, distinct_names

# characters of a reason that the ledger shows
REASON = 300
# columns, beside those of the record, of an exponent that theory gives (scaling/data/synthetic)
THEORY = "data.alpha_"
# columns of a table of profiles (sweeps/collect)
NAMED, POINT = ("probe", "quantity", "axis"), ("mark", "index", "value")
PROFILE = ("run_id", *NAMED, *POINT)
# panels that a figure has at the most; all families are in the tables
MOST_FAMILIES = 24
# layouts in which several sizes may share a compute
BUDGETED = ("isoflop", "grid", "scattered")
# columns beside those of the record that figures read: measurements by probes, and theory's exponents
MEASURED = ("probe.", THEORY)
# rows of a family from which a hold-out is drawn: figures show no more points, and from as many runs a standard error
# is a fourteenth of the scatter of one
MOST_HELD = 200


def sound_profiles(profiles: pd.DataFrame) -> pd.DataFrame:
    """The points of profiles whose numbers are numbers, their names as a page can bear them."""
    numbers = {name: pd.to_numeric(profiles[name], errors="coerce").astype(float) for name in POINT}
    texts = {name: profiles[name].astype(str) for name in ("run_id", *NAMED)}
    texts |= {name: texts[name].map(distinct_names(texts[name].unique())) for name in NAMED}
    profiles = profiles.assign(**numbers, **texts)
    points: pd.DataFrame = profiles.loc[np.isfinite(profiles[list(POINT)].to_numpy()).all(axis=1)]
    return points


@dataclass(frozen=True)
class View:
    """All that the page and its figures show."""

    runs: pd.DataFrame
    """The table as it was read, unfinished runs included."""
    rows: pd.DataFrame
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
    forecast: JudgedForecast | None = None
    """A forecast that was made before some of the runs, and what came of it."""
    noise: Mapping[str, SeedNoise] = field(default_factory=dict)
    """For each family the scatter of ln L over seeds."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """For each family that could not be fitted, why."""
    unheld: Mapping[str, str] = field(default_factory=dict)
    """For each family that was fitted and of which nothing could be held out, why."""
    searched: pd.DataFrame = field(default_factory=pd.DataFrame)
    """All usable rows, at every value of a searched knob."""
    layout: Layout | None = None
    """Where the runs stand: isoFLOP budgets, a grid, a ladder, one axis, marks; None without a run."""
    notes: tuple[str, ...] = ()
    """What is odd about the table, or was assumed of it."""
    stated: bool = False
    """Whether the claims were chosen for these runs, as those of a study are."""

    @property
    def unfinished(self) -> pd.DataFrame:
        """The rows of runs that left no result."""
        return self.runs[~finished(self.runs)]

    @cached_property
    def profiles(self) -> pd.DataFrame:
        """What probes measured along an axis, as `isoflop collect` puts it beside the table; empty without it.

        UserError where what lies there is no table of profiles.
        """
        source = self.runs.attrs.get("source")
        if not source or "run_id" not in self.rows:
            return pd.DataFrame()
        table = Path(str(source))
        file = table.with_name("probes.csv" if table.name == "runs.csv" else f"{table.stem}.probes.csv")
        if not os.path.lexists(file):
            return pd.DataFrame()
        profiles = read_table(file)
        if missing := [name for name in PROFILE if name not in profiles]:
            raise UserError(f"{file} is no table of profiles: it has no column {missing[0]}; collect the runs again")
        return sound_profiles(profiles[list(PROFILE)])

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
        """The rows of one family, with C as 6 N D where there is none."""
        return with_compute(self.rows[self.rows["family"] == family])

    def tested(self, family: str) -> Fit:
        """The law of a family on no more rows than a hold-out is drawn from, to be set against other laws."""
        law = self.laws[family]
        if len(law.rows) <= MOST_HELD:
            return law
        rows = law.rows.sample(MOST_HELD, random_state=0)
        return fit(rows, law.law.name, by={"family": family}, interval="none")

    def splits(self, family: str) -> bool:
        """Whether the law of this family has a best size and amount of data for each compute."""
        return family in self.laws and "a" in self.laws[family].derived

    @property
    def loss_unit(self) -> str:
        """The unit of the losses, for axes and sentences."""
        return record.loss_unit(self.rows)


def look(runs: RunsLike, claims: Any = None, forecast: Path | None = None, tune: Sequence[str] = ()) -> View:
    """Judge the claims and fit a law to each family; a family that cannot be fitted is in `refused` with the reason.

    claims    a folder of claims, one yaml, or a list of claims; default those that ship
    forecast  a file of `isoflop forecast`
    tune      knobs that were searched; by default those that take several values at one size and amount of data
    """
    runs = as_runs(runs).frame
    runs = named_for_page(runs)
    if "L" in runs and not finished(runs).any():
        return _without_results(runs, claims)
    runs = sound_table(runs).frame
    searched = _columns_of_page(_with_runs(usable(of_families(runs).frame)), tune)
    rows, notes = _best(searched, tune)
    verdicts = tuple(
        judge(runs if rows is searched else runs.loc[runs.index.isin(rows.index) | ~finished(runs)], claims)
    )
    families = tuple(sorted(rows["family"].unique()))
    laws: dict[str, Fit] = {}
    held: dict[str, HeldOut] = {}
    refused: dict[str, str] = {}
    unheld: dict[str, str] = {}
    parts = {str(family): part for family, part in rows.groupby("family", sort=True)}
    shown = most_runs(rows)
    for family, part in parts.items():
        law = _law(part)
        try:
            laws[family] = fit(part, law, by={"family": family})
        except FitError as error:
            refused[family] = str(error)
            continue
        if family in shown and "C" in part and part["C"].notna().all():
            try:
                held[family] = _largest_out(part, law, laws[family])
            except FitError as error:
                unheld[family] = str(error)
    noise = {family: seed_noise(part) for family, part in parts.items()}
    local = {family: law.local() for family, law in laws.items()}
    judged = None if forecast is None else judge_forecast(forecast, runs)
    return View(
        runs, rows, families, verdicts, laws, held, local, judged, noise, refused, unheld, searched, _layout(rows),
        notes, claims is not None,
    )  # fmt: skip


def most_runs(rows: pd.DataFrame, most: int = MOST_FAMILIES) -> set[str]:
    """The families that figures show: of more than `most` those with the most rows."""
    return set(rows["family"].value_counts(sort=True).index[:most])


def _with_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a run_id where runs are recognised by another column, as a fit recognises them."""
    recognised = None if "run_id" in rows else recognise_runs(rows)
    if recognised is None or not recognised.note:
        return rows
    named = rows.assign(run_id=recognised.codes.astype(str))
    named.attrs = rows.attrs | {"notes": [*rows.attrs.get("notes", ()), recognised.note]}
    return named


def _columns_of_page(rows: pd.DataFrame, tune: Sequence[str]) -> pd.DataFrame:
    """The rows with all that a page reads, or that tells one cell from another."""
    knobs = {*SEARCHED, *CELL, *MIXTURES, *tune}
    knobs |= set(cell_columns(rows))
    names = [c for c in rows if record.column(str(c)) is not None or str(c).startswith(MEASURED) or c in knobs]
    return rows[names].copy()


def _best(rows: pd.DataFrame, tune: Sequence[str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows at the best value of every searched knob, and the notes of the table."""
    knobs = list(tune) or list(searched_knobs(rows))
    try:
        best = as_runs(rows).tuned(knobs).frame if knobs else rows
    except UserError:
        if tune:
            raise
        best = rows
    odd = [note for _, part in best.groupby("family") for note in (*units(part), *mixtures(part))]
    return best, tuple(dict.fromkeys(map(str, (*best.attrs.get("notes", ()), *odd))))


def _layout(rows: pd.DataFrame) -> Layout | None:
    """Where the runs of all families stand together."""
    if rows.empty or not any(c in rows and rows[c].notna().all() for c in ("N", "D", "C")):
        return None
    return layout(rows, number_runs(rows, None)[0])


def named_for_page(runs: pd.DataFrame) -> pd.DataFrame:
    """The table with its words as a page and a figure can bear them: printable, on one line, not too long; two that
    differ still do."""
    words = {}
    for name in runs.columns.intersection(list(record.COLUMNS)):
        column = runs[name]
        if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
            text = column.map(str, na_action="ignore")
            most = REASON if name == "reason" else MOST_NAMED
            words[name] = text.map(distinct_names(text.dropna().unique(), most), na_action="ignore")
    return runs.assign(**words)


def _without_results(runs: pd.DataFrame, claims: Any) -> View:
    """The view of a table none of whose runs finished: a ledger, and claims that are not tested."""
    to_judge: Sequence[Claim] = load_claims(claims) if claims is None or isinstance(claims, str | Path) else claims
    verdicts = tuple(ClaimVerdict(VerdictKind.UNTESTED, "no run finished", claim=c) for c in to_judge)
    families = tuple(sorted(of_families(runs)["family"].unique()))
    notes = tuple(map(str, runs.attrs.get("notes", ())))
    return View(runs, of_families(runs).frame.iloc[:0], families, verdicts, notes=notes)


def _law(rows: pd.DataFrame) -> str:
    """The law of what the runs vary: of size and data, of compute where one of these follows the other, or of one."""
    columns = {c: rows[c].to_numpy(float) for c in ("N", "D", "C") if c in rows and rows[c].notna().all()}
    varied = [c for c, x in columns.items() if _levels(x) > 1]
    if {"N", "D"} <= set(varied):
        one_axis = layout(rows).kind == "ladder" or locked("N", "D", columns["N"], columns["D"])
        return "power_offset(C)" if one_axis and _levels(columns.get("C", [])) >= LEVELS else "chinchilla"
    return f"power_offset({varied[0]})" if varied else "power_offset(D)"


def _levels(values: ArrayLike) -> int:
    return int(level_index(values).max(initial=-1)) + 1


def _largest_out(rows: pd.DataFrame, law: str, whole: Fit) -> HeldOut:
    """The law fitted without the largest C, at every run; `held` marks those it has not seen. `whole` is its
    fit to all runs."""
    if len(rows) > MOST_HELD:
        rows = rows.sample(MOST_HELD, random_state=0)
    index = level_index(rows["C"])
    if index.max() < 2:
        raise FitError(f"{int(index.max()) + 1} different C: nothing can be held out, 3 are needed")
    held = rows.assign(held=index == index.max())
    with np.errstate(all="ignore"):  # a naive guess far away may leave the doubles: it is infinitely wrong
        fold = hold_out(rows[index < index.max()], held, law, axis="C", near=whole)
    if fold.status == "refused":
        raise FitError(fold.reason)
    return fold
