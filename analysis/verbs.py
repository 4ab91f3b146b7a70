"""The verbs that need no torch: check, fit, predict, compare, frontier, forecast, judge, report, plot.

    isoflop fit runs.csv --law chinchilla --by family
    python -m isoflop.analysis fit runs.csv --json

Each command imports what it needs when it is called, so that --help is quick. Commands raise UserError; `main` turns
that into one sentence on stderr and exit code 2.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from isoflop import checks
from isoflop.analysis import options as o
from isoflop.analysis import output
from isoflop.analysis.arguments import ARGUMENTS
from isoflop.command import expand, run
from isoflop.errors import UserError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="From runs to laws and verdicts, on any CSV with a size, an amount of data and a loss.",
)


@app.callback(invoke_without_command=True)
def _verbs(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("check")
@expand
def check_command(rows: o.TableOptions, run: Annotated[str, ARGUMENTS["run"]] = "", as_json: o.Json = False) -> None:
    """Examine a table of runs before you fit a law: what looks odd, and what its layout can identify.

    - `isoflop check runs.csv` - duplicates, units, mixtures, C against 6 N D, outliers, searched knobs, spans
    - `isoflop check wandb.csv --columns N=params,D=tokens,L=val/loss` - a table that another tool logged
    - `isoflop check runs.csv --json` - for a script; the exit code is 2 if no row is usable
    """
    from isoflop.analysis.runs.quality import check

    output.show(check(rows.read(run), run or None), as_json)


@app.command("fit")
@expand
def fit_command(rows: o.RunOptions, fitting: o.FitOptions, *, local: o.LocalOptions, as_json: o.Json = False) -> None:
    """Fit a law to runs: parameters with intervals, and whether the data identify them.

    - `isoflop fit runs.csv --by family` - Chinchilla's law for each family
    - `isoflop fit wandb.csv --columns N=params,D=tokens,L=val/loss` - a table that another tool logged
    - `isoflop fit runs.csv --law 'power_offset(D)' --where "N=1e6"` - one axis at one size
    - `isoflop fit runs.csv --law 'sigmoid(L)' --target metric.accuracy` - any column of positive numbers
    - `isoflop fit runs.csv --by family --share E` - one irreducible loss for all families
    - `isoflop fit runs.csv --local` - slopes, loss and best D/N among the runs, identified even when E is not
    - `isoflop fit runs.csv --pin E=1.69 --interval jackknife --json` - for a script
    """
    by, share = o.names(rows.by), o.names(fitting.share)
    table, law, options = rows.tuned(), o.law(fitting.law, fitting.target), fitting.settings(rows.run)
    from isoflop.analysis.fitting.fit import fit_groups

    fits = fit_groups(table, law, by=by, share=share, **options)
    quantities = output.local_quantities(fits, local.local, o.place(local.at))
    output.show_fits(fits, quantities, share, as_json)


@app.command("predict")
@expand
def predict_command(
    rows: o.RunOptions,
    fitting: o.LawOptions,
    *,
    at: Annotated[list[str] | None, ARGUMENTS["at"]] = None,
    then: Annotated[str, ARGUMENTS["then"]] = "",
    table: o.PointsOptions,
    level: o.Band = 0.9,
    as_json: o.Json = False,
) -> None:
    """Predict a run before you make it: its loss with a band, or the best size and data for a budget.

    - `isoflop predict runs.csv --at C=1e21` - the best N and D for that compute, and the loss there
    - `isoflop predict runs.csv --at N=1e9,D=2e10` - the loss of one run
    - `isoflop predict runs.csv --at C=1e21,N=1e9` - what that size costs above the best one
    - `isoflop predict runs.csv --by family --at C=1e21` - how many times less compute each needs than the slowest
    - `isoflop predict runs.csv --by family --at L=2.1` - the same at a loss
    - `isoflop predict runs.csv --at N=1e9,D=2e10 --then 'sigmoid(L)'` - loss, then accuracy, both errors in its band
    - `isoflop predict small.csv --points large.csv -o predictions.csv` - every row of a table, scored where L is known
    - `isoflop predict runs.csv --law best --at N=1e9,D=2e10` - the average of the laws that predict held-out runs best

    A band covers the noise of a run, the uncertainty of the parameters and the error of the law's form, as far as
    held-out rows show it; `predicts` says whether the law came nearer to them than other laws and naive guesses.
    """
    from isoflop.analysis.holdout.predict import check_place

    if bool(at) == bool(table.points):
        raise UserError("give --at for one place, as in --at C=1e21, or --points for a table of them")
    if table.out is not None and table.points is None:
        raise UserError("-o writes the table of --points; for one place, --json prints a document to redirect")
    check_place(place := o.place(",".join(at or [])), level)
    first, second = fitting.steps(then)
    fits = first.fits(rows)
    seconds = output.fitted(second.fits(rows)) if second else []
    if table.points is not None:
        points = o.points(table.points, rows.columns, fits[0].law.target)
        return output.show_points(fits, points, level, table.out, as_json, seconds)
    output.show_predictions(output.fitted(fits), place, level, as_json, seconds)


@app.command("compare")
@expand
def compare_command(
    rows: o.RunOptions,
    fitting: o.WeightOptions,
    laws: Annotated[str, ARGUMENTS["laws"]] = "",
    axis: Annotated[str, ARGUMENTS["axis"]] = "C",
    holdout: Annotated[str, ARGUMENTS["holdout"]] = "",
    reach: Annotated[float, ARGUMENTS["reach"]] = 4.0,
    as_json: o.Json = False,
) -> None:
    """Compare laws by how well they predict larger runs that were held out, beside naive guesses.

    - `isoflop compare runs.csv` - the laws that suit the columns and their average, by a rolling hold-out along C
    - `isoflop compare runs.csv --laws power,chinchilla,best` - these
    - `isoflop compare runs.csv --laws 'power_offset(D),bnsl(D)' --axis D` - along the data
    - `isoflop compare runs.csv --holdout "C>=1e20"` - one cut
    - `isoflop compare runs.csv --by family` - for each family
    """
    from isoflop.analysis.holdout.compare import compare

    def work(table: Any) -> Any:
        options: dict[str, Any] = {"axis": axis, "holdout": holdout, "reach": reach, "run": rows.run or None}
        return compare(table, o.laws(laws), **options | vars(fitting))

    output.show_each(rows.tuned(), rows.by, work, as_json)


@app.command("frontier")
@expand
def frontier_command(
    rows: o.RunOptions,
    fitting: o.LossOptions,
    target: Annotated[str, ARGUMENTS["target"], "--target-C", "--budget"] = "",
    inference_tokens: Annotated[str, ARGUMENTS["inference_tokens"]] = "",
    price: Annotated[str, ARGUMENTS["price"]] = "",
    level: Annotated[float, ARGUMENTS["level"]] = 0.95,
    figure: Annotated[Path | None, "Also draw the best size, data and D/N against C: split.svg"] = None,
    as_json: o.Json = False,
) -> None:
    """Decide which size and how much data to train for a compute; then three approaches side by side.

    - `isoflop frontier runs.csv` - for the largest C of the runs; refused budgets with the reason
    - `isoflop frontier runs.csv --target-C 1e21 --inference-tokens 1e12` - a budget, and what serving it changes
    - `isoflop frontier runs.csv --target-C 1e21 --price 2.5/h@4e14` - and what it costs
    - `isoflop frontier theirs.csv --columns N=params,D=tokens,C=flops,L=loss --json`
    - `isoflop frontier runs.csv --by family` - for each family
    """
    from isoflop.analysis.frontier.frontier import frontier

    if figure is not None:  # report a wrong ending before the answer
        from isoflop.analysis.report.plot import named, plot

        named("allocation", figure)
    options: dict[str, Any] = {"level": level, "loss": fitting.loss, "delta": fitting.delta, "run": rows.run or None}
    options |= {"tune": o.names(rows.tune), "target": o.numbers(target, "--target-C", "1e20,1e21")}
    options["inference_tokens"] = next(iter(o.numbers(inference_tokens, "--inference-tokens", "1e12")), None)
    of_hour = checks.price(price, speed=True)
    options["price"] = of_hour and of_hour[0] / 3600 / of_hour[1]
    table = rows.read(rows.run)
    output.show_each(table, rows.by, lambda group: frontier(group, **options), as_json)
    if figure is not None:
        plot(o.grouped(table, rows.by), "allocation", figure, tune=o.names(rows.tune))
        output.echo(f"wrote {figure}", err=as_json)


@app.command("forecast")
@expand
def forecast_command(
    rows: o.RunOptions,
    fitting: o.LawOptions,
    at: Annotated[list[str], ARGUMENTS["places"]],
    files: o.ForecastOptions,
    level: o.Band = 0.9,
    as_json: o.Json = False,
) -> None:
    """Write down what larger runs will give before they are made: predictions with bands at named points.

    - `isoflop forecast runs.csv --at C=1e13,1e14 --by family` - forecast.json; commit it, then make the runs
    - `isoflop forecast runs.csv --at N=1e9,D=2e10 -o one_run.json` - one run, by its size and data
    - `isoflop forecast runs.csv --by family --at family=cnn,C=1e13` - one group alone
    - `isoflop judge runs_later.csv --forecast forecast.json` - how it came out, beside naive guesses
    - `isoflop forecast runs.csv --curves curves.csv --at N=1e9,D=2e10` - then isoflop watch the run against it
    """
    from isoflop.analysis.holdout.average import names_average
    from isoflop.analysis.holdout.forecast import forecast

    by = o.names(rows.by)
    options = fitting.settings(rows.run) | {"by": by, "share": o.names(fitting.share), "level": level}
    table, points = rows.tuned(), o.places(at, by)
    names, law = o.pairs(rows.columns), fitting.law
    if names_average(law):
        options["target"] = fitting.target.strip() or None
    else:
        law = o.law(law, fitting.target)
    dated = forecast(table, points, law, columns=names, **options)
    if files.curves is not None:
        from isoflop.analysis.holdout.watching.curves import with_curves

        dated = with_curves(dated, files.curves, table)
    path = dated.save(files.out)
    text = f"{dated}\nwrote {path}: commit it before the runs are made, then isoflop judge --forecast {path}"
    output.emit(dated.to_json()) if as_json else output.echo(text)


@app.command("judge")
@expand
def judge_command(
    rows: o.GroupOptions,
    claims: o.Claims = None,
    forecast: o.Forecast = None,
    as_json: o.Json = False,
    every: Annotated[bool, "Also list each of the claims that ship and that this table does not test", "--all"] = False,
    quantities: o.Quantities = False,
) -> None:
    """Judge claims by runs: supported, refuted, inconclusive, not identified or untested, each with its reason.

    - `isoflop judge runs.csv` - the claims that ship, and how many of them need other runs
    - `isoflop judge runs.csv --claims my_claims/ --json` - your own yaml files, for a script
    - `isoflop judge theirs.csv --columns N=params,D=tokens,L=loss --by arch` - use --by groups instead of families
    - `isoflop judge --quantities` - what a claim can be about
    - `isoflop judge runs.csv --forecast forecast.json` - a forecast, by the runs made since
    """
    if forecast is not None:
        from isoflop.analysis.claims.forecasts import judge_forecast, runs_for

        table = rows.read() if rows.columns or rows.where else runs_for(forecast, rows.runs)
        return output.show(judge_forecast(forecast, table), as_json)
    from isoflop.analysis.claims.claim import load_claims
    from isoflop.analysis.claims.judge import judge, sound_table

    stated = load_claims(claims)  # report a wrong claim before a long table is read
    table = o.grouped(sound_table(rows.read(tune=rows.tune, by=rows.by)), rows.by)
    verdicts = judge(table, stated)
    if as_json:
        output.emit([v.to_json() for v in verdicts])
    else:
        from isoflop.analysis.claims.studies import lacking
        from isoflop.analysis.report.sentences import verdict_table

        line = "" if every or claims is not None else lacking(verdicts, table)
        tested = [v for v in verdicts if not (line and v.verdict == "untested")]
        asked = f"{line}: --all lists them" if line else ""
        notes = *output.notes(table), *output.since(rows, verdicts)
        output.echo("\n".join(filter(None, [verdict_table(tested), asked, *notes])))


@app.command("report")
@expand
def report_command(
    rows: o.GroupOptions,
    out: Annotated[Path, "Folder of the report", "--out", "-o"] = Path("report"),
    claims: o.Claims = None,
    forecast: o.Forecast = None,
    full: Annotated[bool, ARGUMENTS["full"]] = False,
) -> None:
    """Write a report: the finding, the verdicts, the figures (and their data), the laws and every run, in one page.

    - `isoflop report runs.csv -o report/` - then open report/index.html, with or without a network
    - `isoflop report theirs.csv --columns N=params,D=tokens,L=loss --by arch` - use --by groups instead of families
    - `isoflop report runs.csv --forecast forecast.json` - with a forecast, scored by the runs made since
    """
    from isoflop.analysis.report.report import write_report

    table = o.grouped(rows.read(), rows.by)
    page = write_report(table, out, claims, forecast, tune=o.names(rows.tune), full=full)
    output.echo("\n".join([f"wrote {page}", *output.notes(table)]))


@app.command("plot")
@expand
def plot_command(
    rows: o.GroupOptions,
    figure: Annotated[str, "The figure, or the beginning of its name: see --figures", "--figure", "-f"] = (
        "loss_vs_compute"
    ),
    out: Annotated[Path | None, "The file; its ending is the format; default NAME.svg", "--out", "-o"] = None,
    forecast: o.Forecast = None,
    figures: o.Figures = False,
) -> None:
    """Draw one figure into a file: SVG, PNG or PDF, Vega-Lite as .json, or its data as .csv.

    - `isoflop plot runs.csv --figure isoflop_profiles -o profiles.svg` - loss against size at each budget
    - `isoflop plot theirs.csv --columns N=params,D=tokens,L=loss --by arch -f allocation -o split.pdf`
    - `isoflop plot --figures` - all of them, with what each shows and needs
    """
    from isoflop.analysis.report.plot import named, plot

    name = named(figure, out).name  # report a wrong name before a long table is read
    path = out or Path(f"{name}.svg")
    table = o.grouped(rows.read(), rows.by)
    title = plot(table, name, path, tune=o.names(rows.tune), forecast=forecast)
    output.echo("\n".join([f"{title}\nwrote {path}", *output.notes(table)]))


def main(argv: list[str] | None = None) -> int:
    """Run a verb with its arguments and return the exit code: 0 done, 1 the work failed, 2 bad usage or bad input."""
    return run(app, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
