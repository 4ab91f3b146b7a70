"""Observed against predicted, the held-out points apart, and the residuals: whether a law sees ahead."""

from typing import Any

import numpy as np
import pandas as pd

from isoflop import record
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, family_scales, log_axis
from isoflop.analysis.report.view import View
from isoflop.wording import number, percent

NAME = "observed_vs_predicted"
ORDER = 4
NEEDS = "a family that can be fitted without its largest C"

TOOLTIP = ("family", "part", "N", "D", "C", "L", "predicted", "low", "high", "off", "seed")


def draw(view: View) -> Figure:
    """Left: the law's loss against the measured one. Right: how far off, against compute."""
    import altair as alt

    data = _data(view)
    colour, shape = family_scales(view.families)
    both = [*data["L"], *data["predicted"]]
    legend = alt.Legend(title=None, orient="top")
    hue = alt.Color("family:N", scale=colour, legend=legend)
    marks: dict[str, Any] = {
        "shape": alt.Shape("family:N", scale=shape, legend=legend),
        "tooltip": [c for c in TOOLTIP if c in data],
    }
    base = alt.Chart(data).encode(color=hue)
    fitted = base.transform_filter("datum.part == 'fitted'").mark_point(size=40, strokeWidth=1.3)
    unseen = base.transform_filter("datum.part == 'held out'").mark_point(size=48, filled=True, opacity=1)
    dots = alt.layer(fitted.encode(**marks), unseen.encode(**marks))
    ends = pd.DataFrame([{"low": min(both), "high": max(both)}])
    diagonal = alt.Chart(ends).mark_rule(style="guide").encode(x="low:Q", x2="high:Q", y="low:Q", y2="high:Q")
    x = alt.X("L:Q", **log_axis("L", both, loss_unit=view.loss_unit))
    y = alt.Y("predicted:Q", **log_axis("L", both, f"predicted {record.title('L', view.loss_unit)}"))
    left = alt.layer(diagonal, dots.encode(x=x, y=y)).properties(width=330, height=320)
    zero = alt.Chart(pd.DataFrame({"off": [0.0]})).mark_rule(style="guide").encode(x="off:Q")
    rows: dict[str, Any] = {
        "y": alt.Y("family:N", title=None, axis=alt.Axis(labelFontSize=12)),
        "yOffset": alt.YOffset("part:N"),
    }
    # an interval may be far wider than what is seen: the axis shows the points, and the band is cut off at its ends
    reach = 2 * float(data["off"].abs().max()) or 1.0
    bars = base.transform_filter("datum.part == 'held out'").mark_rule(strokeWidth=6, opacity=0.15, clip=True)
    x_off = alt.X("off_low:Q", title="predicted less observed, ln L [%]", scale=alt.Scale(domain=[-reach, reach]))
    bars = bars.encode(x=x_off, x2="off_high:Q", **rows)
    right = alt.layer(bars, zero, dots.encode(x="off:Q", **rows)).properties(width=330, height=320)
    title, alt_text = _finding(data)
    subtitle = (
        "Filled: held out (the largest C of each family, not seen by the fit), bands their 90 % bands "
        "of noise, parameters and form. "
        "Hollow: the runs that were fitted."
    )
    return Figure(NAME, title, subtitle, alt_text, alt.concat(left, right, columns=2), data)


def _data(view: View) -> pd.DataFrame:
    if not view.held:
        reasons = "; ".join(f"{name}: {why}" for name, why in view.refused.items())
        raise Unmet(reasons or "no family has three C")
    rows = pd.concat([fold.errors for fold in view.held.values()], ignore_index=True)
    # the interval is that of a new loss; set against the observed one it runs from low/L to high/L
    rows = rows.assign(
        part=np.where(rows["held"].astype(bool), "held out", "fitted"),
        off=100 * rows["error"],
        off_low=_off(rows["low"], rows["L"]),
        off_high=_off(rows["high"], rows["L"]),
    )
    return rows[[c for c in (*TOOLTIP, "off_low", "off_high") if c in rows]]


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
    wide = float(((known["off_high"] - known["off_low"]) / 200).median()) if len(known) else 0.0
    covered = f"; {inside} of {len(known)} lie inside 90 % intervals of about ±{percent(wide)}" if len(known) else ""
    title = f"Held-out losses at the largest C are at most this far off: {words}{covered}"
    largest = number(float(held["C"].max()))
    return (
        title,
        f"Predicted against observed loss, close to the diagonal where right. Held out: C near {largest}. {title}.",
    )
