"""Write docs/answers.md and a page for each theme from the committed tables and verdicts of studies/.

    python benchmarks/answers.py

Nothing is trained, and no claim is judged again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from answers_picture import Bar, bar_of, picture
from fronts import front
from pages import render

from isoflop import files
from isoflop.analysis.claims.claim import Claim, load_claims
from isoflop.analysis.report.scorecard import scorecard
from isoflop.analysis.runs.read import read_runs
from isoflop.errors import UserError
from isoflop.sweeps import study as studies
from isoflop.sweeps.study import Study
from isoflop.wording import clock, listed, number
from isoflop.yaml_file import read_yaml

ROOT = Path(__file__).parents[1]
# how templates write values
WRITTEN = {"number": number, "words": lambda name: str(name).replace("_", " ")}
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
# in the folder of all studies, what the claims of each theme say together
THEMES = "themes.yaml"
# subjects of a claim that its page lists
MOST_SUBJECTS = 14
# how a theme's text names a verdict: H5 (supported)
CITED = re.compile(r"\b([A-Z]\d+[-\w.]*|[a-z]+-[A-Za-z.\d]+) \(([a-z ]+)\)")


@dataclass(frozen=True)
class Answer:
    """A claim with what a study said of it."""

    claim: Claim
    study: Study | None
    """The study whose claims name it; None if none does."""
    verdict: Mapping[str, Any] | None
    """As verdicts.json has it; None if the study was not made."""
    cost: "Spent | None" = None
    """What the runs of the study took."""
    earlier: tuple[tuple[str, str], ...] = ()
    """Earlier designs that tested it: the study and its verdict in words."""
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
    def short(self) -> str:
        """Return the word for a table; where subjects of one rule differ, how many of them support it."""
        words = [str(s["verdict"]) for s in self.measured]
        if self.withdrawn or len(self.claim.rules) != 1 or len(words) < 3 or len({*words}) == 1:
            return self.word
        return f"{self.word}: {words.count('supported')} of {len(words)} hold"

    @property
    def bars(self) -> list[Bar]:
        """Return a bar for each of its rules whose first subject has an interval; none if it is withdrawn."""
        if self.withdrawn or not self.verdict:
            return []
        several = len(self.claim.rules) > 1
        made = []
        for rule in self.claim.rules:
            of_rule = [s for s in self.measured if not several or str(s["subject"]).startswith(f"{rule.name}:")]
            if of_rule and (
                bar := bar_of(rule, of_rule[0] if several else self.verdict, f"{self.claim.id} {rule.name}")
            ):
                made.append(bar)
        return made

    @property
    def measured(self) -> list[Mapping[str, Any]]:
        """Return the subjects with a statistic; of a claim with one subject, the verdict itself."""
        subjects = (self.verdict.get("subjects") or [self.verdict]) if self.verdict else []
        return [subject for subject in subjects if subject.get("statistic") is not None]


@dataclass(frozen=True)
class Spent:
    """What the runs of a study took."""

    runs: int
    """How many there are."""
    most_targets: float
    """The most training targets of a run."""
    flops: float
    """The compute of all."""
    time: str
    """Seconds by the clock in words, and the device."""
    code: str
    """The commits that made the runs, shortened."""


@dataclass(frozen=True)
class Theme:
    """A criterion of the source, with what its claims say together."""

    name: str
    """The name of its page."""
    title: str
    """Its heading."""
    text: str
    """A paragraph; `H5 (supported)` cites a verdict."""
    answers: tuple[Answer, ...]
    """Its claims."""


def pages(room: Path) -> dict[str, str]:
    """Return every page of the answers by its path below docs/."""
    every = list(read(room))
    answers = standing(every)
    words = [answer.word for answer in answers]
    repeated = _repeated(answers, room)
    decided = [(a.verdict["verdict"], again["verdict"]) for a, again in repeated if a.judged in OPPOSITE and a.verdict]
    scores, fronts = _scorecard(room)
    grouped, by_theory = themes(room, every)
    bars = [bar for theme in grouped for answer in theme.answers for bar in answer.bars]
    values: dict[str, Any] = {
        "answers": every,
        "count": len(answers),
        "counts": {word: words.count(word) for word in dict.fromkeys(words)},
        "themes": grouped,
        "by_theory": by_theory,
        "forecasts": {name: d["forecast"] for name, d in _documents(room).items() if d.get("forecast")},
        "repeated": repeated,
        "decided": len(decided),
        "same": sum(first == second for first, second in decided),
        "reversed": sum(second == OPPOSITE[first] for first, second in decided),
        "page_of": {answer.claim.id: theme.name for theme in grouped for answer in theme.answers},
        "scores": scores,
        "fronts": fronts,
        "most": MOST_SUBJECTS,
    }
    made = {f"answers/{theme.name}.md": render("theme", WRITTEN, True, theme=theme, **values) for theme in grouped}
    made["answers/verdicts.svg"] = picture(bars)
    made["answers/scorecard.md"] = render("scorecard", WRITTEN, True, **values)
    return {"answers.md": render("answers", WRITTEN, True, **values)} | made


def standing(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers that count: of a claim and its second version, H4 and H4.v2, the second once it is judged."""
    second = {answer.claim.id: answer for answer in answers if answer.claim.id.endswith(".v2")}
    judged = {name.removesuffix(".v2") for name, answer in second.items() if answer.verdict}
    waiting = {name for name, answer in second.items() if not answer.verdict}
    return [answer for answer in answers if answer.claim.id not in judged | waiting]


def themes(room: Path, answers: Sequence[Answer]) -> tuple[list[Theme], list[Answer]]:
    """Return the themes of a room, and the claims that theory decides.

    Raises a UserError where a text cites a verdict that is not the one judged, where a claim has no theme or two, and
    where a theme leaves out a claim that is decided.
    """
    file = room / THEMES
    if not file.exists():
        return [Theme("all", "All claims", "", tuple(answers))], []
    document = read_yaml(file, "themes")[0]
    by_id = {answer.claim.id: answer for answer in answers}
    placed = [name for theme in document["themes"].values() for name in theme["claims"]]
    if wrong := sorted({*placed} ^ {*by_id} | {name for name in placed if placed.count(name) > 1}):
        raise UserError(f"{file}: {', '.join(wrong)} must each be a claim of exactly one theme")
    made = [
        Theme(name, theme["title"], theme["text"].strip(), tuple(standing([by_id[c] for c in theme["claims"]])))
        for name, theme in document["themes"].items()
    ]
    for theme in made:
        cited = dict(CITED.findall(theme.text))
        if wrong := [f"{name} is {by_id[name].word}" for name, word in cited.items() if by_id[name].word != word]:
            raise UserError(f"{file}: {theme.name}: {', '.join(wrong)}; write what was judged")
        if missing := [a.claim.id for a in theme.answers if a.word in OPPOSITE and a.claim.id not in cited]:
            raise UserError(f"{file}: {theme.name} does not cite {', '.join(missing)}, which is decided")
    return made, [by_id[name] for name in document["by_theory"]]


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
            earlier = tuple((s.name, str(v["verdict"]).replace("_", " ")) for s, v in tested[:-1])
            yield Answer(claim, study, verdict, cost, earlier, reasons.get(claim.id, ""))
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


def _cost(document: Mapping[str, Any], folder: Path) -> Spent:
    """Return what the runs of a study cost."""
    rows = read_runs(folder / "runs.csv").frame
    last = rows.sort_values("D").groupby("run_id").tail(1)  # its marks are on the way there
    device = listed(sorted(map(str, rows["device"].dropna().unique())))
    commits = listed(sorted({str(commit)[:7] for commit in rows["git"].dropna()}))
    time = f"{clock(float(document['seconds']))} on {device}"
    return Spent(len(last), float(last["D"].max()), float(last["C"].sum()), time, commits)


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
    cards = {name: scorecard(read_runs(room / name / "runs.csv")).assign(study=name) for name in made}
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
    for name, text in pages(ROOT / "studies").items():
        files.write_text(ROOT / "docs" / name, text)
