"""Figures: one declarative spec (Vega-Lite) for the page, for the SVG and PNG of a paper, and for the data.

A figure is one file in a folder below this one with NAME, ORDER, NEEDS (what it takes to draw it, in words) and
`draw(view)`, which gives a Figure or raises Unmet with what is missing. The folders are the registry: loss (curves of
the loss), laws (what is fitted and how far it holds), runs (what else was measured). A figure that takes many fits says
COSTLY = True, and is drawn where it is asked for.

    for name, drawn in draw_all(view):
        if isinstance(drawn, Figure): drawn.save(folder, pictures=False)

A figure is an Altair chart, or Vega-Lite as a dictionary (grammar.py). Altair is imported when a figure is drawn and
not before: `analysis` must start fast.
"""

import json
import math
import pkgutil
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import pandas as pd

from isoflop import extensions, record
from isoflop.analysis.report.view import MOST_FAMILIES, View, most_runs
from isoflop.files import make_folder, write_text
from isoflop.wording import MOST_SHOWN, cut, number, printable, spreadsheet

# Okabe & Ito 2008, the colour-blind-safe set, less black and yellow, which vanish on one of the two backgrounds
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
NEUTRAL = "#8a8f98"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
POWER = re.compile("10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "C:/Windows/Fonts")


# points and lines of text that a figure has at the most: the data are in its CSV
MOST_POINTS, MOST_LINES = 400, 6
# characters of a reason on the page
MOST_REASON = 1500
# digits of a number in a picture: a line of 1000 points moves by less than a thousandth of one
DIGITS_SHOWN = 7


class Unmet(Exception):  # noqa: N818 an outcome, not an error
    """The figure's needs are not met; the message says what is missing."""


@dataclass(frozen=True)
class Figure:
    """A drawn figure: its title is the finding, `alt` says what is seen, `data` is every number in it."""

    name: str
    title: str
    subtitle: str
    alt: str
    chart: Any
    data: pd.DataFrame
    width: int = 840

    @cached_property
    def _drawing(self) -> dict[str, Any]:
        spec = cast(dict[str, Any], json_ready(self._as_dict()))
        spec["datasets"] = {name: present(thin(rows)) for name, rows in spec.get("datasets", {}).items()}
        # what the drawing library tells a screen reader, in the place of "Vega visualization"
        spec["description"] = printable(self.alt)
        return spec

    def _as_dict(self) -> dict[str, Any]:
        """The chart as Vega-Lite."""
        if isinstance(self.chart, dict):
            return self.chart | {"datasets": {"rows": thin_table(self.data).to_dict("records")}}
        import altair as alt

        with alt.data_transformers.enable("default", max_rows=None):  # thinned below, with the lines and labels whole
            return cast(dict[str, Any], self.chart.to_dict())

    def spec(self, *, dark: bool = False, titled: bool = True) -> dict[str, Any]:
        """The Vega-Lite spec; a page shows the title as text and takes the spec without it."""
        spec = self._drawing | {"config": config(dark)}
        if titled:
            spec["title"] = {
                "text": wrap(printable(self.title), self.width // 11),
                "subtitle": wrap(printable(self.subtitle), self.width // 7),
            }
        return spec

    def save(self, folder: Path, pictures: bool) -> None:
        """Write NAME.json and .csv into the folder, and NAME.svg and .png with `pictures`; none of an earlier page."""
        for suffix in (".json", ".csv"):
            self.write(folder / f"{self.name}{suffix}")
        for suffix in (".svg", ".png"):
            path = folder / f"{self.name}{suffix}"
            self.write(path) if pictures else path.unlink(missing_ok=True)

    def write(self, path: Path) -> None:
        """Write the figure into a file, its ending the format: .svg, .png, .pdf, .json (Vega-Lite) or .csv (data)."""
        if path.suffix == ".csv":
            words = self.data.select_dtypes(exclude="number").map(spreadsheet)
            write_text(path, self.data.assign(**words).rename(columns=spreadsheet).to_csv(index=False))
        elif path.suffix == ".json":
            write_text(path, self._text + "\n")
        elif path.suffix == ".svg":
            write_text(path, self._svg)
        else:
            import vl_convert

            # a picture is drawn with this machine's fonts, and the one in vl-convert lacks most superscripts
            svg = self._svg if _has_fonts() else POWER.sub(lambda m: "10^" + m[1].translate(DIGITS), self._svg)
            picture = vl_convert.svg_to_pdf(svg) if path.suffix == ".pdf" else vl_convert.svg_to_png(svg, scale=2)
            make_folder(path.parent)
            path.write_bytes(picture)

    @cached_property
    def _text(self) -> str:
        """The spec of a file by itself, on white, in one font that has the superscripts, where it is there."""
        spec = self.spec() | {"background": "white"}
        spec["config"] = spec["config"] | {"font": f"'DejaVu Sans', {FONT}"}
        return json.dumps(spec, ensure_ascii=False)

    @cached_property
    def _svg(self) -> str:
        import vl_convert

        return str(vl_convert.vegalite_to_svg(self._text))


class FigureFile(Protocol):
    """What a figure's file has; with COSTLY = True, `draw_all` draws it only where it is asked for what is costly."""

    NAME: str
    ORDER: int
    NEEDS: str
    draw: Callable[[View], Figure]


def figure_files() -> list[FigureFile]:
    """The figures of this folder and those of extensions, in order."""
    names = [m.name for m in pkgutil.walk_packages([str(Path(__file__).parent)], f"{__package__}.") if not m.ispkg]
    at = f"{__package__}."
    names = [name for name in names if "." in name.removeprefix(at) and not name.rpartition(".")[2].startswith("_")]
    files = [cast(FigureFile, import_module(name)) for name in names]
    files += [cast(FigureFile, module) for module in extensions.load("figures")]
    return sorted(files, key=lambda file: (file.ORDER, file.NAME))


def draw_all(view: View, costly: bool = False) -> Iterator[tuple[str, "Figure | str"]]:
    """Every figure by name, or one line that says what it lacks; `costly` ones take many fits."""
    drawn = few_families(view)
    for file in figure_files():
        try:
            if view.rows.empty:
                raise Unmet("no run finished")
            if getattr(file, "COSTLY", False) and not costly:
                raise Unmet(f"it takes many fits: isoflop plot RUNS --figure {file.NAME}, or isoflop report --full")
            yield file.NAME, draw(file, drawn)
        except Unmet as lack:
            reason = cut(printable(str(lack)), MOST_REASON)
            yield file.NAME, f"{file.NAME.replace('_', ' ')}: not drawn, {reason} (it needs {file.NEEDS})"
        except Exception as error:  # a page without one figure is better than none
            yield file.NAME, not_drawn(file.NAME, error)


def draw(file: FigureFile, view: View) -> Figure:
    """One figure of a view, of its families as many as a figure shows."""
    return file.draw(few_families(view))


def not_drawn(name: str, error: BaseException) -> str:
    """The line about a figure that could not be drawn."""
    first = cut(printable((str(error).splitlines() or [""])[0]), MOST_SHOWN)
    return f"{name.replace('_', ' ')}: could not be drawn from these runs ({type(error).__name__}: {first})"


def few_families(view: View) -> View:
    """The view as figures show it: of more than MOST_FAMILIES families, those with the most runs."""
    if len(view.families) <= MOST_FAMILIES:
        return view
    names = most_runs(view.rows)
    rows = view.rows[view.rows["family"].isin(names)]
    searched = view.searched[view.searched["family"].isin(names)]
    families = tuple(name for name in view.families if name in names)
    laws = {name: fit for name, fit in view.laws.items() if name in names}
    held = {name: fold for name, fold in view.held.items() if name in names}
    return replace(view, rows=rows, searched=searched, families=families, laws=laws, held=held)


def thin(rows: list[Any]) -> list[Any]:
    """The rows of a dataset, of more than MOST_POINTS points as many drawn at random; lines and labels stay whole."""
    points = [i for i, row in enumerate(rows) if not isinstance(row, dict) or row.get("kind", "run") == "run"]
    if len(points) <= MOST_POINTS:
        return rows
    dropped = set(random.Random(0).sample(points, len(points) - MOST_POINTS))
    return [row for i, row in enumerate(rows) if i not in dropped]


def thin_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The same of a table that is not yet a list of rows."""
    points = rows.index[rows["kind"] == "run"]
    dropped = points.difference(points.to_series().sample(min(MOST_POINTS, len(points)), random_state=0).index)
    return rows.drop(index=dropped)


def present(rows: list[Any]) -> list[Any]:
    """The rows without what is not there, which is most of a long table."""
    return [{k: v for k, v in row.items() if v is not None} if isinstance(row, dict) else row for row in rows]


def config(dark: bool) -> dict[str, Any]:
    """Colours of everything that is not data, for a light or a dark page."""
    ink, soft, grid = ("#e8eaed", "#aeb4bd", "#363b44") if dark else ("#1d2127", "#565d67", "#e4e7eb")
    axis = {"labelColor": soft, "titleColor": ink, "gridColor": grid, "domainColor": soft, "tickColor": soft}
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        # a figure is told as a whole by its description, and not point by point
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
    """Colour and shape of every family, the same in all figures of a report."""
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(families))]
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(families))]
    return {"domain": list(families), "range": colours}, {"domain": list(families), "range": shapes}


def log_axis(
    column: str, values: Sequence[float] | pd.Series, title: str | None = None, *, loss_unit: str = record.NATS
) -> dict[str, Any]:
    """Keyword arguments of a logarithmic X or Y: title with unit, a padded domain, ticks that read like 10¹⁰."""
    # beyond these a padded axis leaves the doubles
    low, high = (min(max(float(end), 1e-250), 1e250) for end in (min(values), max(values)))
    padding = math.exp(0.05 * (math.log(high) - math.log(low))) if high > low else 1.1
    ticks = nice_ticks(low / padding, high * padding)
    # Vega would write 10000000000; the expression picks our label for our tick
    named = "".join(f"abs(datum.value/{t!r}-1)<1e-6?'{number(t)}':" for t in ticks)
    return {
        "title": title or record.title(column, loss_unit),
        "scale": {"type": "log", "domain": [low / padding, high * padding], "nice": False},
        "axis": {"values": ticks, "labelExpr": f"{named}''", "labelOverlap": "greedy"},
    }


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers between low and high: decades where there are several, else 1-2-5, else evenly spaced."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [float(f"{s}e{k}") for k in range(first, last + 1) for s in steps]
        inside = [t for t in ticks if low <= t <= high]
        if len(inside) >= 3:
            return inside
    step = 10.0 ** math.floor(math.log10(high - low))
    step = next(s for s in (step, step / 2, step / 5, step / 10) if (high - low) / s >= 4)
    return [float(f"{k * step:.6g}") for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def json_ready(value: Any) -> Any:
    """The value as JSON can hold it and Vega can draw it: NaN and infinity become null, control characters are written
    out, numbers have no more digits than a picture can show."""
    if isinstance(value, dict):
        return {k: json_ready(v) for k, v in value.items()}
    if isinstance(value, list):
        return [json_ready(v) for v in value]
    if isinstance(value, str):  # the drawing library ends the process over a control character
        return printable(value)
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS_SHOWN}g}") if math.isfinite(value) else None
    return None if value is pd.NA else value


def _has_fonts() -> bool:
    """Whether this machine has fonts of its own."""
    return any(next(Path(folder).rglob("*.[to]tf"), None) for folder in FONT_FOLDERS)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters, at most MOST_LINES of them."""
    import textwrap

    lines = textwrap.wrap(text, width) or [""]
    return (
        lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], cut(lines[MOST_LINES - 1], width - 1) + "…"]
    )
