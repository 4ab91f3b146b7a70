"""Families beside each other: the contrasts that claims ask for, and the scorecard."""

import json

import pandas as pd

from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.verdict import OPPOSITE, SubjectVerdict
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, Unmet, figure
from isoflop.analysis.report.figures.grammar import values
from isoflop.analysis.report.figures.style import NEUTRAL, family_scales
from isoflop.analysis.report.view import View

# rows of a picture of readable height
MOST_PAIRS = 40
# height of a row, and of one where there are more than FEW [px]
ROW, LOW_ROW, FEW = 46, 32, 12
NO_DIFFERENCE = "equivalent or undecided"
# words are on that side of their point that is nearer to zero
SIDES = (("datum.value < 0", "left"), ("datum.value >= 0", "right"))
# views of a picture of readable height
MOST = 12


@figure(order=5, needs="a judged claim about pairs of families")
def contrasts(view: View) -> Figure:
    """Forest plot of the contrasts between families that the claims ask for, with the band of equivalence."""
    data, claim, axis = _data(view)
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
    title = "Differences between pairs, with the band of equivalence"
    subtitle = f"{claim} Point and interval of each difference; inside the grey band it is too small to count."
    chart = g.single(layers, width=620, height=(ROW if len(data) <= FEW else LOW_ROW) * len(data))
    return Figure("contrasts", title, subtitle, values(f"{title}: {axis}", data, "subject"), chart, data)


def _words(where: str, align: str, **encoding: g.Spec) -> g.Spec:
    words = g.layer("text", "contrast", where=where, text="words", **encoding)
    words["mark"] |= {"align": align, "dx": 0, "dy": -14, "fontSize": 11, "fontWeight": 400}
    return words


def _data(view: View) -> tuple[pd.DataFrame, str, str]:
    """Return the contrasts of the first claim about pairs that has numbers, the claim, and the title of the axis."""
    judged = [v for v in view.verdicts if v.claim.only and v.claim.only.region.kind == "contrast"]
    for verdict in judged:
        shown = [s for s in verdict.subjects if {*s.subject.families} <= {*view.families}]
        measured = [s for s in shown if s.statistic is not None]
        if measured:
            data = _largest(pd.DataFrame([_row(s, s.rule) for s in measured]))
            return data, verdict.claim.claim, measured[0].rule.measures.unit.axis
    raise Unmet("; ".join(f"{v.id} is {v.verdict}" for v in judged) or "no claim compares pairs")


def _largest(data: pd.DataFrame) -> pd.DataFrame:
    """Keep the MOST_PAIRS rows with the largest differences, in their order."""
    data = data.astype(dict.fromkeys(("value", "low", "high", "band_high"), float)).assign(kind="contrast")
    return data.loc[data["value"].abs().nlargest(MOST_PAIRS).index.sort_values()]


def _row(verdict: SubjectVerdict, rule: Rule) -> dict[str, object]:
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
    if not verdict.verdict.decided:
        return "undecided"
    as_expected = verdict.verdict is VerdictKind.SUPPORTED
    return rule.region.expected if as_expected else OPPOSITE[rule.region.expected]


def _colours(view: View) -> dict[str, str]:
    colour, _ = family_scales(view.families)
    return dict(zip(view.families, colour["range"], strict=True))


@figure(order=43, needs="two or more families on the same data, with three or more C", costly=True)
def scorecard(view: View) -> Figure:
    """The scorecard: expressivity, learnability, scalability and efficiency of each family, with intervals."""
    if len(view.families) < 2:
        raise Unmet("there is only one family")
    from isoflop.analysis.report import scorecard as measures

    card = measures.scorecard(view.runs.take(view.runs.frame.index.isin(view.rows.index)), view.fits)
    card = card[card["value"].notna()]
    if card.empty:
        raise Unmet("no family has a measure")
    kind = card["data"].value_counts().index[0]
    data = card[card["data"] == kind].assign(kind="measure").reset_index(drop=True)
    names = list(dict.fromkeys(data["measure"]))[:MOST]
    data = data[data["measure"].isin(names)]
    hue, y = g.hue(view.families), g.text("family", sort=list(view.families))
    views = []
    for name in names:
        rows, here = data[data["measure"] == name], f"datum.measure === {json.dumps(name)}"
        better = "←" if rows["better"].iloc[0] == "lower" else "→"
        x = g.linear("value", f"{rows['title'].iloc[0]} ({better} better)")
        bounds, tips = x | {"field": "low"}, g.tooltip(("family", "value", "low", "high", "runs", "reason"), rows)
        known, high = f"{here} && isValid(datum.low)", {"field": "high"}
        bar = g.layer("bar", "measure", where=known, x=bounds, x2=high, y=y, color=hue)
        views.append([bar, g.layer("best", "measure", where=here, x=x, y=y, color=hue, tooltip=tips)])
    title = f"Scorecard of families{f' on {kind}' if kind else ''}"
    subtitle = "Points and 95 % intervals over runs or seeds; the arrow points to the better end."
    alt = values(title, data, ["title", "family"])
    return Figure("scorecard", title, subtitle, alt, g.beside(views, height=24 * len(view.families)), data)
