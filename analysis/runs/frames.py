"""Functions of frames that rooms still call which do not yet take Runs; each is a method there."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop.analysis.runs.runs import as_runs


def checked(
    runs: pd.DataFrame, needed: Sequence[str], what: str, *, blank: Sequence[str] = ()
) -> tuple[pd.DataFrame, dict[str, Any], list[tuple[str, int]]]:
    """Return the rows of `Runs.numbers`, their columns, and what was left out."""
    table = as_runs(runs).numbers(needed, what, blank=blank)
    names = [c for c in (*needed, *blank) if c in table]
    return table.frame, {c: table[c].to_numpy(float) for c in names}, as_runs(runs).excluded


def usable_numbers(runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return `Runs.numbers`."""
    return as_runs(runs).numbers(columns, "this").frame


def with_compute(runs: pd.DataFrame) -> pd.DataFrame:
    """Return `Runs.with_compute`."""
    return as_runs(runs).with_compute.frame


def number_runs(rows: pd.DataFrame, run: str | None) -> tuple[NDArray[np.intp], int]:
    """Return `Runs.codes` and `Runs.count`."""
    runs = as_runs(rows, run)
    return runs.codes, runs.count


def groups(runs: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Return the groups of `Runs.by`."""
    for label, rows in as_runs(runs).by(by).items():
        yield label.by, rows.frame


def as_families(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return the table with the names of `Runs.grouped` in the place of families."""
    return as_runs(runs).frame.assign(family=as_runs(runs).grouped(by).names)
