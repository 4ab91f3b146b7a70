"""The verbs of sweeps: plan, study, demo; and of a folder of runs: status, retry, cancel, collect.

isoflop status runs/first
python -m isoflop.sweeps collect runs/first -o runs.csv
"""

import contextlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from isoflop.command import ALARM, expand, run
from isoflop.errors import UserError
from isoflop.extensions import take
from isoflop.sweeps.plan.options import PlanCost, PlanLaw, PlanTable, PlanText

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)

# arguments that are not options are overrides for Hydra
EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}

Folder = Annotated[Path, typer.Argument(help="The out= of a run or sweep.", show_default=False)]
Everything = Annotated[bool, "Print a line for every run", "--all"]
Json = Annotated[bool, "Print one JSON document on stdout and nothing else", "--json"]
Table = Annotated[Path, "The table to write", "-o", "--out"]


@app.callback()
def verbs() -> None:
    """Plan sweeps, watch them, and collect their results."""


@app.command("collect")
@expand
def collect_command(folder: Folder, out: Table = Path("runs.csv")) -> int:
    """Join the records of a folder into one table: a row for every run and mark, failures with their reason.

    Profiles that probes measured, such as the loss at every position, go into a second table, a row for each point:
    probes.csv beside runs.csv, NAME.probes.csv beside NAME.csv.

    A damaged record is refused (exit code 2), because the table would be incomplete; re-run the command that made the
    run. A run whose config is damaged before it has a record is named, and the exit code is 1.

    - `isoflop collect runs/first -o runs.csv`
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
@expand
def plan_command(
    context: typer.Context,
    table: PlanTable,
    law: PlanLaw,
    cost: PlanCost,
    text: PlanText,
    config_dir: Annotated[Path | None, "A folder of your own yamls", "--config-dir", "-cd"] = None,
) -> None:
    """Say what a sweep would run, take and cost, and what its laws could resolve; train only a few steps.

    Takes the overrides of `isoflop train -m`, studies too. Times come from short runs of each family on this machine,
    which are remembered; what the laws could resolve comes from simulations of this design, fitted like real runs.

    - `isoflop plan --price 2.5/h --target-C 1e18 -m family=lstm,transformer study=isoflop`
    - `isoflop plan --improve 5 --runs runs.csv -m family=lstm family.width=64,96,128 budget.C=1e12,1e13`
    - `isoflop plan --improve 5 --runs theirs.csv --candidates grid.csv --law chinchilla`
    """
    if table.candidates is not None:
        from isoflop.sweeps.plan import candidates

        given = {"--price": cost.price, "--target-C": law.target, "--truth": law.truth, "--device": cost.device}
        surplus = [name for name, value in (given | {"--all": text.everything}).items() if value]
        return candidates.say(table, law, [*surplus, *context.args], text.as_json)
    from isoflop.sweeps.plan import verb as planning

    folder = [] if config_dir is None else ["--config-dir", str(config_dir)]
    overrides = planning.overrides([*folder, *(word for word in context.args if word not in ("-m", "--multirun"))])
    if alone := [name for name, value in (("--by", table.by), ("--cost", table.cost)) if value]:
        raise UserError(f"{alone[0]} applies to a table of candidates: give --runs and --candidates too")
    if (table.columns or table.where) and table.runs is None:
        raise UserError("--columns and --where apply to the table of --runs; give --runs too")
    planning.say(overrides, table, law, cost, text)


@app.command("status")
@expand
def status_command(
    folder: Folder,
    watch: Annotated[bool, "Refresh until no run is active", "-w", "--watch"] = False,
    everything: Everything = False,
    forecast: Annotated[Path | None, "Also watch its runs against what isoflop forecast --curves wrote"] = None,
    as_json: Json = False,
) -> int:
    """Show how many runs of a folder are in each state, the time left, what failed and why, and the lowest losses.

    With a forecast also whether each run keeps to it, as in isoflop watch; exit code 3 says that one left its band.

    - `isoflop status runs/first --watch`
    - `isoflop status runs/large --forecast forecast.json`
    """
    from isoflop.sweeps.watch import status

    if watch and not as_json:
        if forecast is not None:
            raise UserError("--watch shows states alone; give --forecast without it")
        from rich.console import Console

        status.watch(folder, everything, Console())
        return 0
    seen = status.overview(folder, forecast)
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(json.dumps(seen.as_json()) if as_json else seen.text(everything, bold))
    return ALARM if any(alarm for *_, alarm in seen.watched.values()) else 0


@app.command("retry", context_settings=EXTRA)
def retry_command(folder: Folder, context: typer.Context) -> int:
    """Re-run the failed, timed out, stale, cancelled or planned runs of a folder with their original configs.

    Further arguments choose the launcher, as in `isoflop train`: hydra/launcher=slurm, hydra.launcher.n_jobs=4.

    - `isoflop retry runs/first hydra.launcher.timeout_s=7200`
    """
    from isoflop.scaling.app import main as train
    from isoflop.sweeps.ledger import entries
    from isoflop.wording import quoted

    entries(folder)  # an error if there are none
    for argument in context.args:
        if argument.startswith("-") or argument.split("=")[0].lstrip("+") == "hydra/sweeper":
            raise UserError(f"retry does not accept {argument}; give hydra/launcher= or hydra.launcher.*")
    return train(["-m", f"out={quoted(folder)}", "hydra.sweeper.retry=true", *context.args])


@app.command("cancel")
def cancel_command(folder: Folder) -> None:
    """Stop every running or queued run of a folder, wherever it runs; finished runs stay.

    A running run writes a checkpoint and ends within seconds; `isoflop retry`, or the same command, resumes it.

    - `isoflop cancel runs/first`
    """
    from isoflop.sweeps.watch.status import cancel

    print(cancel(folder), file=sys.stderr)


@app.command("study", context_settings=EXTRA)
@expand
def study_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A study, or all; without a name, list them.", show_default=False)] = "",
    out: Annotated[Path | None, "Its folder; default studies/NAME, with overrides studies/NAME/OVERRIDES"] = None,
    hours: Annotated[float, typer.Option(help="With all: time limit; the cheapest studies come first", min=0)] = 1.0,
    pause: Annotated[bool, "Stop once a forecast is written, to commit it before the larger runs"] = False,
) -> int:
    """Answer a question: make the runs of a study, judge its claims, and report; re-run it to resume.

    Further arguments override its runs, as in `isoflop train`. The folder gets runs.csv, verdicts.json and report/.
    If the study has larger runs, forecast.json (predictions from the smaller ones) is written before they start.

    - `isoflop study`
    - `isoflop study known seed=0,1`
    - `isoflop study all --hours 3`
    """
    from isoflop.scaling.limits import refuse_words
    from isoflop.sweeps import study, study_run

    overrides = take(context.args)
    refuse_words(overrides)
    room = out or study.ROOM
    if not name:
        study_run.print_listing(room)
        return 0
    if name == study.EVERY:
        return study_run.run_cheapest_first(hours, room, overrides)
    return study_run.run(name, out or study.folder(name, overrides), overrides, pause)


@app.command("demo")
@expand
def demo_command(
    out: Annotated[Path, "Folder of the runs, tables and reports"] = Path("demo"),
    quick: Annotated[bool, "A fraction of it, in half a minute: too little to conclude from"] = False,
) -> int:
    """Recover an exponent that theory gives, then ask how three small families scale on text; report on each.

    It takes about three minutes on two idle cores, the first verdict within one, and leaves 11 MB; re-run it
    to resume. The text is the sources of Python's standard library: nothing is downloaded. It ends on what was found,
    which law is identified, what was predicted, and what is refused. These are the studies known and demo: isoflop
    study NAME makes one of them alone.

    - `isoflop demo --out demo`
    """
    from isoflop.sweeps.study_run import in_short, run

    if quick:
        return run("demo_quick", out)
    print("About three minutes on two idle cores, 11 MB, no network; the first verdict within a minute.\n")
    code = max(run("known", out / "known"), run("demo", out))
    with contextlib.suppress(UserError):  # where no run finished, the report says why
        print(f"\n{in_short(out)}")
    return code


@app.command("dashboard")
@expand
def dashboard_command(
    runs: Annotated[Path, typer.Argument(help="A runs.csv of runs that logger=wandb mirrored.", show_default=False)],
    project: Annotated[str, "Where they are in W&B: ENTITY/PROJECT"],
    claims: Annotated[Path | None, "A folder of claims, or one yaml; by default the claims that ship"] = None,
    where: Annotated[str, "Rows to keep, as for fit"] = "",
    dry_run: Annotated[bool, "Print what would be saved, as JSON; needs no login"] = False,
) -> None:
    """Save a W&B report of runs: loss, isoFLOP, rates, throughput, failures; verdicts, laws, figures.

    Each call saves a new one. It needs wandb-workspaces: pip install 'isoflop[dashboard]'.

    - `isoflop dashboard runs.csv --project me/isoflop`
    - `isoflop dashboard runs.csv --project me/isoflop --dry-run`
    """
    from isoflop.analysis.options import table
    from isoflop.analysis.report.view import look
    from isoflop.sweeps.watch.dashboard import build, save

    entity, slash, name = project.partition("/")
    if not (entity and slash and name) or "/" in name:
        raise UserError(f"--project {project} is not ENTITY/PROJECT; write --project me/isoflop")
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("isoflop dashboard needs wandb-workspaces: pip install 'isoflop[dashboard]'")
    dashboard = build(look(table(runs, "", where), claims), entity, name)
    if dry_run:
        print(json.dumps(dashboard.as_json(), indent=1, allow_nan=False))
        return
    print(save(dashboard))


def main(arguments: list[str]) -> int:
    """Run a verb and return its exit code; bad input is one sentence and 2."""
    return run(app, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
