"""A fit as a picture: observed points, the law through them, its band for a new run. Altair is imported here alone.

fit(runs, "power_offset(D)").chart()
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from isoflop.analysis.laws.declare import Law
from isoflop.errors import FitError

if TYPE_CHECKING:
    import altair as alt

# predictions with a band: value, low and high at the rows of a table, for a level
Band = Callable[[pd.DataFrame, float], pd.DataFrame]

# points along the law, curves at the most, and how far beyond the rows they reach
_POINTS, _CURVES, _BEYOND = 60, 6, 2.0
# the data of a chart lie in its specification: more points than this are thinned
MOST_POINTS = 2000


def draw_fit(
    law: Law, rows: pd.DataFrame, band_at: Band, column: str | None, level: float
) -> "alt.LayerChart | alt.FacetChart":
    """Draw points, curves and bands of a fit along `column`, a curve for each of a few values of the other columns."""
    import altair as alt

    columns, target = list(law.columns), law.target
    if column is not None and column not in columns:
        raise FitError(f"{law.name} has no column {column!r} to draw along; choose {' or '.join(columns)}")
    rows = rows[[*columns, target]].astype(float)
    column = column or next((c for c in columns if rows[c].nunique() > 1), columns[0])
    others = [c for c in columns if c != column]
    curves, points = (
        _curves(rows, column, others, lambda frame: band_at(frame, level).rename(columns={"value": target})),
        rows.iloc[:: -(-len(rows) // MOST_POINTS)],
    )
    points = points.assign(group=_labels(points, others))
    order = list(dict.fromkeys(_labels(rows.sort_values(others) if others else rows, others)))
    legend = alt.Legend(symbolOpacity=1)
    colour = (
        alt.Color("group:N", title=", ".join(others), sort=order, legend=legend) if others else alt.value("#0072B2")
    )
    x = alt.X(f"{_field(column)}:Q", title=column).scale(type="log", nice=False).axis(format="~s")
    y = alt.Y(f"{_field(target)}:Q", title=target).scale(type="log", nice=False, zero=False)
    line = alt.Chart(curves).mark_line().encode(x=x, y=y, color=colour)
    band = alt.Chart(curves.dropna()).mark_area(opacity=0.15).encode(x=x, y="low:Q", y2="high:Q", color=colour)
    tips = [alt.Tooltip(f"{_field(c)}:Q", title=c, format=".4~g") for c in (*columns, target)]
    marks = alt.Chart(points).mark_point(filled=True, size=36).encode(x=x, y=y, color=colour, tooltip=tips)
    title = alt.TitleParams(law.formula, subtitle=f"the band holds {level:.0%} of new runs")
    return alt.layer(band, line, marks).properties(width=480, height=320, title=title)


def _field(name: str) -> str:
    """Return a column as Vega-Lite takes it: a dot or a bracket would be a path."""
    return name.replace(".", "\\.").replace("[", "\\[").replace("]", "\\]")


def _curves(
    rows: pd.DataFrame, column: str, others: list[str], band_at: Callable[[pd.DataFrame], pd.DataFrame]
) -> pd.DataFrame:
    """Return the law and its band along the axis: group, the columns, the target, low, high."""
    low, high = float(rows[column].min()), float(rows[column].max())
    axis = np.geomspace(low, high * _BEYOND if high > low else high * 10, _POINTS)
    places = rows[others].drop_duplicates().sort_values(others) if others else pd.DataFrame(index=[0])
    places = places.iloc[np.unique(np.linspace(0, len(places) - 1, _CURVES).round().astype(int))]
    parts = []
    for _, place in places.iterrows():
        frame = pd.DataFrame({column: axis} | {c: float(place[c]) for c in others})
        parts.append(pd.concat([frame, band_at(frame)], axis=1))
    curves = pd.concat(parts, ignore_index=True)
    return curves.assign(group=_labels(curves, others))


def _labels(rows: pd.DataFrame, others: list[str]) -> list[str]:
    """Return what the colour of each row stands for."""
    return [", ".join(f"{value:.3g}" for value in row) for row in rows[others].itertuples(index=False)]
