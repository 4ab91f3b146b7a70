"""Runs of learners that are solved and not trained, kept as records like any other.

    make(Path("runs/known"), ["zipf", "spectral"])

An oracle is a function that gives curves, and a curve becomes the rows of one run. An oracle that was made whole leaves
a mark, `oracles/NAME`, so that the same command makes what is missing.

    curve = SolvedCurve("unseen_mass", "zipf", {"data.exponent": 2.0}, [{"D": 10, "L": 0.2}, {"D": 20, "L": 0.1}])
    [row["mark"] for row in curve.rows()]        # [1, 2]
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from isoflop import files, record
from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.scaling.config.provenance import commit


@dataclass(frozen=True)
class SolvedCurve:
    """The losses of one learner on one draw of data, a point for each amount of data, size or compute."""

    learner: str
    """Its name, in the record's column `family`."""
    data: str
    """The data that it is a learner of."""
    knobs: Mapping[str, Any]
    """What else decides the result, as dotted columns of the record."""
    points: Sequence[Mapping[str, Any]]
    """Of each point L and, where they have a meaning, N, D, C, floor and oracle.* (isoflop/record.py)."""
    seed: int = 0
    """Of the data."""

    @property
    def run_id(self) -> str:
        """The hash of what decides the result."""
        science = [self.learner, self.data, dict(self.knobs), self.seed, [point.get("N") for point in self.points]]
        return hashlib.sha256(json.dumps(science, sort_keys=True).encode()).hexdigest()[:12]

    def rows(self) -> list[record.Row]:
        """Return the rows of a record."""
        who = {"run_id": self.run_id, "seed": self.seed, "family": self.learner, "data": self.data}
        how = {"sweep": "oracles", "status": record.RunStatus.OK, "width": 1, "depth": 1, **commit(), **self.knobs}
        return [record.row(mark=n, **who, **how, **point) for n, point in enumerate(self.points, start=1)]


def write(runs: Path, curves: Iterator[SolvedCurve]) -> None:
    """Write each curve into a folder of its own among the runs."""
    for curve in curves:
        folder = RunFolder(runs / curve.run_id)
        folder.path.mkdir(parents=True, exist_ok=True)
        record.write(folder.path, curve.rows())


# an oracle is the function of its name in one of two files
NAMES = dict.fromkeys(("zipf", "spectral", "least_squares", "random_features"), "spectra") | dict.fromkeys(
    ("neighbours", "permutations", "synonyms"), "samples"
)


def curves(name: str) -> Callable[[], Iterator[SolvedCurve]]:
    """Return what an oracle computes; raise UserError for an unknown name."""
    if name not in NAMES:
        raise UserError(f"{name!r} is not an oracle; choose among {', '.join(NAMES)}")
    module = import_module(f"oracles.{NAMES[name]}")
    function: Callable[[], Iterator[SolvedCurve]] = getattr(module, name)
    return function


def make(runs: Path, names: Sequence[str]) -> None:
    """Solve what is missing of these oracles, a folder for each run in `runs`."""
    torch.set_num_threads(1)
    for name in names:
        made = runs.parent / "oracles" / name
        if made.exists():
            continue
        began = time.monotonic()
        write(runs, curves(name)())
        files.write_text(made, "")
        print(f"{name} solved ({time.monotonic() - began:.1f} s)", flush=True)
