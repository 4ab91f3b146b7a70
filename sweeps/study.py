"""A study: a question, the runs that answer it and the claims that judge them, by one name.

A study is one yaml, conf/study/NAME.yaml, here or in the conf/ of an extension; it is a choice of Hydra's too, so that
`isoflop train study=NAME` and `isoflop plan study=NAME` know its runs. `isoflop study NAME` makes them and answers: the
folder then holds runs.csv, verdicts.json and report/. It resumes as a sweep does.

    for study in studies():
        print(study.name, study.question)
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop import files
from isoflop.checks import is_number
from isoflop.errors import FitError, UserError
from isoflop.wording import WIDE, quoted, version

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from isoflop.analysis.claims.claim import Claim
    from isoflop.analysis.claims.forecasts import JudgedForecast
    from isoflop.analysis.claims.known import KnownAnswer, KnownAnswerResult
    from isoflop.analysis.claims.verdict import ClaimVerdict

# where the committed answers are, and where a study puts its own
ROOM = Path("studies")
KEYS = ("question", "claims", "minutes", "remarks", "forecast", "oracles", "known")
TABLE = "runs.csv"
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


def run(name: str, out: Path, overrides: Sequence[str] = (), pause: bool = False) -> int:
    """Train, collect, judge and report one study in a folder; returns the exit code, 1 where a run failed.

    pause   stop once a forecast is written, so that it can be committed before the larger runs are made
    """
    began = time.monotonic()
    study = read(name)
    study.load_claims()  # a wrong one is refused before anything is trained
    study.load_known()
    if pause and not study.forecast:
        raise UserError(f"study={name} forecasts no larger runs, so there is nothing to pause for; leave out --pause")
    print(f"{study.name}: {study.question}")
    trained, complete = make(study, out, overrides, pause)
    if complete:
        conclude(study, out, began)
    return trained


def make(study: Study, out: Path, overrides: Sequence[str], pause: bool) -> tuple[int, bool]:
    """Make the runs and their table, a forecast of the larger ones first; the exit code, and whether all were tried."""
    from isoflop.analysis.runs.read import read_runs
    from isoflop.scaling.app import main as train
    from isoflop.sweeps.collect import collect

    runs, table, dated = out / "runs", out / TABLE, out / FORECAST
    arguments = [f"study={study.name}", f"out={quoted(runs)}", f"sweep={study.name}", *overrides]
    if study.claims:
        refuse_claims(study.load_claims(), arguments)
    if study.forecast and not dated.exists():
        first = train([*arguments, SMALLER])
        if first not in (0, 1):
            return first, False
        collect(runs, table)
        register(study, arguments, read_runs(table).frame, dated)
        if pause:
            print(f"  commit {dated} and give the command again: it makes the larger runs, and scores it")
            return first, False
    trained = train(arguments)
    if trained not in (0, 1):  # failed runs are rows too, and a report is due all the more
        return trained, False
    solve(study.oracles, runs)
    collect(runs, table)
    return trained, True


def conclude(study: Study, out: Path, began: float) -> None:
    """Judge the runs of a study's table, score its forecast, and report."""
    from rich.console import Console

    from isoflop.analysis.claims.forecasts import judge_forecast
    from isoflop.analysis.claims.judge import judge
    from isoflop.analysis.claims.known import compare_with_theory
    from isoflop.analysis.report.report import write_report
    from isoflop.analysis.report.sentences import verdict_table
    from isoflop.analysis.runs.read import read_runs

    rows, claims, dated = read_runs(out / TABLE).frame, study.load_claims(), out / FORECAST
    verdicts, results = judge(rows, claims), list(compare_with_theory(rows, study.load_known()))
    try:
        scored = judge_forecast(dated, rows) if dated.exists() else None
    except FitError as error:  # none of the larger runs has a result
        scored = None
        print(f"{FORECAST} is not scored: {error}")
    seconds = time.monotonic() - began
    files.write_text(out / "verdicts.json", answer(study, verdicts, results, seconds, scored))
    if results:
        Console(highlight=False, width=WIDE).print(known_table(results))
    if verdicts:
        print(verdict_table(verdicts))
    if scored:
        print(f"\nthe forecast came out with {scored.score.headline}")
    page = write_report(rows, out / "report", claims, dated if scored else None, question=study.question)
    print(f"\n{study.name} done in {seconds:.0f} s")
    print(f"  every run as a row   {out / TABLE}")
    print(f"  what they say        {page}")


def register(study: Study, arguments: list[str], rows: "pd.DataFrame", path: Path) -> None:
    """Write down what the larger runs of a study will give, from those that are made; by family, at each of their D.

    rows   the runs made so far; any that is among the larger ones is left out
    path   the file to write, which must not exist
    """
    from isoflop.analysis.holdout.forecast import forecast
    from isoflop.analysis.runs.rows import usable
    from isoflop.analysis.runs.tune import well_tuned
    from isoflop.sweeps.plan.claims import design
    from isoflop.sweeps.plan.plan import composed
    from isoflop.sweeps.sweeper import check

    first = {config.run_id for config in composed([*arguments, SMALLER]).configs}
    later = [config for config in check(composed(arguments).configs) if config.run_id not in first]
    planned = design(later, [config.plan for config in later if config.plan])
    points = files.records(planned[["family", "N", "D"]].drop_duplicates())
    fitted = well_tuned(usable(rows[rows["run_id"].isin(first)]))
    fitted.attrs["source"] = TABLE  # beside the forecast, wherever the two are
    made = forecast(fitted, points, study.forecast, by=["family"])
    made.save(path)
    print(f"{made}\n\n  what larger runs will give   {path}")


def refuse_claims(claims: "Sequence[Claim]", arguments: list[str]) -> None:
    """UserError where the runs of a sweep will lack a column that a claim names, or cannot identify its law."""
    from isoflop.sweeps.plan.claims import check as check_claims
    from isoflop.sweeps.plan.claims import design
    from isoflop.sweeps.plan.plan import composed
    from isoflop.sweeps.sweeper import check

    configs = check(composed(arguments).configs)
    check_claims(claims, design(configs, [config.plan for config in configs if config.plan]))


def solve(oracles: Sequence[str], runs: Path) -> None:
    """Make the runs of learners that are solved and not trained, in a process that may import torch."""
    if oracles:
        subprocess.run([sys.executable, "-m", "isoflop.scaling.oracles.make", str(runs), *oracles], check=True)


def known_table(results: "Sequence[KnownAnswerResult]") -> "Table":
    """Theory beside estimate."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "known answer", "theory", "estimate", "verdict"):
        shown.add_column(column, justify="right" if column == "theory" else "left", no_wrap=True)
    for result in results:
        cells = (result.known.name, result.title, f"{result.theory:.3f}", str(result.estimate), result.verdict.word)
        shown.add_row(*map(Text, cells))
    return shown


def run_cheapest_first(hours: float, room: Path, overrides: Sequence[str] = ()) -> int:
    """Make all studies that have claims, the cheapest first, as long as the next fits in the time."""
    until = time.monotonic() + hours * 3600
    code = 0
    for study in (s for s in studies() if s.claims or s.known):
        if time.monotonic() + study.minutes * 60 > until:
            print(f"{study.name} and what is longer does not fit in {hours:g} hours; rerun to go on")
            break
        code = max(code, run(study.name, room / study.name, overrides))
    return code


def listing(room: Path) -> "Table":
    """All studies with question, runs, time, and the last verdicts that lie in the room.

    The time is that which it took here, where it was made, else about that on two idle cores.
    """
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("study", "runs", "minutes", "question", "last verdicts"):
        shown.add_column(column, justify="right" if column in ("runs", "minutes") else "left")
    for study in studies():
        document = files.read_json(room / study.name / "verdicts.json")
        seconds = document.get("seconds") if isinstance(document, dict) else None
        minutes = seconds / 60 if is_number(seconds) else study.minutes  # type: ignore[operator]
        verdicts = last_verdicts(room / study.name)
        cells = (study.name, str(study.runs), f"{minutes:.2g}", study.question, verdicts)
        shown.add_row(*map(Text, cells))
    return shown


def last_verdicts(folder: Path) -> str:
    """The verdicts of a study that was made, such as `H1 supported, H3 refuted`; empty where there are none."""
    document = files.read_json(folder / "verdicts.json")
    listed = document.get("verdicts") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        return ""
    return ", ".join(f"{v['id']} {str(v['verdict']).replace('_', ' ')}" for v in listed if {"id", "verdict"} <= {*v})


def answer(
    study: Study,
    verdicts: "Sequence[ClaimVerdict]",
    results: "Sequence[KnownAnswerResult]",
    seconds: float,
    scored: "JudgedForecast | None" = None,
) -> str:
    """What verdicts.json holds."""
    document = {
        "study": study.name,
        "question": study.question,
        "seconds": round(seconds, 1),
        "isoflop": version(),
        "verdicts": [verdict.to_json() for verdict in verdicts],
    } | ({"known": [result.to_json() for result in results]} if results else {})
    document |= {"forecast": scored.to_json() | {"file": scored.file.name}} if scored else {}
    return json.dumps(files.finite(document), indent=1, allow_nan=False) + "\n"
