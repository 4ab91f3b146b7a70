"""Make the runs of oracles by name, in a process of its own.

    python -m isoflop.scaling.oracles.make runs/known zipf spectral

An oracle that was made whole leaves a mark, `oracles/NAME`, so that the same command makes what is missing.
"""

import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from isoflop import files
from isoflop.errors import UserError
from isoflop.scaling.oracles.base import SolvedCurve, write

# the name of an oracle is that of its file
NAMES = ("zipf", "spectral", "neighbours", "permutations", "least_squares", "random_features", "synonyms")


def curves(name: str) -> Callable[[], Iterator[SolvedCurve]]:
    """Return what an oracle computes; raise UserError for an unknown name."""
    if name not in NAMES:
        raise UserError(f"{name!r} is not an oracle; choose among {', '.join(NAMES)}")
    function: Callable[[], Iterator[SolvedCurve]] = import_module(f"isoflop.scaling.oracles.{name}").curves
    return function


def main(words: list[str]) -> int:
    """Solve what is missing; words: the folder of runs, then names."""
    import torch

    torch.set_num_threads(1)
    runs = Path(words[0])
    for name in words[1:]:
        made = runs.parent / "oracles" / name
        if made.exists():
            continue
        began = time.monotonic()
        write(runs, curves(name)())
        files.write_text(made, "")
        print(f"{name} solved ({time.monotonic() - began:.1f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
