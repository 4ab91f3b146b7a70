"""Forest plot of the contrasts between families that the claims ask for, with the band of equivalence."""

import pandas as pd

from isoflop.analysis.claims.claim import Claim, Verdict
from isoflop.analysis.report.figures.base import NEUTRAL, Figure, Unmet, family_scales
from isoflop.analysis.report.sentences import difference
from isoflop.analysis.report.view import View

NAME = "contrasts"
ORDER = 5
NEEDS = "a judged claim about pairs of families"


def draw(view: View) -> Figure:
    """An interval for each pair; the band is where a difference would be called equivalence."""
    import altair as alt

    data, title, quantity = _data(view)
    y = alt.Y("subject:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, labelFontSize=12, grid=False))
    base = alt.Chart(data).encode(y=y)
    colours = {"equivalent or undecided": NEUTRAL, **_colours(view)}
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    shown = [name for name in colours if name in set(data["lower"])]
    hue = alt.Color("lower:N", scale=scale, legend=alt.Legend(title="lower:", orient="top", values=shown))
    band = base.mark_rect(style="band").encode(x="band_low:Q", x2="band_high:Q")
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(style="guide").encode(x="zero:Q")
    reach = 1.1 * max(abs(v) for v in (*data["low"], *data["high"], *data["band_high"]) if v is not None)
    x = alt.X("low:Q", title=quantity, scale=alt.Scale(domain=[-reach, reach], nice=False), axis=alt.Axis(tickCount=8))
    bars = base.mark_rule(strokeWidth=3).encode(x=x, x2="high:Q", color=hue)
    below = base.transform_filter("datum.value < 0").mark_text(dy=-14, fontSize=11, align="left")
    above = base.transform_filter("datum.value >= 0").mark_text(dy=-14, fontSize=11, align="right")
    told = [words.encode(x="value:Q", text="words:N") for words in (below, above)]
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        x="value:Q", color=hue, tooltip=["subject", "value", "low", "high", "verdict", "reason"]
    )
    chart = alt.layer(band, zero, bars, dots, *told).properties(width=620, height=46 * len(data))
    subtitle = "Point and interval of each difference; the grey band is too small to count as one."
    seen = "; ".join(
        f"{r['subject']} {r['value']:+.3g} ({r['low']:+.3g} to {r['high']:+.3g})" for _, r in data.iterrows()
    )
    return Figure(NAME, title, subtitle, f"Interval plot of differences: {seen}.", chart, data)


def _data(view: View) -> tuple[pd.DataFrame, str, str]:
    """The contrasts of the first claim of pairs that has numbers, in % where it is a difference of ln L."""
    judged = [v for v in view.verdicts if v.claim is not None and v.claim.subject == "pair"]
    for verdict in judged:
        claim = verdict.claim
        rows = [_row(s, claim) for s in verdict.subjects if claim is not None and s.statistic is not None]
        if rows and claim is not None:
            told = sum(r["lower"] != "equivalent or undecided" for r in rows)
            noun = "pairs of families" if len(rows) > 1 else "pair of families"
            quantity = "difference of ln L [%]" if claim.quantity == "loss_contrast" else "difference of the parameter"
            return (
                pd.DataFrame(rows),
                f"{claim.claim.rstrip('.')}: told apart for {told} of {len(rows)} {noun}",
                quantity,
            )
    raise Unmet("; ".join(f"{v.id} is {v.verdict}" for v in judged) or "no claim speaks of pairs")


def _row(subject: Verdict, claim: Claim) -> dict[str, object]:
    """One contrast as a row of the figure's data."""
    percent_points = claim.quantity == "loss_contrast"
    scale = 100.0 if percent_points else 1.0
    numbers = {"value": subject.statistic, "low": subject.low, "high": subject.high, "band_high": subject.limit}
    row: dict[str, object] = {k: None if v is None else v * scale for k, v in numbers.items()}
    told = (subject.verdict == "supported") == (claim.region.expect == "different")
    first, _, second = subject.subject.partition(":")[0].partition(" − ")
    lower = first if (subject.statistic or 0.0) < 0 else second
    return row | {
        "subject": subject.subject,
        "band_low": -(subject.limit or 0.0) * scale,
        "verdict": subject.verdict,
        "lower": lower if told and subject.verdict in ("supported", "refuted") else "equivalent or undecided",
        "words": difference(subject) if percent_points else f"{subject.statistic:+.3g}",
        "reason": subject.reason,
    }


def _colours(view: View) -> dict[str, str]:
    """The colour of each family."""
    colour, _ = family_scales(view.families)
    return dict(zip(view.families, colour.range, strict=True))
