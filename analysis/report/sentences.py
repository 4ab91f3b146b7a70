"""Words: verdicts and numbers as a reader sees them, in the page and in the terminal."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from isoflop.analysis.claims.claim import Verdict
from isoflop.analysis.claims.quantities import PERCENT
from isoflop.analysis.report.view import View
from isoflop.wording import number, percent

WORDS = {
    "supported": "supported",
    "refuted": "refuted",
    "inconclusive": "inconclusive",
    "not_identified": "not identified",
    "untested": "untested",
}
# what each verdict means to somebody who sees it for the first time
MEANS = {
    "supported": "The runs support",
    "refuted": "The runs refute",
    "inconclusive": "The runs do not decide",
    "not_identified": "The runs cannot pin down what is needed for",
    "untested": "Not tested, for lack of runs:",
}


def amount(value: float | None, quantity: str) -> str:
    """A statistic with its unit; a difference of ln L in per cent."""
    if value is None or math.isnan(value):
        return "–"
    return percent(value, 2) if quantity in PERCENT else f"{value:.4g}".replace("-", "−")


def interval(verdict: Verdict, quantity: str) -> str:
    """The interval in words; a bound that does not exist is said to."""
    if verdict.low is None and verdict.high is None:
        return "" if verdict.statistic is None else "no interval"
    low, high = ("none" if b is None else amount(b, quantity) for b in (verdict.low, verdict.high))
    return f"{low} to {high}"


def summary(view: View) -> list[str]:
    """What was done and found, a sentence or two each, for a newcomer."""
    told = [_what(view), _meaning(view)]
    for verdict in decided_first(view.verdicts):
        claim = verdict.claim.claim.rstrip(".") if verdict.claim else verdict.id
        told.append(f"{MEANS[verdict.verdict]} “{claim}”{_gist(verdict)}.")
    noise = [f"{name} {percent(n.sd)}" for name, n in view.noise.items() if n.sd is not None]
    if noise:
        told.append(f"Two runs that differ only in their seed differ by about this much in loss: {', '.join(noise)}.")
    return told


def decided_first(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Supported and refuted alike before what is open, and that before what is untested."""
    return sorted(verdicts, key=lambda v: max(1, list(WORDS).index(v.verdict)))


def _gist(verdict: Verdict) -> str:
    """The number of a verdict in words, for a claim that has one."""
    if verdict.claim is None or verdict.statistic is None:
        return ""
    subject = next((s for s in verdict.subjects if s.statistic == verdict.statistic), verdict)
    if verdict.claim.quantity == "loss_contrast":
        return f": {difference(subject)}"
    number_ = amount(verdict.statistic, verdict.claim.quantity)
    what = "the worst prediction is off by " if verdict.claim.quantity == "holdout_error" else ""
    return f": {what}{number_} ({subject.subject})"


def difference(subject: Verdict) -> str:
    """A contrast of losses in words: which of the two is lower, and by how much."""
    value = subject.statistic or 0.0
    first, second = subject.subject.split(" − ")
    lower, higher = (first, second) if value < 0 else (second, first)
    return f"{lower} {percent(-math.expm1(-abs(value)))} below {higher}"


def _what(view: View) -> str:
    """How much was trained, on what."""
    rows = view.rows
    runs = rows["run_id"].nunique() if "run_id" in rows else len(rows)
    lost = view.runs[view.runs["status"] != "ok"] if "status" in view.runs else view.runs.iloc[:0]
    said = f"{runs} models of {len(view.families)} families ({', '.join(view.families)}) were trained"
    if "data" in rows and rows["data"].notna().any():
        said += f" on the data {', '.join(sorted(map(str, rows['data'].dropna().unique())))}"
    if "C" in rows and rows["C"].notna().any():
        low, high = float(rows["C"].min()), float(rows["C"].max())
        said += f", with {number(low)} to {number(high)} FLOPs each ({math.log10(high / low):.1f} decades)"
    return said + (f"; {len(lost)} more did not finish and are in the ledger." if len(lost) else "; all finished.")


def _meaning(view: View) -> str:
    """What the loss is."""
    best = float(view.rows["L"].min())
    said = (
        f"The loss is measured on data no model has seen, in nats per target: lower is better, {best:.3g} is the lowest"
    )
    if "L_bpb" in view.rows and view.rows["L_bpb"].notna().any():
        return f"{said}, {np.nanmin(view.rows['L_bpb'].to_numpy(float)):.3g} bits per byte."
    return f"{said}."


def verdict_table(verdicts: Sequence[Verdict], width: int = 100) -> str:
    """The verdicts for a terminal: word, claim, statistic and interval, rule, reason, then a line for each subject."""
    lines: list[str] = []
    for verdict in decided_first(verdicts):
        claim = verdict.claim
        quantity = claim.quantity if claim else ""
        lines.append(f"{WORDS[verdict.verdict].upper():<15}{verdict.id}: {claim.claim if claim else ''}")
        if verdict.statistic is not None:
            lines.append(f"{'':15}{amount(verdict.statistic, quantity)} ({interval(verdict, quantity)})")
        shown: list[Any] = [("rule", claim.rule if claim else ""), ("because", verdict.reason)]
        for label, text in shown:
            wrapped = textwrap.wrap(text, max(width - 24, 40)) or [""]
            lines.append(f"{'':15}{label:<9}{wrapped[0]}")
            lines += [f"{'':24}{rest}" for rest in wrapped[1:]]
        if len(verdict.subjects) > 1 and any(s.verdict != "untested" for s in verdict.subjects):
            size = max(len(s.subject) for s in verdict.subjects)
            for s in verdict.subjects:
                numbers = (
                    f"{amount(s.statistic, quantity)} ({interval(s, quantity)})" if s.statistic is not None else ""
                )
                lines.append(f"{'':15}{s.subject:<{size}}  {WORDS[s.verdict]:<14} {numbers}")
        lines.append("")
    return "\n".join(lines).rstrip()
