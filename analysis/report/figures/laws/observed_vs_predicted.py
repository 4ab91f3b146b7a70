"""Observed against predicted, the held-out points apart, and the residuals: whether a law sees ahead."""

from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet
from isoflop.analysis.report.view import View
from isoflop.wording import number, percent

NAME = "observed_vs_predicted"
ORDER = 4
NEEDS = "a family that can be fitted without its largest C"

TOOLTIP = ("family", "part", "N", "D", "C", "L", "predicted", "low", "high", "off", "seed")


def draw(view: View) -> Figure:
    """Left: the law's loss against the measured one. Right: how far off, against compute."""
    data = _data(view)
    runs = data[data["part"].notna()]
    loss = g.log("L", data, unit=view.loss_unit)
    predicted = loss | {"field": "predicted", "title": f"predicted {loss['title']}"}
    # an interval may be far wider than what is seen: the axis shows the points, and the band is cut off at its ends
    reach = 2 * float(runs["off"].abs().max()) or 1.0
    off = g.linear("off", "predicted less observed, ln L [%]") | {"scale": {"domain": [-reach, reach]}}
    rows: g.Spec = {"y": g.family_names(view.families), "yOffset": "part"}
    several = len(view.families) > 1
    hue, shape = g.hue(view.families, legend=several), g.shape(view.families, legend=several)
    marks: g.Spec = {"color": hue, "shape": shape, "tooltip": g.tooltip(TOOLTIP, runs, view.loss_unit)}
    left = [g.layer("guide", "diagonal", x=loss, y=predicted), *_dots(x=loss, y=predicted, **marks)]
    bands = g.layer("bar", "held out", x=off | {"field": "off_low"}, x2={"field": "off_high"}, color=hue, **rows)
    bands["mark"] |= {"strokeWidth": 6, "opacity": 0.15, "clip": True}
    right = [bands, g.layer("zero", "zero", x=off), *_dots(x=off, **rows, **marks)]
    chart = g.beside([left, right], width=330, height=max(320, 24 * len(view.families)))
    title, alt_text = _finding(runs)
    subtitle = (
        "Filled: held out (the largest C of each family, not seen by the fit), bands their 90 % bands "
        "of noise, parameters and form. "
        "Hollow: the runs that were fitted."
    )
    return Figure(NAME, title, subtitle, alt_text, chart, data)


def _dots(**encoding: Any) -> list[g.Spec]:
    """The runs that were fitted, hollow, and those that were held out, filled."""
    return [g.layer("hollow", "run", **encoding), g.layer("solid", "held out", **encoding)]


def _data(view: View) -> pd.DataFrame:
    if not view.held:
        reasons = "; ".join(f"{name}: {why}" for name, why in {**view.refused, **view.unheld}.items())
        raise Unmet(reasons or "no family has three C")
    rows = pd.concat([fold.errors for fold in view.held.values()], ignore_index=True)
    # the interval is that of a new loss; set against the observed one it runs from low/L to high/L
    rows = rows.assign(
        part=np.where(rows["held"].astype(bool), "held out", "fitted"),
        off=100 * rows["error"],
        off_low=_off(rows["low"], rows["L"]),
        off_high=_off(rows["high"], rows["L"]),
    )
    rows = rows[[c for c in (*TOOLTIP, "off_low", "off_high") if c in rows]]
    rows = rows.assign(kind=rows["part"].where(rows["part"] != "fitted", "run"))
    both = rows[["L", "predicted"]].to_numpy(float)
    ends = [{"kind": "diagonal", "L": end, "predicted": end} for end in (np.nanmin(both), np.nanmax(both))]
    return pd.concat([rows, pd.DataFrame([*ends, {"kind": "zero", "off": 0.0}])], ignore_index=True)


def _off(bound: pd.Series, L: pd.Series) -> pd.Series:
    """How far off a bound is [%]; missing where it is so wide that it has left the floats."""
    bound = bound.astype(float)
    positive = bound.where((bound > 0) & (bound < np.inf)).to_numpy()
    return pd.Series(100 * (np.log(positive) - np.log(L.to_numpy(float))), bound.index)


def _finding(data: pd.DataFrame) -> tuple[str, str]:
    held = data[data["part"] == "held out"]
    worst = held.groupby("family")["off"].apply(lambda off: off.abs().max() / 100)
    words = g.of_each([*worst.index], {str(name): percent(np.expm1(value)) for name, value in worst.items()})
    known = held[held["low"].notna() & held["high"].notna()]
    inside = int(((known["low"] <= known["L"]) & (known["L"] <= known["high"])).sum())
    wide = _wide(float(((known["off_high"] - known["off_low"]) / 200).median())) if len(known) else ""
    covered = f"; {inside} of {len(known)} lie inside 90 % intervals of about {wide}" if len(known) else ""
    title = f"Held-out losses at the largest C are at most this far off: {words}{covered}"
    if len(held) == 1:
        within = f", {'inside' if inside else 'outside'} its 90 % interval of {wide}" if len(known) else ""
        title = f"The held-out loss at the largest C is {words} off{within}"
    largest = number(float(held["C"].max()))
    return (
        title,
        f"Predicted against observed loss, close to the diagonal where right. Held out: C near {largest}. {title}.",
    )


def _wide(half: float) -> str:
    """Half the width of an interval of ln L, in per cent; one that holds twice the loss and half of it, as a factor."""
    if half < np.log(2):
        return f"±{percent(np.expm1(half))}"
    return f"a factor of {np.exp(half):.2g} either way, which tells nothing"
