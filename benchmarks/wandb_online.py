"""The whole loop with a W&B account: multirun, mirror, dashboard, import, fit; its table has to be that of `collect`.

    python benchmarks/wandb_online.py ENTITY                 # eight tiny runs into ENTITY/isoflop-check, a minute
    python benchmarks/wandb_online.py --offline              # the same from offline runs, without an account

It needs `pip install '.[dashboard]'` and, online, `wandb login`. The runs stay in the project; delete it when done.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# of one family, so that a law of N and D can be fitted
SWEEP = ["family=mlp", "data=markov", "family.width=4,8,16,32", "budget.D=[2e4,5e4,1e5]", "seed=0,1"]
# summaries reach the API some time after a run has finished
TRIES, PAUSE_S = 10, 15.0


def isoflop(*arguments: str) -> str:
    """Run a verb and return what it prints; exit with its own words where it fails."""
    done = subprocess.run([sys.executable, "-m", "isoflop", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"isoflop {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def imported(source: str, table: Path, own: bytes, tries: int) -> bool:
    """Import until the table is that of the run folders, at most so many times; return whether it came to be."""
    for _ in range(tries):
        isoflop("import", source, "-o", str(table), "--overwrite")
        if table.read_bytes() == own:
            return True
        time.sleep(PAUSE_S * (tries > 1))
    return False


def loop(entity: str | None, project: str, folder: Path) -> None:
    """Run the loop in a folder; exit with a sentence where a step fails or the tables differ."""
    runs, own, theirs = folder / "runs", folder / "own.csv", folder / "theirs.csv"
    place = ["logger.offline=true"] if entity is None else [f"logger.entity={entity}", f"logger.project={project}"]
    isoflop("train", "-m", *SWEEP, "logger=wandb", *place, f"out={runs}")
    isoflop("collect", str(runs), "-o", str(own))
    source = str(runs) if entity is None else f"{entity}/{project}"
    if not imported(source, theirs, own.read_bytes(), 1 if entity is None else TRIES):
        sys.exit(f"the table of {source} is not that of collect: diff {own} {theirs}")
    print(f"{len(own.read_text().splitlines()) - 1} rows of {source} are those of collect, to the byte")
    print(isoflop("fit", str(theirs), "--law", "kaplan").splitlines()[0])
    if entity is None:
        isoflop("dashboard", str(theirs), "--project", f"nobody/{project}", "--dry-run")
        print("a dashboard was composed, and not saved")
    else:
        print(isoflop("dashboard", str(theirs), "--project", f"{entity}/{project}").strip())


def main() -> None:
    """Run the loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entity", nargs="?", help="the W&B entity that the runs go to")
    parser.add_argument("--project", default="isoflop-check", help="its project, which must be new or empty")
    parser.add_argument("--offline", action="store_true", help="write offline runs and read those")
    given = parser.parse_args()
    if given.offline == bool(given.entity):
        parser.error("give an ENTITY, or --offline")
    with tempfile.TemporaryDirectory() as folder:
        loop(given.entity, given.project, Path(folder))


if __name__ == "__main__":
    main()
