"""Forest plot of the contrasts between families that the claims ask for, with the band of equivalence."""

import pandas as pd

from isoflop.analysis.claims.claim import Claim
from isoflop.analysis.claims.judge import Verdict
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.report.figures.base import NEUTRAL, Figure, Unmet, family_scales
from isoflop.analysis.report.view import View

NAME = "contrasts"
ORDER = 5
NEEDS = "a judged claim about pairs of families"
# rows that a picture of readable height has
MOST_PAIRS = 40
NO_DIFFERENCE = "equivalent or undecided"


def draw(view: View) -> Figure:
    """An interval for each pair; the band is where a difference would be called equivalence."""
    import altair as alt

    data, title, axis = _data(view)
    y = alt.Y("subject:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, labelFontSize=12, grid=False))
    base = alt.Chart(data).encode(y=y)
    colours = {NO_DIFFERENCE: NEUTRAL, **_colours(view)}
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    shown = [name for name in colours if name in set(data["lower"])]
    hue = alt.Color("lower:N", scale=scale, legend=alt.Legend(title="lower:", orient="top", values=shown))
    band = base.mark_rect(style="band").encode(x="band_low:Q", x2="band_high:Q")
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(style="guide").encode(x="zero:Q")
    reach = 1.1 * max(abs(v) for v in (*data["low"], *data["high"], *data["band_high"]) if v is not None)
    x = alt.X("low:Q", title=axis, scale=alt.Scale(domain=[-reach, reach], nice=False), axis=alt.Axis(tickCount=8))
    bars = base.mark_rule(strokeWidth=3).encode(x=x, x2="high:Q", color=hue)
    below = base.transform_filter("datum.value < 0").mark_text(dy=-14, fontSize=11, align="left")
    above = base.transform_filter("datum.value >= 0").mark_text(dy=-14, fontSize=11, align="right")
    labels = [text.encode(x="value:Q", text="words:N") for text in (below, above)]
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        x="value:Q", color=hue, tooltip=["subject", "value", "low", "high", "verdict", "reason"]
    )
    chart = alt.layer(band, zero, bars, dots, *labels).properties(width=620, height=46 * len(data))
    subtitle = "Point and interval of each difference; one inside the grey band is too small to count."
    seen = "; ".join(
        f"{r['subject']} {r['value']:+.3g} ({r['low']:+.3g} to {r['high']:+.3g})" for _, r in data.iterrows()
    )
    return Figure(NAME, title, subtitle, f"Interval plot of differences: {seen}.", chart, data)


def _data(view: View) -> tuple[pd.DataFrame, str, str]:
    """The contrasts of the first claim of pairs that has numbers, in % where it is a difference of ln L."""
    judged = [v for v in view.verdicts if v.claim is not None and v.claim.region.kind == "contrast"]
    for verdict in judged:
        claim = verdict.claim
        measured = [s for s in verdict.subjects if s.statistic is not None and _is_shown(s, view)]
        rows = [_row(s, claim) for s in measured if claim is not None]
        if rows and claim is not None:
            different = sum(r["lower"] != NO_DIFFERENCE for r in rows)
            noun = "pairs of families" if len(rows) > 1 else "pair of families"
            title = f"{claim.claim.rstrip('.')}: {different} of {len(rows)} {noun} differ"
            return _largest(pd.DataFrame(rows)), title, claim.measures.unit.axis
    raise Unmet("; ".join(f"{v.id} is {v.verdict}" for v in judged) or "no claim speaks of pairs")


def _is_shown(verdict: Verdict, view: View) -> bool:
    """Whether both families of a contrast are among those of the figures."""
    return verdict.subject is not None and set(verdict.subject.families) <= set(view.families)


def _largest(data: pd.DataFrame) -> pd.DataFrame:
    """The rows in their order, of more than MOST_PAIRS those with the largest differences."""
    return data.loc[data["value"].abs().nlargest(MOST_PAIRS).index.sort_values()]


def _row(verdict: Verdict, claim: Claim) -> dict[str, object]:
    """One contrast as a row of the figure's data."""
    subject, scale = verdict.subject, claim.measures.unit.scale
    assert subject is not None and subject.pair is not None, "a contrast is of a pair"  # noqa: PT018
    value = verdict.statistic or 0.0
    numbers = {"value": verdict.statistic, "low": verdict.low, "high": verdict.high, "band_high": verdict.limit}
    row: dict[str, object] = {k: None if v is None else v * scale for k, v in numbers.items()}
    agrees = (verdict.verdict is VerdictKind.SUPPORTED) == (claim.region.expect == "different")
    lower = subject.pair.first if value < 0 else subject.pair.second
    return row | {
        "subject": str(subject),
        "band_low": -(verdict.limit or 0.0) * scale,
        "verdict": verdict.verdict.value,
        "lower": lower if agrees and verdict.verdict.decided else NO_DIFFERENCE,
        "words": claim.measures.difference(value, subject.pair, subject.of),
        "reason": verdict.reason,
    }


def _colours(view: View) -> dict[str, str]:
    """The colour of each family."""
    colour, _ = family_scales(view.families)
    return dict(zip(view.families, colour["range"], strict=True))
