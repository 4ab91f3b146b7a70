"""`isoflop plan`: a plan, what it could resolve, and how it is printed.

say(["family=lstm", "family.width=16,32,64"], PlanTable(), PlanLaw(), PlanCost(price="2.5/h"), PlanText(as_json=True))
"""

import json
import math
from collections.abc import Sequence
from contextlib import nullcontext

import pandas as pd
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from isoflop import checks, record
from isoflop.analysis import options
from isoflop.command import translate
from isoflop.errors import UserError
from isoflop.extensions import take
from isoflop.scaling.limits import refuse_words, renamed
from isoflop.sweeps.compose import progress
from isoflop.sweeps.plan.options import PlanCost, PlanLaw, PlanTable, PlanText
from isoflop.sweeps.plan.plan import OVERHEAD_S, SweepPlan, plan, powers
from isoflop.sweeps.plan.resolution import Outcome, outcomes
from isoflop.sweeps.study import read
from isoflop.sweeps.watch.progress import console, plain_table
from isoflop.wording import clock, gigabytes, short

MOST = 24  # runs that have a line each, unless all are asked for
OVER = 1.1  # times its budget that a run may spend without a word


def overrides(words: list[str]) -> list[str]:
    """Return the overrides among the words of a plan; UserError if one is an option or no override."""
    given = renamed(take(words))
    if unknown := [word for word in given if word.startswith("-")]:
        raise UserError(f"{unknown[0]} is not an option of plan; see isoflop plan --help")
    refuse_words(given)
    return given


def say(overrides: Sequence[str], table: PlanTable, asked: PlanLaw, cost: PlanCost, shown: PlanText) -> None:
    """Make a plan and print it; UserError for any mistake, before anything is measured."""
    if asked.target is not None and not 0 < asked.target < math.inf:
        raise UserError(f"--target-C {asked.target:g} is not a number of FLOPs above 0; write --target-C 1e18")
    if not 0 < asked.noise < 1:
        raise UserError(f"--noise {asked.noise:g} is not a share between 0 and 1; write --noise 0.005")
    if cost.mfu is not None and not 0 < cost.mfu <= 1:
        raise UserError(f"--mfu {cost.mfu:g} is not a share between 0 and 1; write --mfu 0.3")
    of_hour, have = checks.price(cost.price), None
    price = of_hour[0] if of_hour else None
    if table.runs is not None:
        runs = options.table(table.runs, table.columns, table.where)
        runs.numbers(["N", "D", "L"], "a plan")
        have = runs.frame
    try:
        planned = plan(overrides, cost.device, cost.mfu)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(translate(error)[1]) from None
    with progress("simulating the design") as report:
        results = outcomes(planned.marks, asked, have, report)
    names = [text for key, _, text in (o.partition("=") for o in overrides) if key.lstrip("+") == "study"]
    claims = read(names[-1]).load_claims() if names and names[-1] not in ("null", "") else []
    with progress("drawing studies of its claims") if claims else nullcontext():
        decidable = [] if planned.design is None else powers(claims, planned.design)
    if shown.as_json:
        totals = planned.totals(price) | {"slots": planned.slots, "speed": planned.speed}
        document = {"out": str(planned.out), "runs": json.loads(planned.table.to_json(orient="records"))}
        document |= {"warnings": planned.warnings, "totals": totals, "designs": [x.to_json() for x in results]}
        print(json.dumps(document | {"claims": [power.to_json() for power in decidable]}))
        return
    terminal = console()
    terminal.print(_runs(planned, shown.everything))
    terminal.print(_totals(planned, price))
    if planned.warnings:
        terminal.print(Group(*(Text(f"! {warning}", style="yellow") for warning in planned.warnings)), soft_wrap=True)
    for result in results:
        terminal.print(_outcome(result), soft_wrap=True)
    if decidable:
        lines = [Text(f"{'' if one.enough else '! '}{one}", style="" if one.enough else "yellow") for one in decidable]
        terminal.print(Group(Text("\npower of the claims with these runs", style="bold"), *lines), soft_wrap=True)


def _runs(plan: SweepPlan, everything: bool) -> RenderableType:
    count, done = len(plan.table), int(plan.table["done"].sum())
    runs = "1 run" if count == 1 else f"{count} runs"
    head = Text(f"{runs} in {plan.out}: {done} done already, {count - done} to make", style="bold")
    return Group(head, (_each if everything or count <= MOST else _by_family)(plan.table))


def _each(table: pd.DataFrame) -> RenderableType:
    shown = _grid("family", "data", *record.DIALS, "seed", "N", "D", "C", "lr", "memory", "time", "")
    for row in table.to_dict("records"):
        who = [row["family"], row["data"], *(str(row[key]) for key in (*record.DIALS, "seed"))]
        sizes = [short(row[key]) for key in ("N", "D", "C", "lr")]
        if row["marks"] > 1:
            sizes[1] += f" ({row['marks']} marks)"
        shown.add_row(*who, *sizes, gigabytes(row["memory"]), clock(row["seconds"]), "done" if row["done"] else "")
    return shown


def _by_family(table: pd.DataFrame) -> RenderableType:
    shown = _grid("family", "data", "runs", "N", "D", "C", "memory", "time")
    for (family, data), rows in table.groupby(["family", "data"], sort=False):
        ends = [dict.fromkeys(map(short, (rows[column].min(), rows[column].max()))) for column in ("N", "D", "C")]
        sizes = map("–".join, ends)
        time = clock(float(rows.loc[~rows["done"], "seconds"].sum()))
        shown.add_row(str(family), str(data), str(len(rows)), *sizes, gigabytes(float(rows["memory"].max())), time)
    return Group(shown, Text("memory: the most of a run; --all shows a line for every run", style="dim"))


def _totals(plan: SweepPlan, price: float | None) -> RenderableType:
    sums, rest = plan.totals(price), plan.to_make
    if rest.empty:
        return Text("all are done")
    device, wall = clock(float((rest["seconds"] * rest["devices"]).sum())), clock(plan.wall_s)
    lines = [
        f"in all {short(float(rest['C'].sum()))} FLOPs, {device} of a device; about {wall} at {plan.slots} at a time"
    ]
    if sums["money"] is not None:
        lines.append(f"{sums['money']:.2f} at {price:g} an hour of a device (a GPU, or a core without one)")
    times = Text(f"times {plan.speed}, and {OVERHEAD_S:g} s for the start of each", style="dim")
    parts, over = [Text("\n".join(lines), style="bold"), times], rest.loc[rest["over_budget"] > OVER, "over_budget"]
    if len(over):
        spend = "spends more than its budget" if len(over) == 1 else "spend more than their budgets"
        warning = f"! {len(over)} of {len(rest)} runs {spend}, up to {over.max():.3g} times: steps are whole"
        parts.append(Text(warning, style="yellow"))
    return Group(*parts)


def _outcome(outcome: Outcome) -> RenderableType:
    """Return what one family's design resolves, what it cannot, and which runs to make next."""
    parts: list[RenderableType] = [Text(f"\n{outcome.family} on {outcome.data}", style="bold")]
    if outcome.resolution:
        parts.append(Text(str(outcome.resolution)))
    parts += [Text(f"! {sentence}", style="yellow") for sentence in outcome.warnings]
    if outcome.next is not None:
        parts.append(_next_runs(outcome.next))
    return Group(*parts)


def _next_runs(picks: pd.DataFrame) -> RenderableType:
    if picks.empty:
        return Text("no further run of these narrows the target")
    shown = _grid("next", *record.DIALS, "seed", "N", "D", "FLOPs", "half-width of L at the target, before", "after")
    for place, row in enumerate(picks.to_dict("records"), start=1):
        who = [str(place), *(str(row[key]) for key in (*record.DIALS, "seed"))]
        sizes = [short(row[key]) if key in row else "" for key in ("N", "D", "cost")]
        shown.add_row(*who, *sizes, f"{row['before']:.2%}", f"{row['after']:.2%}")
    return shown


def _grid(*names: str) -> Table:
    return plain_table(*names, right={*names} - {"family", "data", ""})
