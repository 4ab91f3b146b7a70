"""The options of `isoflop plan`, in groups.

isoflop plan --price 2.5/h --improve 5 --runs runs.csv -m family=lstm family.width=64,96
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True)
class PlanTable:
    """Runs that exist."""

    runs: Annotated[Path | None, "A runs.csv of runs that exist already"] = None
    columns: Annotated[str, "Names in that table, as for fit: N=params,D=tokens,L=loss"] = ""
    where: Annotated[str, "Rows of it to keep, as for fit"] = ""
    by: Annotated[str, "With --candidates: groups with a law each, as for fit"] = ""
    candidates: Annotated[Path | None, "Instead of a sweep: a table of possible runs (the law's columns, C)"] = None
    cost: Annotated[str, "Of a candidate: a column, or an expression of columns: gpus*hours + 5; default C"] = ""


@dataclass(frozen=True)
class PlanLaw:
    """Law."""

    law: Annotated[str, "The law; by default one that suits what varies"] = ""
    truth: Annotated[str, "Its assumed values: E=1.6,A=400,alpha=.31,B=400,beta=.29"] = ""
    noise: Annotated[float, "Noise between seeds, relative"] = 0.005
    target: Annotated[float | None, "Compute budget at which to predict the loss [FLOPs]", "--target-C"] = None
    improve: Annotated[
        int, typer.Option(help="Suggest the N most informative of these runs", min=0, rich_help_panel="Law")
    ] = 0


@dataclass(frozen=True)
class PlanCost:
    """Cost."""

    price: Annotated[str, "Price per device-hour, e.g. 2.5/h"] = ""
    device: Annotated[str, "Predict times for a GPU of this name: H100"] = ""
    mfu: Annotated[float | None, "With --device: the share of its peak that products reach"] = None


@dataclass(frozen=True)
class PlanText:
    """Options."""

    everything: Annotated[bool, "Print a line for every run", "--all"] = False
    as_json: Annotated[bool, "Print one JSON document on stdout and nothing else", "--json"] = False
