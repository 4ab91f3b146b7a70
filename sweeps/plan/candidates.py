"""`isoflop plan --runs theirs.csv --candidates grid.csv`: which rows of a table to make next, whoever makes them.

    read_runs("runs.csv").assign(D=lambda runs: 4 * runs["D"]).to_csv("grid.csv")
    say(Path("runs.csv"), Path("grid.csv"), law="chinchilla", n=2)

A candidate that is made already, by the columns of the law, is not offered.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from isoflop.analysis.design.sequence import improve_table
from isoflop.analysis.laws.catalogue import get_law
from isoflop.analysis.options import table
from isoflop.analysis.tables.read import read_runs
from isoflop.analysis.tables.replicates import choose_law
from isoflop.analysis.tables.rows import mixtures
from isoflop.errors import UserError
from isoflop.files import records

# runs that are suggested where --improve gives no number
SUGGESTED = 5


def say(
    runs: Path | None,
    candidates: Path,
    law: str = "",
    n: int = 0,
    columns: str = "",
    where: str = "",
    as_json: bool = False,
    surplus: Sequence[str] = (),
) -> None:
    """Print the runs to make next; UserError where a table or a column is missing, or where there are options (surplus)
    that speak of a sweep."""
    if surplus:
        raise UserError(
            f"{surplus[0]} speaks of a sweep that is composed, and --candidates composes none; leave it out"
        )
    if runs is None:
        raise UserError("--candidates chooses by what is known already: give the runs that are there with --runs")
    have, grid = table(runs, columns, where), read_runs(candidates)
    name = law or choose_law(have)
    if name is None:
        raise UserError(f"no law suits what varies in {runs}; name one with --law")
    declared = get_law(name)
    if "C" not in grid and {"N", "D"} <= set(grid.columns):
        grid = grid.assign(C=6 * grid["N"] * grid["D"])
    picks = improve_table(have, grid, declared, n=n or SUGGESTED)
    if as_json:
        print(json.dumps({"law": declared.name, "improve": records(picks)}))
        return
    print(f"{declared.formula}\n  which of the {len(grid)} candidates to make next, for the loss of the dearest tenth:")
    shown = [*declared.columns, *(c for c in ("run_id", "C") if c in picks), "before", "after", "gain_per_FLOP"]
    print(picks[shown].to_string(index=False, float_format="{:.3g}".format))
    print("  before, after: standard error of ln L there, of the law's parameters alone")
    for note in [*have.attrs.get("notes", ()), *mixtures(have)]:
        print(f"  note: {note}")
