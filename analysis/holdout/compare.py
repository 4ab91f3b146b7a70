"""Compare laws by what they say of runs they have not seen, beside naive guesses and the noise of seeds.

    comparison = compare(runs, ["power", "chinchilla", "best"], axis="C")
    comparison.table[["law", "rmsle", "coverage", "predicts"]]       # best first

Every law is fitted to the smaller runs and predicts the larger ones, at several cuts or at one; so do the straight line
through the logarithms and the last value seen. They are ranked by the late cuts, those that leave no more than a stated
factor to the top, since a cut far below favours laws of few parameters.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.arguments import describe
from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.fit import Fit, fit, fit_quickly
from isoflop.analysis.holdout.average import default_laws, law_of, names_average
from isoflop.analysis.holdout.backtest import HeldOut, coverage
from isoflop.analysis.holdout.cuts import mean_square
from isoflop.analysis.holdout.form_error import LackOfFit, lack_of_fit
from isoflop.analysis.holdout.predictability import LAST, LINE, judge, lean, unsure
from isoflop.analysis.holdout.stacking import candidates
from isoflop.analysis.holdout.triangle import Triangle, cut_by, cuts_along
from isoflop.analysis.laws.declare import Law, get_law
from isoflop.analysis.laws.dual_numbers import Array
from isoflop.analysis.runs.levels import SAME_LEVEL
from isoflop.analysis.runs.observations import mixtures, units
from isoflop.analysis.runs.runs import Runs, RunsLike, as_runs
from isoflop.errors import FitError
from isoflop.files import records

# cuts that leave up to this factor of the axis to the top rank the laws: the next run is two to four times larger
REACH = 4.0
# the guesses that a law has to beat
BASELINES = {"error_line": "line without E", "error_last": "last value"}


@dataclass(frozen=True)
class Comparison:
    """Laws by how well they predict held-out runs.

    axis      the column along which the larger runs were held out
    table     a row for each law and baseline, best first: law, late (root mean square of ln(predicted / observed) at
              the late cuts, each alike), rmsle (of all held-out rows), bias, worst, coverage of 90 % bands, reach
              (times the largest fitted), held_out rows, folds, status (on all rows), predicts (by these hold-outs)
    by_cut    a row for each of these and each cut: law, cut, reach, rmsle
    seed_sd   standard deviation of ln L over seeds; None without replicates
    refused   law -> why it could not be fitted
    lack      law -> the test of its form against replicates
    notes     what was noted on reading
    repeats   what differs between replicates: seeds where there is such a column
    """

    axis: str
    table: pd.DataFrame
    by_cut: pd.DataFrame
    seed_sd: float | None
    refused: dict[str, str]
    lack: dict[str, LackOfFit] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    repeats: str = "seeds"

    def to_json(self) -> dict[str, Any]:
        """Return the document of `isoflop compare --json`."""
        rows = records(self.table)
        refused = [{"law": law, "reason": reason} for law, reason in self.refused.items()]
        for row in rows:
            if row["law"] in self.lack:
                row["lack_of_fit"] = self.lack[row["law"]].to_json()
        about = {"refused": refused, "notes": list(self.notes), "by_cut": records(self.by_cut)}
        return {"axis": self.axis, "seed_sd": self.seed_sd, "laws": rows} | about

    def __str__(self) -> str:
        shown = self.table.assign(
            late=self.table["late"].map("{:.4%}".format),
            rmsle=self.table["rmsle"].map("{:.4%}".format),
            bias=self.table["bias"].round(12) + 0.0,  # a rounding error, of either sign, is 0
            worst=self.table["worst"].map("{:.2%}".format),
            coverage=self.table["coverage"].map(lambda x: "-" if pd.isna(x) else f"{x:.0%}"),
            reach=self.table["reach"].map("{:.3g}x".format),
        )
        title = (
            f"held out along {self.axis}, ranked by the late cuts; coverage of 90 % bands: noise + parameters + form"
        )
        names = {cut: f"{self.axis}<={cut:.3g}" for cut in sorted(self.by_cut["cut"].unique())}
        cuts = self.by_cut.pivot(index="law", columns="cut", values="rmsle").reindex(self.table["law"])
        each = (
            cuts.map(lambda x: "-" if pd.isna(x) else f"{x:.3%}")
            .rename(columns=names)
            .rename_axis(index=None, columns=None)
        )
        lines = [shown.to_string(index=False), title, "by cut, fitted to", each.to_string()]
        noise = "no replicated cell gives the noise of seeds"
        lines.append(noise if self.seed_sd is None else f"{self.repeats} differ by {self.seed_sd:.2%}")
        lines += self._forms()
        lines += [f"{law} refused: {reason}" for law, reason in self.refused.items()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _forms(self) -> list[str]:
        """Return the tests of form, as one line where none could be made."""
        texts = {name: str(test) for name, test in self.lack.items()}
        if len(set(texts.values())) == 1 and len(texts) > 1:
            return [f"lack of fit: {next(iter(texts.values()))}"]
        return [f"lack of fit of {name}: {text}" for name, text in texts.items()]


@describe("runs", "laws", "axis", "holdout", "reach", "folds", options="those of `fit`")
def compare(
    runs: RunsLike,
    laws: Sequence[str] = (),
    *,
    axis: str = "C",
    holdout: str = "",
    reach: float = REACH,
    folds: int = 6,
    **options: Any,
) -> Comparison:
    """Compare laws by a rolling hold-out along an axis, or by one cut.

    A law that cannot be fitted at any cut is in `refused` with the reason; FitError where none can be.
    """
    if not reach > 1:
        raise FitError(f"--reach {reach:g} is no factor above 1; give one such as {REACH:g}")
    table, axis = _with_axis(as_runs(runs), axis)
    texts = laws or default_laws(table)  # of the average of laws, a law without parameters stands for it
    named = [law_of(table, text) if names_average(text) else get_law(text) for text in texts]
    declared = {law.name: (text, law) for text, law in zip(texts, named, strict=True)}
    table, columns = _rows(table, [law for _, law in declared.values()], axis)
    cuts = cut_by(table, holdout) if holdout else cuts_along(table.frame, columns, axis, folds)
    options["interval"] = "none"  # how a refit varies follows from its Jacobian
    tested, refused = _hold_out(table, declared, axis, cuts, options)
    if not tested:
        raise FitError("; ".join(f"{law}: {reason}" for law, reason in refused.items()))
    ranked, by_cut = _rank(tested, {name: law for name, (_, law) in declared.items()}, reach)
    lack = {n: lack_of_fit(table, declared[n][0], **options) for n in tested if not names_average(declared[n][0])}
    repeats = "seeds" if "seed" in table else "repeats"
    notes = (*table.notes, *units(table.frame), *mixtures(table.frame).values())
    return Comparison(axis, ranked, by_cut, table.seed_noise.sd, refused, lack, notes, repeats)


def _rank(
    tested: dict[str, tuple[HeldOut, ...]], laws: Mapping[str, Law], reach: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    guesses = {name: (_joined(held), "error") for name, held in tested.items()}
    for names, test in {",".join(laws[n].columns): test for n, test in reversed(tested.items())}.items():
        guesses |= {f"{label} ({names})": (_joined(test), key) for key, label in BASELINES.items()}
    by_cut = pd.concat([_by_cut(name, *each) for name, each in guesses.items()], ignore_index=True)
    rows = [_row(name, *each) for name, each in guesses.items()]
    ranked = pd.DataFrame([row | _verdicts(row["law"], tested, laws) for row in rows])
    ranked.insert(1, "late", ranked["law"].map(_late(by_cut, reach)))
    return ranked.sort_values(["late", "rmsle"], ignore_index=True), by_cut


def _with_axis(runs: Runs, axis: str) -> tuple[Runs, str]:
    """Return the runs and the axis; where none has compute, N D, or the one of both that it has."""
    runs = runs.with_compute if axis == "C" else runs
    if axis != "C" or "C" in runs or not (there := [c for c in ("D", "N") if c in runs]):
        return runs, axis
    note = f"the larger {' '.join(there[::-1])} are held out, for the table has no compute"
    scale = runs.frame[there].apply(pd.to_numeric, errors="coerce").prod(axis=1, skipna=False)
    return (runs.with_columns(note, C=scale), axis) if len(there) > 1 else (runs.with_frame(runs.frame, note), there[0])


def _rows(runs: Runs, laws: Sequence[Law], axis: str) -> tuple[Runs, list[str]]:
    """Return the usable rows with axis, loss and the laws' columns above 0, and those names without the loss."""
    if axis not in runs:
        there = ", ".join(map(str, runs.frame.columns))
        raise FitError(f"no column {axis!r} to hold out along; choose --axis from {there}")
    if "L" not in runs:
        raise FitError("a comparison needs the column L; name it, as in --columns L=its_name")
    columns = list(dict.fromkeys([axis, *(c for law in laws for c in law.columns if c in runs)]))
    return runs.numbers([*columns, "L"]).usable, columns


def _hold_out(
    runs: Runs, declared: Mapping[str, tuple[str, Law]], axis: str, cuts: list[NDArray[np.bool_]], options: Any
) -> tuple[dict[str, tuple[HeldOut, ...]], dict[str, str]]:
    """Return what each law says at each cut, and why others say nothing."""
    suit = {law.columns: candidates(law.arguments, law.columns, len(runs)) for _, law in declared.values()}
    fits, refused = {}, {}
    named = {law.name: law for text, law in declared.values() if not names_average(text)}
    for name, law in ({law.name: law for law in itertools.chain(*suit.values())} | named).items():
        try:
            fits[name] = _fit(runs, law, options)
            if name in named and fits[name].status is FitStatus.STARTS_DISAGREE:
                fits[name] = fit(runs, law, **options)
        except FitError as error:
            refused[name] = str(error)
    if not fits:
        return {}, refused
    triangle = Triangle(runs.frame, fits, axis, cuts)
    tested = {}
    for name, (text, law) in declared.items():
        rivals, mean = tuple(other.name for other in suit[law.columns] if other.name in fits), names_average(text)
        if not (rivals if mean else name in fits):
            continue
        held = triangle.held_out(rivals[0] if mean else name, rivals, mean=mean)
        if any(fold.counts for fold in held):
            tested[name] = held
        else:
            refused[name] = held[-1].reason
    return tested, {name: reason for name, reason in refused.items() if name in declared}


def _fit(runs: Runs, law: Law, options: dict[str, Any]) -> Fit:
    if law.target != "L":
        raise FitError(f"it predicts {law.target}, and a comparison holds out L")
    if missing := [c for c in law.columns if c not in runs]:
        raise FitError(f"it needs the columns {', '.join(law.columns)}, and there is no {', '.join(missing)}")
    return fit_quickly(runs, law, **options)


def _joined(folds: Sequence[HeldOut]) -> pd.DataFrame:
    return pd.concat([fold.errors for fold in folds], ignore_index=True)


def _predicts(name: str, tested: Mapping[str, Sequence[HeldOut]], *, curve: bool) -> str:
    """Return whether a law (of one column: a curve) predicts, by the hold-outs and the scatter of rows at the last."""
    mine = tested[name]

    def squares(folds: Sequence[HeldOut], key: str) -> Array:
        by_cut = {fold.cut: mean_square(fold.errors[key].to_numpy(float)) for fold in folds}
        return np.array([by_cut.get(fold.cut, np.nan) for fold in mine])

    laws = {other: squares(folds, "error") for other, folds in tested.items() if other != name}
    naive = {LAST: squares(mine, "error_last"), LINE: squares(mine, "error_line")}
    noise = next(fold.noise for fold in reversed(mine) if fold.counts)
    verdict = judge(squares(mine, "error"), laws, naive, noise)
    return unsure(verdict, lean(mine, noise) if curve else "").predicts


def _by_cut(name: str, errors: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return for each cut that a law or baseline was fitted at how far it reached, and its root mean square error."""
    groups = errors.dropna(subset=[key]).groupby("cut")
    table = pd.DataFrame({"reach": groups["reach"].max(), "rmsle": groups[key].agg(lambda e: np.sqrt((e**2).mean()))})
    return table.reset_index().assign(law=name)[["law", "cut", "reach", "rmsle"]]


def _late(by_cut: pd.DataFrame, reach: float) -> pd.Series:
    """Return the error of each law at the cuts that leave up to `reach` to the top, at the last where none does;
    without the cuts that only some laws could be fitted at, where all were fitted at another."""
    late = by_cut[by_cut["reach"] <= max(reach * (1 + SAME_LEVEL), by_cut["reach"].min())]
    squares = late.assign(square=late["rmsle"] ** 2).pivot(index="law", columns="cut", values="square")
    common = squares.dropna(axis=1)
    error: pd.Series = (common if common.size else squares).mean(axis=1) ** 0.5
    return error


def _verdicts(name: str, tested: Mapping[str, Sequence[HeldOut]], laws: Mapping[str, Law]) -> dict[str, Any]:
    """Return what a law has and a baseline has not: coverage of its bands, status and whether it predicts."""
    if name not in tested:
        return {}
    counted = [fold for fold in tested[name] if fold.counts]
    inside, known = coverage(_joined(tested[name]))
    predicts = _predicts(name, tested, curve=len(laws[name].columns) == 1)
    covered = inside / known if known else float("nan")
    return {"coverage": covered, "folds": len(counted), "status": counted[-1].status, "predicts": predicts}


def _row(name: str, errors: pd.DataFrame, key: str) -> dict[str, Any]:
    size = np.asarray(errors[key].dropna(), dtype=float)
    return {
        "law": name,
        "rmsle": float(np.sqrt((size**2).mean())),
        # predictions may be off without bound both ways; then there is no mean
        "bias": float(size.mean()) if np.isfinite(size).all() else float("nan"),
        "worst": float(np.abs(size).max()),
        "coverage": float("nan"),
        "reach": float(errors["reach"].max()),
        "held_out": len(size),
        "folds": errors["cut"].nunique(),
        "status": "-",
        "predicts": "-",
    }
