"""Forest plot of the contrasts between families that the claims ask for, with the band of equivalence."""

from collections import Counter

import pandas as pd

from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.verdict import OPPOSITE, SubjectVerdict
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import NEUTRAL, Figure, Unmet, family_scales
from isoflop.analysis.report.view import View
from isoflop.wording import listed

NAME = "contrasts"
ORDER = 5
NEEDS = "a judged claim about pairs of families"
# rows that a picture of readable height has
MOST_PAIRS = 40
# height of a row, and where there are more than a few [px]
ROW, LOW_ROW, FEW = 46, 32, 12
NO_DIFFERENCE = "equivalent or undecided"
# words stand on the side of their point that is nearer to zero
SIDES = (("datum.value < 0", "left"), ("datum.value >= 0", "right"))


def draw(view: View) -> Figure:
    """An interval for each pair; the band is where a difference would be called equivalence."""
    data, title, about, axis = _data(view)
    colours = {NO_DIFFERENCE: NEUTRAL, **_colours(view)}
    shown = [name for name in colours if name in set(data["lower"])]
    hue = {
        "field": "lower",
        "type": "nominal",
        "scale": {"domain": list(colours), "range": list(colours.values())},
        "legend": {"title": "lower:", "orient": "top", "values": shown},
    }
    reach = 1.1 * float(data[["low", "high", "band_high"]].abs().max().max())
    x = g.linear("value", axis, ticks=8) | {"scale": {"domain": [-reach, reach], "nice": False}}
    y = g.text("subject")
    tips = g.tooltip(("subject", "value", "low", "high", "verdict", "reason"), data)
    layers = [
        g.layer("band", "contrast", x=x | {"field": "band_low"}, x2={"field": "band_high"}, y=y),
        g.layer("zero", "contrast", x={"datum": 0.0}),
        g.layer("bar", "contrast", x=x | {"field": "low"}, x2={"field": "high"}, y=y, color=hue),
        g.layer("solid", "contrast", x=x, y=y, color=hue, tooltip=tips),
        *(_words(where, align, x=x, y=y) for where, align in SIDES),
    ]
    chart = g.single(layers, width=620, height=(ROW if len(data) <= FEW else LOW_ROW) * len(data))
    subtitle = f"{about} Point and interval of each difference; one inside the grey band is too small to count."
    seen = "; ".join(
        f"{r['subject']} {r['value']:+.3g} ({r['low']:+.3g} to {r['high']:+.3g})" for _, r in data.iterrows()
    )
    return Figure(NAME, title, subtitle, f"Interval plot of differences: {seen}.", chart, data)


def _words(where: str, align: str, **encoding: g.Spec) -> g.Spec:
    """What a difference is in words, above its point."""
    words = g.layer("text", "contrast", where=where, text="words", **encoding)
    words["mark"] |= {"align": align, "dx": 0, "dy": -14, "fontSize": 11, "fontWeight": 400}
    return words


def _data(view: View) -> tuple[pd.DataFrame, str, str, str]:
    """The contrasts of the first claim of pairs that has numbers, in % where it is a difference of ln L; the finding,
    the claim, the title of the axis."""
    judged = [v for v in view.verdicts if v.claim.only and v.claim.only.region.kind == "contrast"]
    for verdict in judged:
        claim = verdict.claim
        measured = [s for s in verdict.subjects if s.statistic is not None and _is_shown(s, view)]
        rows = [_row(s, s.rule) for s in measured]
        if rows:
            counts = Counter(str(r["outcome"]) for r in rows)
            title = "Pairs of families: " + listed([f"{n} {outcome}" for outcome, n in counts.most_common()])
            if len(rows) == 1:
                title = f"{rows[0]['words']}: {rows[0]['outcome']}"
            return (
                _largest(pd.DataFrame(rows)),
                title,
                f"Of the claim “{claim.claim}”",
                measured[0].rule.measures.unit.axis,
            )
    raise Unmet("; ".join(f"{v.id} is {v.verdict}" for v in judged) or "no claim speaks of pairs")


def _is_shown(verdict: SubjectVerdict, view: View) -> bool:
    """Whether both families of a contrast are among those of the figures."""
    return set(verdict.subject.families) <= set(view.families)


def _largest(data: pd.DataFrame) -> pd.DataFrame:
    """The rows in their order, of more than MOST_PAIRS those with the largest differences."""
    data = data.astype(dict.fromkeys(("value", "low", "high", "band_high"), float)).assign(kind="contrast")
    return data.loc[data["value"].abs().nlargest(MOST_PAIRS).index.sort_values()]


def _row(verdict: SubjectVerdict, rule: Rule) -> dict[str, object]:
    """One contrast as a row of the figure's data."""
    subject, scale = verdict.subject, rule.measures.unit.scale
    assert subject.pair is not None, "a contrast is of a pair"
    value = verdict.statistic or 0.0
    numbers = {"value": verdict.statistic, "low": verdict.low, "high": verdict.high, "band_high": verdict.limit}
    row: dict[str, object] = {k: None if v is None else v * scale for k, v in numbers.items()}
    lower = subject.pair.first if value < 0 else subject.pair.second
    return row | {
        "subject": str(subject),
        "band_low": -(verdict.limit or 0.0) * scale,
        "verdict": verdict.verdict.value,
        "lower": lower if _outcome(verdict, rule) == "different" else NO_DIFFERENCE,
        "words": rule.measures.difference(value, subject.pair, subject.of),
        "reason": verdict.reason,
        "outcome": _outcome(verdict, rule),
    }


def _outcome(verdict: SubjectVerdict, rule: Rule) -> str:
    """Whether the two of a pair differ, in a word."""
    if not verdict.verdict.decided:
        return "undecided"
    as_expected = verdict.verdict is VerdictKind.SUPPORTED
    return rule.region.expected if as_expected else OPPOSITE[rule.region.expected]


def _colours(view: View) -> dict[str, str]:
    """The colour of each family."""
    colour, _ = family_scales(view.families)
    return dict(zip(view.families, colour["range"], strict=True))
