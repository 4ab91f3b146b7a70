"""The Pareto front of two measures of a scorecard: which families no other surely beats in both.

front(scorecard(read_runs("studies/scaling/runs.csv")), "loss_at_C", "share_trained")
"""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd


def front(card: pd.DataFrame, one: str, two: str, data: str | None = None) -> list[str]:
    """Return the families that no other surely beats in both measures at once, where both have a value.

    Surely better in a measure is an interval wholly beyond the other's; without an interval no family is surely better.
    """
    part = card if data is None else card[card["data"] == data]
    sides = [
        {row["family"]: row for row in part[(part["measure"] == name) & part["value"].notna()].to_dict("records")}
        for name in (one, two)
    ]
    families = [family for family in sides[0] if family in sides[1]]

    def beats(a: str, b: str) -> bool:
        return all(_surely_better(side[a], side[b]) for side in sides)

    return [family for family in families if not any(beats(other, family) for other in families if other != family)]


def _surely_better(a: Mapping[Hashable, Any], b: Mapping[Hashable, Any]) -> bool:
    near, far = ("high", "low") if a["better"] == "lower" else ("low", "high")
    if pd.isna(a[near]) or pd.isna(b[far]):
        return False
    return bool(a[near] < b[far] if a["better"] == "lower" else a[near] > b[far])
