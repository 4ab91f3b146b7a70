"""Which study tests a claim: what a reader of an untested one is to do next.

command("H19")          # 'isoflop study exact'
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from isoflop import extensions
from isoflop.analysis.claims.claim import FOLDER

# as they stand in a study's yaml
CLAIMS = re.compile(r"^  claims: \[(.*)\]", re.MULTILINE)
MINUTES = re.compile(r"^  minutes: ([\d.]+)", re.MULTILINE)


def command(claim: str, minutes: float = 0.0) -> str:
    """The command that makes the shortest study that names the claim and takes no fewer minutes than these; empty
    where none does."""
    naming = [(takes, path.stem) for path, claims, takes in _studies() if claim in claims and takes >= minutes]
    return f"isoflop study {min(naming)[1]}" if naming else ""


def _studies() -> Iterator[tuple[Path, list[str], float]]:
    """The yaml of every study, the claims that it names, and its minutes."""
    folders = [FOLDER.parent / "study", *(extension.conf / "study" for extension in extensions.all_declared())]
    for path in sorted(path for folder in folders for path in folder.glob("*.yaml")):
        claims, minutes = _named(path, path.stat().st_mtime_ns)
        if claims:
            yield path, claims, minutes


@lru_cache(maxsize=256)
def _named(path: Path, changed: int) -> tuple[list[str], float]:
    """The claims of a study and its minutes, read again where the file has changed since."""
    text = path.read_text(encoding="utf-8")
    claims, minutes = CLAIMS.search(text), MINUTES.search(text)
    names = [name.strip() for name in claims[1].split(",")] if claims else []
    return names, float(minutes[1]) if minutes else 0.0
