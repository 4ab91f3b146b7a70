"""The options that the verbs share, and what their texts mean.

isoflop fit runs.csv --columns N=params,L=loss --pin E=1.69 --prior E=1.7:0.1

pairs("N=params,L=loss")   # {'N': 'params', 'L': 'loss'}
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isoflop.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def _option(text: str, *names: str, shown: bool = True) -> Any:
    return typer.Option(*names, help=text, show_default=shown)


Runs = Annotated[Path, typer.Argument(help="A CSV or JSONL file with a row for each run", show_default=False)]
Columns = Annotated[str, _option("Names in a foreign file: N=params,D=tokens,L=loss", shown=False)]
Where = Annotated[str, _option("Rows to keep: \"family = 'mlp' and C<1e20\"; never evaluated as code", shown=False)]
By = Annotated[str, _option("Columns to group by, comma between: family,data", shown=False)]
Loss = Annotated[str, _option("huber, l1 or l2 of log residuals; raw_huber, raw_l1, raw_l2 of the loss itself")]
Delta = Annotated[float, _option("Where Huber's loss turns from square to linear")]
Interval = Annotated[str, _option("auto, jackknife, bootstrap, mixed, profile or none")]
Level = Annotated[float, _option("Coverage of the intervals")]
Resamples = Annotated[int, _option("Resamples of the bootstrap")]
Run = Annotated[str, _option("Column whose equal values are one run; default run_id, else every row", shown=False)]
Pin = Annotated[list[str], _option("Hold a parameter: --pin E=1.69 (may be repeated)", shown=False)]
Prior = Annotated[list[str], _option("Mean and standard error of a parameter: --prior E=1.7:0.1", shown=False)]
Share = Annotated[str, _option("Parameters with one value in all groups: E, or E,alpha", shown=False)]
Weights = Annotated[str, _option("none, or seed: rows weighed by the noise between seeds at their size")]
Curve = Annotated[
    bool, _option("Instead: how the answer moves with loss, delta, exclusions, counts", "--specification")
]
Seed = Annotated[int, _option("Seed of starts and resamples")]
Json = Annotated[bool, _option("One JSON document on stdout and nothing else", "--json")]
Target = Annotated[
    str, _option("Column to predict, where it is not the law's own: accuracy, probe.gradients.slope", shown=False)
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
Out = Annotated[Path, _option("Folder of the report", "--out", "-o")]
LawName = Annotated[str, _option("A law, its columns in brackets: 'power_offset(D)', 'chinchilla(n_total,D)'")]
At = Annotated[str, _option("Where: C=1e21, or N=1e9,D=2e10", shown=False)]
Band = Annotated[float, _option("Coverage of the bands for a new run")]
Laws = Annotated[str, _option("Laws, comma between, columns in brackets: 'power,bnsl(D),chinchilla'")]
TargetC = Annotated[
    str, _option("Budgets to say N, D and L for: 1e21, or 1e20,1e21 [FLOPs]", "--target-C", shown=False)
]
Served = Annotated[str, _option("Tokens that will be served in all, which count as compute: 1e12", shown=False)]
Axis = Annotated[str, _option("The column along which the larger runs are held out")]
HoldOut = Annotated[str, _option('Rows to hold out instead: "C>=1e20"', shown=False)]


def table(path: Path, columns: str = "", where: str = "", run: str = "") -> "pd.DataFrame":
    """The runs that a verb works on."""
    from isoflop.analysis.tables.read import read_runs, select

    read = read_runs(path, columns=pairs(columns), run=run or None)
    if not where:
        return read
    kept = select(read, where)
    if kept.empty:
        raise UserError(f"--where {where!r} keeps none of the {len(read)} rows of {path}; loosen it")
    return kept


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


def plain(said: dict[str, Any]) -> dict[str, Any]:
    """Estimates as value, low and high."""
    return {k: vars(v) if hasattr(v, "low") else v for k, v in said.items()}


def pairs(text: str, option: str = "--columns", example: str = "N=params,D=tokens,L=loss") -> dict[str, str]:
    """The pairs of 'N=params,D=tokens'."""
    found = {}
    for part in names(text):
        ours, _, theirs = part.partition("=")
        if not (ours.strip() and theirs.strip()):
            raise UserError(f"{option} {part!r} is not name=name; write {option} {example}")
        found[ours.strip()] = theirs.strip()
    return found


def pins(given: list[str]) -> dict[str, float]:
    """The values of --pin E=1.69."""
    found = {}
    for text in given:
        name, _, value = text.partition("=")
        found[name.strip()] = number(value, f"--pin {text}", "--pin E=1.69")
    return found


def priors(given: list[str]) -> dict[str, tuple[float, float]]:
    """The means and standard errors of --prior E=1.7:0.1."""
    found, example = {}, "--prior E=1.7:0.1"
    for text in given:
        name, _, value = text.partition("=")
        mean, _, error = value.partition(":")
        found[name.strip()] = number(mean, f"--prior {text}", example), number(error, f"--prior {text}", example)
    return found


def numbers(text: str, option: str, example: str) -> list[float]:
    """The numbers of '1e20,1e21', each above zero."""
    found = [number(part, f"{option} {text}", f"{option} {example}") for part in names(text)]
    if any(x <= 0 for x in found):
        raise UserError(f"{option} {text} is not above 0; write {option} {example}")
    return found


def number(text: str, given: str, example: str) -> float:
    """A finite number, or an error that shows how to write one."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UserError(f"{given!r} holds no number where one is needed; write {example}")
    return value
