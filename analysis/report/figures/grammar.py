"""One visual grammar for all figures: runs are points, laws are lines, intervals are bands or bars, dashed is a guide
or goes beyond the runs; a family has one colour and one shape everywhere.

    import pandas as pd

    rows = pd.DataFrame({"kind": ["run", "run"], "family": ["mlp", "mlp"], "C": [1e10, 1e11], "L": [2.0, 1.5]})
    spec = single([layer("point", "run", x=log("C", rows), y=log("L", rows), color=hue(["mlp"]))], height=300)
    sorted(spec)          # ['data', 'height', 'layer', 'width']

A figure is one table whose column `kind` says what each row is; a layer draws the rows of one kind. The result is
Vega-Lite as a dictionary: https://vega.github.io/vega-lite/docs.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from isoflop import record
from isoflop.analysis.report.figures.style import NEUTRAL, family_scales, log_axis
from isoflop.wording import cut, number

Spec = dict[str, Any]
# colour of text on a coloured cell, which is the same on a light and a dark page
INK = "#1d2127"
MARKS: dict[str, Spec] = {
    "point": {"filled": True, "size": 36, "opacity": 0.6},
    "hollow": {"type": "point", "filled": False, "size": 40, "strokeWidth": 1.4, "opacity": 0.9},
    "solid": {"type": "point", "filled": True, "size": 70, "opacity": 1},
    "best": {"type": "point", "filled": True, "size": 110, "opacity": 1, "stroke": "white", "strokeWidth": 1.2},
    "line": {"strokeWidth": 2.2},
    "thin": {"type": "line", "strokeWidth": 1.2, "opacity": 0.75},
    "beyond": {"type": "line", "strokeWidth": 2, "strokeDash": [2, 3]},
    "guide": {"type": "line", "strokeWidth": 1.4, "strokeDash": [6, 4], "color": NEUTRAL},
    "area": {"opacity": 0.16, "clip": True},
    "bar": {"type": "rule", "strokeWidth": 3, "opacity": 0.75},
    "whisker": {"type": "rule", "strokeWidth": 1.2, "opacity": 0.6, "clip": True},
    "text": {"align": "left", "dx": 6, "fontSize": 12, "fontWeight": 600, "clip": False},
    "note": {"type": "text", "align": "left", "dx": 6, "dy": -8, "fontSize": 10.5},
    "end": {"type": "text", "align": "left", "dx": 7, "fontSize": 10.5},
    "cell": {"type": "text", "align": "center", "dy": -5, "fontSize": 11, "fontWeight": 600, "color": INK},
    "cell_note": {"type": "text", "align": "center", "dy": 8, "fontSize": 9.5, "color": INK},
    "zero": {"type": "rule", "strokeDash": [4, 4], "color": NEUTRAL},
    "band": {"type": "rect", "style": "band"},
}
# families that are named beside their lines; more have a legend
DIRECT = 6
# room for a legend, for a letter and for a symbol [px], since a legend does not wrap; letters of a name
LEGEND_WIDTH, LETTER, SYMBOL, MOST_LETTERS = 640, 7, 36, 30
# shift and drag move a single view, shift and wheel zoom it, a double click resets it
ZOOM: Spec = {
    "name": "zoom",
    "bind": "scales",
    "select": {
        "type": "interval",
        "zoom": "wheel![event.shiftKey]",
        "translate": "[pointerdown[event.shiftKey], window:pointerup] > window:pointermove!",
    },
}
# a view, and what lies between two names in it [pixels]
HEIGHT, GAP = 380, 14
# groups of a description, and parts of a subtitle, that are named
MOST_READ, MOST_NAMED = 12, 4


def layer(mark: str, kinds: str | Sequence[str], /, *, where: str = "", **encoding: Any) -> Spec:
    """Draw one sort of mark for the rows of one or several kinds that meet `where`, a Vega expression; encoding:
    channels, each an axis, a colour, or the name of a column of words."""
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    condition = " || ".join(f"datum.kind === '{kind}'" for kind in kinds)
    style = {"type": mark} | MARKS.get(mark, {})
    drawn = {name: {"field": v, "type": "nominal"} if isinstance(v, str) else v for name, v in encoding.items() if v}
    return {
        "mark": style,
        "transform": [{"filter": f"({condition})" + (f" && ({where})" if where else "")}],
        "encoding": drawn,
    }


def log(
    column: str, rows: pd.DataFrame, title: str | None = None, *, unit: str = record.NATS, pad: float = 1.0
) -> Spec:
    """Return a logarithmic axis over a column, `pad` times longer at its upper end for what is written there."""
    values = _positive(rows[column])
    axis = log_axis(column, [*values, float(values.max()) * pad], title, loss_unit=unit)
    return {"field": column, "type": "quantitative"} | axis


def linear(column: str, title: str | None, *, ticks: int | None = None, **more: Any) -> Spec:
    """Return a linear axis with about `ticks` ticks."""
    axis = {"format": ".3~g", "labelOverlap": "greedy", "labelFlush": False} | ({"tickCount": ticks} if ticks else {})
    about = {"field": column, "type": "quantitative", "title": title, "scale": {"zero": False, "nice": True}}
    return about | {"axis": axis} | more


def text(column: str, **more: Any) -> Spec:
    """Return an axis of names, in the order of the rows."""
    axis = {"labelLimit": 260, "labelFontSize": 12, "grid": False}
    return {"field": column, "type": "nominal", "title": None, "sort": None, "axis": axis} | more


def family_names(families: Collection[str]) -> Spec:
    """Return an axis of families' names, long ones cut; a single family needs none."""
    names = text("family") | {"sort": list(families)}
    return names | {"axis": names["axis"] | {"labelLimit": 110} if len(families) > 1 else None}


def _legend(families: Sequence[str]) -> Spec:
    longest = min(MOST_LETTERS, max(map(len, families), default=0))
    columns = max(1, LEGEND_WIDTH // (LETTER * longest + SYMBOL))
    return {"title": None, "orient": "top", "columns": columns, "labelLimit": LETTER * MOST_LETTERS, "symbolOpacity": 1}


def hue(families: Sequence[str], *, legend: bool = False) -> Spec:
    """Return the colour of a family, with a legend on request where there are several."""
    return _channel(families, 0, legend)


def shape(families: Sequence[str], *, legend: bool = False) -> Spec:
    """Return the shape of a family's points, with a legend on request where there are several."""
    return _channel(families, 1, legend)


def _channel(families: Sequence[str], which: int, legend: bool) -> Spec:
    shown = _legend(families) if legend and len(families) > 1 else None
    return {"field": "family", "type": "nominal", "scale": family_scales(families)[which], "legend": shown}


def tooltip(columns: Iterable[str], rows: pd.DataFrame, unit: str = record.NATS) -> list[Spec]:
    """Return what a point shows when pointed at: the columns that the rows have, numbers rounded, with their unit."""
    shown = []
    for name in columns:
        if name in rows and rows[name].notna().any():
            measured = record.unit(name, unit)
            numeric = pd.api.types.is_numeric_dtype(rows[name])
            kind = {"type": "quantitative", "format": ".4~g"} if numeric else {"type": "nominal"}
            shown.append({"field": name, "title": f"{name} [{measured}]" if measured else name} | kind)
    return shown


def chosen(families: Sequence[str]) -> tuple[list[Spec], Spec | None]:
    """Return parameters with which a legend selects a family and a drag moves the view, and the opacity to use."""
    if len(families) <= 1:
        return [ZOOM], None
    select = {"name": "chosen", "select": {"type": "point", "fields": ["family"]}, "bind": "legend"}
    return [select, ZOOM], {"condition": {"param": "chosen", "value": 0.85}, "value": 0.1}


def single(layers: list[Spec], *, width: int = 680, height: int = 380, params: list[Spec] | None = None) -> Spec:
    """Put layers into one view; `params` belong to its last layer."""
    layers = [*layers[:-1], layers[-1] | ({"params": params} if params else {})]
    return {"data": {"name": "rows"}, "width": width, "height": height, "layer": layers}


def faceted(
    layers: list[Spec], rows: pd.DataFrame, by: str = "family", *, columns: int = 3, width: int = 262, height: int = 260
) -> Spec:
    """Put layers into a panel for each value of a column, at most `columns` side by side; one family needs no panel."""
    panels = rows[by].nunique()
    if panels == 1 and by == "family":
        return single(layers, height=380)
    return {
        "data": {"name": "rows"},
        "facet": {"field": by, "type": "nominal", "title": None, "sort": None},
        "columns": max(1, min(columns, panels)),
        "spec": {"width": width, "height": height, "layer": layers},
    }


def beside(views: Sequence[list[Spec]], *, columns: int = 3, width: int = 262, height: int = 260) -> Spec:
    """Put several views of the same rows, with axes of their own, side by side."""
    concat = [{"width": width, "height": height, "layer": layers} for layers in views]
    lines = [{"hconcat": concat[i : i + columns]} for i in range(0, len(concat), columns)]
    return {"data": {"name": "rows"}, "vconcat": lines}


def labels(ends: pd.DataFrame, y: Spec) -> pd.DataFrame:
    """Return the name of each family at the height where its line ends, moved apart where lines end close together.

    ends   a row for each family: where its line ends
    y      the logarithmic axis along which the names stand
    """
    rows = ends.sort_values(y["field"])
    rows = rows.assign(kind="label", label=[cut(str(name), MOST_LETTERS) for name in rows["family"]])
    low, high = np.log(y["scale"]["domain"])
    steps = (high - low) * GAP / HEIGHT * np.arange(len(rows))
    apart = np.maximum.accumulate(np.log(rows[y["field"]].to_numpy(float)) - steps)
    return rows.assign(**{y["field"]: np.exp(np.minimum(apart, high - max(steps)) + steps)})


def _positive(column: pd.Series) -> pd.Series:
    values = pd.to_numeric(column, errors="coerce")
    values = values[np.isfinite(values) & (values > 0)]
    return values if len(values) else pd.Series([1.0, 10.0])


def along(title: str, rows: pd.DataFrame, x: dict[str, Any], y: dict[str, Any], by: str = "family") -> str:
    """Describe a figure of rows by its axes and by the mean of `y` at both ends of `x`, for each value of `by`."""
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
