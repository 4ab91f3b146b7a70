"""What git says of a file or folder, where there is a git and a checkout (standard library only).

git(Path("docs"), "rev-parse", "HEAD")       # the commit, or '' where git fails
"""

import subprocess
from pathlib import Path


def git(folder: Path, *words: str) -> str:
    """Return the output of git in a folder; empty if git fails."""
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
