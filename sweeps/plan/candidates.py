"""`isoflop plan --runs theirs.csv --candidates grid.csv`: which rows of a table to make next, whoever makes them.

    read_runs("runs.csv").frame.assign(D=lambda runs: 4 * runs["D"]).to_csv("grid.csv")
    say(PlanTable(runs="runs.csv", candidates="grid.csv"), PlanLaw("chinchilla", improve=2), surplus=[])

A candidate that is made already, by the columns of the law, is not offered.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from isoflop.analysis.design.sequence import improve_table
from isoflop.analysis.laws.declare import Law, get_law
from isoflop.analysis.options import names, points, table
from isoflop.analysis.runs.cells import choose_law
from isoflop.analysis.runs.observations import mixtures
from isoflop.errors import UserError
from isoflop.files import records
from isoflop.sweeps.plan.options import PlanLaw, PlanTable

# runs that are suggested where --improve gives no number
SUGGESTED = 5
LUCK = "before, after: standard error of ln L there, of the law's parameters alone; other noise may choose otherwise"


def say(asked: PlanTable, law: PlanLaw, surplus: Sequence[str], as_json: bool = False) -> None:
    """Print the runs to make next, by groups of --by; UserError without a column, or for surplus options."""
    if surplus:
        raise UserError(f"{surplus[0]} applies to a composed sweep, and --candidates composes none; leave it out")
    if asked.runs is None or asked.candidates is None:
        raise UserError("--candidates chooses by what is known already: give the finished runs with --runs")
    have = table(asked.runs, asked.columns, asked.where)
    possible = points(asked.candidates, asked.columns, "L").with_compute
    grid, name = possible.frame, law.law or choose_law(have.frame)
    if name is None:
        raise UserError(f"no law suits what varies in {asked.runs}; name one with --law")
    declared = get_law(name)
    cost = asked.cost if asked.cost in grid or not asked.cost else "cost"
    grid = grid.assign(cost=_priced(grid, asked.cost)) if cost == "cost" and asked.cost != cost else grid
    parts, documents = names(asked.by), []
    for group, rows in have.by(parts).items():
        label, offered = group.by, grid
        for column in (c for c in label if c in grid):
            offered = offered[offered[column].astype(str) == str(label[column])]
        picks = improve_table(rows, offered, declared, n=law.improve or SUGGESTED, cost=cost or "C")
        documents.append({"law": declared.name, "improve": records(picks)} | ({"by": label} if parts else {}))
        if not as_json:
            _show(declared, label, picks, len(offered))
    known = [*have.notes, *([] if parts else mixtures(have.frame).values())]
    said = [LUCK, *known, *(f"candidates: {note}" for note in possible.notes if note not in have.notes)]
    if as_json:
        print(json.dumps(({"groups": documents} if parts else documents[0]) | {"notes": said}))
        return
    print("\n".join(f"  note: {note}" for note in said))


def _priced(grid: pd.DataFrame, text: str) -> pd.Series:
    """Return an expression of columns and numbers, row by row; UserError where it is none."""
    odd = sorted((c for c in map(str, grid) if not c.isidentifier()), key=len, reverse=True)
    quoted = re.sub("|".join(map(re.escape, odd)), r"`\g<0>`", text) if odd else text
    try:
        numbers = grid.apply(pd.to_numeric, errors="coerce")
        return pd.Series(numbers.eval(quoted, engine="python"), grid.index, dtype=float)
    except Exception as error:  # of any kind: the text may be anything
        why, there = error if isinstance(error, NameError) else "it is no expression", ", ".join(map(str, grid.columns))
        raise UserError(f"--cost {text}: {why}; join numbers and columns by + - * / ( ): {there}") from None


def _show(law: Law, label: Mapping[str, Any], picks: pd.DataFrame, offered: int) -> None:
    print("  ".join([law.formula, *(f"{k}={v}" for k, v in label.items())]))
    print(f"  which of the {offered} candidates to make next, for the loss of the most expensive tenth:")
    shown = [*law.columns, *(c for c in ("run_id", "C", "cost") if c in picks), "before", "after", picks.columns[-1]]
    print(picks[shown].to_string(index=False, float_format="{:.3g}".format))
