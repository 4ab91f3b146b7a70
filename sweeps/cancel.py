"""Stopping a sweep from anywhere: a file in the folder of every run that is not done, which the runs look for.

    cancel(Path("runs/first"))         # 'stopping 3 running and 12 queued runs'

A run at work is stopped by its own heart (scaling/process/heartbeat.py); a run that waits, in our launcher or a
scheduler's queue, finds the file when its turn comes. Jobs that a Slurm still holds are taken out of its queue too.
"""

import shutil
import subprocess
from pathlib import Path

from isoflop.sweeps.ledger import entries


def cancel(folder: Path) -> str:
    """Ask all runs without a result to stop; returns a sentence with their number."""
    counts = {"running": 0, "planned": 0, "stale": 0}
    for entry in entries(folder):
        if entry.state in counts:
            entry.files.cancel.touch()
            counts[entry.state] += 1
    jobs = in_slurm(folder)
    if jobs and shutil.which("scancel"):
        # the state alone: what runs ends by itself, with a checkpoint
        subprocess.run(["scancel", "--state=PENDING", *jobs], check=False, capture_output=True)
    return f"stopping {counts['running']} running and {counts['planned'] + counts['stale']} queued runs"


def in_slurm(folder: Path) -> list[str]:
    """The Slurm jobs that submitit keeps notes of under a sweep's folder, by number."""
    return sorted({path.name.split("_")[0] for path in folder.glob(".submitit/*") if path.name.split("_")[0].isdigit()})
