"""`isoflop import`: the logs of other tools as a table of runs; `isoflop watch`: one of them against its forecast.

isoflop import lightning_logs -o runs.csv --curves curves.csv
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.analysis import options as o
from isoflop.analysis.arguments import ARGUMENTS
from isoflop.command import ALARM, expand, run
from isoflop.errors import UserError
from isoflop.sweeps.collect import refuse_place

if TYPE_CHECKING:
    from isoflop.sweeps.importing.table import Naming

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@dataclass(frozen=True)
class NamingOptions:
    """Logs."""

    columns: Annotated[str, ARGUMENTS["columns"]] = ""
    constants: Annotated[str, "What no log says: N=1.2e8,batch_size=64,seq_len=1024", "--set"] = ""
    form: Annotated[str, "Read this format, where a folder holds several", "--format"] = ""

    def read(self) -> "Naming":
        """Return what the user says of the logs."""
        from isoflop.sweeps.importing.table import Naming

        given = {name: o.numbers(x, "--set", "N=1.2e8")[0] for name, x in o.pairs(self.constants, "--set").items()}
        return Naming(o.pairs(self.columns), given)


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

    if curves is not None and curves.absolute() == out.absolute():
        raise UserError(f"-o and --curves are both {out}; name two files")
    for path in filter(None, (out, curves)):
        refuse_place(path)
        if path.exists() and not overwrite:
            raise UserError(f"-o {path} is there already; name another file, or give --overwrite to replace it")
    read = import_logs(source, out, curves, naming.read(), naming.form)
    print(f"{out}: {read}", file=sys.stderr)


@app.command("watch")
@expand
def watch_command(
    log: Annotated[str, typer.Argument(help="The log of one run, whole or at work.", show_default=False)],
    naming: NamingOptions,
    forecast: Annotated[Path, "What isoflop forecast --curves wrote"] = Path("forecast.json"),
    at: Annotated[str, "The point of the forecast, where it has several: N=1e9,D=2e10"] = "",
    below: Annotated[float | None, "Also: the probability to end below this loss"] = None,
    as_json: o.Json = False,
) -> int:
    """Watch a run against its forecast: inside its band, or outside since a step, and the loss that it will end at.

    Exit code 3 says that it left its band. A sound run does so with a probability of 5 % at most, however often it is
    looked at.

    - `isoflop watch lightning_logs/version_7 --forecast forecast.json --below 2.5`
    - `isoflop watch me/project/RUN_ID --set N=1e9` - a run of W&B
    """
    from isoflop.analysis import output
    from isoflop.analysis.holdout.forecast import load_forecast
    from isoflop.sweeps.importing.importing import read_curve
    from isoflop.sweeps.importing.log import bears
    from isoflop.sweeps.importing.table import SETTABLE

    if below is not None and not 0 < below < math.inf:
        raise UserError(f"--below {below:g} is no loss; give a number above 0, such as --below 2.5")
    dated, named = load_forecast(forecast), naming.read()
    if unused := next((name for name in named.constants if not bears(name, SETTABLE)), ""):
        raise UserError(f"--set {unused} is nothing that watch uses; set N, batch_size, seq_len or tokens_per_step")
    one = read_curve(log, named, naming.form)
    text, document, alarm = one.against(dated, o.place(at) if at else {}, below)
    output.emit(document) if as_json else output.echo(text)
    return ALARM if alarm else 0


def main(arguments: list[str]) -> int:
    """Run the verb and return its exit code; bad input is one sentence and 2."""
    return run(app, arguments)
