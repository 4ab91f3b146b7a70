"""What `isoflop status` says of a folder of runs: how many are in each state, which work or failed, what is best.

    print(overview(Path("runs")).text())

And stopping a sweep from anywhere, by a file in the folder of every run that is not done, which every heartbeat looks
for; jobs of this user that wait in Slurm are cancelled if they were submitted from this folder.
"""

import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop import checks, files, record
from isoflop.errors import UserError
from isoflop.sweeps.ledger import STATES, UNMADE, Entry, entries, no_garbage
from isoflop.wording import clock, one_line, short, states

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 10  # runs of a state that are shown, unless all are asked for
# the columns that are shown or summed up, remembered of each record
KEYS = (*record.WHO, "run_id", "status", "reason", "data", "N", "D", "C", "lr", "L", "L_se", "loss_unit", "wall_s")
# a file that was changed so short a time ago may change again unseen [s]: file systems keep times to 2 s at worst (FAT)
FRESH_S = 3.0
# where submitit keeps scripts and logs (conf/hydra/launcher/slurm.yaml)
SUBMITTED = ".submitit"
# seconds that Slurm may take to answer
PATIENCE_S = 60.0
Watched = tuple[str, dict[str, Any], bool]


@dataclass
class Overview:
    """The runs of a folder: how many in each state, those at work, those without a result, the lowest losses."""

    folder: Path
    runs: list[Entry]
    by_state: dict[str, list[Entry]] = field(default_factory=dict)
    spent: dict[str, list[float]] = field(default_factory=dict)
    """FLOPs and seconds of the rows with a result, by family."""
    best: list[record.Row] = field(default_factory=list)
    """The row of the lowest loss of every family on every dataset, the lowest first."""
    jobs: dict[str, Counter[str]] = field(default_factory=dict)
    """Slurm jobs of the folder by number, with their states and why they wait."""
    watched: dict[str, Watched] = field(default_factory=dict)
    """Each run with a curve beside a forecast, if given, by run_id: words, a document, whether it is an alarm."""

    def __post_init__(self) -> None:
        lowest: dict[tuple[str, str], record.Row] = {}
        for entry in self.runs:
            self.by_state.setdefault(entry.state, []).append(entry)
            for row in entry.rows if entry.good else ():
                if row.get("C") is not None and row.get("wall_s"):
                    flops, seconds = self.spent.get(row["family"], (0.0, 0.0))
                    self.spent[row["family"]] = [flops + row["C"], seconds + row["wall_s"]]
                place = (row["data"], row["family"])
                if row["L"] is not None and (place not in lowest or lowest[place]["L"] > row["L"]):
                    lowest[place] = row
        self.best = sorted(lowest.values(), key=lambda row: (row["data"], row["L"]))

    @property
    def counts(self) -> Counter[str]:
        return Counter({state: len(members) for state, members in self.by_state.items()})

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
        watched = {run_id: files.finite(document) for run_id, (_, document, _) in self.watched.items()}
        return {"states": dict(self.counts), "left_s": self.left_s, "runs": runs, "best": best, "watched": watched}

    def text(self, everything: bool = False, bold: bool = False) -> str:
        """Return lines and tables for a terminal; bold: emphasise headings."""
        left, at_work = self.left_s, len(self.running)
        parts = [_heading(f"{one_line(self.folder)}: {len(self.runs)} runs: {states(self.counts)}", bold)]
        if left and at_work:
            parts.append(f"about {clock(left)} left at this pace, {at_work} at a time")
        elif left and self.counts.keys() & {*UNMADE[:2]}:
            again = "rerun the command, or isoflop retry"
            parts.append(f"no run is active; about {clock(left)} of work is left: {again}")
        parts += [f"Slurm job {number}: {one_line(states(found))}" for number, found in self.jobs.items()]
        for state in STATES:
            members = self.by_state.get(state, [])
            if members and (everything or state not in ("ok", "planned")):
                more = len(members) - SHOWN
                title = f"{state} ({more} more: --all)" if more > 0 and not everything else state
                parts += ["", _heading(title, bold), *_listed(members if everything else members[:SHOWN])]
        if self.best:
            parts += ["", _heading("lowest loss so far", bold), *_bests(self.best)]
        if self.watched:
            counts = states(Counter(document["state"] for _, document, _ in self.watched.values()))
            parts += ["", _heading(f"against the forecast: {counts}", bold), *_beside(self.watched, everything)]
        return "\n".join(parts)


def overview(folder: Path, forecast: Path | None = None) -> Overview:
    with no_garbage():
        runs = _glance(folder)
        return Overview(folder, runs, jobs=_in_slurm(folder), watched=_watched(runs, forecast) if forecast else {})


def _watched(runs: Iterable[Entry], forecast: Path) -> dict[str, Watched]:
    """Watch every run that has a curve against the point of a forecast that is its own; UserError where none can be."""
    from isoflop.analysis.holdout.forecast import load_forecast
    from isoflop.sweeps.importing.importing import read_curve

    dated, found = load_forecast(forecast), dict[str, Watched]()
    for entry in (one for one in runs if one.files.curve.exists()):
        try:
            place = {"N": plan.N, "D": plan.D} if (plan := entry.config.plan) else {}
            found[entry.run_id] = read_curve(str(entry.folder), form="own_runs").against(dated, place)
        except UserError as error:
            found[entry.run_id] = f"not watched: {error}", {"state": "not watched", "reason": str(error)}, False
    reasons = dict.fromkeys(document.get("reason") for _, document, _ in found.values())
    if None not in reasons:
        why = "; ".join(map(str, reasons)) or "none has a curve yet; look later"
        raise UserError(f"no run can be watched against {forecast}: {why}")
    return found


def _glance(folder: Path) -> list[Entry]:
    """Return the runs of a folder; of a record whose inode, size and times are unchanged, what was remembered, unless
    it was changed within the last seconds ("racily clean", git's Documentation/technical/racy-git)."""
    path = files.cache() / "status" / f"{sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]}.json"
    sources = [Path(module.__file__ or "").read_bytes() for module in (record, checks)]
    # another version may find fault with a record
    reader = sha256(b"".join([*sources, repr((KEYS, record.COLUMNS)).encode()])).hexdigest()
    remembered, seen, new, now = files.recall(path), dict[str, Any](), False, time.time()
    runs, known = list(entries(folder)), remembered["runs"] if remembered.get("reader") == reader else {}
    for entry in runs:
        if (facts := entry.record_facts) is None:
            continue
        sign, before = [facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns], known.get(entry.run_id)
        if before and before[0] == sign:
            entry.__dict__["contents"] = ([dict(zip(KEYS, values, strict=True)) for values in before[1]], "")
            seen[entry.run_id] = before
        elif entry.rows and now - max(facts.st_mtime, facts.st_ctime) > FRESH_S:
            seen[entry.run_id] = [sign, [[row.get(key) for key in KEYS] for row in entry.rows]]
            new = True
    if new:
        files.keep(path, {"reader": reader, "runs": seen})
    return runs


def _heading(text: str, bold: bool) -> str:
    """Return a line, as a terminal emphasises it where it is to (ECMA-48, select graphic rendition)."""
    return f"\x1b[1m{text}\x1b[0m" if bold else text


def line(entry: Entry) -> dict[str, Any]:
    """Return one run as plain data, from its record or else from its frozen config."""
    run = {"run_id": entry.run_id, "state": entry.state}
    if entry.rows:
        last = entry.rows[-1]
        return run | {key: last[key] for key in (*record.WHO, "L", "reason")}
    try:
        config, beat = entry.config, entry.files.read_heartbeat()
    except UserError as error:
        return run | dict.fromkeys(record.WHO, "") | {"reason": entry.problem or str(error)}
    known = dict(zip(record.WHO, (config.names.family, config.width, config.depth, config.seed), strict=True))
    if entry.problem:
        return run | known | {"reason": entry.problem}
    return run | known | {key: beat[key] for key in ("step", "steps", "host", "pid", "time") if key in beat}


def _listed(members: Iterable[Entry]) -> list[str]:
    cells = []
    for entry in members:
        run = line(entry)
        loss = f"{run['L']:.4f}" if run.get("L") is not None else ""
        cells.append((entry.run_id, *(one_line(run[key]) for key in record.WHO), loss, one_line(_notes(run))))
    return _columns(("run", *record.WHO, "L", "notes"), cells, left=("run", "family", "notes"))


def _notes(run: dict[str, Any]) -> str:
    if run.get("reason"):
        return str(run["reason"])
    if "host" not in run:
        return ""
    where = "" if run["host"] == socket.gethostname() else f" on {run['host']}"
    ago = clock(max(0.0, time.time() - run["time"]))
    return f"step {run['step']} of {run['steps'] or '?'}{where}, pid {run['pid']}, {ago} ago"


def _bests(best: list[record.Row]) -> list[str]:
    units = sorted({str(row.get("loss_unit") or record.NATS) for row in best})
    names = ("data", "family", *record.DIALS, "N", "D", "C", "lr", one_line(f"L [{', '.join(units)}]"))
    cells = []
    for row in best:
        sizes = ("" if row.get(key) is None else short(row[key]) for key in ("N", "D", "C", "lr"))
        loss = f"{row['L']:.4f}" + ("" if row.get("L_se") is None else f" ± {row['L_se']:.4f}")
        dials = (one_line(row[key]) for key in record.DIALS)
        cells.append((one_line(row["data"]), one_line(row["family"]), *dials, *sizes, loss))
    return _columns(names, cells, left=("data", "family"))


def _beside(watched: Mapping[str, Watched], everything: bool) -> list[str]:
    cells, alarms_first = [], sorted(watched.items(), key=lambda item: not item[1][2])
    for run_id, (text, document, _) in alarms_first[: None if everything else SHOWN]:
        end, sees = document.get("end"), f"{100 * document['visible']:.1f} %" if "visible" in document else ""
        ends = f"{end['value']:.4f} ({end['low']:.4f} to {end['high']:.4f})" if end else ""
        cells.append((run_id, ends, sees, one_line(text.splitlines()[0])))
    return _columns(("run", "L at the end", "sees", "course"), cells, left=("run", "course"))


def _columns(names: Sequence[str], cells: Sequence[Sequence[str]], left: Sequence[str]) -> list[str]:
    """Return the lines of a table without rules: words to the left, numbers to the right, two spaces between."""
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    form = "  ".join(f"{{:{'<' if name in left else '>'}{width}}}" for name, width in zip(names, widths, strict=True))
    return [form.format(*row).rstrip() for row in (names, *cells)]


def watch(folder: Path, everything: bool, console: "Console", every_s: float = 2.0) -> None:
    """Refresh the overview in a terminal until no run is active, or Ctrl-C."""
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, refresh_per_second=1) as live:
        while True:
            now = overview(folder)
            live.update(Text(now.text(everything)), refresh=True)
            if not now.running:
                return
            time.sleep(every_s)


def cancel(folder: Path) -> str:
    """Ask all runs without a result to stop, and return a sentence with their number."""
    counts, errors = {"running": 0, "planned": 0, "stale": 0}, list[str]()
    for entry in entries(folder):
        if entry.state in counts:
            try:
                entry.files.cancel.touch()
            except OSError as error:
                errors.append(f"; cannot ask {entry.folder}: {error.strerror}")
                continue
            counts[entry.state] += 1
    jobs = [number for number, states in _in_slurm(folder).items() if any(s.startswith("pending") for s in states)]
    if jobs and shutil.which("scancel"):
        # the state alone: what runs ends by itself, with a checkpoint
        _lines("scancel", "--state=PENDING", *jobs)
    stopping = f"stopping {counts['running']} running and {counts['planned'] + counts['stale']} queued runs"
    return stopping + "".join(errors)


def _in_slurm(folder: Path) -> dict[str, Counter[str]]:
    """Return the Slurm jobs of this user whose script was submitted from this sweep's folder, by number: of each, how
    many of its array are in which state; of those that wait, with Slurm's reason."""
    if not (folder / SUBMITTED).is_dir() or not shutil.which("squeue"):
        return {}
    submitted = os.path.join(os.path.realpath(folder), SUBMITTED, "")
    jobs: dict[str, Counter[str]] = {}
    # the number of the job or of its array, its state and reason, the working directory, the script
    form = "--format=%F|%T|%r|%Z|%o"
    for line in _lines("squeue", "--noheader", "--array", f"--user={os.getuid()}", form):
        number, state, reason, directory, script = [*line.strip().split("|", 4), "", "", "", ""][:5]
        if number.isdecimal() and os.path.realpath(os.path.join(directory, script)).startswith(submitted):
            waits = f" ({reason})" if state == "PENDING" else ""
            jobs.setdefault(number, Counter())[f"{state.lower()}{waits}"] += 1
    return dict(sorted(jobs.items()))


def _lines(*command: str) -> list[str]:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
