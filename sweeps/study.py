"""A study: a question, the runs that answer it and the claims that judge them, by one name.

A study is one yaml, conf/study/NAME.yaml, here or in the conf/ of an extension; it is a choice of Hydra's too, so that
`isoflop train study=NAME` and `isoflop plan study=NAME` know its runs. sweeps/study_run.py carries it out.

    for study in studies():
        print(study.name, study.question)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop.errors import UserError

if TYPE_CHECKING:
    from isoflop.analysis.claims.claim import Claim
    from isoflop.analysis.claims.known import KnownAnswer

# where the committed answers are, and where a study puts its own
ROOM = Path("studies")
KEYS = ("question", "claims", "minutes", "remarks", "forecast", "oracles", "known")
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

    name: str
    question: str
    """What is asked, a sentence."""
    claims: tuple[str, ...]
    """The ids of the claims that its runs are judged by; none in a ready-made sweep."""
    minutes: float
    """About how long it takes on two idle cores."""
    runs: int = 0
    """How many runs its grids have."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """By claim, what a reader of its answer should know, such as why it differs from the literature."""
    forecast: str = ""
    """The law by which its larger runs (`hydra.sweeper.larger`) are forecast from the others; empty without such."""
    oracles: tuple[str, ...] = ()
    """Learners that are solved and not trained (scaling/oracles), whose runs belong to it."""
    known: tuple[Any, ...] = ()
    """Answers that theory gives, as the yaml has them (analysis/claims/known.py)."""

    def load_known(self) -> "tuple[KnownAnswer, ...]":
        """The answers that theory gives; UserError where one is not sound."""
        from isoflop.analysis.claims.known import read_known

        return read_known(list(self.known), f"study={self.name}")

    def load_claims(self) -> "list[Claim]":
        """Its claims; UserError where there is no claim of such an id."""
        from isoflop.analysis.claims.claim import load_claims

        by_id = {claim.id: claim for claim in load_claims()}
        for name in self.claims:
            if name not in by_id:
                raise UserError(f"study={self.name}: claims: {name} is not a claim; choose among {', '.join(by_id)}")
        return [by_id[name] for name in self.claims]


def names() -> list[str]:
    """The names of all studies, ours and those of declared extensions."""
    from isoflop.scaling.config.choices import names as choices

    return choices("study")


def studies() -> list[Study]:
    """All studies, the shortest first."""
    return sorted(map(read, names()), key=lambda study: (study.minutes, study.name))


def read(name: str) -> Study:
    """A study by its name; UserError where there is none, or where its yaml lacks what a study has."""
    from difflib import get_close_matches

    from omegaconf import OmegaConf

    from isoflop.scaling.config.choices import declared, yaml_of

    if name not in (known := names()):
        close = get_close_matches(name, known, n=1)
        mean = f"did you mean {close[0]}? " if close else ""
        raise UserError(f"{name!r} is not a study; {mean}choose one of {', '.join(known)}, or {EVERY}")
    path = yaml_of("study", name, declared())
    document: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    node = document.get("study") if isinstance(document, dict) else None
    if not isinstance(node, dict) or not isinstance(question := node.get("question"), str):
        raise UserError(f"{path}: study.question is missing: what do its runs answer?")
    if unknown := [key for key in node if key not in KEYS]:
        raise UserError(f"{path}: study has no key {unknown[0]!r}; it may have {', '.join(KEYS)}")
    claims, minutes = node.get("claims") or [], node.get("minutes", 0)
    if not isinstance(claims, list) or not all(isinstance(claim, str) for claim in claims):
        raise UserError(f"{path}: study.claims={claims!r} must be a list of the ids of claims")
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or minutes < 0:
        raise UserError(f"{path}: study.minutes={minutes!r} must be a number of minutes on two idle cores")
    remarks = node.get("remarks") or {}
    if not isinstance(remarks, dict) or any(claim not in claims for claim in remarks):
        raise UserError(f"{path}: study.remarks={remarks!r} must give a sentence for claims among its own")
    texts = {key: str(text) for key, text in remarks.items()}
    sweeper = (document.get("hydra") or {}).get("sweeper") or {}
    law = node.get("forecast") or ""
    if not isinstance(law, str) or bool(law) != bool(sweeper.get("larger")):
        raise UserError(f"{path}: study.forecast={law!r} must be a law where hydra.sweeper.larger has runs")
    return Study(name, question, tuple(claims), float(minutes), _runs(sweeper), texts, law, *_theory(node, path))


def _theory(node: dict[str, Any], path: Path) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The oracles and the known answers of a study."""
    from isoflop.scaling.oracles.make import NAMES as ORACLES

    oracles, known = node.get("oracles") or [], node.get("known") or []
    if not isinstance(oracles, list) or not isinstance(known, list):
        raise UserError(f"{path}: study.oracles and study.known must be lists")
    if unknown := [oracle for oracle in oracles if oracle not in ORACLES]:
        raise UserError(f"{path}: study.oracles: {unknown[0]!r} is not one; choose among {', '.join(ORACLES)}")
    return tuple(oracles), tuple(known)


def _runs(sweeper: dict[str, Any]) -> int:
    """How many points the grids of a study have."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from isoflop.sweeps.compose import expanded, grids_of

    grids = grids_of(sweeper.get("params"), sweeper.get("grids"), sweeper.get("larger"))
    return len(expanded(OverridesParser.create(), grids, []))


def folder(name: str, overrides: Sequence[str]) -> Path:
    """Where a study goes by default: studies/NAME, and with other runs than its own a folder there that says which."""
    others = ",".join(word for word in overrides if not word.startswith("hydra")).replace("/", "_")
    if len(others) > MOST_CHARACTERS:
        raise UserError(f"{len(others)} characters of overrides are too long for a folder's name; name one with --out")
    return ROOM / name / others if others else ROOM / name
