"""The specification curve: how far the parameters of a law depend on choices of the analysis.

Simonsohn, Simmons and Nelson 2020, Nature Human Behaviour 4; the choices are those of `isoflop fit --specification`.
"""

import pandas as pd

from isoflop.analysis.holdout.specification_curve import specification
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.figures.style import NEUTRAL
from isoflop.analysis.report.view import View

NAME = "specification"
ORDER = 24
NEEDS = "a family whose law is identified"
COSTLY = True


def draw(view: View) -> Figure:
    """Draw a view for each parameter of the first identified family; the first row is the default."""
    family, fit = next(((n, f) for n, f in view.laws.items() if f.status == "converged"), (None, None))
    if family is None or fit is None:
        raise Unmet("no family's law is identified")
    rows = specification(view.compared(family), fit.law.name)
    names = [p for p in ("alpha", "beta", "E", "a") if p in rows and rows[p].notna().any()]
    data = _long(rows, names)
    tips, colour = g.tooltip(("choice", "value", "low", "high", "status"), data), {"value": NEUTRAL}
    unnamed = g.text("choice", axis={"labels": False, "ticks": False, "grid": False})
    views: list[list[g.Spec]] = []
    for p in names:
        here, x, y = f"datum.parameter === '{p}'", g.linear("value", p), unnamed if views else g.text("choice")
        bar = {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y, "color": colour}
        views.append([
            g.layer("zero", "default", where=here, x=x),
            g.layer("bar", "choice", where=here, **bar),
            g.layer("point", "choice", where=here, x=x, y=y, tooltip=tips),
        ])  # fmt: skip
    title = f"Specification curve of {fit.law.name}, fitted to {family}"
    subtitle = "Each row is one choice with its 95 % interval; the dashed line is the default."
    ranges = [
        f"{p} {d['value'].min():.3g} to {d['value'].max():.3g}" for p in names if len(d := data[data["parameter"] == p])
    ]
    alt = f"{title}. Over {len(rows)} choices: {'; '.join(ranges)}."
    chart = g.beside(views, columns=len(views), width=150, height=18 * len(rows))
    return Figure(NAME, title, subtitle, alt, chart, data)


def _long(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return a row for each choice and parameter, and the default again as a guide."""
    parts = [
        pd.DataFrame(
            {"choice": rows["choice"], "parameter": p, "value": rows[p],
             "low": rows.get(f"{p}_low"), "high": rows.get(f"{p}_high"),
             "status": rows["status"], "kind": "choice"}
        ) for p in names
    ]  # fmt: skip
    data = pd.concat(parts, ignore_index=True)
    data = data[data["value"].notna()]
    return pd.concat([data, data[data["choice"] == "default"].assign(kind="default")], ignore_index=True)
