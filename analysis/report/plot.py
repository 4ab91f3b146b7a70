"""One figure by itself: as SVG, PNG or PDF for a paper, as Vega-Lite, or its data as CSV.

from isoflop.analysis.runs.read import read_runs

plot(read_runs("runs.csv"), "isoflop_profiles", Path("profiles.pdf"))
"""

import difflib
from pathlib import Path

from isoflop.analysis.report.figures.base import FigureFile, Unmet, draw, figure_files
from isoflop.analysis.report.view import View, look
from isoflop.analysis.runs.runs import RunsLike
from isoflop.errors import FitError, UserError

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
    file = named(name)
    if out.suffix not in FORMATS:
        raise UserError(f"{out} ends in {out.suffix or 'nothing'}; a figure is written as {', '.join(FORMATS)}")
    view: View = look(runs, [], **options)  # type: ignore[arg-type]
    if view.rows.empty:
        raise FitError("no run finished, so there is nothing to draw")
    try:
        figure = draw(file, view)
    except Unmet as lack:
        raise FitError(f"{file.NAME} cannot be drawn: {lack}; it needs {file.NEEDS}") from None
    try:
        figure.write(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}); give another file with -o") from None
    return figure.title


def named(name: str) -> FigureFile:
    """Return the figure of this name, or the only one that begins with it; UserError lists all figures."""
    files = {file.NAME: file for file in figure_files()}
    matching = [name] if name in files else [known for known in files if name and known.startswith(name)]
    if len(matching) == 1:
        return files[matching[0]]
    close = difflib.get_close_matches(name, files, n=1)
    mean = f"did you mean {close[0]}? " if close else ""
    raise UserError(f"unknown figure {name!r}; {mean}choose one of {', '.join(files)}")


def listing() -> str:
    """List every figure: its name, what it shows, what it needs."""
    lines = []
    for file in figure_files():
        first = (getattr(file, "__doc__", None) or file.NAME).strip().splitlines()[0].rstrip(";,")
        lines.append(f"{file.NAME}: {first}\n    needs {file.NEEDS}")
    return "\n".join(lines)
