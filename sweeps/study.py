"""A study: a question, the runs that answer it and the claims that judge them, by one name.

A study is one yaml, conf/study/NAME.yaml, here or in the conf/ of an extension, and a choice of Hydra's: `isoflop train
study=NAME` and `isoflop plan study=NAME` know its runs. sweeps/study_run.py carries it out.

    for study in studies():
        print(study.name, study.question)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from isoflop import schema
from isoflop.errors import UserError
from isoflop.schema import NOT_A_KEY, Bound, OneOf
from isoflop.wording import did_you_mean
from isoflop.yaml_file import read_yaml

if TYPE_CHECKING:
    from isoflop.analysis.claims.claim import Claim
    from isoflop.analysis.claims.known import KnownAnswer

# where the committed answers are, and where a study puts its own
ROOM = Path("studies")
# written before the larger runs of a study are made
FORECAST = "forecast.json"
# of a folder's name, which file systems bound by 255 bytes
MOST_CHARACTERS = 120
# without the runs that are forecast
SMALLER = "hydra.sweeper.larger=[]"
EVERY = "all"


@dataclass(frozen=True)
class Study:
    """What the yaml of a study says beside its runs."""

    question: str
    """What is asked, a sentence."""
    claims: tuple[str, ...] = ()
    """The ids of the claims that its runs are judged by; none in a ready-made sweep."""
    minutes: Annotated[float, Bound(least=0)] = 0.0
    """About how long it takes on two idle cores."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """By claim, what a reader of its answer should know, such as why it differs from the literature."""
    forecast: str = ""
    """The law by which its larger runs (`hydra.sweeper.larger`) are forecast from the others; empty without such."""
    weights: Annotated[str, OneOf(lambda: ("none", "seed", "auto"))] = "none"
    """How the forecast weighs rows, as `isoflop fit --weights`."""
    rivals: tuple[str, ...] = ()
    """Laws whose forecasts stand beside it, as kaplan or best, the average of laws."""
    name: str = field(default="", metadata=NOT_A_KEY)
    """The name of its yaml."""
    runs: int = field(default=0, metadata=NOT_A_KEY)
    """How many runs its grids have."""
    known: tuple[Any, ...] = field(default=(), metadata=NOT_A_KEY)
    """Answers that theory gives, as the key `known` has them (analysis/claims/known.py)."""

    def __post_init__(self) -> None:
        if any(claim not in self.claims for claim in self.remarks):
            raise UserError(f"study.remarks={self.remarks!r} must give a sentence for claims among its own")

    def load_known(self) -> "tuple[KnownAnswer, ...]":
        """Return the answers that theory gives; UserError if one is not sound."""
        from isoflop.analysis.claims.known import read_known

        return read_known(self.known, f"study={self.name}")

    def load_claims(self) -> "list[Claim]":
        """Return its claims; UserError if an id is unknown."""
        from isoflop.analysis.claims.claim import load_claims

        by_id = {claim.id: claim for claim in load_claims()}
        for name in self.claims:
            if name not in by_id:
                raise UserError(f"study={self.name}: claims: {name} is not a claim; choose one of {', '.join(by_id)}")
        return [by_id[name] for name in self.claims]


def names() -> list[str]:
    from isoflop.scaling.config.choices import names as choices

    return choices("study")


def studies() -> list[Study]:
    return sorted(map(read, names()), key=lambda study: (study.minutes, study.name))


def read(name: str) -> Study:
    """Return a study by its name; UserError if there is none, or if its yaml is not that of a study."""
    from isoflop.scaling.config.choices import declared, yaml_of

    if name not in (known := names()):
        raise UserError(f"{name!r} is not a study{did_you_mean(name, [*known, EVERY])}")
    path = yaml_of("study", name, declared())
    document = read_yaml(path, "study")[0]
    node = document.get("study")
    if not isinstance(node, dict) or not isinstance(node.get("question"), str):
        raise UserError(f"{path}: study.question is missing: what do its runs answer?")
    given = {key: value for key, value in node.items() if key != "known" and value is not None}
    study = schema.read(Study, given, path, "study")
    answers = node.get("known") or []
    if not isinstance(answers, list):
        raise UserError(f"{path}: study.known={answers!r} must be a list of answers that theory gives")
    sweeper = (document.get("hydra") or {}).get("sweeper") or {}
    if bool(study.forecast) != bool(sweeper.get("larger")):
        raise UserError(f"{path}: study.forecast={study.forecast!r} must be a law where hydra.sweeper.larger has runs")
    return replace(study, name=name, runs=_runs(sweeper), known=tuple(answers))


def _runs(sweeper: dict[str, Any]) -> int:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from isoflop.sweeps.compose import expanded, grids_of

    grids = grids_of(sweeper.get("params"), sweeper.get("grids"), sweeper.get("larger"))
    return len(expanded(OverridesParser.create(), grids, []))


def folder(name: str, overrides: Sequence[str]) -> Path:
    """Return the default folder of a study: studies/NAME, and with overrides a folder there that is named by them."""
    others = ",".join(word for word in overrides if not word.startswith("hydra")).replace("/", "_")
    if len(others) > MOST_CHARACTERS:
        raise UserError(f"{len(others)} characters of overrides are too long for a folder's name; name one with --out")
    return ROOM / name / others if others else ROOM / name
