"""The verbs of a folder of runs: status and collect.

isoflop status runs/first
python -m sweeps collect runs/first -o runs.csv
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from analysis.verbs import run

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)

Folder = Annotated[Path, typer.Argument(help="The out= of a run or sweep.", show_default=False)]


@app.callback()
def verbs() -> None:
    """What became of the runs in a folder."""


@app.command("collect")
def collect_command(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="The table to write.")] = Path("runs.csv"),
) -> None:
    """Join the records of a folder into one table, a row for every run and mark, failures with their reason.

    Example:  isoflop collect runs/first -o runs.csv
    """
    from sweeps.collect import collect

    states = collect(folder, out)
    print(f"{out}: {words(states)}", file=sys.stderr)


@app.command("status")
def status_command(folder: Folder) -> None:
    """Show the state of every run in a folder.

    Example:  isoflop status runs/first
    """
    from rich.console import Console
    from rich.table import Table

    from sweeps.ledger import entries

    table = Table(box=None, pad_edge=False)
    for name in ("run", "state", "family", "width", "depth", "seed", "L", "step or reason"):
        table.add_column(name)
    found = list(entries(folder))
    for entry in found:
        plain, beat, row = entry.plain, entry.heartbeat(), entry.rows[-1] if entry.rows else {}
        loss = f"{row['L']:.4f}" if row.get("L") is not None else ""
        note = str(row.get("reason") or (f"{beat['step']}/{beat['steps']} on {beat['host']}" if beat else ""))
        sizes = [str(value) for value in (plain["family"]["width"], plain["family"]["depth"], plain["seed"])]
        table.add_row(entry.run_id, entry.state, plain["names"]["family"], *sizes, loss, note)
    Console().print(table, markup=False)
    print(words(Counter(entry.state for entry in found)))


@app.command("import-wandb")
def import_wandb_command(
    source: Annotated[str, typer.Argument(help="ENTITY/PROJECT, or a folder of offline runs.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="The table to write.")] = Path("runs.csv"),
) -> None:
    """Make a table of the runs that Weights & Biases has, and say what could not be read.

    Example:  isoflop import-wandb me/project -o runs.csv
    """
    from sweeps.import_wandb import import_wandb, write

    found = import_wandb(source)
    write(found, out)
    print(f"{out}: {found}", file=sys.stderr)


def words(states: dict[str, int]) -> str:
    """Counts of states in words."""
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def main(arguments: list[str]) -> int:
    """Run a verb and return its exit code; bad input is one sentence and 2."""
    return run(app, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
