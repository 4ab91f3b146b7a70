"""What a figure looks like: colours and shapes of families, axes with ticks that read like print, light and dark pages.

colours, shapes = family_scales(["lstm", "mlp"])
log_axis("N", [1e6, 1e9])["title"]          # 'parameters that multiply, N'; its ticks are 10⁶, 10⁷, 10⁸ and 10⁹
"""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from isoflop import record
from isoflop.wording import cut, number

# Okabe & Ito 2008, the colour-blind-safe set, less black and yellow, which vanish on one of the two backgrounds
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
NEUTRAL = "#8a8f98"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# lines of text that a picture has at most
MOST_LINES = 6


def config(dark: bool) -> dict[str, Any]:
    """Return the colours of everything that is not data, for a light or a dark page."""
    ink, soft, grid = ("#e8eaed", "#aeb4bd", "#363b44") if dark else ("#1d2127", "#565d67", "#e4e7eb")
    axis = {"labelColor": soft, "titleColor": ink, "gridColor": grid, "domainColor": soft, "tickColor": soft}
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        # the description speaks for the whole figure; points have none of their own
        "mark": {"aria": False},
        "axis": axis | {"titleFontWeight": "normal", "titleFontSize": 12, "labelFontSize": 11, "titlePadding": 8},
        "legend": {"labelColor": ink, "titleColor": soft, "titleFontWeight": "normal", "labelFontSize": 12},
        "header": {"labelColor": ink, "titleColor": ink, "labelFontSize": 13, "labelFontWeight": 600},
        "title": {"color": ink, "subtitleColor": soft, "anchor": "start", "fontSize": 15, "offset": 14}
        | {"subtitleFontSize": 12, "subtitlePadding": 5},
        "text": {"color": ink, "fontSize": 11},
        "rule": {"color": soft},
        "style": {"band": {"color": soft, "fillOpacity": 0.16}, "guide": {"color": soft, "strokeDash": [4, 4]}},
    }


def family_scales(families: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the colours and shapes of families, the same in all figures of a report."""
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(families))]
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(families))]
    return {"domain": list(families), "range": colours}, {"domain": list(families), "range": shapes}


def log_axis(
    column: str, values: Sequence[float] | pd.Series, title: str | None = None, *, loss_unit: str = record.NATS
) -> dict[str, Any]:
    """Return a logarithmic axis for X or Y: title with unit, a padded domain, ticks that read like 10¹⁰."""
    # a padded axis beyond these would overflow
    low, high = (min(max(float(end), 1e-250), 1e250) for end in (min(values), max(values)))
    padding = math.exp(0.05 * (math.log(high) - math.log(low))) if high > low else 1.1
    ticks = _nice_ticks(low / padding, high * padding)
    # Vega would write 10000000000; the expression picks our label for our tick
    named = "".join(f"abs(datum.value/{t!r}-1)<1e-6?'{number(t)}':" for t in ticks)
    return {
        "title": title or record.title(column, loss_unit),
        "scale": {"type": "log", "domain": [low / padding, high * padding], "nice": False},
        "axis": {"values": ticks, "labelExpr": f"{named}''", "labelOverlap": "greedy"},
    }


def _nice_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [float(f"{s}e{k}") for k in range(first, last + 1) for s in steps]
        inside = [t for t in ticks if low <= t <= high]
        if len(inside) >= 3:
            return inside
    step = 10.0 ** math.floor(math.log10(high - low))
    step = next(s for s in (step, step / 2, step / 5, step / 10) if (high - low) / s >= 4)
    return [float(f"{k * step:.6g}") for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def wrap(text: str, width: int) -> list[str]:
    """Break text into at most MOST_LINES lines of at most `width` characters."""
    lines = textwrap.wrap(text, width) or [""]
    return (
        lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], cut(lines[MOST_LINES - 1], width - 1) + "…"]
    )
