"""What a run logged, whatever wrote it.

numbers({"train": {"loss": 2.5}, "note": "warm"}, left_out := set())   # {'train.loss': 2.5}
left_out                                                               # {'note'}
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from isoflop.analysis.runs import names
from isoflop.record import Row, RunStatus

# a step that a log counts itself, where none of its columns is one
STEP = "_step"


@dataclass
class Log:
    """What one run logged."""

    run_id: str
    name: str = ""
    status: str = RunStatus.OK
    reason: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    """What holds for the whole run: numbers and words by dotted names."""
    points: list[dict[str, float]] = field(default_factory=list)
    """What was logged, a mapping for each time, with STEP or a column of steps."""
    records: list[Row] | None = None
    """The records of a run of ours."""
    at_work: bool = False
    """Whether it is a run of ours that has no record yet."""
    left_out: set[str] = field(default_factory=set)
    """Names whose values are neither a number nor a word."""
    damage: str = ""
    """What could not be read of it."""


class Found(NamedTuple):
    """A run that a format has found, and how to read it; None for what is no run."""

    name: str
    read: Callable[[], Log | None]


def bears(column: str, words: Collection[str]) -> bool:
    """Return whether a column has one of these names, or has it below a heading: `global_step`, `train/global_step`."""
    return names.plain(column) in words or names.plain(re.split(r"[/.]", column)[-1]) in words


def plain(tree: Mapping[str, Any], left_out: set[str], prefix: str = "") -> dict[str, Any]:
    """Return the words and numbers of a nested mapping by dotted names; skip names that begin with an underscore."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if str(key).startswith("_"):
            continue
        if isinstance(value, Mapping) and value and "_type" not in value:
            found |= plain(value, left_out, f"{name}.")
        elif isinstance(value, str | int | float | bool):
            found[name] = value
        elif value is not None:
            left_out.add(name)
    return found


def numbers(tree: Mapping[str, Any], left_out: set[str]) -> dict[str, float]:
    """Return the numbers of what was logged at a time; one that is not finite is infinite, whichever it was."""
    found = {}
    for name, value in plain(tree, left_out).items():
        try:
            number = float(value)
        except (ValueError, OverflowError):
            left_out.add(name)
            continue
        found[name] = number if math.isfinite(number) else math.inf
    return found
