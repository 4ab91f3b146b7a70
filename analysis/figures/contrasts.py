"""Forest plot of the contrasts between families that the claims ask for, with the band of equivalence."""

import pandas as pd

from analysis.claims import Claim, Verdict
from analysis.figures.base import VERDICT_COLOURS, Figure, Unmet
from analysis.regions import VERDICTS
from analysis.view import View
from analysis.words import difference

NAME = "contrasts"
ORDER = 5
NEEDS = "a judged claim about pairs of families"


def draw(view: View) -> Figure:
    """An interval for each pair; the band is where a difference would be called equivalence."""
    import altair as alt

    data, title, quantity = _data(view)
    scale = alt.Scale(domain=list(VERDICTS[:3]), range=[VERDICT_COLOURS[v] for v in VERDICTS[:3]])
    y = alt.Y("subject:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, labelFontSize=12, grid=False))
    base = alt.Chart(data).encode(y=y)
    hue = alt.Color(
        "verdict:N", scale=scale, legend=alt.Legend(title=None, orient="top", values=sorted(set(data["verdict"])))
    )
    band = base.mark_rect(style="band").encode(x="band_low:Q", x2="band_high:Q")
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(style="guide").encode(x="zero:Q")
    reach = 1.1 * max(abs(v) for v in (*data["low"], *data["high"], *data["band_high"]) if v is not None)
    x = alt.X("low:Q", title=quantity, scale=alt.Scale(domain=[-reach, reach], nice=False), axis=alt.Axis(tickCount=8))
    bars = base.mark_rule(strokeWidth=3).encode(x=x, x2="high:Q", color=hue)
    words = [
        base.transform_filter(f"datum.value {sign} 0").mark_text(dy=-14, fontSize=11, align=side)
        for sign, side in (("<", "left"), (">=", "right"))
    ]
    told = [w.encode(x="value:Q", text="words:N") for w in words]
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        x="value:Q", color=hue, tooltip=["subject", "value", "low", "high", "verdict", "reason"]
    )
    chart = alt.layer(band, zero, bars, dots, *told).properties(width=620, height=alt.Step(46))
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
        rows = [_row(s, claim, view) for s in verdict.subjects if s.statistic is not None and claim is not None]
        if rows and claim is not None:
            told = sum(r["verdict"] == "supported" for r in rows)
            noun = "pairs of families" if len(rows) > 1 else "pair of families"
            quantity = "difference of ln L [%]" if claim.quantity == "loss_contrast" else "difference of the parameter"
            return (
                pd.DataFrame(rows),
                f"{claim.claim.rstrip('.')}: told apart for {told} of {len(rows)} {noun}",
                quantity,
            )
    raise Unmet("; ".join(f"{v.id} is {v.verdict}" for v in judged) or "no claim speaks of pairs")


def _row(subject: Verdict, claim: Claim | None, view: View) -> dict[str, object]:
    scale = 100.0 if claim is not None and claim.quantity == "loss_contrast" else 1.0
    sds = [n.sd for name, n in view.noise.items() if n.sd is not None and name in subject.subject]
    band = claim.region.band(max(sds, default=0.0)) if claim is not None else 0.0
    numbers = {k: None if v is None else v * scale for k, v in
               {"value": subject.statistic, "low": subject.low, "high": subject.high}.items()}  # fmt: skip
    return {"subject": subject.subject, **numbers, "band_low": -band * scale, "band_high": band * scale} | {
        "verdict": subject.verdict, "reason": subject.reason, "words": _words(subject, claim)}  # fmt: skip


def _words(subject: Verdict, claim: Claim | None) -> str:
    """The difference in words: which of the two is lower, and by how much."""
    value = subject.statistic or 0.0
    if claim is None or claim.quantity != "loss_contrast":
        return f"{value:+.3g}"
    return difference(subject)
