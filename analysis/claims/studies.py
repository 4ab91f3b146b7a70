"""Which study tests a claim: what a reader of an untested one is to do next.

command("H19", read_all())          # 'isoflop study exact'
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from isoflop import extensions
from isoflop.analysis.claims.claim import FOLDER

# as they stand in a study's yaml
CLAIMS = re.compile(r"^  claims: \[(.*)\]", re.MULTILINE)
MINUTES = re.compile(r"^  minutes: ([\d.]+)", re.MULTILINE)


class ClaimStudy(NamedTuple):
    """A study that tests claims, in the order of what it takes."""

    minutes: float
    """How long it takes on two idle cores."""
    name: str
    """Its name."""
    claims: frozenset[str]
    """The ids of its claims."""


def read_all() -> list[ClaimStudy]:
    """Return all studies that test claims, ours and those of extensions, the shortest first."""
    folders = [FOLDER.parent / "study", *(extension.conf / "study" for extension in extensions.all_declared())]
    found = []
    for path in (path for folder in folders for path in folder.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        claims, minutes = CLAIMS.search(text), MINUTES.search(text)
        names = frozenset(name.strip() for name in claims[1].split(",")) if claims else frozenset()
        if names:
            found.append(ClaimStudy(float(minutes[1]) if minutes else 0.0, path.stem, names))
    return sorted(found, key=lambda study: study[:2])


def command(claim: str, studies: Iterable[ClaimStudy], minutes: float = 0.0) -> str:
    """Return the command of the first study that tests a claim and takes so many minutes; empty without one."""
    names = (study.name for study in studies if claim in study.claims and study.minutes >= minutes)
    return next((f"isoflop study {name}" for name in names), "")
