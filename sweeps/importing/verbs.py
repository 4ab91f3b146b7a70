"""`isoflop import`: the logs of other tools as a table of runs.

isoflop import lightning_logs -o runs.csv --curves curves.csv
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from isoflop.analysis import options as o
from isoflop.analysis.arguments import ARGUMENTS
from isoflop.errors import UserError
from isoflop.exits import run
from isoflop.option_groups import expand
from isoflop.sweeps.collect import refuse_place
from isoflop.sweeps.importing.log import Found

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.callback()
def _verbs() -> None:
    """Make a table of the runs that another tool logged."""


@dataclass(frozen=True)
class NamingOptions:
    """Logs."""

    columns: Annotated[str, ARGUMENTS["columns"]] = ""
    constants: Annotated[str, "What no log says: N=1.2e8,batch_size=64,seq_len=1024", "--set"] = ""
    form: Annotated[str, "Read this format, where a folder holds several", "--format"] = ""


@app.command("import-wandb", hidden=True)
@app.command("import")
@expand
def import_command(
    source: Annotated[str, typer.Argument(help="A folder or file of logs, or ENTITY/PROJECT.", show_default=False)],
    naming: NamingOptions,
    out: Annotated[Path, "The table to write", "-o", "--out"] = Path("runs.csv"),
    curves: Annotated[Path | None, "Also write a table of whole curves: step, D, lr, loss"] = None,
    overwrite: Annotated[bool, "Replace tables that exist"] = False,
) -> None:
    """Make a table of the runs that another tool logged, a row for each evaluation; list what could not be read.

    The format is recognised: Weights & Biases (a project, or offline runs), Hugging Face's trainer_state.json,
    Lightning's metrics.csv, event files of TensorBoard, JSON lines. It says where N, D, C and L come from. For runs
    that isoflop mirrored in W&B, this is the table that isoflop collect makes of their folders.

    - `isoflop import lightning_logs -o runs.csv --curves curves.csv`
    - `isoflop import me/project -o runs.csv --columns N=model/params,L=val/loss` - of W&B, by its API
    - `isoflop import output_dir --set N=1.2e8,batch_size=64,seq_len=1024`
    """
    from isoflop.sweeps.importing.importing import import_logs
    from isoflop.sweeps.importing.table import Naming

    for path in filter(None, (out, curves)):
        refuse_place(path)
        if path.exists() and not overwrite:
            raise UserError(f"-o {path} is there already; name another file, or give --overwrite to replace it")
    given = {name: o.numbers(x, "--set", "N=1.2e8")[0] for name, x in o.pairs(naming.constants, "--set").items()}
    named = Naming(o.pairs(naming.columns), given)
    read = import_logs(source, out, curves, named, naming.form, _bar)
    print(f"{out}: {read}", file=sys.stderr)


def _bar(sources: Iterable[Found]) -> Iterator[Found]:
    """Yield the sources, and show in a terminal how many were read."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    form = SpinnerColumn(), TextColumn("{task.completed} runs read"), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*form, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield from bar.track(sources, description="")


def main(arguments: list[str]) -> int:
    """Run the verb and return its exit code; bad input is one sentence and 2."""
    return run(app, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
