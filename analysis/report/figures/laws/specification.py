"""The specification curve: how far the parameters of a law hang on choices that the data do not make.

Simonsohn, Simmons and Nelson 2020, Nature Human Behaviour 4; the choices are those of `isoflop fit --specification`.
"""

import pandas as pd

from isoflop.analysis.holdout.specification_curve import specification
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import NEUTRAL, Figure, Unmet
from isoflop.analysis.report.view import View

NAME = "specification"
ORDER = 24
NEEDS = "a family whose law is identified"
COSTLY = True


def draw(view: View) -> Figure:
    """A view for each parameter of the first identified family; the first row is the default."""
    family, fit = next(((n, f) for n, f in view.laws.items() if f.status == "converged"), (None, None))
    if family is None or fit is None:
        raise Unmet("no family's law is identified")
    rows = specification(view.compared(family), fit.law.name)
    names = [p for p in ("alpha", "beta", "E", "a") if p in rows and rows[p].notna().any()]
    data = _long(rows, names)
    views = []
    for p in names:
        here = f"datum.parameter === '{p}'"
        y = (
            g.text("choice")
            if p == names[0]
            else g.text("choice", axis={"labels": False, "ticks": False, "grid": False})
        )
        x = g.linear("value", p)
        tips = g.tooltip(("choice", "value", "low", "high", "status"), data)
        colour = {"value": NEUTRAL}
        views.append(
            [
                g.layer("zero", "default", where=here, x=x),
                g.layer("bar", "choice", where=here, x=x | {"field": "low"}, x2={"field": "high"}, y=y, color=colour),
                g.layer("point", "choice", where=here, x=x, y=y, tooltip=tips),
            ]
        )
    moves = [
        f"{p} {d['value'].min():.3g} to {d['value'].max():.3g}" for p in names if len(d := data[data["parameter"] == p])
    ]
    title = f"{family}: over {len(rows)} choices of loss and rows, {g.some(moves)}"
    subtitle = "Each row is one other choice with its 95 % interval; the dashed line is the default."
    chart = g.beside(views, columns=len(views), width=150, height=18 * len(rows))
    return Figure(NAME, title, subtitle, f"Specification curve. {title}.", chart, data, 900)


def _long(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """A row for each choice and parameter, the default once more by itself."""
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
