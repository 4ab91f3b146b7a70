"""The answers: docs/answers.md, written from the committed tables and verdicts of studies/ and from the claims.

For every claim it gives the sentence, the verdict, the statistic with its interval, what the literature expects, what
the runs cost, and the command that repeats them; of a claim without an answer, the command that would test it.

    print(page(Path("studies")))
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop import files
from isoflop.errors import UserError
from isoflop.sweeps import study as studies
from isoflop.sweeps.study import Study
from isoflop.wording import clock, listed, number

if TYPE_CHECKING:
    import pandas as pd

    from isoflop.analysis.claims.claim import Claim

OPENING = """# Answers

<!-- written by `isoflop study --answers docs/answers.md` from studies/; change those and write it again -->

Every claim, its verdict at a size that a laptop repeats, and the command that repeats it. A rule was committed before
the runs that judge it ([claims](claims.md)); tables and verdicts are in `studies/NAME`. A verdict holds for these sizes
and this data. *Inconclusive* means that the interval straddles the border of the region: more runs might decide.
*Withdrawn* means that the verdict followed from the rule but does not stand: [Superseded](#superseded) says why.
"""


# studies that set families side by side, from which the scorecard is made
SCORED = ("scaling", "laws", "tasks", "two_texts", "tracking")
# pairs of measures, each of another criterion, whose Pareto fronts are listed
PAIRS = (
    ("loss_at_C", "share_trained"),
    ("excess", "C_to_loss"),
    ("loss_at_C", "exponent_C"),
    ("loss_at_C", "time_to_loss"),
)


# in the folder of a study, the same study made once more with seeds that the first did not have
AGAIN = "other_seeds"
OPPOSITE = {"supported": "refuted", "refuted": "supported"}
# in the folder of all studies, the verdicts that are withdrawn: the id of a claim and the reason
SUPERSEDED = "superseded.yaml"


@dataclass(frozen=True)
class Answer:
    """A claim with what a study said of it."""

    claim: "Claim"
    study: Study | None
    """The study whose claims name it; None if none does."""
    verdict: Mapping[str, Any] | None
    """As verdicts.json has it; None if the study was not made."""
    cost: str = ""
    """What the runs of the study took."""
    withdrawn: str = ""
    """Why the verdict does not stand; empty if it does."""

    @property
    def word(self) -> str:
        """Return the verdict in words; a withdrawn one counts as that alone."""
        return "withdrawn" if self.withdrawn else self.judged

    @property
    def judged(self) -> str:
        """Return the verdict of the rule in words, withdrawn or not."""
        if self.claim.untestable:
            return "not testable"
        return str(self.verdict["verdict"]).replace("_", " ") if self.verdict else "untested"

    @property
    def command(self) -> str:
        """What repeats it, or would test it."""
        return f"isoflop study {self.study.name}" if self.study else ""


def page(room: Path) -> str:
    """Return the page as Markdown."""
    answers = list(read(room))
    counts = {word: sum(a.word == word for a in answers) for word in dict.fromkeys(a.word for a in answers)}
    lines = [OPENING, f"{len(answers)} claims: {', '.join(f'{n} {word}' for word, n in counts.items())}.", ""]
    lines += ["| claim | verdict | study |", "|---|---|---|"]
    lines += [f"| [{a.claim.id}](#{a.claim.id.lower()}) {a.claim.claim} | {a.word} | {_link(a)} |" for a in answers]
    lines += ["", *_superseded(answers)]
    for entry in answers:
        lines += [*_section(entry), ""]
    lines += [*_forecasts(documents(room)), *_again(answers, room), *_scorecard(room)]
    return "\n".join(lines) + "\n"


def read(room: Path) -> Iterator[Answer]:
    """Yield every claim with the verdict of the longest study that tested it, or with the shortest study that would."""
    from isoflop.analysis.claims.claim import load_claims

    reasons = superseded(room)
    with_claims = [study for study in studies.studies() if study.claims]
    written = documents(room)
    for claim in load_claims():
        having = [study for study in with_claims if claim.id in study.claims]
        made = [(study, v) for study in having if (v := _verdict(written.get(study.name, {}), claim.id))]
        tested = [pair for pair in made if pair[1]["verdict"] != "untested"]
        if made:
            study, verdict = (tested or made)[-1]
            cost = _cost(written[study.name], room / study.name)
            yield Answer(claim, study, verdict, cost, reasons.get(claim.id, ""))
        else:
            yield Answer(claim, having[0] if having else None, None)


def superseded(room: Path) -> dict[str, str]:
    """Return the reason of every withdrawn verdict of a room, by the id of its claim.

    Raises a UserError where an id is unknown or a reason is missing.
    """
    from omegaconf import OmegaConf

    from isoflop.analysis.claims.claim import load_claims

    file = room / SUPERSEDED
    if not file.exists():
        return {}
    reasons = OmegaConf.to_container(OmegaConf.load(file))
    known = {claim.id for claim in load_claims()}
    for name, reason in reasons.items() if isinstance(reasons, dict) else ():
        if name not in known:
            raise UserError(f"{file}: unknown claim '{name}'; choose one of {', '.join(sorted(known))}")
        if not isinstance(reason, str) or not reason.strip():
            raise UserError(f"{file}: {name} gives no reason; write why its verdict does not stand")
    return {str(name): str(reason) for name, reason in dict(reasons).items()}


def documents(room: Path, folder: str = "") -> dict[str, Mapping[str, Any]]:
    """Return the verdicts.json of each study in a room; with `folder`, those of the studies' folders of that name."""
    by_study = {study.name: files.read_json(study / folder / "verdicts.json") for study in sorted(room.glob("*"))}
    return {name: document for name, document in by_study.items() if isinstance(document, dict)}


def _superseded(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield the table of verdicts that are withdrawn."""
    if withdrawn := [entry for entry in answers if entry.withdrawn]:
        yield from ("## Superseded", "", "Verdicts that followed from their rule and runs but do not stand.", "")
        yield from ("| claim | verdict | why it is withdrawn |", "|---|---|---|")
        for a in withdrawn:
            yield f"| [{a.claim.id}](#{a.claim.id.lower()}) | {a.judged} | {a.withdrawn} |"
        yield ""


def _forecasts(written: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the table of forecasts and what the larger runs gave."""
    made = {name: document["forecast"] for name, document in written.items() if document.get("forecast")}
    if made:
        yield from ("## Forecasts", "", "What larger runs would give, written down before they were made.", "")
        yield "| study | made | runs and marks | error | of a straight line | inside the 90 % band | by git |"
        yield "|---|---|--:|--:|--:|--:|---|"
    for name, one in made.items():
        s = one["summary"]
        figures = ["none" if s[k] is None else f"{100 * s[k]:.2g} %" for k in ("rmsle", "rmsle_line", "coverage")]
        cells = (f"[{name}](../studies/{name})", one["made"][:10], len(one["rows"]), *figures, one["provenance"])
        yield f"| {' | '.join(map(str, cells))} |"
    if made:
        yield ""


def _verdict(document: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((v for v in document.get("verdicts", []) if v["id"] == name), None)


def _cost(document: Mapping[str, Any], folder: Path) -> str:
    """Return what the runs of a study cost: their number, compute, and time on their device."""
    from isoflop.analysis.runs.read import read_runs

    rows = read_runs(folder / "runs.csv").frame
    last = rows.sort_values("D").groupby("run_id").tail(1)  # its marks are on the way there
    device = listed(sorted(map(str, rows["device"].dropna().unique())))
    return f"{len(last)} runs, {number(float(last['C'].sum()))} FLOPs, {clock(float(document['seconds']))} on {device}"


def _link(answer: Answer) -> str:
    if answer.study is None:
        return ""
    return f"[{answer.study.name}](../studies/{answer.study.name})" if answer.verdict else answer.study.name


def _section(answer: Answer) -> list[str]:
    """Return the section of one claim."""
    claim, verdict = answer.claim, answer.verdict
    lines = [f"## {claim.id}", "", f"**{claim.claim}** {answer.word.capitalize()}.", ""]
    if answer.withdrawn:
        lines += [f"By its rule it was {answer.judged}. {answer.withdrawn}", ""]
    if claim.untestable:
        return [*lines, f"Why not: {claim.untestable}."]
    if verdict:
        lines += _numbers(verdict)
        lines += [f"- Reason: {verdict['reason']}"] if verdict.get("reason") else []
    lines += [f"- Rule: {claim.in_words}"]
    lines += [f"- The literature expects: {claim.expect}"] if claim.expect else []
    lines += [f"- Caveat: {claim.caveat}"] if claim.caveat else []
    if answer.study and claim.id in answer.study.remarks:
        lines += [f"- Remark: {answer.study.remarks[claim.id]}"]
    lines += [f"- Cost: {answer.cost}"] if answer.cost else []
    if answer.command:
        lines += [f"- {'Repeat it' if verdict else 'It would be tested by'}: `{answer.command}`"]
    return lines


def _numbers(verdict: Mapping[str, Any]) -> list[str]:
    """Return a table of the subjects' numbers; of a claim with one subject, that of the claim."""
    rows: Sequence[Mapping[str, Any]] = verdict.get("subjects") or [verdict]
    measured = [row for row in rows if row.get("statistic") is not None]
    if not measured:
        return []
    lines = ["| of | statistic | interval | verdict |", "|---|--:|---|---|"]
    for row in measured:
        cells = (row.get("subject") or "all runs", number(row["statistic"]), _interval(row.get("low"), row.get("high")))
        lines.append(f"| {' | '.join(map(str, cells))} | {str(row['verdict']).replace('_', ' ')} |")
    return [*lines, ""]


def _interval(low: float | None, high: float | None) -> str:
    """Return an interval in words; a missing bound is "unbounded", two are "no interval"."""
    bounds = ["unbounded" if end is None or math.isnan(end) else number(end) for end in (low, high)]
    return "no interval" if bounds == ["unbounded"] * 2 else " to ".join(bounds)


def _again(answers: Sequence[Answer], room: Path) -> list[str]:
    """Return the table of studies that were repeated with other seeds, and how many verdicts were reversed."""
    written = documents(room, AGAIN)
    twice = [
        (entry, entry.verdict, second)
        for entry in answers
        if entry.study and entry.verdict and not entry.withdrawn
        if (second := _verdict(written.get(entry.study.name, {}), entry.claim.id))
    ]
    if not twice:
        return []
    decided = [(one["verdict"], two["verdict"]) for _, one, two in twice if one["verdict"] in OPPOSITE]
    turned = sum(two == OPPOSITE[one] for one, two in decided)
    lines = ["## Other seeds", ""]
    lines += [f"Cheap studies, made once more: of {len(decided)} decided verdicts {turned} became the opposite."]
    lines += ["Tables are in `studies/NAME/other_seeds`; the statistic is that of a claim's first subject.", ""]
    lines += ["| claim | study | verdict | statistic | with other seeds | statistic |", "|---|---|---|---|---|---|"]
    for entry, *both in twice:
        cells = [cell for verdict in both for cell in (str(verdict["verdict"]).replace("_", " "), _first(verdict))]
        lines.append(f"| [{entry.claim.id}](#{entry.claim.id.lower()}) | {_link(entry)} | {' | '.join(cells)} |")
    return [*lines, ""]


def _first(verdict: Mapping[str, Any]) -> str:
    """Return statistic and interval of the first subject of a verdict."""
    row = (verdict.get("subjects") or [verdict])[0]
    if row.get("statistic") is None:
        return ""
    return f"{number(row['statistic'])} ({_interval(row.get('low'), row.get('high'))})"


def _scorecard(room: Path) -> list[str]:
    """Return the table of four criteria of the compared families, and Pareto fronts of pairs of measures."""
    import pandas as pd

    from isoflop.analysis.report.scorecard import front, scorecard
    from isoflop.analysis.runs.read import read_runs

    made = [name for name in SCORED if (room / name / "runs.csv").exists()]
    if not made:
        return []
    cards = {name: scorecard(read_runs(room / name / "runs.csv")) for name in made}
    lines = ["## Scorecard", "", "Four criteria of each family, with 95 % intervals; there is no single number.", ""]
    lines += ["| criterion | measure | better | data | family | value | interval |", "|---|---|---|---|---|--:|---|"]
    rows = pd.concat(list(cards.values())).dropna(subset=["value"])
    order = list(dict.fromkeys(rows["criterion"]))
    rows = rows.sort_values(["criterion", "measure"], key=lambda c: c.map(order.index) if c.name == "criterion" else c)
    for row in rows.to_dict("records"):
        cells = (row["criterion"], row["title"], row["better"], row["data"], row["family"], number(row["value"]))
        lines.append(f"| {' | '.join(map(str, cells))} | {_interval(row['low'], row['high'])} |")
    lines += ["", "Families that no other surely beats in both of two measures (their Pareto fronts):", ""]
    for card in cards.values():
        for data in sorted(card["data"].unique()):
            for one, two in PAIRS:
                if families := front(card, one, two, data):
                    lines.append(f"- {data}, {_title(card, one)} and {_title(card, two)}: {listed(families)}")
    return lines


def _title(card: "pd.DataFrame", measure: str) -> str:
    return str(card.loc[card["measure"] == measure, "title"].iloc[0])
