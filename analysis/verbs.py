"""The verbs that need no torch: fit, compare, frontier, predict, judge, report.

    isoflop fit runs.csv --law chinchilla --by family
    python -m isoflop.analysis fit runs.csv --json

Each command imports what it needs when it is called, so that --help is quick. Commands raise UserError; `main` turns
that into one sentence on stderr and exit code 2.
"""

import json
import sys
from pathlib import Path
from typing import Any

import typer

from isoflop.analysis import options as o
from isoflop.errors import UserError
from isoflop.exits import run

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
    target: o.Target = "",
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
    share: o.Share = "",
    weights: o.Weights = "none",
    seed: o.Seed = 0,
    specification: o.Curve = False,
    as_json: o.Json = False,
) -> None:
    """Fit a law to runs: parameters with intervals, and whether the data can tell them.

    `isoflop fit runs.csv --by family` - Chinchilla's law for each family

    `isoflop fit wandb.csv --columns N=params,D=tokens,L=val/loss` - a table that another tool logged

    `isoflop fit runs.csv --law 'power_offset(D)' --where "N=1e6"` - one axis at one size

    `isoflop fit runs.csv --law 'sigmoid(L)' --target metric.accuracy` - any column of numbers above 0

    `isoflop fit runs.csv --by family --share E` - one irreducible loss for all families

    `isoflop fit runs.csv --specification` - how far the answer hangs on choices that the data do not make

    `isoflop fit runs.csv --pin E=1.69 --interval jackknife --json` - for a script
    """
    from isoflop.analysis.fitting.fit import fit_groups

    how: dict[str, Any] = {"loss": loss, "delta": delta, "interval": interval, "level": level, "resamples": resamples}
    how |= {"run": run or None, "pin": o.pins(pin), "prior": o.priors(prior), "weights": weights, "seed": seed}
    table = o.table(runs, columns, where, run)
    law = o.law(law, target)
    if specification:
        return _specification(table, law, o.names(by), o.names(share), how, as_json)
    answers = fit_groups(table, law, by=o.names(by), share=o.names(share), **how)
    if as_json:
        first = answers[0]
        fits = [a.to_json() for a in answers]
        _emit({"law": first.law.name, "loss": first.loss, "delta": first.delta, "shared": o.names(share), "fits": fits})
    else:
        typer.echo("\n\n".join(str(a) for a in answers))
    if all(a.objective is None for a in answers):
        typer.echo(f"isoflop: no group could be fitted: {answers[0].reason}", err=True)
        raise typer.Exit(1)


def _specification(table: Any, law: str, by: list[str], share: list[str], how: dict[str, Any], as_json: bool) -> None:
    """The specification curve of each group."""
    from isoflop.analysis.tables.rows import groups
    from isoflop.analysis.testing.specification_curve import as_text, specification, to_json

    if share:
        raise UserError("--specification looks at each group alone; leave --share out")
    found = [(label, specification(rows, law, **how)) for label, rows in groups(table, by)]
    if as_json:
        _emit({"law": law, "specifications": [{"by": label, "choices": to_json(rows)} for label, rows in found]})
    else:
        texts = ["".join(f"{k}={v}  " for k, v in label.items()) + as_text(rows, law) for label, rows in found]
        typer.echo("\n\n".join(texts))


@app.command("predict")
def predict_command(
    runs: o.Runs,
    at: o.At,
    law: o.LawName = "chinchilla",
    target: o.Target = "",
    by: o.By = "",
    where: o.Where = "",
    columns: o.Columns = "",
    loss: o.Loss = "huber",
    delta: o.Delta = 1e-3,
    level: o.Band = 0.9,
    run: o.Run = "",
    pin: o.Pin = [],  # noqa: B006
    prior: o.Prior = [],  # noqa: B006
    share: o.Share = "",
    weights: o.Weights = "none",
    as_json: o.Json = False,
) -> None:
    """What a law says of a run not yet made: its loss with a band, the best size and data for a budget.

    `isoflop predict runs.csv --at C=1e21` - the best N and D for that compute, and the loss there

    `isoflop predict runs.csv --at N=1e9,D=2e10` - the loss of one run

    `isoflop predict runs.csv --at C=1e21,N=1e9` - and what that size costs above the best one
    """
    from isoflop.analysis.fitting.fit import fit_groups
    from isoflop.analysis.testing.predict import as_text, predict

    place = {k: o.number(v, f"--at {at}", "--at C=1e21") for k, v in o.pairs(at, "--at", "C=1e21").items()}
    how: dict[str, Any] = {
        "loss": loss,
        "delta": delta,
        "run": run or None,
        "pin": o.pins(pin),
        "prior": o.priors(prior),
    }
    how |= {"share": o.names(share), "weights": weights}
    answers = fit_groups(o.table(runs, columns, where, run), o.law(law, target), by=o.names(by), **how)
    fitted = [a for a in answers if a.objective is not None]
    said = [(a, predict(a, place, level)) for a in fitted]
    if as_json:
        rows = [{"by": a.by, "status": a.status, "reason": a.reason} | o.plain(s) for a, s in said]
        _emit({"law": answers[0].law.name, "level": level, "predictions": rows})
    else:
        typer.echo("\n\n".join(as_text(a, s, level) for a, s in said))
    for a in answers:
        if a.objective is None:
            typer.echo(f"isoflop: not fitted {a.by or ''}: {a.reason}", err=True)
    if not fitted:
        raise typer.Exit(1)


@app.command("compare")
def compare_command(
    runs: o.Runs,
    laws: o.Laws = "power,power_offset,chinchilla",
    axis: o.Axis = "C",
    holdout: o.HoldOut = "",
    where: o.Where = "",
    columns: o.Columns = "",
    loss: o.Loss = "huber",
    delta: o.Delta = 1e-3,
    run: o.Run = "",
    as_json: o.Json = False,
) -> None:
    """Compare laws by what they predict of larger runs that they have not seen, beside naive guesses.

    `isoflop compare runs.csv --laws power,chinchilla` - rolling hold-out along C

    `isoflop compare runs.csv --laws 'power_offset(D),bnsl(D)' --axis D` - along the data

    `isoflop compare runs.csv --holdout "C>=1e20"` - one cut
    """
    from isoflop.analysis.testing.compare import compare

    table = o.table(runs, columns, where, run)
    found = compare(table, o.laws(laws), axis=axis, holdout=holdout, loss=loss, delta=delta, run=run or None)
    if as_json:
        _emit(found.to_json())
    else:
        typer.echo(str(found))


@app.command("frontier")
def frontier_command(
    runs: o.Runs,
    target: o.TargetC = "",
    inference_tokens: o.Served = "",
    where: o.Where = "",
    columns: o.Columns = "",
    loss: o.Loss = "huber",
    delta: o.Delta = 1e-3,
    level: o.Level = 0.95,
    run: o.Run = "",
    as_json: o.Json = False,
) -> None:
    """The best size and data for each compute, by three approaches side by side.

    `isoflop frontier runs.csv` - isoFLOP minima, envelope and parametric fit, refused budgets with the reason

    `isoflop frontier runs.csv --target-C 1e21 --inference-tokens 1e12` - a budget, and what serving it changes

    `isoflop frontier theirs.csv --columns N=params,D=tokens,C=flops,L=loss --json`
    """
    from isoflop.analysis.frontier.frontier import frontier

    table = o.table(runs, columns, where, run)
    found = frontier(
        table,
        level=level,
        target=o.numbers(target, "--target-C", "1e20,1e21"),
        inference_tokens=next(iter(o.numbers(inference_tokens, "--inference-tokens", "1e12")), None),
        loss=loss,
        delta=delta,
        run=run or None,
    )
    if as_json:
        _emit(found.to_json())
    else:
        typer.echo(str(found))


@app.command("judge")
def judge_command(
    runs: o.Runs, claims: o.Claims = None, as_json: o.Json = False, quantities: o.Quantities = False
) -> None:
    """Judge claims by runs: supported, refuted, inconclusive, not identified or untested, each with its reason.

    `isoflop judge runs.csv` - the claims that ship

    `isoflop judge runs.csv --claims my_claims/ --json` - your own yaml files, for a script

    `isoflop judge --quantities` - what a claim can be about
    """
    from isoflop.analysis.claims.judge import judge

    verdicts = judge(runs, claims)
    if as_json:
        _emit([v.to_json() for v in verdicts])
    else:
        from isoflop.analysis.report.sentences import verdict_table

        typer.echo(verdict_table(verdicts))


@app.command("report")
def report_command(runs: o.Runs, out: o.Out = Path("report"), claims: o.Claims = None) -> None:
    """Write a report: the verdicts, the figures (also SVG, PNG, CSV), the laws and every run, in one page.

    `isoflop report runs.csv -o report/` - then open report/index.html, with or without a network
    """
    from isoflop.analysis.report.report import write_report
    from isoflop.analysis.tables.read import read_runs

    typer.echo(f"wrote {write_report(read_runs(runs), out, claims)}")


def _emit(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=1, allow_nan=False, default=str) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Run a verb with its arguments; the exit code: 0 done, 1 the work failed, 2 bad usage or bad input."""
    return run(app, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
