"""A plan as people read it in a terminal.

console().print(runs(plan)); console().print(totals(plan, price=2.5)); console().print(outcome(result))
"""

from collections.abc import Iterable, Sequence

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from isoflop import record
from isoflop.analysis.claims.planned.power import ClaimPower
from isoflop.sweeps.plan.plan import OVERHEAD_S, SweepPlan
from isoflop.sweeps.plan.resolution import Outcome
from isoflop.sweeps.tables import plain_table
from isoflop.wording import clock, gigabytes, short

MOST = 24  # runs that have a line each, unless all are asked for
OVER = 1.1  # times its budget that a run may spend without a word


def runs(plan: SweepPlan, everything: bool = False) -> RenderableType:
    """Return a line for each run, or for each family where they are many."""
    table = plan.table
    done = int(table["done"].sum())
    count = "1 run" if len(table) == 1 else f"{len(table)} runs"
    head = Text(f"{count} in {plan.out}: {done} done already, {len(table) - done} to make", style="bold")
    return Group(head, each(table) if everything or len(table) <= MOST else by_family(table))


def each(table: pd.DataFrame) -> Table:
    """Return a line for each run."""
    shown = grid("family", "data", *record.DIALS, "seed", "N", "D", "C", "lr", "memory", "time", "")
    for row in table.to_dict("records"):
        who = [row["family"], row["data"], *(str(row[key]) for key in (*record.DIALS, "seed"))]
        sizes = [short(row[key]) for key in ("N", "D", "C", "lr")]
        if row["marks"] > 1:
            sizes[1] += f" ({row['marks']} marks)"
        shown.add_row(*who, *sizes, gigabytes(row["memory"]), clock(row["seconds"]), "done" if row["done"] else "")
    return shown


def by_family(table: pd.DataFrame) -> RenderableType:
    """Return a line for each family: how many runs, and from where to where."""
    shown = grid("family", "data", "runs", "N", "D", "C", "memory", "time")
    for (family, data), rows in table.groupby(["family", "data"], sort=False):
        sizes = (span(rows[column]) for column in ("N", "D", "C"))
        time = clock(float(rows.loc[~rows["done"], "seconds"].sum()))
        shown.add_row(str(family), str(data), str(len(rows)), *sizes, gigabytes(float(rows["memory"].max())), time)
    return Group(shown, Text("memory: the most of a run; --all shows a line for every run", style="dim"))


def totals(plan: SweepPlan, price: float | None) -> RenderableType:
    """Return the cost of all runs to make, and how their time was predicted."""
    sums, rest = plan.totals(price), plan.to_make
    if rest.empty:
        return Text("all are done")
    device = clock(float((rest["seconds"] * rest["devices"]).sum()))
    lines = [
        f"in all {short(float(rest['C'].sum()))} FLOPs, {device} of a device; "
        f"about {clock(plan.wall_s)} at {plan.slots} at a time"
    ]
    if sums["money"] is not None:
        lines.append(f"{sums['money']:.2f} at {price:g} an hour of a device (a GPU, or a core without one)")
    times = Text(f"times {plan.speed}, and {OVERHEAD_S:g} s for the start of each", style="dim")
    warnings = [Text(sentence, style="yellow") for sentence in over_budget(rest)]
    return Group(Text("\n".join(lines), style="bold"), times, *warnings)


def over_budget(rest: pd.DataFrame) -> list[str]:
    """Return a warning about runs that exceed their budgets, since a run takes whole steps."""
    over = rest[rest["over_budget"] > OVER]
    if over.empty:
        return []
    most, one = float(over["over_budget"].max()), len(over) == 1
    spend = "spends more than its budget" if one else "spend more than their budgets"
    return [f"! {len(over)} of {len(rest)} runs {spend}, up to {most:.3g} times: steps are whole"]


def outcome(outcome: Outcome) -> RenderableType:
    """Return what one family's design resolves, what it cannot, and which runs to make next."""
    parts: list[RenderableType] = [Text(f"\n{outcome.family} on {outcome.data}", style="bold")]
    if outcome.resolution:
        parts.append(Text(str(outcome.resolution)))
    parts += [Text(f"! {sentence}", style="yellow") for sentence in outcome.warnings]
    if outcome.next is not None:
        parts.append(next_runs(outcome.next))
    return Group(*parts)


def decidable(powers: Sequence[ClaimPower]) -> RenderableType:
    """Return a line for each claim of a study: in how many drawn studies its runs decide it."""
    lines = [Text("\npower of the claims with these runs", style="bold")]
    lines += [Text(f"{'' if one.enough else '! '}{one}", style="" if one.enough else "yellow") for one in powers]
    return Group(*lines)


def next_runs(picks: pd.DataFrame) -> RenderableType:
    """Return the runs that narrow the target most for their compute."""
    if picks.empty:
        return Text("no further run of these narrows the target")
    shown = grid("next", *record.DIALS, "seed", "N", "D", "FLOPs", "half-width of L at the target, before", "after")
    for place, row in enumerate(picks.to_dict("records"), start=1):
        who = [str(place), *(str(row[key]) for key in (*record.DIALS, "seed"))]
        sizes = [short(row[key]) if key in row else "" for key in ("N", "D", "cost")]
        shown.add_row(*who, *sizes, f"{row['before']:.2%}", f"{row['after']:.2%}")
    return shown


def grid(*names: str) -> Table:
    """Return a table whose numbers are to the right."""
    return plain_table(*names, right={*names} - {"family", "data", ""})


def span(values: Iterable[float]) -> str:
    """Return a range from the least to the largest value."""
    low, high = min(values), max(values)
    return short(low) if low == high else f"{short(low)}–{short(high)}"
