"""Stopping a sweep from anywhere: a file in the folder of every run that is not done, which the runs look for.

    cancel(Path("runs/first"))         # 'stopping 3 running and 12 queued runs'

A running run hears of it from its own heart (scaling/process); one that is queued, in our launcher or a scheduler's
queue, finds the file when its turn comes. Jobs that a Slurm still holds are taken out of its queue too.
"""

import shutil
import subprocess
from pathlib import Path

from isoflop.scaling.process import hold
from isoflop.sweeps.ledger import entries


def cancel(folder: Path) -> str:
    """Ask all runs without a result to stop; returns a sentence with their number."""
    stopping = {"running": 0, "planned": 0, "stale": 0}
    for entry in entries(folder):
        if entry.state in stopping:
            (entry.folder / hold.CANCEL).touch()
            stopping[entry.state] += 1
    jobs = in_slurm(folder)
    if jobs and shutil.which("scancel"):
        # the state alone: what runs ends by itself, with a checkpoint
        subprocess.run(["scancel", "--state=PENDING", *jobs], check=False, capture_output=True)
    return f"stopping {stopping['running']} running and {stopping['planned'] + stopping['stale']} queued runs"


def in_slurm(folder: Path) -> list[str]:
    """The Slurm jobs that submitit keeps notes of under a sweep's folder, by number."""
    return sorted({path.name.split("_")[0] for path in folder.glob(".submitit/*") if path.name.split("_")[0].isdigit()})
