"""How far a law predicts: its error on held-out larger runs by how much was held out, beside naive guesses."""

import numpy as np
import pandas as pd

from isoflop.analysis.holdout.backtest import backtest
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.words import along
from isoflop.analysis.report.view import MOST_HELD, View
from isoflop.errors import FitError

NAME = "holdouts"
ORDER = 22
NEEDS = "a law, and runs at four or more C"
COSTLY = True
FOLDS = 4
GUESSES = {"error": "law", "error_line": "straight line", "error_last": "last value"}


def draw(view: View) -> Figure:
    """Draw a panel for each family: root mean square error against how far beyond the fitted runs."""
    data, inside, known = _data(view)
    colours = {"field": "guess", "type": "nominal", "legend": {"title": None, "orient": "top"}, "scale": {
        "domain": list(GUESSES.values()), "range": ["#0072B2", "#D55E00", "#8a8f98"]}}  # fmt: skip
    x = g.log("reach", data, "largest held-out C over largest fitted C")
    y = g.log("rmsle", data, "root mean square error, ln L [%]")
    tips = g.tooltip(("family", "guess", "cut", "reach", "rmsle", "runs"), data)
    layers = [
        g.layer("line", "fold", x=x, y=y, color=colours),
        g.layer("best", "fold", x=x, y=y, color=colours, tooltip=tips),
    ]
    covered = f"{inside} of {known} held-out losses lie inside their 90 % bands" if known else "no bands"
    title = "Hold-out error of the law and of naive guesses"
    subtitle = (
        f"Each point leaves out all runs above a compute; {covered}. Straight line: a power law without E. "
        "Last value: no progress."
    )
    alt = along(title, data.assign(group=data["family"] + ", " + data["guess"]), x, y, by="group")
    return Figure(NAME, title, subtitle, alt, g.faceted(layers, data), data)


def _data(view: View) -> tuple[pd.DataFrame, int, int]:
    """Return a row for each family, fold and guess, how many losses lie inside their bands, and of how many."""
    parts, inside, known, reasons = [], 0, 0, []
    for family, fit in view.laws.items():
        rows = view.compared(family)
        rows = rows if len(rows) <= MOST_HELD else rows.sample(MOST_HELD, random_state=0)
        try:
            test = backtest(rows, fit.law.name, axis="C", folds=FOLDS)
        except FitError as error:
            reasons.append(f"{family}: {error}")
            continue
        covered = test.coverage
        inside, known = inside + covered[0], known + covered[1]
        for fold in test.folds:
            for column, guess in GUESSES.items():
                off = fold.errors[column].to_numpy(float)
                if np.isfinite(off).all() and len(off):
                    row = {"cut": fold.cut, "reach": float(fold.errors["reach"].max()), "runs": len(off)}
                    rmsle = 100 * float(np.sqrt((off**2).mean()))
                    parts.append(row | {"family": family, "guess": guess, "rmsle": rmsle})
    if not parts:
        raise Unmet("; ".join(reasons) or "no law could be fitted")
    return pd.DataFrame(parts).assign(kind="fold"), inside, known
