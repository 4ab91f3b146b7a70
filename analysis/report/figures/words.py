"""Words of a figure: how its rows read aloud, for a screen reader and under a picture in a document.

import pandas as pd
from isoflop.analysis.report.figures.grammar import log

rows = pd.DataFrame({"family": ["mlp", "mlp"], "C": [1e10, 1e11], "L": [2.0, 1.5]})
along("Loss against compute", rows, log("C", rows), log("L", rows)).split(". ")[-1]
# 'mlp: 2 at 10¹⁰ to 1.5 at 10¹¹.'
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from isoflop.wording import number

# groups of a description, and parts of a subtitle, that are named
MOST_READ, MOST_NAMED = 12, 4


def along(title: str, rows: pd.DataFrame, x: dict[str, Any], y: dict[str, Any], by: str = "family") -> str:
    """Describe a figure by its axes and by the mean of `y` at both ends of `x`, for each value of `by`.

    rows    what is drawn, a row for each point
    x, y    axes as grammar.log and grammar.linear give them
    """
    across, up = str(x["field"]), str(y["field"])
    parts = []
    for name, part in rows.dropna(subset=[across, up]).groupby(by, sort=False, observed=True):
        means = part.groupby(across)[up].mean()
        ends = [f"{number(float(means.iloc[i]))} at {number(float(means.index[i]))}" for i in (0, -1)]
        parts.append(f"{name}: {' to '.join(dict.fromkeys(ends))}")
    axes = f"Across: {x['title'] or across}; up: {y['title'] or up}, the mean at both ends"
    return f"{title}. {axes}. {shortened(parts, MOST_READ, '; ')}."


def values(title: str, rows: pd.DataFrame, label: str | Sequence[str]) -> str:
    """Describe a figure by the value and interval of each row (columns value, low and high), named by its labels."""
    labels = rows[[label] if isinstance(label, str) else list(label)].astype(str).agg(" ".join, axis=1)
    numbers = zip(labels, rows["value"], rows["low"], rows["high"], strict=True)
    parts = [f"{name} {interval(value, low, high, '.3g')}" for name, value, low, high in numbers]
    return f"{title}. {shortened(parts, MOST_READ, '; ')}."


def shortened(parts: Iterable[str], most: int = MOST_NAMED, between: str = ", ") -> str:
    """Join parts of a sentence; of more than `most` say how many are left out."""
    parts = list(parts)
    return between.join(parts[:most]) + (f" and {len(parts) - most} more" if len(parts) > most else "")


def interval(value: float | None, low: float | None, high: float | None, digits: str = ".2f") -> str:
    """Write an estimate: '0.48 (0.47 to 0.49)', or '0.48 (no interval)'."""
    if value is None or not math.isfinite(value):
        return "unknown"
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return f"{value:{digits}} (no interval)".replace("-", "−")
    return f"{value:{digits}} ({low:{digits}} to {high:{digits}})".replace("-", "−")
