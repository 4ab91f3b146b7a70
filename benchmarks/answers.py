"""Write docs/answers.md from the committed tables and verdicts of studies/ and from the claims.

    python benchmarks/answers.py

Nothing is trained, and no claim is judged again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pages import render

from isoflop import files
from isoflop.analysis.claims.claim import Claim, load_claims
from isoflop.analysis.report.scorecard import front, scorecard
from isoflop.analysis.runs.read import read_runs
from isoflop.errors import UserError
from isoflop.sweeps import study as studies
from isoflop.sweeps.study import Study
from isoflop.wording import clock, listed, number
from isoflop.yaml_file import read_yaml

ROOT = Path(__file__).parents[1]
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

    claim: Claim
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
    def measured(self) -> list[Mapping[str, Any]]:
        """Return the subjects with a statistic; of a claim with one subject, the verdict itself."""
        subjects = (self.verdict.get("subjects") or [self.verdict]) if self.verdict else []
        return [subject for subject in subjects if subject.get("statistic") is not None]


def page(room: Path) -> str:
    """Return the page as Markdown."""
    answers = list(read(room))
    words = [answer.word for answer in answers]
    repeated = _repeated(answers, room)
    decided = [(a.verdict["verdict"], again["verdict"]) for a, again in repeated if a.judged in OPPOSITE and a.verdict]
    scores, fronts = _scorecard(room)
    return render(
        "answers",
        {"number": number, "words": lambda name: str(name).replace("_", " ")},
        trim=True,
        answers=answers,
        counts={word: words.count(word) for word in dict.fromkeys(words)},
        forecasts={name: d["forecast"] for name, d in _documents(room).items() if d.get("forecast")},
        repeated=repeated,
        decided=len(decided),
        reversed=sum(second == OPPOSITE[first] for first, second in decided),
        scores=scores,
        fronts=fronts,
    )


def read(room: Path) -> Iterator[Answer]:
    """Yield every claim with the verdict of the longest study that tested it, or with the shortest study that would."""
    reasons = superseded(room)
    with_claims = [study for study in studies.studies() if study.claims]
    written = _documents(room)
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
    file = room / SUPERSEDED
    reasons = read_yaml(file, "withdrawn verdicts")[0] if file.exists() else {}
    known = [claim.id for claim in load_claims()]
    for name, reason in reasons.items():
        if name not in known:
            raise UserError(f"{file}: unknown claim '{name}'; choose one of {', '.join(sorted(known))}")
        if not isinstance(reason, str) or not reason.strip():
            raise UserError(f"{file}: {name} gives no reason; write why its verdict does not stand")
    return reasons


def _documents(room: Path, folder: str = "") -> dict[str, Mapping[str, Any]]:
    """Return the verdicts.json of each study in a room; with `folder`, those of the studies' folders of that name."""
    by_study = {study.name: files.read_json(study / folder / "verdicts.json") for study in sorted(room.glob("*"))}
    return {name: document for name, document in by_study.items() if isinstance(document, dict)}


def _verdict(document: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((v for v in document.get("verdicts", []) if v["id"] == name), None)


def _cost(document: Mapping[str, Any], folder: Path) -> str:
    """Return what the runs of a study cost: their number, compute, and time on their device."""
    rows = read_runs(folder / "runs.csv").frame
    last = rows.sort_values("D").groupby("run_id").tail(1)  # its marks are on the way there
    device = listed(sorted(map(str, rows["device"].dropna().unique())))
    return f"{len(last)} runs, {number(float(last['C'].sum()))} FLOPs, {clock(float(document['seconds']))} on {device}"


def _repeated(answers: Sequence[Answer], room: Path) -> list[tuple[Answer, Mapping[str, Any]]]:
    """Return the answers of studies that were repeated with other seeds, each with its second verdict."""
    written = _documents(room, AGAIN)
    return [
        (answer, again)
        for answer in answers
        if answer.study and answer.verdict and not answer.withdrawn
        if (again := _verdict(written.get(answer.study.name, {}), answer.claim.id))
    ]


def _scorecard(room: Path) -> tuple[list[dict[str, Any]], list[tuple[str, str, str, str]]]:
    """Return the rows of four criteria of the compared families, and Pareto fronts of pairs of measures."""
    import pandas as pd

    made = [name for name in SCORED if (room / name / "runs.csv").exists()]
    if not made:
        return [], []
    cards = {name: scorecard(read_runs(room / name / "runs.csv")) for name in made}
    rows = pd.concat(list(cards.values())).dropna(subset=["value"])
    order = list(dict.fromkeys(rows["criterion"]))
    rows = rows.sort_values(["criterion", "measure"], key=lambda c: c.map(order.index) if c.name == "criterion" else c)
    fronts = [
        (data, _title(card, one), _title(card, two), listed(families))
        for card in cards.values()
        for data in sorted(card["data"].unique())
        for one, two in PAIRS
        if (families := front(card, one, two, data))
    ]
    return files.records(rows), fronts


def _title(card: pd.DataFrame, measure: str) -> str:
    return str(card.loc[card["measure"] == measure, "title"].iloc[0])


if __name__ == "__main__":
    files.write_text(ROOT / "docs/answers.md", page(ROOT / "studies"))
