"""The verbs that need no torch: check, fit, predict, compare, frontier, forecast, judge, report, plot.

    isoflop fit runs.csv --law chinchilla --by family
    python -m isoflop.analysis fit runs.csv --json

Each command imports what it needs when it is called, so that --help is quick. Commands raise UserError; `main` turns
that into one sentence on stderr and exit code 2.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from isoflop import files
from isoflop.analysis import options as o
from isoflop.analysis.arguments import ARGUMENTS
from isoflop.errors import CellError, FitError, UserError
from isoflop.exits import run
from isoflop.option_groups import expand
from isoflop.wording import printable, spreadsheet

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

    `isoflop check runs.csv` - duplicates, units, mixtures, C against 6 N D, outliers, searched knobs, spans

    `isoflop check wandb.csv --columns N=params,D=tokens,L=val/loss` - a table that another tool logged

    `isoflop check runs.csv --json` - for a script; the exit code is 2 if no row is usable
    """
    from isoflop.analysis.runs.quality import check

    _show(check(rows.read(run), run or None), as_json)


@app.command("fit")
@expand
def fit_command(
    rows: o.RunOptions,
    fitting: o.FitOptions,
    specification: Annotated[bool, "Instead: how the estimates move with loss, delta, exclusions and counts"] = False,
    local: Annotated[bool, "Also: slopes, loss and best split at a point among the runs, identified or not"] = False,
    at: Annotated[str, ARGUMENTS["point"]] = "",
    curves: Annotated[bool, "Given a folder of runs: fit their constant-rate trunks (curve.csv) too"] = False,
    as_json: o.Json = False,
) -> None:
    """Fit a law to runs: parameters with intervals, and whether the data identify them.

    `isoflop fit runs.csv --by family` - Chinchilla's law for each family

    `isoflop fit wandb.csv --columns N=params,D=tokens,L=val/loss` - a table that another tool logged

    `isoflop fit runs.csv --law 'power_offset(D)' --where "N=1e6"` - one axis at one size

    `isoflop fit runs.csv --law 'sigmoid(L)' --target metric.accuracy` - any column of positive numbers

    `isoflop fit runs.csv --by family --share E` - one irreducible loss for all families

    `isoflop fit runs.csv --specification` - sensitivity of the estimates to analysis choices

    `isoflop fit runs.csv --local` - slopes, loss and best D/N among the runs, identified even when E is not

    `isoflop fit runs/ --curves` - fit the marks and the constant-rate trunks that they branch from jointly

    `isoflop fit runs.csv --pin E=1.69 --interval jackknife --json` - for a script
    """
    by, share = o.names(rows.by), o.names(fitting.share)
    table, law, options = rows.tuned(), o.law(fitting.law, fitting.target), fitting.settings(rows.run)
    if curves and (specification or share):
        raise UserError("--curves fits each group by itself and once; leave --share and --specification out")
    if specification:
        return _specification(table, law, by, share, options, as_json)
    if curves:
        from isoflop.analysis.fitting.trunks import fit_trunks
        from isoflop.analysis.runs.trunks import add_trunks

        table = add_trunks(table, rows.runs)
        fits = fit_trunks(table.select(rows.where) if rows.where else table, law, by=by, **options)
    else:
        from isoflop.analysis.fitting.fit import fit_groups

        fits = fit_groups(table, law, by=by, share=share, **options)
    _show_fits(fits, _local_quantities(fits, local, o.place(at)), share, as_json)


def _local_quantities(fits: Any, local: bool, at: dict[str, float]) -> list[Any]:
    """Return for each fit its local quantities, or None where nobody asked or the fit shows them by itself."""
    wanted = [fit.objective is not None and (bool(at) or (local and not fit.unidentified)) for fit in fits]
    return [fit.local(at) if is_wanted else None for fit, is_wanted in zip(fits, wanted, strict=True)]


def _show_fits(fits: Any, quantities: list[Any], share: list[str], as_json: bool) -> None:
    """Print fits with their local quantities; exit with 1 if no group could be fitted."""
    if as_json:
        about = {"law": fits[0].law.name, "loss": fits[0].loss, "delta": fits[0].delta, "shared": share}
        extra = [{} if q is None else {"local": q.to_json()} for q in quantities]
        _emit(about | {"fits": [fit.to_json() | more for fit, more in zip(fits, extra, strict=True)]})
    else:
        texts = [str(fit) if q is None else f"{fit}\n{q}" for fit, q in zip(fits, quantities, strict=True)]
        _print("\n\n".join(texts))
    if all(fit.objective is None for fit in fits):
        _print(f"isoflop: no group could be fitted: {fits[0].reason}", err=True)
        raise typer.Exit(1)


def _specification(
    table: Any, law: str, by: list[str], share: list[str], options: dict[str, Any], as_json: bool
) -> None:
    """Print the specification curve of each group."""
    from isoflop.analysis.holdout.specification_curve import as_text, specification, to_json

    if share:
        raise UserError("--specification looks at each group alone; leave --share out")
    curves = [(label.by, specification(rows, law, **options)) for label, rows in table.by(by).items()]
    if as_json:
        _emit({"law": law, "specifications": [{"by": label, "choices": to_json(rows)} for label, rows in curves]})
    else:
        texts = ["".join(f"{k}={v}  " for k, v in label.items()) + as_text(rows, law) for label, rows in curves]
        _print("\n\n".join(texts))


def _each_group(table: Any, by: str, work: Callable[[Any], Any], as_json: bool) -> None:
    """Print the result of `work` for each group; name the groups that are refused, and exit with 1 if all are.

    Without groups, a refusal is an error like any other.
    """
    if not by:
        return _show(work(table), as_json)
    results, refused = [], []
    for group, rows in table.by(o.names(by)).items():
        label = group.by
        try:
            results.append((label, work(rows)))
        except CellError:  # a bad cell is bad input whichever group it is in
            raise
        except FitError as error:
            refused.append((label, str(error)))
    reasons = {reason for _, reason in refused}
    if not results and len(reasons) == 1:  # the request is at fault, not the groups
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
@expand
def predict_command(
    rows: o.RunOptions,
    fitting: o.LawOptions,
    at: Annotated[str, ARGUMENTS["at"]] = "",
    points: Annotated[Path | None, "Instead of --at: a table of points, with the law's columns, and L if known"] = None,
    out: Annotated[Path | None, "With --points: the table to write", "--out", "-o"] = None,
    level: o.Band = 0.9,
    as_json: o.Json = False,
) -> None:
    """Predict a run before you make it: its loss with a band, or the best size and data for a budget.

    `isoflop predict runs.csv --at C=1e21` - the best N and D for that compute, and the loss there

    `isoflop predict runs.csv --at N=1e9,D=2e10` - the loss of one run

    `isoflop predict runs.csv --at C=1e21,N=1e9` - what that size costs above the best one

    `isoflop predict runs.csv --by family --at C=1e21` - how many times less compute each needs than the slowest

    `isoflop predict runs.csv --by family --at L=2.1` - the same at a loss

    `isoflop predict small.csv --points large.csv -o predictions.csv` - every row of a table, scored where L is known

    `isoflop predict runs.csv --law best --at N=1e9,D=2e10` - the average of the laws that predict held-out runs best

    A band covers the noise of a run, the uncertainty of the parameters and the error of the law's form, as far as
    held-out rows show it; `predicts` says whether the law came nearer to them than other laws and naive guesses.
    """
    from isoflop.analysis.holdout.predict import check_place

    if bool(at) == bool(points):
        raise UserError("give --at for one place, as in --at C=1e21, or --points for a table of them")
    if out is not None and points is None:
        raise UserError("-o writes the table of --points; for one place, --json prints a document to redirect")
    check_place(place := o.place(at), level)
    fits = _fits(rows, fitting)
    if points is not None:
        table = o.points(points, rows.columns, fits[0].law.target)
        return _predict_points(fits, table, o.names(rows.by), level, out, as_json)
    for fit in fits:
        if fit.objective is None:
            group = "".join(f" {k}={v}" for k, v in fit.by.items())
            _print(f"isoflop: not fitted{group}: {fit.reason}", err=True)
    fits = [fit for fit in fits if fit.objective is not None]
    if not fits:
        raise typer.Exit(1)
    _predict_place(fits, place, level, as_json)


def _fits(rows: o.RunOptions, fitting: o.LawOptions) -> Any:
    """Return a fit for each group, of one law or of the average of laws."""
    from isoflop.analysis.fitting.fit import fit_groups
    from isoflop.analysis.holdout.average import average_groups, names_average

    options = fitting.settings(rows.run) | {"by": o.names(rows.by), "share": o.names(fitting.share)}
    if names_average(fitting.law):
        return average_groups(rows.tuned(), fitting.law, target=fitting.target.strip() or None, **options)
    table = rows.tuned()
    return fit_groups(table, o.law(fitting.law, fitting.target), **options)


def _predict_place(fits: Any, place: dict[str, float], level: float, as_json: bool) -> None:
    """Print the prediction of each fit at a place; at a compute or a loss, also the speed-ups between fits."""
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
        rows = [row | {"speedup": ratio and ratio.to_json()} for row, ratio in zip(rows, ratios, strict=True)]
        texts = [f"{text}\n  speedup    {ratio or 'the slowest'}" for text, ratio in zip(texts, ratios, strict=True)]
    if as_json:
        _emit({"law": fits[0].law.name, "level": level, "predictions": rows})
    else:
        _print("\n\n".join(texts))


def _predict_points(fits: Any, points: Any, by: list[str], level: float, out: Path | None, as_json: bool) -> None:
    """Write or print a table of predictions, and score them where the target is known."""
    from isoflop.analysis.holdout.predict import predict_points, score

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
@expand
def compare_command(
    rows: o.RunOptions,
    fitting: o.LossOptions,
    laws: Annotated[str, ARGUMENTS["laws"]] = "",
    axis: Annotated[str, ARGUMENTS["axis"]] = "C",
    holdout: Annotated[str, ARGUMENTS["holdout"]] = "",
    as_json: o.Json = False,
) -> None:
    """Compare laws by how well they predict larger runs that were held out, beside naive guesses.

    `isoflop compare runs.csv` - the laws that suit the columns and their average, by a rolling hold-out along C

    `isoflop compare runs.csv --laws power,chinchilla,best` - these

    `isoflop compare runs.csv --laws 'power_offset(D),bnsl(D)' --axis D` - along the data

    `isoflop compare runs.csv --holdout "C>=1e20"` - one cut

    `isoflop compare runs.csv --by family` - for each family
    """
    from isoflop.analysis.holdout.compare import compare

    def work(table: Any) -> Any:
        options = {"axis": axis, "holdout": holdout, "run": rows.run or None}
        return compare(table, o.laws(laws), loss=fitting.loss, delta=fitting.delta, **options)

    _each_group(rows.tuned(), rows.by, work, as_json)


@app.command("frontier")
@expand
def frontier_command(
    rows: o.RunOptions,
    fitting: o.LossOptions,
    target: Annotated[str, ARGUMENTS["target"], "--target-C"] = "",
    inference_tokens: Annotated[str, ARGUMENTS["inference_tokens"]] = "",
    level: Annotated[float, ARGUMENTS["level"]] = 0.95,
    as_json: o.Json = False,
) -> None:
    """Find the best size and data for each compute, by three approaches side by side.

    `isoflop frontier runs.csv` - isoFLOP minima, envelope and parametric fit; refused budgets with the reason

    `isoflop frontier runs.csv --target-C 1e21 --inference-tokens 1e12` - a budget, and what serving it changes

    `isoflop frontier theirs.csv --columns N=params,D=tokens,C=flops,L=loss --json`

    `isoflop frontier runs.csv --by family` - for each family
    """
    from isoflop.analysis.frontier.frontier import frontier

    options: dict[str, Any] = {"level": level, "loss": fitting.loss, "delta": fitting.delta, "run": rows.run or None}
    options["tune"] = o.names(rows.tune)
    options["target"] = o.numbers(target, "--target-C", "1e20,1e21")
    options["inference_tokens"] = next(iter(o.numbers(inference_tokens, "--inference-tokens", "1e12")), None)
    _each_group(rows.read(rows.run), rows.by, lambda table: frontier(table, **options), as_json)


@app.command("forecast")
@expand
def forecast_command(
    rows: o.RunOptions,
    fitting: o.LawOptions,
    at: Annotated[list[str], ARGUMENTS["places"]],
    out: Annotated[Path, "The file to write, which must not exist", "--out", "-o"] = Path("forecast.json"),
    level: o.Band = 0.9,
    as_json: o.Json = False,
) -> None:
    """Write down what larger runs will give before they are made: predictions with bands at named points.

    `isoflop forecast runs.csv --at C=1e13,1e14 --by family` - forecast.json; commit it, then make the runs

    `isoflop forecast runs.csv --at N=1e9,D=2e10 -o one_run.json` - one run, by its size and data

    `isoflop forecast runs.csv --by family --at family=cnn,C=1e13` - one group alone

    `isoflop judge runs_later.csv --forecast forecast.json` - how it came out, beside naive guesses
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
    path = dated.save(out)
    text = f"{dated}\nwrote {path}: commit it before the runs are made, then isoflop judge --forecast {path}"
    _emit(dated.to_json()) if as_json else _print(text)


def _quantities() -> str:
    from isoflop.analysis.claims.quantities import listing

    return listing()


@app.command("judge")
@expand
def judge_command(
    rows: o.GroupOptions,
    claims: o.Claims = None,
    forecast: o.Forecast = None,
    as_json: o.Json = False,
    quantities: Annotated[
        bool, o.listing("List the quantities that a claim may name, and exit", "--quantities", _quantities)
    ] = False,
) -> None:
    """Judge claims by runs: supported, refuted, inconclusive, not identified or untested, each with its reason.

    `isoflop judge runs.csv` - the claims that ship

    `isoflop judge runs.csv --claims my_claims/ --json` - your own yaml files, for a script

    `isoflop judge theirs.csv --columns N=params,D=tokens,L=loss --by arch` - use --by groups instead of families

    `isoflop judge --quantities` - what a claim can be about

    `isoflop judge runs.csv --forecast forecast.json` - a forecast, by the runs made since
    """
    if forecast is not None:
        from isoflop.analysis.claims.forecasts import judge_forecast, runs_for

        table = rows.read() if rows.columns or rows.where else runs_for(forecast, rows.runs)
        return _show(judge_forecast(forecast, table), as_json)
    from isoflop.analysis.claims.claim import load_claims
    from isoflop.analysis.claims.judge import judge

    stated = load_claims(claims)  # report a wrong claim before a long table is read
    verdicts = judge(o.grouped(rows.read(tune=rows.tune, by=rows.by), rows.by), stated)
    if as_json:
        _emit([v.to_json() for v in verdicts])
    else:
        from isoflop.analysis.report.sentences import verdict_table

        _print(verdict_table(verdicts))


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

    `isoflop report runs.csv -o report/` - then open report/index.html, with or without a network

    `isoflop report theirs.csv --columns N=params,D=tokens,L=loss --by arch` - use --by groups instead of families

    `isoflop report runs.csv --forecast forecast.json` - with a forecast, scored by the runs made since
    """
    from isoflop.analysis.report.report import write_report

    table = o.grouped(rows.read(), rows.by)
    page = write_report(table, out, claims, forecast, tune=o.names(rows.tune), full=full)
    _print(f"wrote {page}")


def _figures() -> str:
    from isoflop.analysis.report.plot import listing

    return listing()


@app.command("plot")
@expand
def plot_command(
    rows: o.GroupOptions,
    figure: Annotated[str, "The figure, or the beginning of its name: see --figures", "--figure", "-f"] = (
        "loss_vs_compute"
    ),
    out: Annotated[Path | None, "The file; its ending is the format; default NAME.svg", "--out", "-o"] = None,
    forecast: o.Forecast = None,
    figures: Annotated[
        bool, o.listing("List the figures with what each needs, and exit", "--figures", _figures)
    ] = False,
) -> None:
    """Draw one figure into a file: SVG, PNG or PDF, Vega-Lite as .json, or its data as .csv.

    `isoflop plot runs.csv --figure isoflop_profiles -o profiles.svg` - loss against size at each budget

    `isoflop plot theirs.csv --columns N=params,D=tokens,L=loss --by arch -f allocation -o split.pdf`

    `isoflop plot --figures` - all of them, with what each shows and needs
    """
    from isoflop.analysis.report.plot import named, plot

    name = named(figure).NAME  # report a wrong name before a long table is read
    path = out or Path(f"{name}.svg")
    table = o.grouped(rows.read(), rows.by)
    title = plot(table, name, path, tune=o.names(rows.tune), forecast=forecast)
    _print(f"{title}\nwrote {path}")


def _print(text: str, *, err: bool = False) -> None:
    """Print text, with the control characters of a table written out: a terminal would obey them."""
    typer.echo(printable(text), err=err)


def _emit(document: Any) -> None:
    sys.stdout.write(json.dumps(files.finite(document), indent=1, allow_nan=False, default=str) + "\n")


def _show(result: Any, as_json: bool) -> None:
    """Print a result as text or as its document."""
    _emit(result.to_json()) if as_json else _print(str(result))


def main(argv: list[str] | None = None) -> int:
    """Run a verb with its arguments and return the exit code: 0 done, 1 the work failed, 2 bad usage or bad input."""
    return run(app, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
