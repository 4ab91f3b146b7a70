"""The report: one page that a newcomer understands in a minute and a reviewer can check, with the verdicts first.

`index.html` needs nothing beside it and no network: the drawing library is inside. Each figure also lies in figures/ as
SVG and PNG for a paper, as its Vega-Lite spec, and as CSV.

    write_report(read_runs("runs.csv"), Path("report"))     # report/index.html
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

from isoflop.analysis.claims.claim import Claim
from isoflop.analysis.claims.judge import Verdict
from isoflop.analysis.claims.provenance import changed_since
from isoflop.analysis.claims.region import VERDICTS, VerdictKind
from isoflop.analysis.fitting.result import Estimate
from isoflop.analysis.report.figures.base import MOST_FAMILIES, MOST_REASON, Figure, draw_all, not_drawn
from isoflop.analysis.report.sentences import amount, decided_first, interval, summary
from isoflop.analysis.report.view import REASON, View, look
from isoflop.analysis.tables.read import as_floats
from isoflop.analysis.tables.rows import finished
from isoflop.analysis.testing.predictability import predictability
from isoflop.errors import UserError
from isoflop.files import write_text
from isoflop.wording import count, cut, number, printable

# rows of the ledger, and subjects of one claim, that a page shows: a browser takes long over more
MOST_ROWS, MOST_SUBJECTS = 1000, 100
TEMPLATES = Path(__file__).parent / "templates"
# columns of the ledger, as far as the table has them
LEDGER = (
    "run_id",
    "family",
    "width",
    "depth",
    "seed",
    "status",
    "reason",
    "N",
    "D",
    "C",
    "L",
    "L_se",
    "wall_s",
    "rung",
)


def write_report(runs: pd.DataFrame, out: Path, claims: Any = None, forecast: Path | None = None) -> Path:
    """Judge, fit, draw, and write the page and its figures; returns the path of the page.

    runs    a table of runs, as read_runs gives it
    out     the folder of the report
    claims  a folder of claims, one yaml, or a list of claims; default those that ship
    forecast  a file of `isoflop forecast`, to be scored by the runs made since
    """
    view = look(runs, claims, forecast)
    figures = list(draw_all(view))
    page = out / "index.html"
    try:
        for at, (name, drawn) in enumerate(figures):
            if isinstance(drawn, Figure):
                figures[at] = name, save(drawn, out / "figures")
            if isinstance(figures[at][1], str):  # an earlier report in this folder may have drawn it
                for old in (out / "figures").glob(f"{name}.*"):
                    old.unlink()
        write_text(page, render(view, figures))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}); give another folder with -o") from None
    return page


def save(figure: Figure, folder: Path) -> "Figure | str":
    """The figure, once its files are written, or a line that says why the drawing library could not draw it."""
    try:
        figure.save(folder)
    except OSError:
        raise
    except BaseException as error:
        # vl-convert is Rust: what goes wrong in it is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        return not_drawn(figure.name, error)
    return figure


def render(view: View, figures: list[tuple[str, "Figure | str"]]) -> str:
    """The page as text; every string of the table is escaped by the template engine."""
    import vl_convert
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    jinja = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    drawn = {name: figure for name, figure in figures if isinstance(figure, Figure)}
    headline = next(iter(drawn.values()), None)
    specs = {
        name: {"light": figure.spec(titled=False), "dark": figure.spec(dark=True, titled=False)["config"]}
        for name, figure in drawn.items()
    }
    return jinja.get_template("report.html").render(
        title=f"{len(view.families)} famil{'y' if len(view.families) == 1 else 'ies'}, {_n_runs(view.runs)} runs",
        summary=summary(view),
        kinds=VERDICTS,
        loss_unit=view.loss_unit,
        verdicts=[_verdict_row(view, v) for v in decided_first(view.verdicts)],
        headline=headline,
        most_families=MOST_FAMILIES if len(view.families) > MOST_FAMILIES else 0,
        figures=[figure for _, figure in figures if figure is not headline],
        parameters=_parameters(view),
        local=_local(view),
        unidentified=any(law.unidentified for law in view.laws.values()),
        forecast=view.forecast,
        laws=view.laws,
        refused=view.refused,
        noise=[(name, noise) for name, noise in view.noise.items()],
        ledger=_ledger(view.runs),
        specs=script(json.dumps(specs, ensure_ascii=False, allow_nan=False)),
        bundle=script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")) if specs else "",
    )


def script(text: str) -> str:
    """Text that may stand inside a script element: nothing in it can end the element."""
    return re.sub(r"<(?=/script|!--|script)", r"\\u003c", text, flags=re.IGNORECASE)


def _verdict_row(view: View, verdict: Verdict) -> dict[str, Any]:
    """What the table shows of one claim."""
    claim = verdict.claim
    assert claim is not None, "judge gives every verdict its claim"
    changed, provenance = changed_since(claim.file, view.runs)
    # the claim's reason says what runs are missing, family by family
    untested = all(s.verdict is VerdictKind.UNTESTED for s in verdict.subjects)
    subjects = () if untested else verdict.subjects
    return {
        "id": verdict.id,
        "claim": claim.claim,
        "rule": claim.rule,
        "expect": claim.expect,
        "caveat": claim.caveat,
        **_outcome(verdict, claim),
        "sha256": claim.sha256[:12],
        "file": claim.file.name if claim.file else "",
        "changed": changed,
        "provenance": provenance,
        "subjects": [
            {"subject": str(s.subject), **_outcome(s, claim)}
            for s in subjects[:MOST_SUBJECTS]
            if len(verdict.subjects) > 1
        ],
        "more": max(0, len(subjects) - MOST_SUBJECTS),
    }


def _outcome(verdict: Verdict, claim: Claim) -> dict[str, Any]:
    """What the table shows of a claim and of each of its subjects alike."""
    return {
        "verdict": verdict.verdict.value,
        "word": verdict.verdict.word,
        "statistic": amount(verdict, claim),
        "interval": interval(verdict, claim),
        "limit": _limit(verdict, claim),
        "reason": cut(printable(verdict.reason), MOST_REASON),
    }


def _limit(verdict: Verdict, claim: Claim) -> str:
    """What the statistic is set against, with the seed noise of these runs put in."""
    if verdict.limit is None or verdict.statistic is None:
        return ""
    part = claim.part(verdict.subject.part) if verdict.subject else claim
    sign = "limit " if part.region.kind in ("above", "below") else "band ±"
    return sign + part.measures.amount(verdict.limit, verdict.unit)


def _parameters(view: View) -> dict[str, Any]:
    """The laws as a table: a row for each family, a column for each parameter and derived quantity."""
    names: dict[str, None] = {}
    rows = []
    for family, fitted in view.laws.items():
        cells = {name: _estimate(e) for name, e in {**fitted.params, **fitted.derived}.items()}
        names |= dict.fromkeys(cells)
        starts = f"{fitted.starts.at_optimum} of {fitted.starts.tried}"
        verdict = predictability(fitted)
        row = {"family": family, "cells": cells, "status": fitted.status, "starts": starts, "runs": fitted.n_runs}
        rows.append(row | {"predicts": f"predicts: {verdict.predicts}", "why": verdict.reason})
    return {"names": list(names), "rows": rows}


def _local(view: View) -> dict[str, Any]:
    """What the laws are among the runs, as a table: a row for each family, a column for each local quantity."""
    names = dict.fromkeys(name for local in view.local.values() for name in local.estimates)
    rows = [
        {"family": family, "place": local.place, "cells": {name: _estimate(e) for name, e in local.estimates.items()}}
        for family, local in view.local.items()
    ]
    return {"names": list(names), "rows": rows}


def _estimate(estimate: Estimate) -> tuple[str, str]:
    """A value and its interval as text; a bound that does not exist is `none`."""
    value = "–" if estimate.value is None else f"{estimate.value:.4g}"
    if estimate.low is None and estimate.high is None:
        return value, "no interval"
    low, high = ("none" if b is None else f"{b:.3g}" for b in (estimate.low, estimate.high))
    return value, f"{low} to {high}"


def _ledger(runs: pd.DataFrame) -> dict[str, Any]:
    """Every row of the table, failures first, in short words."""
    columns = [c for c in LEDGER if c in runs and runs[c].notna().any()]
    extra = [c for c in ("device", "git", "dirty") if c in runs and runs[c].notna().any()]
    ordered = runs.assign(_finished=finished(runs)).sort_values("_finished", kind="stable")
    shown = ordered.head(MOST_ROWS)
    rows = [[_cell(c, value) for c, value in zip([*columns, *extra], row, strict=True)]
            for row in shown[[*columns, *extra]].itertuples(index=False)]  # fmt: skip
    lost = [not ok for ok in shown["_finished"]]
    hours = float(as_floats(_once(runs)["wall_s"]).sum()) / 3600 if "wall_s" in runs else 0.0
    return {
        "columns": [*columns, *extra],
        "rows": list(zip(lost, rows, strict=True)),
        "hours": f"{hours:.2f}",
        "lost": int((~ordered["_finished"]).sum()),
        "all": len(ordered),
    }


def _cell(column: str, value: Any) -> str:
    """One value of the ledger as text."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if column in ("N", "D", "C") and isinstance(value, float | int) and math.isfinite(value):
        return number(float(value)) if column == "C" else count(float(value))
    if column == "git":
        return str(value)[:10]
    return f"{value:.4g}" if isinstance(value, float) else cut(printable(str(value)), REASON)


def _once(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each run: its last mark."""
    if "run_id" not in runs:
        return runs
    return runs.drop_duplicates("run_id", keep="last")


def _n_runs(runs: pd.DataFrame) -> int:
    return len(_once(runs))
