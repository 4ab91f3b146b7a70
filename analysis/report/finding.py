"""What a page says first: the question that its runs can answer, and the answer in one sentence with its interval.

    from isoflop.analysis.runs.read import read_runs
    from isoflop.analysis.report.view import look

    view = look(read_runs("runs.csv"))
    question(view), finding(view)

A study states its own question; the layout of any other table gives one. The answer is a verdict on a claim that was
stated for these runs, else what the layout shows: how the best size grows, or how fast the loss falls.
"""

from isoflop.analysis.claims.claim import Claim
from isoflop.analysis.claims.region import VERDICTS, VerdictKind
from isoflop.analysis.claims.verdict import OPPOSITE, ClaimVerdict, Verdict
from isoflop.analysis.fitting.local import EXPONENT
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.report.figures.base import Unmet
from isoflop.analysis.report.figures.training import best_rates
from isoflop.analysis.report.sentences import measured
from isoflop.analysis.report.view import View
from isoflop.wording import count, listed, percent

# layout -> the question that its runs can answer
QUESTIONS = {
    "isoflop": "How large should a model be for its compute?",
    "grid": "How does the loss fall with size and data?",
    "scattered": "How does the loss fall with size and data?",
    "ladder": "How does the loss fall with compute?",
    "marks": "How does the loss fall along training?",
    "single": "What did these runs reach?",
}
AXES = {"N": "size", "D": "data", "C": "compute"}
# layout -> the axes that its question asks about; of the others, and of several families on a plane, compute
ASKED = {"marks": ("D",), "grid": ("N", "D"), "scattered": ("N", "D")}
# families that a finding names
MOST = 3
# subjects of a claim that are named, of those that came out alike
FEW = 4


def question(view: View) -> str:
    """Return the question that the runs can answer, by their layout."""
    if view.rows.empty:
        return "Why did no run finish?"
    if axis_of(view) == "lr":
        return "Where does the best learning rate lie?"
    if view.layout is None:
        return "What did these runs reach?"
    along_compute = bool(view.laws) and all(law.law.columns == ("C",) for law in view.laws.values())
    if along_compute or (view.layout.kind == "isoflop" and not _best_size(view)):
        return "How does the loss fall with compute?"
    if view.layout.kind == "axis":
        return f"How does the loss fall with {AXES.get(view.layout.axis, 'compute')}?"
    return QUESTIONS[view.layout.kind]


def finding(view: View) -> str:
    """Return the answer in one sentence."""
    if view.rows.empty:
        runs = f"None of the {len(view.runs)} runs finished" if len(view.runs) > 1 else "The run did not finish"
        return f"{runs}; the ledger says why."
    verdict = _of_claims(view) if view.stated else ""
    return verdict or _best_size(view) or _falls(view) or _of_claims(view) or _rates(view) or _lowest(view)


def axis_of(view: View) -> str:
    """Return the column that the finding speaks of, so that its figure speaks of it too; empty where of none."""
    if view.rows.empty:
        return ""
    if view.stated and (verdict := _decided(view)):
        columns = get_law(verdict.rule.formula).columns if verdict.rule.law else ()
        return verdict.rule.axis or (columns[0] if len(columns) == 1 else "")
    if _best_size(view):
        return ""
    return next(iter(_along(view)[0]), "lr" if not _decided(view) and _rates(view) else "")


def _decided(view: View) -> ClaimVerdict | None:
    """Return the first claim that is decided by a number."""
    return next((v for v in view.verdicts if v.verdict.decided and v.statistic is not None), None)


def _of_claims(view: View) -> str:
    verdict = _decided(view)
    return _of_verdict(verdict, verdict.claim, view.loss_unit) if verdict else ""


def word(verdict: Verdict, claim: Claim) -> str:
    """Return a verdict in plain words: equal families are equivalent, and not refuted."""
    region = claim.only.region if claim.only else None
    if region and region.kind == "contrast" and verdict.verdict.decided:
        return region.expected if verdict.verdict is VerdictKind.SUPPORTED else OPPOSITE[region.expected]
    return verdict.verdict.word


def of_many(verdict: ClaimVerdict, claim: Claim) -> str:
    """Count the subjects of a claim by their verdict, and name a few of them."""
    names: dict[str, list[str]] = {}
    for subject in sorted(verdict.subjects, key=lambda s: VERDICTS.index(s.verdict)):
        names.setdefault(word(subject, claim), []).append(str(subject.subject))
    count = len(verdict.subjects)
    if len(names) == 1:
        first = verdict.subjects[0]
        return f"{word(first, claim)} for all {count}, as for {first.subject}: {first.reason}"
    return "; ".join(
        f"{how} for {listed(who) if len(who) <= FEW else f'{len(who)} of {count}'}" for how, who in names.items()
    )


def tone(verdict: Verdict, claim: Claim) -> str:
    """Return the colour of a verdict: yes, no, or open; equivalent is an answer like any other."""
    if not verdict.verdict.decided:
        return verdict.verdict.value
    if claim.only and claim.only.region.kind == "contrast":
        return "supported"
    return verdict.verdict.value


def _of_verdict(verdict: ClaimVerdict, claim: Claim, loss_unit: str) -> str:
    """Say what was measured for a decided claim, then the verdict."""
    text, number = claim.claim.rstrip("."), measured(verdict, loss_unit)
    if verdict.subject is not None and verdict.subject.pair is not None:
        return f"{number[0].upper()}{number[1:]}: {word(verdict, claim)}. The claim was “{text}”."
    return f"{verdict.verdict.lead} “{text}”: {number}."


def minima(view: View) -> bool:
    """Return whether some family's budgets have enough minima for a power law."""
    return any(result.approaches["isoflop"].a.value is not None for result in view.frontiers.values())


def _best_size(view: View) -> str:
    """Say how the best size grows with compute, by isoFLOP minima, else an identified law; inside (0, 1) alone."""
    if view.layout is None or view.layout.kind != "isoflop":
        return ""
    powers = {}
    for family in view.families:
        result = view.frontiers.get(family)
        a = result.approaches["isoflop"].a if result else Estimate(None)
        if a.value is None and view.splits(family) and view.laws[family].status == "converged":
            a = view.laws[family].derived["a"]
        if a.value is not None and a.low is not None and a.high is not None and a.low > 0 and a.high < 1:
            powers[family] = a
    if not powers:
        return ""
    each = _each(view, {name: _exponent(a) for name, a in powers.items()})
    source = "The best size grows" if minima(view) else "By the fitted law the best size grows"
    return f"{source} as compute to the power {each}."


def _exponent(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} (95 % interval {estimate.low:.2f} to {estimate.high:.2f})"


def _falls(view: View) -> str:
    """Say by how much a doubling of what varies lowers the loss, where that is identified."""
    axes, texts = _along(view)
    if len(axes) > 1:
        both = [f"each doubling of {AXES[axis]} by {_each(view, texts[axis])}" for axis in axes]
        return f"In the middle of these runs the loss falls with {listed(both)}.{_unfit(view)}"
    for axis in axes:
        each = _each(view, texts[axis])
        return f"In the middle of these runs each doubling of {AXES[axis]} lowers the loss by {each}.{_unfit(view)}"
    return ""


def _along(view: View) -> tuple[tuple[str, ...], dict[str, dict[str, str]]]:
    """Return the axes along which to say how the loss falls, and by axis and family what a doubling lowers it by."""
    texts: dict[str, dict[str, str]] = {}
    for family, fit in view.laws.items():
        for name, estimate in view.local[family].estimates.items():
            axis = name.removeprefix(EXPONENT)
            if name.startswith(EXPONENT) and axis in AXES and estimate.low is not None and estimate.high is not None:
                texts.setdefault(axis, {})[family] = _halving(estimate, fit)
    axes = ASKED.get(view.layout.kind if view.layout else "", ())
    if len(axes) > 1 and len(view.families) == 1 and set(axes) <= set(texts):
        return axes, texts
    one = next((axis for axis in (*(axes if len(axes) == 1 else ()), "C", "D", "N") if axis in texts), "")
    return ((one,) if one else ()), texts


def _unfit(view: View) -> str:
    """Warn of laws that the answer rests on and that miss their runs."""
    lack = [f" The law of {family} shows {law.lack}." for family, law in view.laws.items() if law.lack]
    return "".join(lack[:MOST])


def _halving(estimate: Estimate, fit: Fit) -> str:
    """Write an exponent as the share by which the loss falls when its column doubles."""
    value, low, high = (percent(1 - 2.0 ** -(x or 0.0), 1) for x in (estimate.value, estimate.low, estimate.high))
    unsure = ", so it may not fall at all" if (estimate.low or 0.0) <= 0 else ""
    return f"{value} ({percent(fit.level, 0)} interval {low} to {high}{unsure})"


def _rates(view: View) -> str:
    """Say which learning rate is best at each size, where rates were searched; of many sizes at the ends."""
    try:
        table = best_rates(view)
    except Unmet:
        return ""
    texts = {}
    for family, best in table[table["kind"] == "best"].sort_values("N").groupby("family"):
        ends = best if len(best) <= MOST else best.iloc[[0, -1]]
        edge = {True: ", on the edge of those tried,", False: ""}
        rates = zip(ends["lr"], ends["edge"].astype(bool), ends["N"], strict=True)
        texts[str(family)] = listed([f"{lr:.3g}{edge[on_edge]} at N {count(N)}" for lr, on_edge, N in rates])
    return f"The best learning rate is {_each(view, texts)}."


def _lowest(view: View) -> str:
    best = view.rows.sort_values("L", kind="stable").iloc[0]
    reasons = "; ".join(dict.fromkeys(view.refused.values()))
    why = f" No law could be fitted: {reasons}." if reasons else " These runs do not identify how fast the loss falls."
    named = f" ({best['family']})" if len(view.families) > 1 else ""
    return f"The lowest loss is {best['L']:.4g} {view.loss_unit}{named}.{why}"


def _each(view: View, texts: dict[str, str]) -> str:
    """Join what is said of several families; of many name a few and say how many more there are."""
    if len(view.families) == 1:
        return next(iter(texts.values()))
    parts = [f"{text} for {name}" for name, text in list(texts.items())[:MOST]]
    more = len(view.families) - len(parts)
    others = "the other family is" if more == 1 else f"the other {more} families are"
    return listed(parts) + (f"; {others} below" if more > 0 else "")
