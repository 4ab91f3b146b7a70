"""The page of a running sweep in one file that refreshes itself: states, time left, lowest losses, runs at work.

No server: `isoflop status FOLDER --html FILE` writes it once, `--watch` writes it again until no run is active.

    from isoflop.sweeps.watch.status import overview

    write_page(overview(Path("runs")), Path("status.html"))
"""

import contextlib
import math
import time
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop import record
from isoflop.files import read_bytes, write_text
from isoflop.sweeps.watch.predicted import LEVEL, Prediction, Predictor
from isoflop.wording import clock, one_line, percent, short

if TYPE_CHECKING:
    from isoflop.sweeps.watch.status import Overview

# seconds between two readings of the page by the browser, and between two writings of it
REFRESH_S = 10
# columns of a curve.csv, of which the last is the loss (scaling/loop/curve.py)
CURVE = 5
# points of a loss curve, and pixels of its picture
POINTS, WIDTH, HEIGHT = 100, 220, 48
# runs that a page lists
MOST_RUNS = 500
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1.5rem 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; white-space: nowrap; } th { font-weight: 600; }
progress { width: 100%; height: .9rem; } polyline { fill: none; stroke: currentColor; stroke-width: 1.5; }
.fine { opacity: .75; font-size: .9em; }
"""


def write_page(seen: "Overview", path: Path) -> None:
    """Write the page of a folder of runs."""
    write_text(path, page(seen, time.strftime("%Y-%m-%d %H:%M:%S")))


def page(seen: "Overview", now: str) -> str:
    """The page as text; every word of a record is escaped."""
    done = sum(seen.counts.get(state, 0) for state in ("ok", "diverged"))
    left = seen.left_s
    states = ", ".join(f"{n} {state}" for state, n in sorted(seen.counts.items(), key=lambda item: -item[1]))
    parts = [
        f"<h1>{escape(one_line(seen.folder))}</h1>",
        f'<p><progress value="{done}" max="{max(len(seen.runs), 1)}" aria-label="runs with a result"></progress></p>',
        f"<p>{done} of {len(seen.runs)} runs have a result: {escape(states)}.",
        f" About {clock(left)} left at this pace.</p>" if left and seen.running else "</p>",
        _table(
            "At work",
            ("run", *record.WHO, "step", "training loss", f"L at the end, {percent(LEVEL, 0)} interval"),
            [_working(entry, seen.predicted) for entry in seen.running],
        ),
        _table("Lowest loss so far", ("data", "family", "N", "D", "L"), [_best(row) for row in seen.best]),
        _table("Ended without a result", ("run", *record.WHO, "state", "reason"), _lost(seen)),
        f'<p class="fine">Written {now}; this page reads itself again every {REFRESH_S} seconds.</p>',
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="{REFRESH_S}">'
        f"<title>{done} of {len(seen.runs)} runs</title><style>{STYLE}</style></head><body><main>"
        + "\n".join(parts)
        + "</main></body></html>\n"
    )


def _table(title: str, names: tuple[str, ...], rows: list[list[str]]) -> str:
    """A table with its heading; nothing without rows. Cells are markup already."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[:MOST_RUNS])
    more = f'<p class="fine">and {len(rows) - MOST_RUNS} more</p>' if len(rows) > MOST_RUNS else ""
    return (
        f'<h2>{title}</h2><div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{more}"
    )


def _working(entry: Any, predicted: "Mapping[str, Prediction]") -> list[str]:
    """One run at work: who it is, how far it is, its curve so far, the loss that it may end at."""
    from isoflop.sweeps.watch.status import line

    run = line(entry)
    step = f"{run['step']} of {run['steps']}" if run.get("steps") else "–"
    return [
        _text(entry.run_id),
        *(_text(run[key]) for key in record.WHO),
        step,
        _curve(entry),
        _text(predicted.get(entry.run_id, "")),
    ]


def _best(row: record.Row) -> list[str]:
    sizes = [short(row[c]) if row.get(c) is not None else "" for c in ("N", "D")]
    return [_text(row["data"]), _text(row["family"]), *sizes, f"{row['L']:.4f}"]


def _lost(seen: "Overview") -> list[list[str]]:
    """Runs that ended without a result, with the reason."""
    from isoflop.sweeps.watch.status import line

    states = [state for state in seen.by_state if state not in ("ok", "running", "planned")]
    runs = [line(entry) for state in states for entry in seen.by_state[state]]
    keys = ("run_id", *record.WHO, "state", "reason")
    return [[_text("" if run.get(key) is None else run[key]) for key in keys] for run in runs]


def curve(file: Path) -> list[float]:
    """The training losses of a curve.csv, without lines that are torn."""
    losses = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for text in read_bytes(file).decode().splitlines():
            *before, last = text.split(",")
            with contextlib.suppress(ValueError):
                losses += [loss] if len(before) == CURVE - 1 and math.isfinite(loss := float(last)) else []
    return losses


def watch_page(folder: Path, path: Path) -> None:
    """Write the page anew until nothing is at work."""
    from isoflop.sweeps.watch.status import overview

    predictor = Predictor()
    while True:
        seen = overview(folder, predictor)
        write_page(seen, path)
        if not seen.running:
            return
        time.sleep(REFRESH_S)


def _curve(entry: Any) -> str:
    """The training loss so far as a small picture, its last value beside it; empty without a curve."""
    losses = curve(entry.files.curve)
    if len(losses) < 2:
        return f"{losses[-1]:.4g}" if losses else ""
    step = -(-len(losses) // POINTS)
    shown = [*losses[::step], losses[-1]]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    places = [
        f"{WIDTH * i / (len(shown) - 1):.1f},{HEIGHT * (1 - (loss - low) / span):.1f}" for i, loss in enumerate(shown)
    ]
    label = f"training loss from {losses[0]:.3g} to {losses[-1]:.3g}"
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{label}">'
        f'<polyline points="{" ".join(places)}"/></svg> {losses[-1]:.4g}'
    )


def _text(value: object) -> str:
    return escape(one_line(value))
