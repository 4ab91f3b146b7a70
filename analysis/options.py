"""The options that the verbs share, and what their texts mean.

isoflop fit runs.csv --columns N=params,L=loss --pin E=1.69 --prior E=1.7:0.1

pairs("N=params,L=loss")   # {'N': 'params', 'L': 'loss'}
"""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isoflop.analysis.arguments import ARGUMENTS
from isoflop.errors import UserError
from isoflop.wording import cell

if TYPE_CHECKING:
    import pandas as pd


def _option(text: str, *names: str, shown: bool = True) -> Any:
    return typer.Option(*names, help=text, show_default=shown)


def _argument(name: str, *, shown: bool = False) -> Any:
    """The option of an argument that functions have too."""
    return _option(ARGUMENTS[name], shown=shown)


Runs = Annotated[Path, typer.Argument(help="A CSV or JSONL file with a row for each run", show_default=False)]
Columns = Annotated[str, _argument("columns")]
Where = Annotated[str, _argument("where")]
By = Annotated[str, _argument("by")]
Loss = Annotated[str, _argument("loss", shown=True)]
Delta = Annotated[float, _argument("delta", shown=True)]
Interval = Annotated[str, _argument("interval", shown=True)]
Level = Annotated[float, _argument("level", shown=True)]
Resamples = Annotated[int, _argument("resamples", shown=True)]
Run = Annotated[str, _argument("run")]
Pin = Annotated[list[str], _argument("pin")]
Prior = Annotated[list[str], _argument("prior")]
Share = Annotated[str, _argument("share")]
Weights = Annotated[str, _argument("weights", shown=True)]
Curve = Annotated[
    bool, _option("Instead: how the estimates move with loss, delta, exclusions, counts", "--specification")
]
Trunks = Annotated[bool, _option("With a folder of runs: fit their constant-rate trunks (curve.csv) too", "--curves")]
Seed = Annotated[int, _argument("seed", shown=True)]
Json = Annotated[bool, _option("One JSON document on stdout and nothing else", "--json")]
Target = Annotated[
    str, _option("Column to predict, where it is not the law's own: accuracy, probe.precision.delta_4", shown=False)
]
Claims = Annotated[
    Path | None, _option("A folder of claims, or one yaml; default those that ship", "--claims", shown=False)
]


def _list_quantities(listed: bool) -> None:
    if listed:
        from isoflop.analysis.claims.quantities import listing

        typer.echo(listing())
        raise typer.Exit


Quantities = Annotated[
    bool,
    typer.Option(
        "--quantities",
        help="List the quantities that a claim may name, and exit",
        is_eager=True,
        callback=_list_quantities,
        show_default=False,
    ),
]


def _list_figures(listed: bool) -> None:
    if listed:
        from isoflop.analysis.report.plot import listing

        typer.echo(listing())
        raise typer.Exit


Figures = Annotated[
    bool,
    typer.Option(
        "--figures",
        help="List the figures with what each needs, and exit",
        is_eager=True,
        callback=_list_figures,
        show_default=False,
    ),
]
FigureName = Annotated[str, _option("Which one, or the beginning of its name: see --figures", "--figure", "-f")]
PlotOut = Annotated[
    Path | None,
    _option("The file, its ending the format; default NAME.svg", "--out", "-o", shown=False),
]
Full = Annotated[
    bool,
    _option(
        "What takes long too: hold-outs, specification curve, rival laws, power of open claims, SVG and PNG", "--full"
    ),
]
Out = Annotated[Path, _option("Folder of the report", "--out", "-o")]
LawName = Annotated[str, _argument("law", shown=True)]
At = Annotated[str, _argument("at")]
Points = Annotated[
    Path | None,
    _option("Instead: a table of points, with the columns of the law, and the target where known", shown=False),
]
PointsOut = Annotated[Path | None, _option("With --points: the table to write", "--out", "-o", shown=False)]
Local = Annotated[bool, _option("Slopes, loss and best split at a point among the runs, identified or not", "--local")]
Point = Annotated[str, _option(ARGUMENTS["point"], "--at", shown=False)]
Places = Annotated[list[str], _option(ARGUMENTS["places"], "--at", shown=False)]
ForecastOut = Annotated[Path, _option("The file to write, which must not exist", "--out", "-o")]
ForecastIn = Annotated[
    Path | None,
    _option("A file of isoflop forecast, to score by the runs since", "--forecast", shown=False),
]
Band = Annotated[float, _argument("band", shown=True)]
Laws = Annotated[str, _argument("laws")]
TargetC = Annotated[str, _option(ARGUMENTS["target"], "--target-C", shown=False)]
Tune = Annotated[str, _argument("tune")]
Served = Annotated[str, _argument("inference_tokens")]
Axis = Annotated[str, _argument("axis", shown=True)]
HoldOut = Annotated[str, _argument("holdout")]


def table(
    path: Path, columns: str = "", where: str = "", run: str = "", tune: str = "", by: str = ""
) -> "pd.DataFrame":
    """The runs that a verb works on, with the best of the knobs in `tune` for each group of equal `by`."""
    import pandas as pd

    from isoflop.analysis.runs.read import read_runs, select
    from isoflop.analysis.runs.tune import best_of_cells

    # texts of a table of runs are few: as Python's own they take a tenth of a report's time off, and of its memory
    pd.set_option("mode.string_storage", "python")
    runs = read_runs(path, columns=pairs(columns), run=run or None)
    selected = select(runs, where) if where else runs
    if selected.empty:
        raise UserError(f"--where {where!r} keeps none of the {len(runs)} rows of {path}; loosen it")
    return best_of_cells(selected, names(tune), names(by)) if tune else selected


def grouped(runs: "pd.DataFrame", by: str) -> "pd.DataFrame":
    """The runs of `judge` and `report`, their families being the groups of --by where it is given."""
    from isoflop.analysis.runs.rows import as_families

    return as_families(runs, names(by)) if by else runs


def points(path: Path, columns: str, target: str) -> "pd.DataFrame":
    """A table of points to predict at, under our names, be they its own or those of the runs' table; the target may be
    missing."""
    from isoflop.analysis.runs.read import read_runs

    mapping, there = pairs(columns), set(read_runs(path).columns)
    known = {
        ours: theirs
        for ours, theirs in mapping.items()
        if theirs in there or not (ours in there or ours == target)  # a name that is in neither form is an error
    }
    return read_runs(path, columns=known)


def names(text: str) -> list[str]:
    """The parts of 'family,data'."""
    return [part.strip() for part in text.split(",") if part.strip()]


def law(text: str, target: str = "") -> str:
    """The full name of a law of this target: 'accuracy ~ power_offset(D)'."""
    from isoflop.analysis.laws.catalogue import get_law

    return get_law(text, target.strip() or None).name


def laws(text: str) -> list[str]:
    """The laws of 'power,chinchilla(n_total,D)'."""
    return [part.strip() for part in re.split(r",(?![^()]*\))", text) if part.strip()]


def place(text: str) -> dict[str, float]:
    """The columns of 'N=1e9,D=2e10'."""
    return {name: number(value, f"--at {text}", "--at C=1e21") for name, value in pairs(text, "--at", "C=1e21").items()}


def places(texts: list[str], by: Sequence[str] = ()) -> list[dict[str, float | str]]:
    """The points of 'C=1e21,1e22': a value without a name is of the name before it, and each combination is a point.

    by: the columns that groups are told apart by, whose values may be text: 'family=cnn,N=1e9,D=2e10'.
    """
    example, points = "--at C=1e21,1e22", list[dict[str, float | str]]()
    for text in texts:
        values: dict[str, list[float | str]] = {}
        for part in names(text):
            name, equals, value = part.rpartition("=")
            name = name.strip() if equals else next(reversed(values), "")
            if not name:
                raise UserError(f"--at {text!r} names no column; write {example} or --at N=1e9,D=2e10")
            given = value.strip()
            is_text = name in by and not re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", given, re.IGNORECASE)
            how = example if name in ("N", "D", "C") else f"{example}, or give --by {name} if that names a group"
            values.setdefault(name, []).append(given if is_text else number(given, f"--at {text}", how))
        points += [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values()) if values]
    return points


def pairs(text: str, option: str = "--columns", example: str = "N=params,D=tokens,L=loss") -> dict[str, str]:
    """The pairs of 'N=params,D=tokens'."""
    values: dict[str, str] = {}
    for part in names(text):
        ours, _, theirs = part.partition("=")
        if not (ours.strip() and theirs.strip()):
            what = "name=name" if option == "--columns" else "name=number"
            raise UserError(f"{option} {part!r} is not {what}; write {option} {example}")
        if ours.strip() in values:
            raise UserError(f"{option} {text!r} gives {ours.strip()} twice; give it once")
        values[ours.strip()] = theirs.strip()
    return values


def pins(texts: list[str]) -> dict[str, float]:
    """The values of --pin E=1.69."""
    values = {}
    for text in texts:
        name, _, value = text.partition("=")
        values[name.strip()] = number(value, f"--pin {text}", "--pin E=1.69")
    return values


def priors(texts: list[str]) -> dict[str, tuple[float, float]]:
    """The means and standard errors of --prior E=1.7:0.1."""
    values, example = {}, "--prior E=1.7:0.1"
    for text in texts:
        name, _, value = text.partition("=")
        mean, _, error = value.partition(":")
        values[name.strip()] = number(mean, f"--prior {text}", example), number(error, f"--prior {text}", example)
    return values


def numbers(text: str, option: str, example: str) -> list[float]:
    """The numbers of '1e20,1e21', each above zero."""
    values = [number(part, f"{option} {text}", f"{option} {example}") for part in names(text)]
    if any(x <= 0 for x in values):
        raise UserError(f"{option} {text} is not above 0; write {option} {example}")
    return values


def number(text: str, option: str, example: str) -> float:
    """A finite number, or an error that shows how to write one."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UserError(f"{cell(option)} holds no number where one is needed; write {example}")
    return value
