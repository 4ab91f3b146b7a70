"""The options that verbs share, in groups, and how their texts are read.

isoflop fit runs.csv --columns N=params,L=loss --pin E=1.69 --prior E=1.7:0.1

pairs("N=params,L=loss")   # {'N': 'params', 'L': 'loss'}
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isoflop.analysis.arguments import ARGUMENTS
from isoflop.errors import UserError
from isoflop.wording import cell

if TYPE_CHECKING:
    from isoflop.analysis.runs.runs import Runs


@dataclass(frozen=True)
class TableOptions:
    """Runs."""

    runs: Annotated[Path, typer.Argument(help="A CSV or JSONL file with a row for each run", show_default=False)]
    columns: Annotated[str, ARGUMENTS["columns"]] = ""
    where: Annotated[str, ARGUMENTS["where"]] = ""

    def read(self, run: str = "", tune: str = "", by: str = "") -> "Runs":
        """Return the rows that --where keeps, as `table` does."""
        return table(self.runs, self.columns, self.where, run, tune, by)


@dataclass(frozen=True)
class GroupOptions(TableOptions):
    """Runs."""

    by: Annotated[str, ARGUMENTS["by"]] = ""
    tune: Annotated[str, ARGUMENTS["tune"]] = ""


@dataclass(frozen=True)
class RunOptions(GroupOptions):
    """Runs."""

    run: Annotated[str, ARGUMENTS["run"]] = ""

    def tuned(self) -> "Runs":
        """Return the rows that --where keeps, of the searched knobs the best."""
        return self.read(self.run, self.tune, self.by)


@dataclass(frozen=True)
class LossOptions:
    """Fit."""

    loss: Annotated[str, ARGUMENTS["loss"]] = "huber"
    delta: Annotated[float, ARGUMENTS["delta"]] = 1e-3


@dataclass(frozen=True)
class WeightOptions(LossOptions):
    """Fit."""

    weights: Annotated[str, ARGUMENTS["weights"]] = "none"


@dataclass(frozen=True)
class LawOptions(WeightOptions):
    """Fit."""

    law: Annotated[str, ARGUMENTS["law"]] = "chinchilla"
    target: Annotated[
        str, "Column to predict instead of the law's own target: accuracy, probe.precision.delta_4", "--target"
    ] = ""
    pin: Annotated[list[str], ARGUMENTS["pin"]] = field(default_factory=list)
    prior: Annotated[list[str], ARGUMENTS["prior"]] = field(default_factory=list)
    share: Annotated[str, ARGUMENTS["share"]] = ""

    def settings(self, run: str) -> dict[str, Any]:
        """Return the keywords of `fit`, all but `share`."""
        values = {"loss": self.loss, "delta": self.delta, "weights": self.weights, "run": run or None}
        return values | {"pin": _pins(self.pin), "prior": _priors(self.prior)}

    def fits(self, rows: RunOptions) -> Any:
        """Return a fit for each group, of one law or of the average of laws."""
        from isoflop.analysis.fitting.fit import fit_groups
        from isoflop.analysis.holdout.average import average_groups, names_average

        options = self.settings(rows.run) | {"by": names(rows.by), "share": names(self.share)}
        if names_average(self.law):
            return average_groups(rows.tuned(), self.law, target=self.target.strip() or None, **options)
        table = rows.tuned()
        return fit_groups(table, law(self.law, self.target), **options)

    def steps(self, then: str) -> tuple["LawOptions", "LawOptions | None"]:
        """Return the options of two laws, the second of the first one's target: pins go to the law that has them."""
        from isoflop.analysis.laws.declare import get_law

        if not then:
            return self, None
        own = [pin for pin in self.pin if pin.partition("=")[0].strip() in get_law(then).params]
        second = replace(self, law=then, target="", pin=own, prior=[], share="")
        return replace(self, pin=[pin for pin in self.pin if pin not in own]), second


@dataclass(frozen=True)
class FitOptions(LawOptions):
    """Fit."""

    interval: Annotated[str, ARGUMENTS["interval"]] = "auto"
    level: Annotated[float, ARGUMENTS["level"]] = 0.95
    resamples: Annotated[int, ARGUMENTS["resamples"]] = 1000
    seed: Annotated[int, ARGUMENTS["seed"]] = 0

    def settings(self, run: str) -> dict[str, Any]:
        """Return the keywords of `fit`, all but `share`."""
        values = {"interval": self.interval, "level": self.level, "resamples": self.resamples, "seed": self.seed}
        return super().settings(run) | values


@dataclass(frozen=True)
class LocalOptions:
    """Options."""

    local: Annotated[bool, "Also: slopes, loss and best split at a point among the runs, identified or not"] = False
    at: Annotated[str, ARGUMENTS["point"]] = ""


@dataclass(frozen=True)
class PointsOptions:
    """Options."""

    points: Annotated[Path | None, "Instead of --at: a table of points, with the law's columns, and L if known"] = None
    out: Annotated[Path | None, "With --points: the table to write", "--out", "-o"] = None


@dataclass(frozen=True)
class ForecastOptions:
    """Forecast."""

    out: Annotated[Path, "The file to write, which must not exist", "--out", "-o"] = Path("forecast.json")
    curves: Annotated[Path | None, "A table of the runs' curves, of isoflop import: for isoflop watch"] = None


@dataclass(frozen=True)
class ConfirmOptions:
    """Verdict."""

    change: Annotated[list[str], "A change: another value, or overrides KEY=VALUE,KEY=VALUE; may be repeated"]
    target: Annotated[str, "The C at which to know the multiplier: 1e18 [FLOPs]", "--target-C"]
    base: Annotated[str, "With a table: the baseline, a value of the columns of --by"] = ""
    worth: Annotated[float, "The multiplier at the target from which the change is worth it"] = 1.05
    risk: Annotated[float, "The largest chance of a false verdict of either kind, over all looks and changes"] = 0.05
    look: Annotated[int, "Which of the planned looks at the data this is, from 1"] = 1
    looks: Annotated[int, "How many looks are planned; more are paid for by wider intervals"] = 1

    @property
    def goal(self) -> float:
        """The target as a number."""
        goals = numbers(self.target, "--target-C", "1e18")
        if len(goals) != 1:
            raise UserError(f"--target-C {self.target!r} is not one compute; write --target-C 1e18")
        return goals[0]


Json = Annotated[bool, "Print one JSON document on stdout and nothing else", "--json"]
Band = Annotated[float, ARGUMENTS["band"]]
Claims = Annotated[Path | None, "A folder of claims, one yaml, or the id of one that ships; by default all that ship"]
Forecast = Annotated[Path | None, "A file that isoflop forecast wrote, scored by the runs made since"]


def _listing(help_text: str, name: str, module: str) -> Any:
    """Return an option that prints the `listing` of a module of ours, and ends the command."""

    def show(listed: bool) -> None:
        if listed:
            typer.echo(import_module(f"isoflop.analysis.{module}").listing())
            raise typer.Exit

    return typer.Option(name, help=help_text, is_eager=True, callback=show, show_default=False)


Quantities = Annotated[
    bool, _listing("List the quantities that a claim may name, and exit", "--quantities", "claims.quantities")
]
Figures = Annotated[bool, _listing("List the figures with what each needs, and exit", "--figures", "report.plot")]


def table(path: Path, columns: str = "", where: str = "", run: str = "", tune: str = "", by: str = "") -> "Runs":
    """Return the runs that a verb works on, with the best of the knobs in `tune` for each group of equal `by`."""
    import pandas as pd

    from isoflop.analysis.runs.read import read_runs

    # texts of a table of runs are few: as Python's own they take a tenth of a report's time off, and of its memory
    pd.set_option("mode.string_storage", "python")
    runs = read_runs(path, columns=pairs(columns), run=run or None)
    selected = runs.select(where) if where else runs
    if not len(selected):
        raise UserError(f"--where {where!r} keeps none of the {len(runs)} rows of {path}; loosen it")
    return selected.tuned(names(tune), names(by)) if tune else selected


def grouped(runs: "Runs", by: str) -> "Runs":
    """Return the runs of `judge` and `report`, their families being the groups of --by where it is given."""
    return runs.with_columns(family=runs.grouped(names(by)).names) if by else runs


def points(path: Path, columns: str, target: str) -> "Runs":
    """Return points to predict at, under our names, given in theirs or those of the runs; the target may be missing."""
    from isoflop.analysis.runs.read import read_runs

    mapping, there = pairs(columns), set(read_runs(path).frame.columns)
    known = {
        ours: theirs
        for ours, theirs in mapping.items()
        if theirs in there or not (ours in there or ours == target)  # a name that is in neither form is an error
    }
    return read_runs(path, columns=known)


def names(text: str) -> list[str]:
    """Return the parts of 'family,data', each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def law(text: str, target: str = "") -> str:
    """Return the full name of a law of this target: 'accuracy ~ power_offset(D)'."""
    from isoflop.analysis.laws.declare import get_law

    return get_law(text, target.strip() or None).name


def laws(text: str) -> list[str]:
    """Return the laws of 'power,chinchilla(n_total,D)'."""
    return [part.strip() for part in re.split(r",(?![^()]*\))", text) if part.strip()]


def place(text: str) -> dict[str, float]:
    """Return the columns of 'N=1e9,D=2e10'."""
    return {
        name: _number(value, f"--at {text}", "--at C=1e21") for name, value in pairs(text, "--at", "C=1e21").items()
    }


def places(texts: list[str], by: Sequence[str] = ()) -> list[dict[str, float | str]]:
    """Return the points of 'C=1e21,1e22': a bare value belongs to the name before it; each combination is a point.

    by: the columns that define groups, whose values may be text: 'family=cnn,N=1e9,D=2e10'.
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
            values.setdefault(name, []).append(given if is_text else _number(given, f"--at {text}", how))
        points += [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values()) if values]
    return points


def pairs(text: str, option: str = "--columns", example: str = "N=params,D=tokens,L=loss") -> dict[str, str]:
    """Return the pairs of 'N=params,D=tokens'."""
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


def _pins(texts: list[str]) -> dict[str, float]:
    given = pairs(",".join(texts), "--pin", "E=1.69")
    return {name: _number(value, f"--pin {name}={value}", "--pin E=1.69") for name, value in given.items()}


def _priors(texts: list[str]) -> dict[str, tuple[float, float]]:
    values, example = {}, "--prior E=1.7:0.1"
    for name, value in pairs(",".join(texts), "--prior", "E=1.7:0.1").items():
        mean, _, error = value.partition(":")
        values[name] = _number(mean, f"--prior {name}={value}", example), _number(error, f"--prior {name}", example)
    return values


def numbers(text: str, option: str, example: str) -> list[float]:
    """Return the numbers of '1e20,1e21', each above zero."""
    values = [_number(part, f"{option} {text}", f"{option} {example}") for part in names(text)]
    if any(x <= 0 for x in values):
        raise UserError(f"{option} {text} is not above 0; write {option} {example}")
    return values


def _number(text: str, option: str, example: str) -> float:
    """Return the number of '1e9', '7B' or '300M'."""
    power = "kMBT".find(text.strip()[-1:] or " ") + 1
    try:
        value = float(text.strip()[:-1]) * 1000**power if power else float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UserError(f"{cell(option)} holds no number where one is needed; write {example}")
    return value
