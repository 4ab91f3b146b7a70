"""What `isoflop status` says of a folder of runs: how many are in each state, which work or failed, what is best.

Console().print(overview(Path("runs")).shown())
"""

import socket
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from isoflop import record
from isoflop.errors import UserError
from isoflop.scaling.config.columns import columns
from isoflop.sweeps.ledger import STATES, UNMADE, Entry, entries
from isoflop.wording import clock, short, states

SHOWN = 10  # runs of a state that are shown, unless all are asked for


@dataclass
class Overview:
    """The runs of a folder: how many in each state, those at work, those without a result, the lowest losses."""

    folder: Path
    runs: list[Entry]
    counts: Counter[str] = field(default_factory=Counter)
    by_state: dict[str, list[Entry]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry in self.runs:
            self.by_state.setdefault(entry.state, []).append(entry)
        self.counts = Counter({state: len(members) for state, members in self.by_state.items()})

    @property
    def running(self) -> list[Entry]:
        return self.by_state.get("running", [])

    @property
    def left_s(self) -> float | None:
        """Time until all are made, by what a FLOP took each family so far; None before the first result."""
        spent: dict[str, list[float]] = {}
        for row in rows(self.runs):
            if row.get("C") is None or not row.get("wall_s"):
                continue
            flops, seconds = spent.setdefault(row["family"], [0.0, 0.0])
            spent[row["family"]] = [flops + row["C"], seconds + row["wall_s"]]
        if not spent:
            return None
        flops, seconds = (sum(each) for each in zip(*spent.values(), strict=True))
        total = 0.0
        for state in ("running", *UNMADE[:2]):
            for entry in self.by_state.get(state, []):
                known = spent.get(entry.config.names.family, [flops, seconds])
                left = entry.config.plan.C * (1 - entry.share_done) if entry.config.plan else 0.0
                total += left * known[1] / known[0]
        return total / max(1, len(self.running))

    @property
    def best(self) -> list[record.Row]:
        """The row of the lowest loss of every family on every dataset, the lowest first."""
        lowest: dict[tuple[str, str], record.Row] = {}
        for row in rows(self.runs):
            if row["L"] is None:
                continue
            place = (row["data"], row["family"])
            if place not in lowest or row["L"] < lowest[place]["L"]:
                lowest[place] = row
        return sorted(lowest.values(), key=lambda row: (row["data"], row["L"]))

    def as_json(self) -> dict[str, Any]:
        """States, time left, every run, the best points."""
        runs = [line(entry) for entry in self.runs]
        keys = ("run_id", "data", *record.WHO, "N", "D", "C", "lr", "L", "L_se")
        best = [{key: row.get(key) for key in keys} for row in self.best]
        return {"states": dict(self.counts), "left_s": self.left_s, "runs": runs, "best": best}

    def shown(self, everything: bool = False) -> RenderableType:
        """Lines and tables for a terminal."""
        left, at_work = self.left_s, len(self.running)
        head = Text(f"{self.folder}: {len(self.runs)} runs: {states(self.counts)}", style="bold")
        parts: list[RenderableType] = [head]
        if left and at_work:
            parts.append(Text(f"about {clock(left)} left at this pace, {at_work} at a time"))
        elif left and self.counts.keys() & {*UNMADE[:2]}:
            again = "rerun the command, or isoflop retry"
            parts.append(Text(f"no run is active; about {clock(left)} of work is left: {again}"))
        for state in STATES:
            members = self.by_state.get(state, [])
            if members and (everything or state not in ("ok", "planned")):
                parts.append(listed(state, members if everything else members[:SHOWN], len(members)))
        if self.best:
            parts.append(bests(self.best))
        return Group(*parts)


def overview(folder: Path) -> Overview:
    """Read a folder of runs."""
    return Overview(folder, list(entries(folder)))


def rows(runs: Iterable[Entry]) -> Iterable[record.Row]:
    """The rows of all marks that have a result."""
    return (row for entry in runs if entry.good for row in entry.rows)


def line(entry: Entry) -> dict[str, Any]:
    """One run as plain data: from its record where it has one, else from its frozen config."""
    run = {"run_id": entry.run_id, "state": entry.state}
    if entry.rows:
        return run | {key: entry.rows[-1][key] for key in (*record.WHO, "L", "reason")}
    try:
        config, beat = entry.config, entry.heartbeat()
    except UserError as error:
        return run | dict.fromkeys(record.WHO, "") | {"reason": str(error)}
    known = columns(config)
    at_work = {key: beat[key] for key in ("step", "steps", "host", "pid", "time") if key in beat}
    return run | {key: known[key] for key in record.WHO} | at_work


def listed(state: str, members: list[Entry], count: int) -> Table:
    """The runs of one state, a line each."""
    more = f" ({count - len(members)} more: --all)" if count > len(members) else ""
    table = Table(box=None, pad_edge=False, title=f"\n{state}{more}", title_justify="left", title_style="bold")
    for name in ("run", *record.WHO, "L", "notes"):
        left = name in ("run", "family", "notes")
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "notes")
    for entry in members:
        run = line(entry)
        loss = f"{run['L']:.4f}" if run.get("L") is not None else ""
        table.add_row(entry.run_id, *(str(run[key]) for key in record.WHO), loss, Text(notes(run)))
    return table


def notes(run: dict[str, Any]) -> str:
    """What there is to say of one run besides its size: how far and where, or why not."""
    if run.get("reason"):
        return str(run["reason"])
    if "host" not in run:
        return ""
    where = "" if run["host"] == socket.gethostname() else f" on {run['host']}"
    ago = clock(max(0.0, time.time() - run["time"]))
    return f"step {run['step']} of {run['steps'] or '?'}{where}, pid {run['pid']}, {ago} ago"


def bests(best: list[record.Row]) -> Table:
    """The lowest losses."""
    table = Table(box=None, pad_edge=False, title="\nlowest loss so far", title_justify="left", title_style="bold")
    units = sorted({row.get("loss_unit") or record.NATS for row in best})
    for name in ("data", "family", *record.DIALS, "N", "D", "C", "lr", f"L [{', '.join(units)}]"):
        table.add_column(Text(name), justify="left" if name in ("data", "family") else "right", no_wrap=True)
    for row in best:
        sizes = ("" if row.get(key) is None else short(row[key]) for key in ("N", "D", "C", "lr"))
        loss = f"{row['L']:.4f}" + ("" if row.get("L_se") is None else f" ± {row['L_se']:.4f}")
        table.add_row(row["data"], row["family"], *(str(row[key]) for key in record.DIALS), *sizes, loss)
    return table


def watch(folder: Path, everything: bool, console: Console, every_s: float = 2.0) -> None:
    """Show the overview anew every few seconds until nothing is at work, or Ctrl-C."""
    from rich.live import Live

    with Live(console=console, refresh_per_second=1) as live:
        while True:
            now = overview(folder)
            live.update(now.shown(everything), refresh=True)
            if not now.running:
                return
            time.sleep(every_s)
