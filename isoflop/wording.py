"""Numbers and counts as people read them, and paths as Hydra does.

short(25000.0)        # '2.5e4'
clock(75)             # '1 min 15 s'
"""

from collections.abc import Mapping
from pathlib import Path


def short(number: float) -> str:
    """A size in two digits, as the command line takes it: 2.5e4."""
    return f"{number:.2g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def clock(seconds: float) -> str:
    """A length of time."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def states(counts: Mapping[str, int]) -> str:
    """How many are in each state."""
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def quoted(path: Path) -> str:
    """A path as Hydra's grammar takes any text."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${") + "'"
