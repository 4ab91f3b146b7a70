"""One figure by itself: as SVG, PNG or PDF for a paper, as Vega-Lite, or its data as CSV.

from isoflop.analysis.runs.read import read_runs

plot(read_runs("runs.csv"), "isoflop_profiles", Path("profiles.pdf"))
"""

from pathlib import Path

from isoflop.analysis.report.figures.base import Drawing, Unmet, drawings
from isoflop.analysis.report.view import View, look
from isoflop.analysis.runs.runs import RunsLike
from isoflop.errors import FitError, UserError
from isoflop.wording import did_you_mean

# endings of the files that a figure can be
FORMATS = (".svg", ".png", ".pdf", ".json", ".csv")


def plot(runs: RunsLike, name: str, out: Path, **options: object) -> str:
    """Draw one figure of these runs into a file, whose ending is the format; return the figure's title.

    runs     a table of runs, as read_runs gives it
    name     the figure, or the beginning of its name
    out      the file: .svg, .png, .pdf, .json (Vega-Lite) or .csv (the data)
    options  tune and forecast, as for write_report

    FitError where the runs lack what the figure needs.
    """
    drawing = named(name, out)
    view: View = look(runs, [], **options)  # type: ignore[arg-type]
    if view.rows.empty:
        raise FitError("no run finished, so there is nothing to draw")
    try:
        figure = drawing.draw(view)
    except Unmet as lack:
        raise FitError(f"{drawing.name} cannot be drawn: {lack}; it needs {drawing.needs}") from None
    try:
        figure.write(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}); give another file with -o") from None
    return figure.title


def named(name: str, out: Path | None = None) -> Drawing:
    """Return the figure of this name, or the only one that begins so; UserError lists all, or the endings of a file."""
    if out is not None and out.suffix not in FORMATS:
        raise UserError(f"{out} ends in {out.suffix or 'nothing'}; a figure is written as {', '.join(FORMATS)}")
    known = {drawing.name: drawing for drawing in drawings()}
    matching = [name] if name in known else [other for other in known if name and other.startswith(name)]
    if len(matching) == 1:
        return known[matching[0]]
    raise UserError(f"unknown figure {name!r}{did_you_mean(name, known)}")


def listing() -> str:
    """List every figure: its name, what it shows, what it needs."""
    return "\n".join(f"{drawing.name}: {drawing.shows}\n    needs {drawing.needs}" for drawing in drawings())
