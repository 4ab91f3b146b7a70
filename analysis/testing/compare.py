"""Laws compared by what they say of runs they have not seen, beside naive guesses and the noise of seeds.

Every law is fitted to the smaller runs and predicts the larger ones, at several cuts along an axis or at one that is
given; so do the straight line through the logarithms and the last value seen. In-sample error plays no part in
the order; where runs are replicated, lack of fit is tested beside it.

    comparison = compare(runs, ["power", "chinchilla", "bnsl"], axis="C")
    comparison.table[["law", "rmsle", "coverage"]]       # best first
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.arguments import describe
from isoflop.analysis.fitting.status import FitStatus
from isoflop.analysis.laws.catalogue import get_law
from isoflop.analysis.tables.read import select
from isoflop.analysis.tables.replicates import seed_noise
from isoflop.analysis.tables.rows import usable_numbers
from isoflop.analysis.testing.backtest import Fold, backtest, hold_out
from isoflop.analysis.testing.lack_of_fit import LackOfFit, lack_of_fit
from isoflop.errors import FitError
from isoflop.files import records

# the guesses that a law has to beat
BASELINES = {"error_line": "line without E", "error_last": "last value"}


@dataclass(frozen=True)
class Comparison:
    """Laws by how well they predict held-out runs.

    axis      the column along which the larger runs were held out
    table     a row for each law and baseline, best first: law, rmsle (root mean square of ln(predicted / observed)),
              bias, worst, coverage of 90 % bands, reach (times the largest fitted), held_out rows, folds, status
    seed_sd   standard deviation of ln L over seeds; None without replicates
    refused   law -> why it could not be fitted
    lack      law -> the test of its form against replicates
    notes     what was noted on reading
    """

    axis: str
    table: pd.DataFrame
    seed_sd: float | None
    refused: dict[str, str]
    lack: dict[str, LackOfFit] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of `isoflop compare --json`."""
        rows = records(self.table)
        refused = [{"law": law, "reason": reason} for law, reason in self.refused.items()]
        for row in rows:
            if row["law"] in self.lack:
                row["lack_of_fit"] = self.lack[row["law"]].to_json()
        return {"axis": self.axis, "seed_sd": self.seed_sd, "laws": rows, "refused": refused, "notes": list(self.notes)}

    def __str__(self) -> str:
        shown = self.table.assign(
            rmsle=self.table["rmsle"].map("{:.4%}".format),
            worst=self.table["worst"].map("{:.2%}".format),
            coverage=self.table["coverage"].map(lambda x: "-" if pd.isna(x) else f"{x:.0%}"),
            reach=self.table["reach"].map("{:.3g}x".format),
        )
        lines = [shown.to_string(index=False), f"held out along {self.axis}; coverage of 90 % bands"]
        noise = (
            "no replicated cell tells the noise of seeds"
            if self.seed_sd is None
            else f"seeds differ by {self.seed_sd:.2%}"
        )
        lines += [noise, *self._forms()]
        lines += [f"{law} refused: {reason}" for law, reason in self.refused.items()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _forms(self) -> list[str]:
        """The tests of form, as one line where none could be made."""
        texts = {name: str(test) for name, test in self.lack.items()}
        if len(set(texts.values())) == 1 and len(texts) > 1:
            return [f"lack of fit: {next(iter(texts.values()))}"]
        return [f"lack of fit of {name}: {text}" for name, text in texts.items()]


@describe("runs", "laws", "axis", "holdout", "folds", options="those of `fit`")
def compare(
    runs: pd.DataFrame, laws: Sequence[str], *, axis: str = "C", holdout: str = "", folds: int = 6, **options: Any
) -> Comparison:
    """Compare laws by a rolling hold-out along an axis, or by one cut.

    A law that cannot be fitted at any cut is in `refused` with the reason; FitError where none can be.
    """
    runs = _rows(runs, laws, axis)
    rows, refused = [], {}
    baselines: dict[str, pd.DataFrame] = {}
    for law in laws:
        name, target = get_law(law).name, get_law(law).target
        if target != "L":
            refused[name] = f"it predicts {target}, and a comparison holds out L"
            continue
        try:
            with np.errstate(all="ignore"):  # a naive guess far away may leave the doubles: it is infinitely wrong
                tested = _folds(runs, law, axis, holdout, folds, options)
        except FitError as error:
            refused[name] = str(error)
            continue
        errors = pd.concat([f.errors for f in tested], ignore_index=True)
        fitted = [f for f in tested if f.status != FitStatus.REFUSED]
        if not fitted:
            refused[name] = tested[-1].reason
            continue
        rows.append(_row(name, errors, "error", len(fitted), fitted[-1].status))
        baselines.setdefault(",".join(get_law(law).columns), errors)
    for names, errors in baselines.items():
        rows += [
            _row(f"{label} ({names})", errors, key, errors["cut"].nunique(), "-") for key, label in BASELINES.items()
        ]
    if not rows:
        raise FitError("; ".join(f"{law}: {reason}" for law, reason in refused.items()))
    table = pd.DataFrame(rows).sort_values("rmsle", ignore_index=True)
    lack = {get_law(law).name: lack_of_fit(runs, law, **options) for law in laws if get_law(law).name not in refused}
    return Comparison(axis, table, seed_noise(runs).sd, refused, lack, tuple(runs.attrs.get("notes", ())))


def _rows(runs: pd.DataFrame, laws: Sequence[str], axis: str) -> pd.DataFrame:
    """The usable rows, with the axis, the loss and the columns of the laws as numbers above 0."""
    if axis not in runs:
        raise FitError(f"no column {axis!r} to hold out along; choose --axis from {', '.join(map(str, runs.columns))}")
    if "L" not in runs:
        raise FitError("a comparison needs the column L; name it, as in --columns L=its_name")
    return usable_numbers(runs, [axis, "L", *(c for law in laws for c in get_law(law).columns if c in runs)])


def _folds(
    runs: pd.DataFrame, law: str, axis: str, holdout: str, folds: int, options: dict[str, Any]
) -> tuple[Fold, ...]:
    missing = [c for c in get_law(law).columns if c not in runs]
    if missing:
        raise FitError(f"it needs the columns {', '.join(get_law(law).columns)}, and there is no {', '.join(missing)}")
    if not holdout:
        return backtest(runs, law, axis=axis, folds=folds, **options).folds
    test = select(runs, holdout)
    train = runs.drop(index=test.index)
    if test.empty or train.empty:
        part = "none" if test.empty else "all"
        raise FitError(
            f"--holdout {holdout!r} takes {part} of the {len(runs)} rows; it must leave some to fit and some to test"
        )
    return (hold_out(train, test, law, axis=axis, **options),)


def _row(name: str, errors: pd.DataFrame, key: str, folds: int, status: str) -> dict[str, Any]:
    size = np.asarray(errors[key].dropna(), dtype=float)
    covered = float("nan")
    if key == "error":
        known = errors.dropna(subset=["low", "high"])
        covered = (
            float(((known["low"] <= known["L"]) & (known["L"] <= known["high"])).mean()) if len(known) else covered
        )
    return {
        "law": name,
        "rmsle": float(np.sqrt((size**2).mean())),
        # predictions may be off without bound both ways; then there is no mean
        "bias": float(size.mean()) if np.isfinite(size).all() else float("nan"),
        "worst": float(np.abs(size).max()),
        "coverage": covered,
        "reach": float(errors["reach"].max()),
        "held_out": len(size),
        "folds": folds,
        "status": status,
    }
