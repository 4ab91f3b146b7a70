"""The demo: a small real study from configs to verdicts, on text that every Python brings along.

isoflop demo --out demo
"""

import time
from pathlib import Path

from isoflop.wording import quoted


def demo(out: Path, quick: bool = False) -> int:
    """Train, collect and report in a folder, and return the exit code."""
    from isoflop.analysis.verbs import main as analyse
    from isoflop.scaling.app import main as train
    from isoflop.sweeps.collect import collect

    began = time.monotonic()
    runs, table, report = out / "runs", out / "runs.csv", out / "report"
    ladder = "demo_quick" if quick else "demo"
    trained = train([f"ladder={ladder}", f"out={quoted(runs)}", "sweep=demo"])
    if trained not in (0, 1):  # failed runs are rows too, and a report is due all the more
        return trained
    collect(runs, table)
    if failed := analyse(["report", str(table), "-o", str(report)]):
        return failed
    print(f"\ndone in {time.monotonic() - began:.0f} s")
    print(f"  every run as a row   {table}")
    print(f"  what they say        {report / 'index.html'}")
    return trained
