"""The page of a running sweep in one file that refreshes itself: states, time left, lowest losses, runs at work.

No server: `isoflop status FOLDER --html FILE` writes it once, `--watch` writes it again until no run is active.

    from isoflop.sweeps.watch.status import overview

    write_page(overview(Path("runs")), Path("status.html"))
"""

import contextlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop import record
from isoflop.files import read_bytes, write_text
from isoflop.sweeps.templates import render
from isoflop.sweeps.watch.predicted import LEVEL
from isoflop.wording import clock, percent, short

if TYPE_CHECKING:
    from isoflop.sweeps.watch.status import Overview

# seconds between two readings of the page by the browser, and between two writings of it
REFRESH_S = 10
# columns of a curve.csv, of which the last is the loss (scaling/loop/progress.py)
CURVE = 5
# points of a loss curve, and pixels of its picture
POINTS, WIDTH, HEIGHT = 100, 220, 48
# runs that a page lists
MOST_RUNS = 500


def write_page(seen: "Overview", path: Path) -> None:
    """Write the page of a folder of runs."""
    write_text(path, page(seen, time.strftime("%Y-%m-%d %H:%M:%S")))


def watch_page(folder: Path, path: Path) -> None:
    """Write the page again and again until no run is active."""
    from isoflop.sweeps.watch.status import looks

    for seen in looks(folder, REFRESH_S):
        write_page(seen, path)


def page(seen: "Overview", now: str) -> str:
    """Return the page as text; the template escapes every word of a record."""
    from isoflop.sweeps.watch.status import line

    lost_states = [state for state in seen.by_state if state not in ("ok", "running", "planned")]
    lost = [line(entry) for state in lost_states for entry in seen.by_state[state]]
    keys = ("run_id", *record.WHO, "state", "reason")
    best = [
        [r["data"], r["family"], *("" if r.get(c) is None else short(r[c]) for c in ("N", "D")), f"{r['L']:.4f}"]
        for r in seen.best
    ]
    end = f"L at the end, {percent(LEVEL, 0)} interval"
    tables = (
        ("At work", ("run", *record.WHO, "step", "training loss", end), [_working(e, seen) for e in seen.running]),
        ("Lowest loss so far", ("data", "family", "N", "D", "L"), best),
        ("Ended without a result", ("run", *keys[1:]), [[run.get(key) for key in keys] for run in lost]),
    )
    return render(
        "status.html",
        folder=seen.folder,
        done=sum(seen.counts.get(state, 0) for state in ("ok", "diverged")),
        total=len(seen.runs),
        states=", ".join(f"{n} {state}" for state, n in seen.counts.most_common()),
        left=clock(seen.left_s) if seen.left_s and seen.running else "",
        tables=tables,
        now=now,
        refresh_s=REFRESH_S,
        most=MOST_RUNS,
    )


def _working(entry: Any, seen: "Overview") -> list[object]:
    """Return the cells of a run at work: who it is, its step, its curve so far, and the loss it may end at."""
    from isoflop.sweeps.watch.status import line

    run = line(entry)
    step = f"{run['step']} of {run['steps']}" if run.get("steps") else "–"
    who = [entry.run_id, *(run[key] for key in record.WHO)]
    return [*who, step, _picture(curve(entry.files.curve)), seen.predicted.get(entry.run_id)]


def curve(file: Path) -> list[float]:
    """Return the training losses of a curve.csv, without torn lines."""
    losses = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for text in read_bytes(file).decode().splitlines():
            *before, last = text.split(",")
            with contextlib.suppress(ValueError):
                losses += [loss] if len(before) == CURVE - 1 and math.isfinite(loss := float(last)) else []
    return losses


def _picture(losses: list[float]) -> dict[str, object]:
    """Return the training loss so far as the points of a small picture, with its last value."""
    last = f"{losses[-1]:.4g}" if losses else ""
    if len(losses) < 2:
        return {"points": "", "last": last}
    shown = [*losses[:: -(-len(losses) // POINTS)], losses[-1]]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    points = [
        f"{WIDTH * i / (len(shown) - 1):.1f},{HEIGHT * (1 - (loss - low) / span):.1f}" for i, loss in enumerate(shown)
    ]
    label = f"training loss from {losses[0]:.3g} to {losses[-1]:.3g}"
    return {"points": " ".join(points), "width": WIDTH, "height": HEIGHT, "label": label, "last": last}
