"""What `isoflop status` says of a folder of runs: how many are in each state, which work or failed, what is best.

print(overview(Path("runs")).text())
"""

import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop import record
from isoflop.errors import UserError
from isoflop.sweeps.ledger import STATES, UNMADE, Entry, entries, no_garbage
from isoflop.sweeps.watch.glances import Glances
from isoflop.sweeps.watch.predicted import LEVEL, Prediction, Predictor
from isoflop.wording import clock, one_line, percent, short, states

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 10  # runs of a state that are shown, unless all are asked for


@dataclass
class Overview:
    """The runs of a folder: how many in each state, those at work, those without a result, the lowest losses.

    spent: FLOPs and seconds of the rows with a result, by family. best: the row of the lowest loss of every family on
    every dataset, the lowest first. predicted: the final loss of runs at work, where it was asked for.
    """

    folder: Path
    runs: list[Entry]
    counts: Counter[str] = field(default_factory=Counter)
    by_state: dict[str, list[Entry]] = field(default_factory=dict)
    spent: dict[str, list[float]] = field(default_factory=dict)
    best: list[record.Row] = field(default_factory=list)
    predicted: dict[str, Prediction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lowest: dict[tuple[str, str], record.Row] = {}
        for entry in self.runs:
            self.by_state.setdefault(entry.state, []).append(entry)
            for row in entry.rows if entry.good else ():
                self.take_in(row, lowest)
        self.counts = Counter({state: len(members) for state, members in self.by_state.items()})
        self.best = sorted(lowest.values(), key=lambda row: (row["data"], row["L"]))

    def take_in(self, row: record.Row, lowest: dict[tuple[str, str], record.Row]) -> None:
        """Add a row with a result to what was spent, and to the lowest losses where it is one."""
        C, wall_s, L, family = row.get("C"), row.get("wall_s"), row["L"], row["family"]
        if C is not None and wall_s:
            sums = self.spent.setdefault(family, [0.0, 0.0])
            sums[0] += C
            sums[1] += wall_s
        if L is not None:
            place = (row["data"], family)
            if place not in lowest or lowest[place]["L"] > L:
                lowest[place] = row

    @property
    def running(self) -> list[Entry]:
        return self.by_state.get("running", [])

    @property
    def left_s(self) -> float | None:
        """Time until all are made, by what a FLOP took each family so far; None before the first result."""
        if not self.spent:
            return None
        flops, seconds = (sum(each) for each in zip(*self.spent.values(), strict=True))
        total = 0.0
        for state in ("running", *UNMADE[:2]):
            for entry in self.by_state.get(state, []):
                try:
                    config = entry.config
                except UserError:  # it is at work, and its config was damaged meanwhile
                    continue
                known = self.spent.get(config.names.family, [flops, seconds])
                left = config.plan.C * (1 - entry.share_done) if config.plan else 0.0
                total += left * known[1] / known[0] if known[0] else 0.0
        return total / max(1, len(self.running))

    def as_json(self) -> dict[str, Any]:
        """Return states, time left, every run and the lowest losses."""
        runs = [line(entry) for entry in self.runs]
        keys = ("run_id", "data", *record.WHO, "N", "D", "C", "lr", "L", "L_se")
        best = [{key: row.get(key) for key in keys} for row in self.best]
        return {"states": dict(self.counts), "left_s": self.left_s, "runs": runs, "best": best}

    def text(self, everything: bool = False, bold: bool = False) -> str:
        """Return lines and tables for a terminal; bold: emphasise headings."""
        left, at_work = self.left_s, len(self.running)
        parts = [heading(f"{one_line(self.folder)}: {len(self.runs)} runs: {states(self.counts)}", bold)]
        if left and at_work:
            parts.append(f"about {clock(left)} left at this pace, {at_work} at a time")
        elif left and self.counts.keys() & {*UNMADE[:2]}:
            again = "rerun the command, or isoflop retry"
            parts.append(f"no run is active; about {clock(left)} of work is left: {again}")
        for state in STATES:
            members = self.by_state.get(state, [])
            if members and (everything or state not in ("ok", "planned")):
                more = len(members) - SHOWN
                title = f"{state} ({more} more: --all)" if more > 0 and not everything else state
                parts += ["", heading(title, bold), *listed(members if everything else members[:SHOWN])]
        if self.predicted:
            cells = [(run_id, one_line(loss)) for run_id, loss in self.predicted.items()]
            names = ("run", f"L at the end, {percent(LEVEL, 0)} interval")
            parts += ["", heading("predicted", bold), *columns(names, cells if everything else cells[:SHOWN], names)]
        if self.best:
            parts += ["", heading("lowest loss so far", bold), *bests(self.best)]
        return "\n".join(parts)


def overview(folder: Path, predictor: Predictor | None = None) -> Overview:
    """Read a folder of runs; with a predictor, predict the final loss of those at work."""
    with no_garbage():
        glances = Glances(folder)
        seen = Overview(folder, [glances.of(entry) for entry in entries(folder)])
        glances.keep()
    if predictor is not None:
        seen.predicted = predictor.of(seen.running, seen.by_state.get("ok", []))
    return seen


def heading(text: str, bold: bool) -> str:
    """Return a line, as a terminal emphasises it where it is to (ECMA-48, select graphic rendition)."""
    return f"\x1b[1m{text}\x1b[0m" if bold else text


def line(entry: Entry) -> dict[str, Any]:
    """Return one run as plain data, from its record or else from its frozen config."""
    run = {"run_id": entry.run_id, "state": entry.state}
    if entry.rows:
        last = entry.rows[-1]
        return run | {key: last[key] for key in (*record.WHO, "L", "reason")}
    try:
        config, beat = entry.config, entry.heartbeat()
    except UserError as error:
        return run | dict.fromkeys(record.WHO, "") | {"reason": entry.problem or str(error)}
    known = dict(zip(record.WHO, (config.names.family, config.width, config.depth, config.seed), strict=True))
    if entry.problem:
        return run | known | {"reason": entry.problem}
    return run | known | {key: beat[key] for key in ("step", "steps", "host", "pid", "time") if key in beat}


def listed(members: Iterable[Entry]) -> list[str]:
    """Return the runs of one state, a line each below the names of the columns."""
    cells = []
    for entry in members:
        run = line(entry)
        loss = f"{run['L']:.4f}" if run.get("L") is not None else ""
        cells.append((entry.run_id, *(one_line(run[key]) for key in record.WHO), loss, one_line(notes(run))))
    return columns(("run", *record.WHO, "L", "notes"), cells, left=("run", "family", "notes"))


def notes(run: dict[str, Any]) -> str:
    """Return the notes on one run: its step and host, or why it has no result."""
    if run.get("reason"):
        return str(run["reason"])
    if "host" not in run:
        return ""
    where = "" if run["host"] == socket.gethostname() else f" on {run['host']}"
    ago = clock(max(0.0, time.time() - run["time"]))
    return f"step {run['step']} of {run['steps'] or '?'}{where}, pid {run['pid']}, {ago} ago"


def bests(best: list[record.Row]) -> list[str]:
    """Return the lowest losses, a line each below the names of the columns."""
    units = sorted({str(row.get("loss_unit") or record.NATS) for row in best})
    names = ("data", "family", *record.DIALS, "N", "D", "C", "lr", one_line(f"L [{', '.join(units)}]"))
    cells = []
    for row in best:
        sizes = ("" if row.get(key) is None else short(row[key]) for key in ("N", "D", "C", "lr"))
        loss = f"{row['L']:.4f}" + ("" if row.get("L_se") is None else f" ± {row['L_se']:.4f}")
        dials = (one_line(row[key]) for key in record.DIALS)
        cells.append((one_line(row["data"]), one_line(row["family"]), *dials, *sizes, loss))
    return columns(names, cells, left=("data", "family"))


def columns(names: Sequence[str], cells: Sequence[Sequence[str]], left: Sequence[str]) -> list[str]:
    """Return the lines of a table without rules: words to the left, numbers to the right, two spaces between."""
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    form = "  ".join(f"{{:{'<' if name in left else '>'}{width}}}" for name, width in zip(names, widths, strict=True))
    return [form.format(*row).rstrip() for row in (names, *cells)]


def looks(folder: Path, every_s: float) -> Iterator[Overview]:
    """Yield the overview with predictions every few seconds until no run is active."""
    predictor = Predictor()
    while True:
        yield (now := overview(folder, predictor))
        if not now.running:
            return
        time.sleep(every_s)


def watch(folder: Path, everything: bool, console: "Console", every_s: float = 2.0) -> None:
    """Refresh the overview in a terminal until no run is active, or Ctrl-C."""
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, refresh_per_second=1) as live:
        for now in looks(folder, every_s):
            live.update(Text(now.text(everything)), refresh=True)
