"""The verbs that need no torch: fit, compare, frontier, predict, judge, report.

    isoflop fit runs.csv --law chinchilla --by family
    python -m analysis fit runs.csv --json

Each command imports what it needs when it is called, so that --help is quick. Commands raise UserError; `main` turns
that into one sentence on stderr and exit code 2.
"""

import json
import sys
from pathlib import Path
from typing import Any

import typer

from analysis import options as o
from scaling.errors import UserError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="From runs to laws and verdicts: any CSV with a size, an amount of data and a loss will do.",
)


@app.callback(invoke_without_command=True)
def _verbs(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("fit")
def fit_command(
    runs: o.Runs,
    law: o.LawName = "chinchilla",
    by: o.By = "",
    where: o.Where = "",
    columns: o.Columns = "",
    loss: o.Loss = "huber",
    delta: o.Delta = 1e-3,
    interval: o.Interval = "auto",
    level: o.Level = 0.95,
    resamples: o.Resamples = 1000,
    run: o.Run = "",
    pin: o.Pin = [],  # noqa: B006 - Typer reads the default and never changes it
    prior: o.Prior = [],  # noqa: B006
    seed: o.Seed = 0,
    as_json: o.Json = False,
) -> None:
    """Fit a law to runs: parameters with intervals, and whether the data can tell them.

    `isoflop fit runs.csv --by family` - Chinchilla's law for each family

    `isoflop fit wandb.csv --columns N=params,D=tokens,L=val/loss` - a table that another tool logged

    `isoflop fit runs.csv --law 'power_offset(D)' --where "N=1e6"` - one axis at one size

    `isoflop fit runs.csv --pin E=1.69 --interval jackknife --json` - for a script
    """
    from analysis.fit import fit_groups

    answers = fit_groups(
        o.table(runs, columns, where, run),
        law,
        by=o.names(by),
        loss=loss,
        delta=delta,
        interval=interval,
        level=level,
        resamples=resamples,
        run=run or None,
        pin=o.pins(pin),
        prior=o.priors(prior),
        seed=seed,
    )
    if as_json:
        first = answers[0]
        fits = [a.to_json() for a in answers]
        _emit({"law": first.law.name, "loss": first.loss, "delta": first.delta, "fits": fits})
    else:
        typer.echo("\n\n".join(str(a) for a in answers))
    if all(a.objective is None for a in answers):
        typer.echo(f"isoflop: no group could be fitted: {answers[0].reason}", err=True)
        raise typer.Exit(1)


@app.command("judge")
def judge_command(runs: o.Runs, claims: o.Claims = None, as_json: o.Json = False) -> None:
    """Judge claims by runs: supported, refuted, inconclusive, not identified or untested, each with its reason.

    `isoflop judge runs.csv` - the claims that ship

    `isoflop judge runs.csv --claims my_claims/ --json` - your own yaml files, for a script
    """
    from analysis.claims import judge

    verdicts = judge(runs, claims)
    if as_json:
        _emit([v.to_json() for v in verdicts])
    else:
        from analysis.words import verdict_table

        typer.echo(verdict_table(verdicts))


@app.command("report")
def report_command(runs: o.Runs, out: o.Out = Path("report"), claims: o.Claims = None) -> None:
    """Write a report: the verdicts, the figures (also SVG, PNG, CSV), the laws and every run, in one page.

    `isoflop report runs.csv -o report/` - then open report/index.html, with or without a network
    """
    from analysis.report import write_report
    from analysis.runs import read_runs

    typer.echo(f"wrote {write_report(read_runs(runs), out, claims)}")


def _emit(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=1, allow_nan=False, default=str) + "\n")


# Typer carries its own copy of click from 0.26 on and used the package before: take the class from its own lineage
_Usage: type[Any] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def main(argv: list[str] | None = None) -> int:
    """Run a verb with its arguments; the exit code: 0 done, 1 the work failed, 2 bad usage or bad input."""
    command = typer.main.get_command(app)
    try:
        code = command.main(argv, prog_name="isoflop", standalone_mode=False)
    except UserError as error:
        print(f"isoflop: {error}", file=sys.stderr)
        return 2
    except _Usage as error:
        print(f"isoflop: {error.format_message()}; see isoflop --help", file=sys.stderr)
        return 2
    except typer.Abort:
        print("isoflop: stopped", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has gone: nothing is left to say
        sys.stderr.close()
        return 0
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
