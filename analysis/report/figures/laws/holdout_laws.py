"""How far each law predicts: error and coverage of the laws that suit the runs, by how much was held out, beside naive
guesses."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from isoflop.analysis.holdout.backtest import Backtest, backtest
from isoflop.analysis.holdout.stacking import candidates
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import MOST_READ, shortened
from isoflop.analysis.report.view import MOST_HELD, View
from isoflop.errors import FitError

NAME = "holdout_laws"
ORDER = 23
NEEDS = "a law, and runs at four or more C"
COSTLY = True
FOLDS = 4
TIPS = ("family", "law", "reach", "cut", "runs", "rmsle", "covered")
NAIVE = {"error_line": "straight line", "error_last": "last value"}


def draw(view: View) -> Figure:
    """Draw a table for each family: laws down, depths of hold-out across; the darker, the larger the error."""
    data = _data(view)
    x = g.text("depth", "largest held-out C over largest fitted C", axis={"labelAngle": 0, "grid": False})
    y = g.text("law")
    colour = {
        "field": "rmsle", "type": "quantitative", "title": "root mean square error, ln L [%]",
        "scale": {"type": "log", "scheme": {"name": "oranges", "extent": [0, 0.6]}},
        "legend": {"orient": "top", "gradientLength": 160},
    }  # fmt: skip
    layers = [
        g.layer("rect", "cell", x=x, y=y, color=colour, tooltip=g.tooltip(TIPS, data)),
        g.layer("cell", "cell", x=x, y=y, text={"field": "rmsle", "type": "quantitative", "format": ".2~g"}),
        g.layer("cell_note", "cell", x=x, y=y, text="covered"),
    ]
    deepest = data[data.groupby("family")["reach"].transform("max") == data["reach"]]
    errors = [f"{r.family}, {r.law} {r.rmsle:.2g} %" for r in deepest.itertuples()]
    title = "Hold-out error, by law and depth of the hold-out"
    subtitle = (
        "Error of the runs above each cut [%], and how many of them lie inside the law's 90 % bands. "
        "Straight line: a power law without E. Last value: no progress."
    )
    spec = g.faceted(layers, data) | {"resolve": {"scale": {"x": "independent"}}}
    alt = f"{title}. Errors at the deepest: {shortened(errors, MOST_READ, '; ')}."
    return Figure(NAME, title, subtitle, alt, spec, data)


def _data(view: View) -> pd.DataFrame:
    """Return a row for each family, law or naive guess, and cut."""
    rows, reasons = [], []
    for family, fitted in view.laws.items():
        part = view.compared(family)
        part = part if len(part) <= MOST_HELD else part.sample(MOST_HELD, random_state=0)
        tests = []
        for law in candidates(fitted.law.arguments, fitted.law.columns, len(part)) or [fitted.law]:
            try:
                tests.append(backtest(part, law.name, axis="C", folds=FOLDS))
            except FitError as error:
                reasons.append(f"{family}: {error}")
        rows += [row | {"family": family} for test in tests for row in _of_law(test)]
        rows += [row | {"family": family} for row in (_naive(tests[0]) if tests else ())]
    if not rows:
        raise Unmet("; ".join(dict.fromkeys(reasons)) or "no law could be fitted")
    table = pd.DataFrame(rows).assign(kind="cell").sort_values("reach", kind="stable")
    return table.assign(depth=[f"{reach:.2g}×" for reach in table["reach"]])


def _of_law(test: Backtest) -> Iterator[dict[str, object]]:
    """Yield each cut of one law: its error, and how many of the held-out losses lie inside their bands."""
    for fold in test.folds:
        low, high, L = (fold.errors[c].to_numpy(float) for c in ("low", "high", "L"))
        known = np.isfinite(low) & np.isfinite(high)
        inside = int((known & (low <= L) & (high >= L)).sum())
        covered = f"{inside} of {int(known.sum())}" if known.any() else "no bands"
        yield from _cell(fold.errors, "error", test.law, covered)


def _naive(test: Backtest) -> Iterator[dict[str, object]]:
    """Yield each cut of the naive guesses, which have no bands."""
    for fold in test.folds:
        for column, guess in NAIVE.items():
            yield from _cell(fold.errors, column, guess, "")


def _cell(errors: pd.DataFrame, column: str, law: str, covered: str) -> Iterator[dict[str, object]]:
    """Yield one cell of the table, or none where nothing was predicted."""
    off = errors[column].to_numpy(float)
    if len(off) and np.isfinite(off).all():
        rmsle = 100 * float(np.sqrt((off**2).mean()))
        yield {
            "law": law, "cut": float(errors["cut"].iloc[0]), "reach": float(errors["reach"].max()), "runs": len(off),
            "rmsle": rmsle, "covered": covered,
        }  # fmt: skip
