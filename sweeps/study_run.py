"""Carrying out a study: make its runs, collect, judge and report; and the list of all studies with their last verdicts.

run("known", Path("studies/known"))        # runs.csv, verdicts.json and report/ in that folder
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from isoflop import files
from isoflop.checks import is_number
from isoflop.errors import FitError, UserError
from isoflop.sweeps.compose import check
from isoflop.sweeps.plan.plan import composed, design, refuse_claims
from isoflop.sweeps.study import FORECAST, SMALLER, Study, read, studies
from isoflop.sweeps.watch.progress import console, plain_table
from isoflop.wording import percent, quoted, version

if TYPE_CHECKING:
    import pandas as pd

    from isoflop.scaling.config.frozen import FrozenConfig

TABLE = "runs.csv"


def run(name: str, out: Path, overrides: Sequence[str] = (), pause: bool = False) -> int:
    """Train, collect, judge and report one study in a folder; return the exit code, 1 where a run failed; pause: stop
    once a forecast is written, so that it can be committed before the larger runs are made."""
    began = time.monotonic()
    study = read(name)
    study.load_claims()  # a wrong one is refused before anything is trained
    study.load_known()
    if pause and not study.forecast:
        raise UserError(f"study={name} forecasts no larger runs, so there is nothing to pause for; leave out --pause")
    print(f"{study.name}: {study.question}")
    trained, complete = _make(study, out, overrides, pause)
    if complete:
        _conclude(study, out, began)
    return trained


def _make(study: Study, out: Path, overrides: Sequence[str], pause: bool) -> tuple[int, bool]:
    """Make the runs and their table, a forecast of the larger ones first; the exit code, and whether all were tried."""
    from isoflop.analysis.runs.read import read_runs
    from isoflop.scaling.app import main as train
    from isoflop.sweeps.collect import collect

    runs, table, dated = out / "runs", out / TABLE, out / FORECAST
    arguments = [f"study={study.name}", f"out={quoted(runs)}", f"sweep={study.name}", *overrides]
    if study.claims:
        # claims that name a column which the runs will lack, or a law that they cannot identify
        refuse_claims(study.load_claims(), _designed(check(composed(arguments).configs)))
    if study.forecast and not dated.exists():
        first = train([*arguments, SMALLER])
        if first not in (0, 1):
            return first, False
        collect(runs, table)
        _register(study, arguments, read_runs(table).frame, dated)
        if pause:
            print(f"  commit {dated} and give the command again: it makes the larger runs, and scores it")
            return first, False
    trained = train(arguments)
    if trained not in (0, 1):  # failed runs are rows too, and a report is due all the more
        return trained, False
    collect(runs, table)
    return trained, True


def _conclude(study: Study, out: Path, began: float) -> None:
    """Judge the runs of a study's table, score its forecast, and report."""
    from isoflop.analysis.claims.forecasts import judge_forecast
    from isoflop.analysis.claims.judge import judge
    from isoflop.analysis.claims.known import compare_with_theory
    from isoflop.analysis.claims.provenance import judged_by
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
    document = {"study": study.name, "question": study.question, "seconds": round(seconds, 1), "isoflop": version()}
    document |= {"judged": judged_by(out / TABLE), "verdicts": [verdict.to_json() for verdict in verdicts]}
    document |= {"known": [result.to_json() for result in results]} if results else {}
    document |= {"forecast": scored.to_json() | {"file": scored.file.name}} if scored else {}
    files.write_json(out / "verdicts.json", files.finite(document), indent=1)
    if results:
        shown = plain_table("", "known answer", "theory", "estimate", "verdict", right=("theory",))
        for r in results:
            cells = (r.known.name, r.title, f"{r.theory:.3f}", str(r.estimate), r.verdict.word)
            shown.add_row(*map(Text, cells))
        console().print(shown)
    if verdicts:
        print(verdict_table(verdicts))
    if scored:
        print(f"\nthe forecast came out with {scored.score.headline}")
    page = write_report(rows, out / "report", claims, dated if scored else None, question=study.question)
    print(f"\n{study.name} done in {seconds:.0f} s")
    print(f"  every run as a row   {out / TABLE}\n  what they say        {page}")


def in_short(room: Path) -> str:
    """Say what a demo showed, from its tables: a known exponent, a law, predictions, and what is refused and why."""
    from isoflop.analysis.fitting.fit import fit_groups
    from isoflop.analysis.runs.read import read_runs
    from isoflop.wording import number

    lines: dict[str, list[str]] = {"found": [], "identified": [], "predicted": [], "refused": []}
    for verdict in _verdicts(room / "known"):
        value = f"{number(verdict['statistic'])} where theory gives 0.5" if verdict["statistic"] else verdict["reason"]
        lines["found"].append(f"the exponent of Zipfian facts is {value}: {verdict['verdict'].replace('_', ' ')}")
    runs = read_runs(room / TABLE)
    for fit in fit_groups(runs, "power_offset(D)", by=["family", "width"]):
        alpha = fit.params.get("alpha")
        if fit.status == "converged" and alpha and alpha.low is not None and alpha.high is not None:
            law = f"{fit.values['E']:.3g} + A D^-{fit.values['alpha']:.2f} (95 % interval {alpha.low:.2f} to"
            who = f"{fit.by['family']} of width {float(fit.by['width']):g}"
            lines["identified"].append(f"the loss of {who} is {law} {alpha.high:.2f} of the exponent)")
    for subject in (subject for verdict in _verdicts(room) for subject in verdict["subjects"]):
        error = f", {percent(subject['statistic'], 2)} off" if subject["statistic"] is not None else ""
        word = subject["verdict"].replace("_", " ")
        lines["predicted"].append(f"the loss of {subject['subject']} from half the data: {word}{error}")
    for fit in fit_groups(runs, "chinchilla", by=["family"], interval="none"):
        if fit.unidentified or fit.objective is None:
            lines["refused"].append(f"a law of size and data for {fit.by['family']}: {fit.reason}")
    texts = [
        f"  {name if at == 0 else '':<12}{text}" for name, said in lines.items() for at, text in enumerate(said[:3])
    ]
    return "\n".join(["in short", *texts])


def _verdicts(folder: Path) -> list[dict[str, Any]]:
    document = files.read_json(folder / "verdicts.json")
    return list(document.get("verdicts") or []) if isinstance(document, dict) else []


def _register(study: Study, arguments: list[str], rows: "pd.DataFrame", path: Path) -> None:
    """Write a forecast of a study's larger runs from those made so far: by family, at each D, in a new file."""
    from isoflop.analysis.holdout.forecast import forecast
    from isoflop.analysis.runs.cells import well_tuned
    from isoflop.analysis.runs.rows import usable
    from isoflop.analysis.runs.runs import Runs

    first = {config.run_id for config in composed([*arguments, SMALLER]).configs}
    later = [config for config in check(composed(arguments).configs) if config.run_id not in first]
    points = files.records(_designed(later)[["family", "N", "D"]].drop_duplicates())
    # the table lies beside the forecast, wherever the two are
    fitted = Runs(well_tuned(usable(rows[rows["run_id"].isin(first)])), TABLE)
    made = forecast(fitted, points, study.forecast, by=["family"], rivals=study.rivals, weights=study.weights)
    made.save(path)
    print(f"{made}\n\n  what larger runs will give   {path}")


def _designed(configs: "list[FrozenConfig]") -> "pd.DataFrame":
    return design(configs, [config.plan for config in configs if config.plan])


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


def print_listing(room: Path) -> None:
    shown = plain_table("study", "runs", "minutes", "question", "last verdicts", right=("runs", "minutes"))
    for study in studies():
        document = files.read_json(room / study.name / "verdicts.json")
        document = document if isinstance(document, dict) else {}
        seconds = document.get("seconds")
        minutes = seconds / 60 if is_number(seconds) else study.minutes  # type: ignore[operator]
        verdicts = [v for v in document.get("verdicts") or [] if {"id", "verdict"} <= {*v}]
        words = ", ".join(f"{v['id']} {str(v['verdict']).replace('_', ' ')}" for v in verdicts)
        shown.add_row(*map(Text, (study.name, str(study.runs), f"{minutes:.2g}", study.question, words)))
    console().print(shown)
