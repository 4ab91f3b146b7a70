"""Sentences: verdicts and numbers as a reader sees them, in the page and in the terminal.

How the number of a quantity is worded is declared with it (claims/declare.py); here it is put into sentences.

    summary(view)[0]     # "66 models of 3 families (lstm, mlp, transformer) were trained on text, ..."
"""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from isoflop import record
from isoflop.analysis.claims.region import VERDICTS, VerdictKind
from isoflop.analysis.claims.studies import ClaimStudy, command, read_all
from isoflop.analysis.claims.verdict import ClaimVerdict, Verdict
from isoflop.analysis.fitting.local import EXPONENT
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.report.view import View
from isoflop.wording import listed, number, percent

if TYPE_CHECKING:
    from isoflop.analysis.claims.forecasts import JudgedForecast

# columns of the terminal's table [characters]
INDENT, LABEL = 15, 9
# families or kinds of data that a sentence lists
MOST_NAMES = 12


def amount(verdict: Verdict) -> str:
    """Return the statistic of a verdict with its unit."""
    return "–" if verdict.statistic is None else verdict.rule.measures.amount(verdict.statistic, verdict.unit)


def interval(verdict: Verdict) -> str:
    """Return the interval in words; a bound that does not exist is `none`."""
    if verdict.low is None and verdict.high is None:
        return "" if verdict.statistic is None else "no interval"
    measures = verdict.rule.measures
    low, high = ("none" if b is None else measures.amount(b, verdict.unit) for b in (verdict.low, verdict.high))
    return f"{low} to {high}"


def measured(verdict: Verdict, loss_unit: str = "") -> str:
    """Return a clause of a verdict's quantity, its number with unit (loss_unit of a loss), and its direction."""
    rule, subject, value = verdict.rule, verdict.subject, verdict.statistic
    if subject is None or value is None:
        return ""
    of = subject.of or next(iter(rule.of), "")
    unit = verdict.unit or (loss_unit if of == "E" or of.endswith("loss") else "")
    reach = ", ".join(f"{column} = {at:g}" for column, at in rule.reach.items())
    words: dict[str, Any] = {"of": of, "law": rule.law, "axis": rule.axis, "against": rule.against, "reach": reach}
    bounds, pair = interval(verdict), subject.pair
    if pair is None:
        within, but = f" ({bounds})" if bounds else "", f", but {verdict.beside}" if verdict.beside else ""
        return rule.measures.sentence(f"{amount(verdict)}{within}", value, **words) + f", for {subject}{but}"
    distance = f"{rule.measures.unit.distance(value)} {unit}".strip()
    return f"{rule.measures.sentence(distance, value, pair, **words)} ({pair}: {bounds})"


def summary(view: View) -> list[str]:
    """Say what was trained and what it showed, in a sentence or two each, for a newcomer."""
    sentences = [_trained(view)] if view.rows.empty else [_trained(view), _loss(view), *_local(view)]
    if view.forecast is not None:
        sentences.append(_forecast(view.forecast))
    for verdict in decided_first(view.verdicts):
        if verdict.verdict is VerdictKind.UNTESTED:  # the page has them by themselves, with what is missing
            continue
        text = verdict.claim.claim.rstrip(".")
        number = measured(verdict, view.loss_unit)
        sentences.append(f"{verdict.verdict.lead} “{text}”{number and f': {number}'}.")
    name_of = "{} {}" if len(view.families) > 1 else "{1}"
    noise = [name_of.format(name, percent(n.sd)) for name, n in view.noise.items() if n.sd is not None]
    if noise:
        sentences.append(f"Losses of runs that differ only in seed vary by about {', '.join(noise[:MOST_NAMES])}.")
    return sentences


def seed_noise(view: View) -> str:
    """Say how much the loss of each family varies over seeds, and for which families that is unknown."""
    sd = {name: n.sd for name, n in view.noise.items() if n.sd is not None}
    known = [f"{name} {percent(sd[name], 2)} on {_plural(view.noise[name].df, 'degree')} of freedom" for name in sd]
    if len(known) > MOST_NAMES:
        known = [f"{percent(min(sd.values()), 2)} to {percent(max(sd.values()), 2)} for {len(known)} families"]
    unknown = [name for name in view.noise if name not in sd]
    who = listed(unknown) if len(unknown) <= MOST_NAMES else f"{len(unknown)} families"
    parts = [*known, *([f"unknown for {who}, where no configuration has two seeds"] if unknown else [])]
    return f"Seed noise (standard deviation of ln L over seeds): {'; '.join(parts)}." if parts else ""


def decided_first(verdicts: Sequence[ClaimVerdict]) -> list[ClaimVerdict]:
    """Sort verdicts: supported and refuted, then open, then untested."""
    return sorted(verdicts, key=lambda v: 0 if v.verdict.decided else VERDICTS.index(v.verdict))


def _trained(view: View) -> str:
    rows = view.rows
    if rows.empty:
        return f"No run finished; {_plural(len(view.runs), 'row')} of runs that failed are in the ledger."
    runs = rows["run_id"].nunique() if "run_id" in rows else len(rows)
    several = f" of {len(view.families)} families" if len(view.families) > 1 else ""
    sentence = f"{_plural(runs, 'model')}{several}"
    named = [
        *view.families[:MOST_NAMES],
        *([f"{len(view.families) - MOST_NAMES} more"] if len(view.families) > MOST_NAMES else []),
    ]
    sentence += f" ({', '.join(named)}) {'was' if runs == 1 else 'were'} trained"
    if "data" in rows and rows["data"].notna().any():
        data = sorted(map(str, rows["data"].dropna().unique()))
        sentence += f" on {', '.join(data[:MOST_NAMES])}{' and others' if len(data) > MOST_NAMES else ''}"
    if "C" in rows and rows["C"].notna().any():
        low, high = float(rows["C"].min()), float(rows["C"].max())
        decades = f" ({math.log10(high / low):.1f} decades)" if high > low else ""
        each = " each" if runs > 1 else ""
        sentence += f", with {number(low)}{f' to {number(high)}' if decades else ''} FLOPs{each}{decades}"
    if "run_id" in rows and (others := view.searched["run_id"].nunique() - runs) > 0:
        sentence += f"; {others} more tried other values of searched knobs, and are not counted"
    unfinished = len(view.runs.unfinished)
    return sentence + (f"; {unfinished} more did not finish (see the ledger)." if unfinished else "; all finished.")


def _loss(view: View) -> str:
    ours = set(view.rows) >= record.IDENTITY  # of another tool's loss nobody says what it was measured on
    sentence = (
        f"The loss is measured {'on held-out data, ' * ours}in {view.loss_unit}; lower is better, "
        f"and the lowest is {float(view.rows['L'].min()):.3g}"
    )
    bits = pd.to_numeric(view.rows["L_bpb"], errors="coerce").min() if "L_bpb" in view.rows else math.nan
    return f"{sentence}{'' if math.isnan(bits) else f' ({bits:.3g} bits per byte)'}."


def _local(view: View) -> list[str]:
    sentences = []
    for family, local in view.local.items():
        if not view.laws[family].unidentified:
            continue
        falls = [
            f"by {_halving(estimate)} for each doubling of {name.removeprefix(EXPONENT)}"
            for name, estimate in local.estimates.items()
            if name.startswith(EXPONENT) and estimate.low is not None and estimate.high is not None
        ]
        place = ", ".join(f"{name}={number(value)}" for name, value in local.at.items())
        tells = (
            f"; what they identify: at {place} the loss falls {listed(falls)}"
            if falls
            else ", nor how fast the loss falls"
        )
        sentences.append(f"The runs of {family} do not identify the parameters of its law{tells}.")
    return sentences


def _halving(estimate: Estimate) -> str:
    """Write an exponent as the share by which the loss falls when its column doubles, with its interval."""
    value, low, high = (
        percent(1 - 2.0**-exponent, 2) for exponent in (estimate.value or 0, estimate.low or 0, estimate.high or 0)
    )
    return f"{value} ({low} to {high})"


def _forecast(judged: "JudgedForecast") -> str:
    figures = judged.score.summary
    error, line = (percent(float(figures[name] or 0), 2) for name in ("rmsle", "rmsle_line"))
    came = "was added or changed after these runs" if judged.first is False else "was made before these runs"
    came = "may or may not have been made before these runs" if judged.first is None else came
    return (
        f"A forecast that {came} was off by {error} on {_plural(len(judged.score.rows), 'run')} (straight line {line})."
    )


def _plural(count: int, noun: str, several: str = "") -> str:
    return f"{count} {noun if count == 1 else several or f'{noun}s'}"


def verdict_table(verdicts: Sequence[ClaimVerdict], width: int = 100) -> str:
    """Write verdicts for a terminal: claim, statistic and interval, rule and reason, then a line for each subject."""
    studies = read_all()
    return "\n\n".join("\n".join(_block(verdict, width, studies)) for verdict in decided_first(verdicts))


def _block(verdict: ClaimVerdict, width: int, studies: Sequence[ClaimStudy]) -> list[str]:
    claim = verdict.claim
    lines = [f"{verdict.verdict.word.upper():<{INDENT}}{verdict.id}: {claim.claim}"]
    if verdict.statistic is not None:
        lines.append(f"{'':{INDENT}}{amount(verdict)} ({interval(verdict)})")
    test = command(claim.id, studies) if verdict.verdict is VerdictKind.UNTESTED and not claim.untestable else ""
    for label, text in (("rule", claim.in_words), ("because", verdict.reason), *([("test it", test)] if test else [])):
        first, *rest = textwrap.wrap(text, max(width - INDENT - LABEL, 40)) or [""]
        lines.append(f"{'':{INDENT}}{label:<{LABEL}}{first}")
        lines += [f"{'':{INDENT + LABEL}}{line}" for line in rest]
    if len(verdict.subjects) > 1 and any(s.verdict is not VerdictKind.UNTESTED for s in verdict.subjects):
        size = max(len(str(s.subject)) for s in verdict.subjects)
        for s in verdict.subjects:
            numbers = f"{amount(s)} ({interval(s)})" if s.statistic is not None else ""
            but = f", but {s.beside}" if s.beside else ""
            lines.append(f"{'':{INDENT}}{s.subject!s:<{size}}  {s.verdict.word:<14} {numbers}{but}")
    return lines
