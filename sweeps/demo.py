"""The demo: a small real study from configs to verdicts, on text that every Python brings along.

isoflop demo --out demo
"""

import argparse
import sys
import time
from pathlib import Path

DESCRIPTION = """Train three families at three widths and six budgets of compute on the sources of Python's standard
library, then fit laws, judge the claims of conf/claims and write a report. About three minutes on two cores; the same
command again does only what is missing."""


def main(arguments: list[str]) -> int:
    """Run the study and return the exit code."""
    parser = argparse.ArgumentParser("isoflop demo", description=DESCRIPTION)
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), help="where to put runs, table and report (default demo)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a fraction of the study: half a minute, too little to conclude"
    )
    given = parser.parse_args(arguments)
    from isoflop.analysis.verbs import main as analyse
    from isoflop.scaling.app import main as train
    from isoflop.sweeps.verbs import main as sweeps
    from isoflop.wording import quoted

    began = time.monotonic()
    runs, table, report = given.out / "runs", given.out / "runs.csv", given.out / "report"
    ladder = "demo_quick" if given.quick else "demo"
    made = train([f"ladder={ladder}", f"out={quoted(runs)}", "sweep=demo"])
    if made not in (0, 1):  # failed runs are rows too, and a report is due all the more
        return made
    later = sweeps(["collect", str(runs), "-o", str(table)]) or analyse(["report", str(table), "-o", str(report)])
    if later:
        return later
    print(f"\ndone in {time.monotonic() - began:.0f} s")
    print(f"  every run as a row   {table}")
    print(f"  what they say        {report / 'index.html'}")
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
