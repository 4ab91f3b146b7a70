"""Functions of frames that the report still calls; each is a method of Runs."""

import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.runs.runs import as_runs


def with_compute(runs: pd.DataFrame) -> pd.DataFrame:
    """Return `Runs.with_compute`."""
    return as_runs(runs).with_compute.frame


def number_runs(rows: pd.DataFrame, run: str | None) -> tuple[NDArray, int]:  # type: ignore[type-arg]
    """Return `Runs.codes` and `Runs.count`."""
    runs = as_runs(rows, run)
    return runs.codes, runs.count
