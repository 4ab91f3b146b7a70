"""Stopping a sweep from anywhere: a file in the folder of every run that is not done, which the runs look for.

    cancel(Path("runs/first"))         # 'stopping 3 running and 12 queued runs'

A run at work looks for it at every heartbeat, a waiting run when its turn comes. Waiting Slurm jobs are cancelled too,
if Slurm says that this user submitted them from this folder: a folder may come from anywhere.
"""

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from isoflop.sweeps.ledger import entries

# where submitit keeps scripts and logs (conf/hydra/launcher/slurm.yaml)
SUBMITTED = ".submitit"
# seconds that Slurm may take to answer
PATIENCE_S = 60.0


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
    jobs = [number for number, states in in_slurm(folder).items() if any(s.startswith("pending") for s in states)]
    if jobs and shutil.which("scancel"):
        # the state alone: what runs ends by itself, with a checkpoint
        _lines("scancel", "--state=PENDING", *jobs)
    stopping = f"stopping {counts['running']} running and {counts['planned'] + counts['stale']} queued runs"
    return stopping + "".join(errors)


def in_slurm(folder: Path) -> dict[str, Counter[str]]:
    """Return the Slurm jobs of this user whose script was submitted from this sweep's folder, by number.

    Of each, how many of its array are in which state; of those that wait, with Slurm's reason.
    """
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
