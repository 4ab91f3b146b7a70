"""The report: one page that a newcomer understands in a minute and a reviewer can check: the question, the finding, its
figure, the verdicts, then all else.

`index.html` needs nothing beside it and no network: the drawing library is inside, and gives each figure as SVG or PNG.
Each also lies in figures/ as its Vega-Lite spec and as CSV, and with `full` as SVG and PNG, which take seconds.

    write_report(read_runs("runs.csv"), Path("report"))     # report/index.html
"""

import base64
import contextlib
import gzip
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop.analysis.claims.claim import Claim
from isoflop.analysis.claims.provenance import Commits, changed_since
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.claims.studies import ClaimStudy, lacking, next_command, read_all
from isoflop.analysis.claims.verdict import ClaimVerdict, Verdict
from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.report.figures.base import MOST_REASON, Figure, draw_all, not_drawn
from isoflop.analysis.report.finding import axis_of, finding, minima, of_many, question, tone, word
from isoflop.analysis.report.sentences import amount, decided_first, interval, seed_noise, summary
from isoflop.analysis.report.tables import last_marks, ledger, local_quantities, parameters, training_hours
from isoflop.analysis.report.view import MOST_FAMILIES, View, look
from isoflop.analysis.runs.runs import RunsLike, as_runs
from isoflop.errors import UserError
from isoflop.files import write_text
from isoflop.wording import cut, printable

if TYPE_CHECKING:
    from jinja2 import Template

# time for the drawn studies of one claim [s]
POWER_S = 2.0
# subjects of one claim that a page shows
MOST_SUBJECTS = 100
# ... and above which they are folded: the row of the claim counts them by verdict
MOST_OPEN = 12
# layout -> figures for the head of the page; the first that is drawn is shown
HEADLINES = {
    "isoflop": ("isoflop_profiles", "loss_vs_compute"),
    "grid": ("loss_vs_compute", "loss_vs_size", "loss_vs_data"),
    "scattered": ("loss_vs_compute",),
    "ladder": ("loss_vs_compute",),
    "marks": ("loss_vs_data", "loss_vs_compute"),
    "axis": ("loss_vs_data", "loss_vs_size", "loss_vs_compute"),
}
# axis of a finding -> the figure that draws it
ALONG = {"lr": "rates", "N": "loss_vs_size", "D": "loss_vs_data", "C": "loss_vs_compute"}
# every figure by name, or why it is not drawn
Drawn = list[tuple[str, "Figure | str"]]
TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    runs: RunsLike,
    out: Path,
    claims: Any = None,
    forecast: Path | None = None,
    *,
    question: str = "",
    full: bool = False,
    **options: Any,
) -> Path:
    """Judge, fit, draw, and write the page and its figures; return the path of the page.

    runs    a table of runs, as read_runs gives it
    out     the folder of the report
    claims  a folder of claims, one yaml, or a list of claims; default those that ship
    forecast  a file of `isoflop forecast`, to be scored by the runs made since
    question  what the runs are to answer; default the question of their layout
    full      whether to add what takes long: hold-outs, whether each law predicts as well as
              others, the power of open claims, and each figure as SVG and PNG
    options   tune, the knobs that were searched; default those that take several values at one size and amount of data
    """
    view = look(runs, claims, forecast, **options)
    figures = list(draw_all(view, full))
    page = out / "index.html"
    try:
        for at, (name, drawn) in enumerate(figures):
            if isinstance(drawn, Figure):
                figures[at] = name, save(drawn, out / "figures", pictures=full)
            if isinstance(figures[at][1], str):  # an earlier report in this folder may have drawn it
                for old in (out / "figures").glob(f"{name}.*"):
                    old.unlink()
        write_text(page, _render(view, figures, question, out, full=full))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}); give another folder with -o") from None
    return page


def save(figure: Figure, folder: Path, pictures: bool) -> "Figure | str":
    """Write the files of a figure and return it, or a line that says why the drawing library could not draw it."""
    try:
        figure.save(folder, pictures)
    except OSError:
        raise
    except BaseException as error:
        # vl-convert is Rust: what goes wrong in it is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        return not_drawn(figure.name, error)
    return figure


def _powers_of(view: View) -> dict[str, str]:
    """Say for each claim that the runs test and do not decide whether such runs could, by drawn studies."""
    from isoflop.analysis.claims.planned.power import power

    powers = {}
    for verdict in view.verdicts:
        if not verdict.verdict.decided and verdict.verdict is not VerdictKind.UNTESTED:
            powers[verdict.id] = "; ".join(str(one) for one in power(as_runs(view.runs).frame, verdict.claim, POWER_S))
    return powers


def _render(view: View, figures: Drawn, asked: str = "", out: Path | None = None, *, full: bool = False) -> str:
    """Return the page for the folder `out`; every string of the table is escaped by the template engine."""
    drawn = {name: figure for name, figure in figures if isinstance(figure, Figure)}
    first = headline(view, drawn)
    powers = _powers_of(view) if full else {}
    commits, studies = Commits(), read_all()
    verdicts = [
        verdict_row(view, v, commits, studies) | {"power": powers.get(v.id, "")} for v in decided_first(view.verdicts)
    ]
    specs = {name: _spec(figure) for name, figure in drawn.items()}
    return _template().render(
        title=_title(view),
        kicker=f"isoflop report · {_title(view)}",
        question=asked or question(view),
        finding=finding(view),
        tally=_tally(verdicts),
        summary=summary(view),
        notes=[printable(note) for note in view.notes],
        loss_unit=view.loss_unit,
        verdicts=verdicts,
        headline=first,
        lacking="" if view.stated or full else lacking(view.verdicts, as_runs(view.runs)),
        most_families=MOST_FAMILIES if len(view.families) > MOST_FAMILIES else 0,
        figures=[figure for _, figure in figures if figure is not first],
        parameters=parameters(view, rivals=full),
        local=local_quantities(view),
        unidentified=any(law.unidentified for law in view.laws.values()),
        forecast=view.forecast,
        laws=view.laws,
        doubtful={name: law for name, law in view.laws.items() if law.status != FitStatus.CONVERGED},
        refused=view.refused,
        law_notes=[(name, note) for name, law in view.laws.items() for note in law.notes if note not in view.notes],
        most_rows=MOST_FAMILIES,
        most_subjects=MOST_OPEN,
        noise=seed_noise(view),
        ledger=ledger(view.runs, out),
        specs=_packed(json.dumps(specs, ensure_ascii=False, allow_nan=False)),
        bundle=_packed(_drawing_library()) if specs else "",
    )


def _spec(figure: Figure) -> dict[str, Any]:
    return {"light": figure.spec(titled=False), "dark": figure.spec(dark=True, titled=False)["config"]}


def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    jinja = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return jinja.get_template("report.html")


def headline(view: View, drawn: dict[str, Figure]) -> Figure | None:
    """Choose the head figure of the page: along the finding's axis, else what the layout is for, else the first."""
    asked = ALONG.get(axis_of(view), "")
    names = (asked, *HEADLINES.get(view.layout.kind if view.layout else "", ()))
    fitting = [drawn[name] for name in names if name in drawn and not (name == "isoflop_profiles" and not minima(view))]
    return next(iter([*fitting, *drawn.values()]), None)


def _title(view: View) -> str:
    runs = len(last_marks(view.runs if view.rows.empty else view.runs.usable))
    noun = f"{runs} run{'s' if runs != 1 else ''}"
    if len(view.families) <= 1:
        return f"{view.families[0]}, {noun}" if view.families else noun
    return f"{len(view.families)} families, {noun}"


def _tally(verdicts: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    """Count the tested claims by verdict: words, colour and number, in the order of the table."""
    tested = [v for v in verdicts if v["verdict"] != VerdictKind.UNTESTED]
    counts = Counter((v["word"], v["tone"]) for v in tested)
    return [(word, tone, n) for (word, tone), n in counts.items()]


def _packed(text: str) -> str:
    """Compress text as base64 of gzip, a third of its length or less, which the page unpacks."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _drawing_library() -> str:
    """Return the drawing library as one script. Bundling takes seconds, so it is cached by version, with its digest."""
    import vl_convert

    name = f"vega-embed-{version('vl-convert-python')}.js"
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isoflop" / name
    with contextlib.suppress(OSError, ValueError):
        digest, _, text = cached.read_text(encoding="utf-8").partition("\n")
        if hashlib.sha256(text.encode()).hexdigest() == digest:
            return text
    text = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    with contextlib.suppress(OSError):  # an unwritable home means bundling again
        write_text(cached, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    return text


def verdict_row(
    view: View, verdict: ClaimVerdict, commits: Commits | None = None, studies: Sequence[ClaimStudy] | None = None
) -> dict[str, Any]:
    """Return what the table shows of one claim."""
    claim = verdict.claim
    changed, provenance = changed_since(claim.file, view.runs, commits_of=commits)
    # the claim's reason says what runs are missing, family by family
    untested = all(s.verdict is VerdictKind.UNTESTED for s in verdict.subjects)
    subjects = () if untested else verdict.subjects
    source = view.runs.source
    return {
        "id": verdict.id,
        "claim": claim.claim,
        "rule": claim.in_words,
        "expect": claim.expect,
        "caveat": claim.caveat,
        **_outcome(verdict, claim),
        **({"reason": cut(printable(of_many(verdict, claim)), MOST_REASON)} if len(subjects) > MOST_OPEN else {}),
        "next": next_command(verdict, Path(source) if source else None, 60 * training_hours(view.runs), studies),
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
    """Return what the table shows of a claim and of each of its subjects."""
    return {
        "verdict": verdict.verdict.value,
        "word": word(verdict, claim),
        "tone": tone(verdict, claim),
        "sentence": verdict.verdict.sentence,
        "statistic": amount(verdict),
        "interval": interval(verdict),
        "limit": _limit(verdict),
        "reason": cut(printable(verdict.reason), MOST_REASON),
    }


def _limit(verdict: Verdict) -> str:
    if verdict.limit is None or verdict.statistic is None:
        return ""
    sign = "limit " if verdict.rule.region.kind in ("above", "below") else "band ±"
    return sign + verdict.rule.measures.amount(verdict.limit, verdict.unit)
