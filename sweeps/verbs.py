"""The verbs of sweeps: plan; and of a folder of runs: status, retry, cancel, collect.

isoflop status runs/first
python -m isoflop.sweeps collect runs/first -o runs.csv
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from isoflop.errors import UserError
from isoflop.exits import run
from isoflop.extensions import take

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)

# what is no option is an override for Hydra
EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}

Folder = Annotated[Path, typer.Argument(help="The out= of a run or sweep.", show_default=False)]


@app.callback()
def verbs() -> None:
    """Sweeps: what they would take, how they stand, what they found."""


@app.command("collect")
def collect_command(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="The table to write.")] = Path("runs.csv"),
) -> int:
    """Join the records of a folder into one table, a row for every run and mark, failures with their reason.

    Profiles that probes measured, such as the loss at every position, go into probes.csv beside runs.csv, into
    NAME.probes.csv beside NAME.csv: a row for each point.

    A damaged record is refused (exit code 2), since the table would lack what it holds: the command that made the run
    makes it again. A run whose config is damaged before it has a record is named, and the exit code is 1.

    Example:  isoflop collect runs/first -o runs.csv
    """
    from isoflop.sweeps.collect import collect
    from isoflop.wording import one_line, states

    collected = collect(folder, out)
    print(f"{out}: {states(collected.states)}", file=sys.stderr)
    if collected.probes:
        print(f"{collected.probes}: the profiles that probes measured", file=sys.stderr)
    for sentence in collected.damaged:
        print(f"  {one_line(sentence)}", file=sys.stderr)
    return 1 if collected.damaged else 0


@app.command("plan", context_settings=EXTRA)
def plan_command(
    context: typer.Context,
    price: Annotated[str, typer.Option(help="Money for an hour of a device: 2.5/h", show_default=False)] = "",
    target_C: Annotated[
        float | None, typer.Option("--target-C", help="Budget whose loss is asked for [FLOPs]", show_default=False)
    ] = None,
    improve: Annotated[int, typer.Option(help="Suggest the N most informative of these runs", min=0)] = 0,
    runs: Annotated[Path | None, typer.Option(help="A runs.csv of what is there already", show_default=False)] = None,
    columns: Annotated[
        str, typer.Option(help="Names in that table, as for fit: N=params,D=tokens,L=loss", show_default=False)
    ] = "",
    where: Annotated[str, typer.Option(help="Rows of it to keep, as for fit", show_default=False)] = "",
    by: Annotated[
        str, typer.Option(help="With --candidates: groups with a law each, as for fit", show_default=False)
    ] = "",
    candidates: Annotated[
        Path | None,
        typer.Option(
            help="A table of runs that could be made (the law's columns, C): no sweep is composed", show_default=False
        ),
    ] = None,
    law: Annotated[str, typer.Option(help="The law; by default one that suits what varies", show_default=False)] = "",
    truth: Annotated[
        str, typer.Option(help="Its values: E=1.6,A=400,alpha=.31,B=400,beta=.29", show_default=False)
    ] = "",
    noise: Annotated[float, typer.Option(help="Between seeds, relative")] = 0.005,
    device: Annotated[
        str, typer.Option(help="Times for a GPU of this name, by its peak: H100", show_default=False)
    ] = "",
    mfu: Annotated[float, typer.Option(help="With --device: the share of its peak that is reached")] = 0.3,
    everything: Annotated[bool, typer.Option("--all", help="A line for every run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout and nothing else.")] = False,
    config_dir: Annotated[
        Path | None, typer.Option("--config-dir", "-cd", help="A folder of yamls of your own", show_default=False)
    ] = None,
) -> None:
    """Say what a sweep would run, take and cost, and what its laws could resolve; trains only a few steps.

    Takes the overrides of `isoflop train -m`, studies too. Times come from short runs of each family on this machine,
    remembered; what could be resolved comes from simulations of this design, fitted as real ones.

    Example:  isoflop plan --price 2.5/h --target-C 1e18 -m family=lstm,transformer study=isoflop

    Example:  isoflop plan --improve 5 --runs runs.csv -m family=lstm family.width=64,96,128 budget.C=1e12,1e13

    Example:  isoflop plan --improve 5 --runs theirs.csv --candidates grid.csv --law chinchilla
    """
    from isoflop.analysis.options import pairs

    if candidates is not None:
        from isoflop.sweeps.plan.candidates import say

        given = {"--price": price, "--target-C": target_C, "--truth": truth, "--device": device, "--all": everything}
        surplus = [option for option, value in given.items() if value]
        say(runs, candidates, law, improve, columns, where, by, as_json, [*surplus, *context.args])
        return
    from isoflop.scaling.limits import refuse_words, renamed
    from isoflop.sweeps.plan import verb as planning

    folder = [] if config_dir is None else ["--config-dir", str(config_dir)]
    overrides = renamed(
        take([*folder, *(argument for argument in context.args if argument not in ("-m", "--multirun"))])
    )
    if unknown := [argument for argument in overrides if argument.startswith("-")]:
        raise UserError(f"{unknown[0]} is not an option of plan; see isoflop plan --help")
    refuse_words(overrides)
    if by:
        raise UserError("--by is of the groups of a table: give --runs and --candidates too")
    if (columns or where) and runs is None:
        raise UserError("--columns and --where speak of the table that --runs names; give --runs too")
    question = planning.Question(law, truth, noise, target_C, improve, runs, pairs(columns), where)
    planning.say(overrides, question, price, device, mfu, everything, as_json)


@app.command("status")
def status_command(
    folder: Folder,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Refresh until no run is active.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="A line for every run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout and nothing else.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page that refreshes itself; again with -w.")
    ] = None,
) -> None:
    """Show how many runs of a folder are in each state, the time left, what failed and why, and the lowest losses.

    Example:  isoflop status runs/first --watch

    Example:  isoflop status runs/first --html status.html --watch
    """
    from isoflop.sweeps.watch import status

    if html is not None:
        from isoflop.sweeps.watch.predicted import Predictor
        from isoflop.sweeps.watch.status_page import watch_page, write_page

        if watch:
            watch_page(folder, html)
        else:
            write_page(status.overview(folder, Predictor()), html)
        print(f"wrote {html}")
    elif as_json:
        print(json.dumps(status.overview(folder).as_json()))
    elif watch:
        from rich.console import Console

        status.watch(folder, everything, Console())
    else:
        print(status.overview(folder).text(everything, bold=sys.stdout.isatty() and "NO_COLOR" not in os.environ))


@app.command("retry", context_settings=EXTRA)
def retry_command(folder: Folder, context: typer.Context) -> int:
    """Make the runs of a folder that have no result, as they were frozen: failed, timed out, stale, cancelled, planned.

    Further arguments say how, as in `isoflop train`: hydra/launcher=slurm, hydra.launcher.n_jobs=4.

    Example:  isoflop retry runs/first hydra.launcher.timeout_s=7200
    """
    from isoflop.scaling.app import main as train
    from isoflop.sweeps.ledger import entries
    from isoflop.wording import quoted

    entries(folder)  # says so where there are none
    for argument in context.args:
        if argument.startswith("-") or argument.split("=")[0].lstrip("+") == "hydra/sweeper":
            raise UserError(f"retry does not accept {argument}; give hydra/launcher= or hydra.launcher.*")
    return train(["-m", f"out={quoted(folder)}", "hydra.sweeper.retry=true", *context.args])


@app.command("cancel")
def cancel_command(folder: Folder) -> None:
    """Stop every running or queued run of a folder, wherever it runs; finished runs stay.

    A running run keeps a checkpoint and ends within seconds; `isoflop retry`, or the command that made it, resumes it.

    Example:  isoflop cancel runs/first
    """
    from isoflop.sweeps.cancel import cancel

    print(cancel(folder), file=sys.stderr)


@app.command("study", context_settings=EXTRA)
def study_command(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="A study, or all; without a name they are listed.", show_default=False)
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="Its folder; studies/NAME by default, studies/NAME/OVERRIDES with any.", show_default=False),
    ] = None,
    hours: Annotated[float, typer.Option(help="With all: how long to go on, the cheapest study first.", min=0)] = 1.0,
    pause: Annotated[
        bool, typer.Option("--pause", help="Stop once a forecast is written, to commit it before the larger runs.")
    ] = False,
    answers: Annotated[
        Path | None, typer.Option(help="Write the page of all answers there instead.", show_default=False)
    ] = None,
) -> int:
    """Answer a question: make the runs of a study, judge its claims, and report; rerun it to resume.

    Further arguments override its runs, as in `isoflop train`. The folder gets runs.csv, verdicts.json and report/; of
    a study with larger runs also forecast.json, what the smaller ones say of them, written before they are made.

    Example:  isoflop study

    Example:  isoflop study known seed=0,1

    Example:  isoflop study all --hours 3

    Example:  isoflop study --answers docs/answers.md
    """
    from rich.console import Console

    from isoflop.scaling.limits import refuse_words
    from isoflop.sweeps import study, study_run
    from isoflop.wording import WIDE

    overrides = take(context.args)
    refuse_words(overrides)
    if answers is not None:
        from isoflop import files
        from isoflop.sweeps.answers import page

        if name:
            raise UserError(f"--answers writes the page of all studies; leave out {name}, or leave out --answers")
        files.write_text(answers, page(out or study.ROOM))
        return 0
    if not name:
        Console(highlight=False, width=WIDE).print(study_run.listing(out or study.ROOM))
        return 0
    if name == study.EVERY:
        return study_run.run_cheapest_first(hours, out or study.ROOM, overrides)
    return study_run.run(name, out or study.folder(name, overrides), overrides, pause)


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option(help="Where to put runs, tables and reports.")] = Path("demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A fraction of it, in half a minute: too little to conclude.")
    ] = False,
) -> int:
    """Find an exponent that theory knows, then ask how three small families scale on text; with a report of each.

    The text is the sources of Python's standard library. About four minutes on two cores; rerun it to resume. These are
    the studies known and demo: isoflop study NAME makes one alone.

    Example:  isoflop demo --out demo
    """
    from isoflop.sweeps.study_run import run

    if quick:
        return run("demo_quick", out)
    return max(run("known", out / "known"), run("demo", out))


@app.command("import-wandb")
def import_wandb_command(
    source: Annotated[str, typer.Argument(help="ENTITY/PROJECT, or a folder of offline runs.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="The table to write.")] = Path("runs.csv"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the table where it is there.")] = False,
) -> None:
    """Make a table of the runs that Weights & Biases has, and say what could not be read.

    Of runs that logger=wandb mirrored it is the table that isoflop collect makes of their folders.

    Example:  isoflop import-wandb me/project -o runs.csv
    """
    from isoflop.sweeps.import_wandb import import_wandb, write

    imported = import_wandb(source)
    write(imported, out, overwrite)
    print(f"{out}: {imported}", file=sys.stderr)


@app.command("dashboard")
def dashboard_command(
    runs: Annotated[Path, typer.Argument(help="A runs.csv of runs that logger=wandb mirrored.", show_default=False)],
    project: Annotated[str, typer.Option(help="Where they are in W&B: ENTITY/PROJECT.", show_default=False)],
    claims: Annotated[
        Path | None, typer.Option(help="A folder of claims, or one yaml; default those that ship.", show_default=False)
    ] = None,
    where: Annotated[str, typer.Option(help="Rows to keep, as for fit", show_default=False)] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be saved, as JSON; needs no login.")
    ] = False,
) -> None:
    """Save a W&B workspace and a report of runs: loss, isoFLOP, rates, throughput, failures; verdicts, laws, figures.

    Each call saves new ones. It needs wandb-workspaces: pip install 'isoflop[dashboard]'.

    Example:  isoflop dashboard runs.csv --project me/isoflop

    Example:  isoflop dashboard runs.csv --project me/isoflop --dry-run
    """
    from isoflop.analysis.options import table
    from isoflop.analysis.report.view import look
    from isoflop.sweeps.dashboard.dashboard import build, refuse_library, save

    entity, slash, name = project.partition("/")
    if not (entity and slash and name) or "/" in name:
        raise UserError(f"--project {project} is not ENTITY/PROJECT; write --project me/isoflop")
    refuse_library()
    dashboard = build(look(table(runs, "", where), claims), entity, name)
    if dry_run:
        print(json.dumps(dashboard.as_json(), indent=1, allow_nan=False))
        return
    for url in save(dashboard):
        print(url)


def main(arguments: list[str]) -> int:
    """Run a verb and return its exit code; bad input is one sentence and 2."""
    return run(app, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
