"""The verbs that need no torch: check, fit, compare, frontier, predict, judge, report, plot.

    isoflop fit runs.csv --law chinchilla --by family
    python -m isoflop.analysis fit runs.csv --json

Each command imports what it needs when it is called, so that --help is quick. Commands raise UserError; `main` turns
that into one sentence on stderr and exit code 2.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from isoflop import files
from isoflop.analysis import options as o
from isoflop.errors import CellError, FitError, UserError
from isoflop.exits import run
from isoflop.wording import printable, spreadsheet

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


@app.command("check")
def check_command(
    runs: o.Runs, where: o.Where = "", columns: o.Columns = "", run: o.Run = "", as_json: o.Json = False
) -> None:
    """Examine a table of runs before a law is fitted: what is odd, and what its layout can tell.

    `isoflop check runs.csv` - duplicates, units, mixtures, C against 6 N D, outliers, searched knobs, spans

    `isoflop check wandb.csv --columns N=params,D=tokens,L=val/loss` - a table that another tool logged

    `isoflop check runs.csv --json` - for a script; exit code 2 where no row can be used
    """
    from isoflop.analysis.runs.quality import check

    quality = check(o.table(runs, columns, where, run), run or None)
    _emit(quality.to_json()) if as_json else typer.echo(str(quality))


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
    tune: o.Tune = "",
    pin: o.Pin = [],  # noqa: B006 - Typer reads the default and never changes it
    prior: o.Prior = [],  # noqa: B006
    share: o.Share = "",
    weights: o.Weights = "none",
    seed: o.Seed = 0,
    specification: o.Curve = False,
    local: o.Local = False,
    at: o.Point = "",
    curves: o.Trunks = False,
    as_json: o.Json = False,
) -> None:
    """Fit a law to runs: parameters with intervals, and whether the data can tell them.

    `isoflop fit runs.csv --by family` - Chinchilla's law for each family

    `isoflop fit wandb.csv --columns N=params,D=tokens,L=val/loss` - a table that another tool logged

    `isoflop fit runs.csv --law 'power_offset(D)' --where "N=1e6"` - one axis at one size

    `isoflop fit runs.csv --law 'sigmoid(L)' --target metric.accuracy` - any column of numbers above 0

    `isoflop fit runs.csv --by family --share E` - one irreducible loss for all families

    `isoflop fit runs.csv --specification` - how far the estimates hang on choices that the data do not make

    `isoflop fit runs.csv --local` - slopes, loss and best D/N among the runs, which are known where E is not

    `isoflop fit runs/ --curves` - marks and the trunks that they were cut from, so that each run tells more

    `isoflop fit runs.csv --pin E=1.69 --interval jackknife --json` - for a script
    """
    from isoflop.analysis.fitting.fit import fit_groups

    options: dict[str, Any] = {"loss": loss, "delta": delta, "interval": interval, "level": level}
    options |= {"resamples": resamples, "seed": seed, "weights": weights, "run": run or None}
    options |= {"pin": o.pins(pin), "prior": o.priors(prior)}
    table = o.table(runs, columns, where, run, tune, by)
    law = o.law(law, target)
    if curves and (specification or share):
        raise UserError("--curves fits each group by itself and once; leave --share and --specification out")
    if specification:
        return _specification(table, law, o.names(by), o.names(share), options, as_json)
    if curves:
        from isoflop.analysis.fitting.trunks import fit_trunks
        from isoflop.analysis.runs.read import select
        from isoflop.analysis.runs.trunks import add_trunks

        table = add_trunks(table, runs)
        fits = fit_trunks(select(table, where) if where else table, law, by=o.names(by), **options)
    else:
        fits = fit_groups(table, law, by=o.names(by), share=o.names(share), **options)
    shown = _local_quantities(fits, local, o.place(at))
    if as_json:
        about = {"law": fits[0].law.name, "loss": fits[0].loss, "delta": fits[0].delta, "shared": o.names(share)}
        extra = [{} if quantities is None else {"local": quantities.to_json()} for quantities in shown]
        _emit(about | {"fits": [fit.to_json() | more for fit, more in zip(fits, extra, strict=True)]})
    else:
        texts = [str(fit) if q is None else f"{fit}\n{q}" for fit, q in zip(fits, shown, strict=True)]
        _print("\n\n".join(texts))
    if all(fit.objective is None for fit in fits):
        _print(f"isoflop: no group could be fitted: {fits[0].reason}", err=True)
        raise typer.Exit(1)


def _local_quantities(fits: Any, local: bool, at: dict[str, float]) -> list[Any]:
    """For each fit its local quantities, where they are asked for and the fit does not show them by itself."""
    wanted = [fit.objective is not None and (bool(at) or (local and not fit.unidentified)) for fit in fits]
    return [fit.local(at) if one else None for fit, one in zip(fits, wanted, strict=True)]


def _specification(
    table: Any, law: str, by: list[str], share: list[str], options: dict[str, Any], as_json: bool
) -> None:
    """The specification curve of each group."""
    from isoflop.analysis.holdout.specification_curve import as_text, specification, to_json
    from isoflop.analysis.runs.rows import groups

    if share:
        raise UserError("--specification looks at each group alone; leave --share out")
    curves = [(label, specification(rows, law, **options)) for label, rows in groups(table, by)]
    if as_json:
        _emit({"law": law, "specifications": [{"by": label, "choices": to_json(rows)} for label, rows in curves]})
    else:
        texts = ["".join(f"{k}={v}  " for k, v in label.items()) + as_text(rows, law) for label, rows in curves]
        _print("\n\n".join(texts))


def _each_group(table: Any, by: str, work: Callable[[Any], Any], as_json: bool) -> None:
    """Print what `work` makes of each group; a group that cannot be worked on is named with the reason, and where none
    can the exit code is 1. Without groups it is an error like any other."""
    from isoflop.analysis.runs.rows import groups

    if not by:
        result = work(table)
        return _emit(result.to_json()) if as_json else _print(str(result))
    results, refused = [], []
    for label, rows in groups(table, o.names(by)):
        try:
            results.append((label, work(rows)))
        except CellError:  # a bad cell is bad input whichever group it is in
            raise
        except FitError as error:
            refused.append((label, str(error)))
    reasons = {reason for _, reason in refused}
    if not results and len(reasons) == 1:  # what no group can have is not the groups' fault
        raise FitError(reasons.pop())
    if as_json:
        documents = [{"by": label} | result.to_json() for label, result in results]
        _emit({"groups": documents, "refused": [{"by": label, "reason": reason} for label, reason in refused]})
    else:
        name = "  ".join
        _print("\n\n".join(f"{name(f'{k}={v}' for k, v in label.items())}\n{text}" for label, text in results))
    for label, reason in refused:
        _print(f"isoflop: {', '.join(f'{k}={v}' for k, v in label.items())}: {reason}", err=True)
    if not results:
        raise typer.Exit(1)


@app.command("predict")
def predict_command(
    runs: o.Runs,
    at: o.At = "",
    points: o.Points = None,
    out: o.PointsOut = None,
    law: o.LawName = "chinchilla",
    target: o.Target = "",
    by: o.By = "",
    where: o.Where = "",
    columns: o.Columns = "",
    loss: o.Loss = "huber",
    delta: o.Delta = 1e-3,
    level: o.Band = 0.9,
    run: o.Run = "",
    tune: o.Tune = "",
    pin: o.Pin = [],  # noqa: B006
    prior: o.Prior = [],  # noqa: B006
    share: o.Share = "",
    weights: o.Weights = "none",
    as_json: o.Json = False,
) -> None:
    """Predict a run not yet made: its loss with a band, the best size and data for a budget.

    `isoflop predict runs.csv --at C=1e21` - the best N and D for that compute, and the loss there

    `isoflop predict runs.csv --at N=1e9,D=2e10` - the loss of one run

    `isoflop predict runs.csv --at C=1e21,N=1e9` - and what that size costs above the best one

    `isoflop predict runs.csv --by family --at C=1e21` - and how many times less compute each needs than the slowest

    `isoflop predict runs.csv --by family --at L=2.1` - the same at a loss

    `isoflop predict small.csv --points large.csv -o predictions.csv` - every row of a table, scored where L is known

    `isoflop predict runs.csv --law best --at N=1e9,D=2e10` - the average of the laws that predict held-out runs best

    A band holds the noise of a run, the uncertainty of parameters and the error of the law's form, as far as rows held
    out tell it; `predicts` says whether the law came nearer to them than other laws and naive guesses.
    """
    from isoflop.analysis.fitting.fit import fit_groups
    from isoflop.analysis.holdout.average import average_groups, names_average
    from isoflop.analysis.holdout.predict import check_place

    if bool(at) == bool(points):
        raise UserError("give --at for one place, as in --at C=1e21, or --points for a table of them")
    if out is not None and points is None:
        raise UserError("-o writes the table of --points; for one place, --json prints a document to redirect")
    check_place(place := o.place(at), level)
    options: dict[str, Any] = {"loss": loss, "delta": delta, "run": run or None, "weights": weights}
    options |= {"pin": o.pins(pin), "prior": o.priors(prior), "share": o.names(share)}
    table = o.table(runs, columns, where, run, tune, by)
    fits: Any
    if names_average(law):
        fits = average_groups(table, law, by=o.names(by), target=target.strip() or None, **options)
    else:
        fits = fit_groups(table, o.law(law, target), by=o.names(by), **options)
    if points is not None:
        places = o.points(points, columns, fits[0].law.target)
        return _predict_points(fits, places, o.names(by), level, out, as_json)
    for fit in fits:
        if fit.objective is None:
            group = "".join(f" {k}={v}" for k, v in fit.by.items())
            _print(f"isoflop: not fitted{group}: {fit.reason}", err=True)
    fits = [fit for fit in fits if fit.objective is not None]
    if not fits:
        raise typer.Exit(1)
    _predict_place(fits, place, level, as_json)


def _predict_place(fits: Any, place: dict[str, float], level: float, as_json: bool) -> None:
    """Print what each fit predicts at a place; of several at a compute or a loss, their speed-up too."""
    from isoflop.analysis.holdout.predict import as_text, predict, to_json
    from isoflop.analysis.holdout.speedup import label, least_compute, speedups

    target, average = fits[0].law.target, not fits[0].law.params
    if list(place) == [target] and average:
        raise UserError(f"an average of laws is not inverted for {target}; name one law, such as --law multiplicative")
    if list(place) == [target]:
        needs = [least_compute(fit, place[target], level) for fit in fits]
        rows = [{"by": f.by, "at": place, "C": vars(C), "note": n} for f, (C, n) in zip(fits, needs, strict=True)]
        notes = [f"\n  note       {note}" if note else "" for _, note in needs]
        names = [label(f) if f.by else f.law.formula for f in fits]
        texts = [f"{name}\n  C          {C}{n}" for name, (C, _), n in zip(names, needs, notes, strict=True)]
    else:
        predictions = [predict(fit, place, level) for fit in fits]
        rows = [to_json(fit, prediction) for fit, prediction in zip(fits, predictions, strict=True)]
        texts = [as_text(fit, prediction, level) for fit, prediction in zip(fits, predictions, strict=True)]
    if len(fits) > 1 and not average and list(place) in ([target], ["C"]):
        ratios = speedups(fits, place, level)
        rows = [row | {"speedup": one and one.to_json()} for row, one in zip(rows, ratios, strict=True)]
        texts = [f"{text}\n  speedup    {one or 'the slowest'}" for text, one in zip(texts, ratios, strict=True)]
    if as_json:
        _emit({"law": fits[0].law.name, "level": level, "predictions": rows})
    else:
        _print("\n\n".join(texts))


def _predict_points(fits: Any, points: Any, by: list[str], level: float, out: Path | None, as_json: bool) -> None:
    """Write a table of predictions, or print it, and say how good they were where the target is known."""
    from isoflop.analysis.holdout.points import predict_points, score

    table = predict_points(fits, points, by, level)
    result = score(table, fits[0].law.target, level)
    if out is not None:
        files.write_text(out, table.map(spreadsheet).rename(columns=spreadsheet).to_csv(index=False))
    if as_json:
        rows = table.to_dict("records")
        _emit({"law": fits[0].law.name, "level": level, "predictions": rows, "score": result and vars(result)})
    else:
        _print(f"{out}: {len(table)} rows" if out else table.to_string(index=False))
        _print(str(result) if result else f"no row has {fits[0].law.target} to compare with", err=out is None)
    if table["value"].isna().all():
        raise typer.Exit(1)


@app.command("compare")
def compare_command(
    runs: o.Runs,
    laws: o.Laws = "",
    axis: o.Axis = "C",
    holdout: o.HoldOut = "",
    by: o.By = "",
    where: o.Where = "",
    columns: o.Columns = "",
    loss: o.Loss = "huber",
    delta: o.Delta = 1e-3,
    run: o.Run = "",
    tune: o.Tune = "",
    as_json: o.Json = False,
) -> None:
    """Compare laws by what they predict of larger runs that they have not seen, beside naive guesses.

    `isoflop compare runs.csv` - the laws that suit the columns and their average, by a rolling hold-out along C

    `isoflop compare runs.csv --laws power,chinchilla,best` - these

    `isoflop compare runs.csv --laws 'power_offset(D),bnsl(D)' --axis D` - along the data

    `isoflop compare runs.csv --holdout "C>=1e20"` - one cut

    `isoflop compare runs.csv --by family` - for each family
    """
    from isoflop.analysis.holdout.compare import compare

    def work(rows: Any) -> Any:
        return compare(rows, o.laws(laws), axis=axis, holdout=holdout, loss=loss, delta=delta, run=run or None)

    _each_group(o.table(runs, columns, where, run, tune, by), by, work, as_json)


@app.command("frontier")
def frontier_command(
    runs: o.Runs,
    target: o.TargetC = "",
    inference_tokens: o.Served = "",
    by: o.By = "",
    where: o.Where = "",
    columns: o.Columns = "",
    loss: o.Loss = "huber",
    delta: o.Delta = 1e-3,
    level: o.Level = 0.95,
    run: o.Run = "",
    tune: o.Tune = "",
    as_json: o.Json = False,
) -> None:
    """The best size and data for each compute, by three approaches side by side.

    `isoflop frontier runs.csv` - isoFLOP minima, envelope and parametric fit, refused budgets with the reason

    `isoflop frontier runs.csv --target-C 1e21 --inference-tokens 1e12` - a budget, and what serving it changes

    `isoflop frontier theirs.csv --columns N=params,D=tokens,C=flops,L=loss --json`

    `isoflop frontier runs.csv --by family` - for each family
    """
    from isoflop.analysis.frontier.frontier import frontier

    options: dict[str, Any] = {"level": level, "loss": loss, "delta": delta, "run": run or None}
    options["tune"] = o.names(tune)
    options["target"] = o.numbers(target, "--target-C", "1e20,1e21")
    options["inference_tokens"] = next(iter(o.numbers(inference_tokens, "--inference-tokens", "1e12")), None)
    _each_group(o.table(runs, columns, where, run), by, lambda rows: frontier(rows, **options), as_json)


@app.command("forecast")
def forecast_command(
    runs: o.Runs,
    at: o.Places,
    out: o.ForecastOut = Path("forecast.json"),
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
    tune: o.Tune = "",
    as_json: o.Json = False,
) -> None:
    """Write down what larger runs will give before they are made: predictions with bands at named points.

    `isoflop forecast runs.csv --at C=1e13,1e14 --by family` - forecast.json; commit it, then make the runs

    `isoflop forecast runs.csv --at N=1e9,D=2e10 -o one_run.json` - one run, by its size and data

    `isoflop forecast runs.csv --by family --at family=cnn,C=1e13` - of one group alone

    `isoflop judge runs_later.csv --forecast forecast.json` - how it came out, beside naive lines
    """
    from isoflop.analysis.holdout.average import names_average
    from isoflop.analysis.holdout.forecast import forecast

    options: dict[str, Any] = {"loss": loss, "delta": delta, "run": run or None, "weights": weights}
    options |= {"pin": o.pins(pin), "prior": o.priors(prior), "share": o.names(share)}
    table, points = o.table(runs, columns, where, run, tune, by), o.places(at, o.names(by))
    names, average = o.pairs(columns), names_average(law)
    if average:
        options["target"] = target.strip() or None
    chosen = law if average else o.law(law, target)
    dated = forecast(table, points, chosen, by=o.names(by), level=level, columns=names, **options)
    path = dated.save(out)
    if as_json:
        _emit(dated.to_json())
    else:
        _print(f"{dated}\nwrote {path}: commit it before the runs are made, then isoflop judge --forecast {path}")


@app.command("judge")
def judge_command(
    runs: o.Runs,
    claims: o.Claims = None,
    forecast: o.ForecastIn = None,
    by: o.By = "",
    where: o.Where = "",
    columns: o.Columns = "",
    tune: o.Tune = "",
    as_json: o.Json = False,
    quantities: o.Quantities = False,
) -> None:
    """Judge claims by runs: supported, refuted, inconclusive, not identified or untested, each with its reason.

    `isoflop judge runs.csv` - the claims that ship

    `isoflop judge runs.csv --claims my_claims/ --json` - your own yaml files, for a script

    `isoflop judge theirs.csv --columns N=params,D=tokens,L=loss --by arch` - groups in the place of families

    `isoflop judge --quantities` - what a claim can be about

    `isoflop judge runs.csv --forecast forecast.json` - a forecast by the runs made since
    """
    if forecast is not None:
        from isoflop.analysis.claims.forecasts import judge_forecast, runs_for

        table = o.table(runs, columns, where) if columns or where else runs_for(forecast, runs)
        judged = judge_forecast(forecast, table)
        return _emit(judged.to_json()) if as_json else _print(str(judged))
    from isoflop.analysis.claims.claim import load_claims
    from isoflop.analysis.claims.judge import judge

    stated = load_claims(claims)  # a wrong claim is said before a long table is read
    verdicts = judge(o.grouped(o.table(runs, columns, where, tune=tune, by=by), by), stated)
    if as_json:
        _emit([v.to_json() for v in verdicts])
    else:
        from isoflop.analysis.report.sentences import verdict_table

        _print(verdict_table(verdicts))


@app.command("report")
def report_command(
    runs: o.Runs,
    out: o.Out = Path("report"),
    claims: o.Claims = None,
    by: o.By = "",
    where: o.Where = "",
    columns: o.Columns = "",
    tune: o.Tune = "",
    forecast: o.ForecastIn = None,
    full: o.Full = False,
) -> None:
    """Write a report: the finding, the verdicts, the figures (and their data), the laws and every run, in one page.

    `isoflop report runs.csv -o report/` - then open report/index.html, with or without a network

    `isoflop report theirs.csv --columns N=params,D=tokens,L=loss --by arch` - groups in the place of families

    `isoflop report runs.csv --forecast forecast.json` - with a forecast, scored by the runs made since
    """
    from isoflop.analysis.report.report import write_report

    table = o.grouped(o.table(runs, columns, where), by)
    page = write_report(table, out, claims, forecast, tune=o.names(tune), full=full)
    _print(f"wrote {page}")


@app.command("plot")
def plot_command(
    runs: o.Runs,
    figure: o.FigureName = "loss_vs_compute",
    out: o.PlotOut = None,
    by: o.By = "",
    where: o.Where = "",
    columns: o.Columns = "",
    tune: o.Tune = "",
    forecast: o.ForecastIn = None,
    figures: o.Figures = False,
) -> None:
    """Draw one figure into a file: SVG, PNG or PDF, Vega-Lite as .json, or its data as .csv.

    `isoflop plot runs.csv --figure isoflop_profiles -o profiles.svg` - loss against size at each budget

    `isoflop plot theirs.csv --columns N=params,D=tokens,L=loss --by arch -f allocation -o split.pdf`

    `isoflop plot --figures` - all of them: what each shows and needs
    """
    from isoflop.analysis.report.plot import named, plot

    name = named(figure).NAME  # a wrong name is said before a long table is read
    path = out or Path(f"{name}.svg")
    table = o.grouped(o.table(runs, columns, where), by)
    title = plot(table, name, path, tune=o.names(tune), forecast=forecast)
    _print(f"{title}\nwrote {path}")


def _print(text: str, *, err: bool = False) -> None:
    """Print text, control characters of a table written out: a terminal would obey them."""
    typer.echo(printable(text), err=err)


def _emit(document: Any) -> None:
    sys.stdout.write(json.dumps(files.finite(document), indent=1, allow_nan=False, default=str) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Run a verb with its arguments; the exit code: 0 done, 1 the work failed, 2 bad usage or bad input."""
    return run(app, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
