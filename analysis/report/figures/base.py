"""Figures: one declarative spec (Vega-Lite) for the page, for the SVG and PNG of a paper, and for the data.

    for name, drawn in draw_all(view):
        if isinstance(drawn, Figure): drawn.save(folder, pictures=False)

A figure is a function of a view, decorated with @figure in a file of this folder, that returns a Figure or raises Unmet
with what is missing; its docstring begins with what it shows, its title is a noun. It is Vega-Lite as a dictionary
(grammar.py), or an Altair chart, and Altair is imported when one is drawn.
"""

import json
import math
import pkgutil
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pandas as pd

from isoflop import extensions
from isoflop.analysis.report.figures.style import FONT, config, wrap
from isoflop.analysis.report.view import MOST_FAMILIES, View, most_runs
from isoflop.files import make_folder, write_text
from isoflop.wording import MOST_SHOWN, cut, printable, spreadsheet

DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
POWER = re.compile("10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "C:/Windows/Fonts")
# points that a picture has at most: all are in its CSV
MOST_POINTS = 400
# characters of a reason on the page
MOST_REASON = 1500
# digits of a number in a picture: a line of 1000 points moves by less than a thousandth of one
DIGITS_SHOWN = 7
# room for the text above a picture: one view, and each panel of several [px]
WIDTH, PANEL_WIDTH = 840, 300


class Unmet(Exception):  # noqa: N818 an outcome, not an error
    """The figure's needs are not met; the message says what is missing."""


@dataclass(frozen=True)
class Figure:
    """A drawn figure."""

    name: str
    """The name of its file."""
    title: str
    """What is drawn, a noun: Loss against size, by data."""
    subtitle: str
    """How to read it."""
    alt: str
    """What it shows, in words, for a reader who does not see it."""
    chart: Any
    """Vega-Lite as a dictionary whose rows are `data`, or an Altair chart."""
    data: pd.DataFrame
    """Every number in it."""

    @cached_property
    def _drawing(self) -> dict[str, Any]:
        if isinstance(self.chart, dict):
            spec = self.chart | {"datasets": {"rows": _thin_table(self.data).to_dict("records")}}
        else:
            import altair as alt

            with alt.data_transformers.enable("default", max_rows=None):  # thinned here, lines and labels whole
                spec = self.chart.to_dict()
        spec = cast(dict[str, Any], _json_ready(spec))
        spec["datasets"] = {name: _present(_thin(rows)) for name, rows in spec.get("datasets", {}).items()}
        # what the drawing library gives a screen reader, in place of "Vega visualization"
        spec["description"] = printable(self.alt)
        return spec

    @property
    def _width(self) -> int:
        """Room for the text above the picture [px]."""
        panels = self.chart.get("columns", 0) if isinstance(self.chart, dict) else 0
        return PANEL_WIDTH * panels or WIDTH

    def spec(self, *, dark: bool = False, titled: bool = True) -> dict[str, Any]:
        """Return the Vega-Lite spec; a page shows the title as text and takes the spec without it."""
        spec = self._drawing | {"config": config(dark)}
        if titled:
            spec["title"] = {
                "text": wrap(printable(self.title), self._width // 11),
                "subtitle": wrap(printable(self.subtitle), self._width // 7),
            }
        return spec

    def save(self, folder: Path, pictures: bool) -> None:
        """Write NAME.json and .csv into the folder, and NAME.svg and .png with `pictures`, else remove old ones."""
        for suffix in (".json", ".csv"):
            self.write(folder / f"{self.name}{suffix}")
        for suffix in (".svg", ".png"):
            path = folder / f"{self.name}{suffix}"
            self.write(path) if pictures else path.unlink(missing_ok=True)

    def write(self, path: Path) -> None:
        """Write the figure into a file, its ending the format: .svg, .png, .pdf, .json (Vega-Lite) or .csv (data)."""
        if path.suffix == ".csv":
            write_text(path, _csv_of(self.data))
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
        """The spec of a separate file: on white, in a font that has the superscripts, where it is installed."""
        spec = self.spec() | {"background": "white"}
        spec["config"] = spec["config"] | {"font": f"'DejaVu Sans', {FONT}"}
        return json.dumps(spec, ensure_ascii=False)

    @cached_property
    def _svg(self) -> str:
        import vl_convert

        return str(vl_convert.vegalite_to_svg(self._text))


@dataclass(frozen=True)
class Drawing:
    """How one figure is drawn."""

    name: str
    order: int
    needs: str
    """What it takes to draw it, in words."""
    shows: str
    function: Callable[[View], Figure]
    costly: bool = False
    """Whether it takes many fits, and is drawn on request."""

    def draw(self, view: View) -> Figure:
        """Draw the figure of a view, of its families as many as a figure shows."""
        return self.function(_few_families(view))


def figure(order: int, needs: str, costly: bool = False) -> Callable[[Callable[[View], Figure]], Drawing]:
    """Declare a function as a figure of its own name."""

    def drawing(function: Callable[[View], Figure]) -> Drawing:
        return Drawing(function.__name__, order, needs, _opening(function.__doc__), function, costly)

    return drawing


def drawings() -> list[Drawing]:
    """Return the figures of this folder and of extensions, in order."""
    names = [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}.")]
    modules = [*map(import_module, names), *extensions.load("figures")]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Drawing)]
    # a file of an extension may be one figure
    found += [
        Drawing(m.NAME, m.ORDER, m.NEEDS, _opening(m.__doc__) or m.NAME, m.draw, getattr(m, "COSTLY", False))
        for m in modules if hasattr(m, "NAME") and hasattr(m, "draw")
    ]  # fmt: skip
    return sorted(found, key=lambda drawing: (drawing.order, drawing.name))


def _opening(doc: str | None) -> str:
    return " ".join((doc or "").partition("\n\n")[0].split())


def draw_all(view: View, costly: bool = False) -> Iterator[tuple[str, "Figure | str"]]:
    """Draw every figure, `costly` ones too if asked; one that cannot be drawn is a line that says what is missing."""
    drawn = _few_families(view)
    for drawing in drawings():
        name = drawing.name
        try:
            if view.rows.empty:
                raise Unmet("no run finished")
            if drawing.costly and not costly:
                raise Unmet(f"it takes many fits: isoflop plot RUNS --figure {name}, or isoflop report --full")
            yield name, drawing.draw(drawn)
        except Unmet as lack:
            reason = cut(printable(str(lack)), MOST_REASON)
            yield name, f"{name.replace('_', ' ')}: not drawn, {reason} (it needs {drawing.needs})"
        except Exception as error:  # a page without one figure is better than none
            yield name, not_drawn(name, error)


def not_drawn(name: str, error: BaseException) -> str:
    """Say that a figure could not be drawn, and why."""
    first = cut(printable((str(error).splitlines() or [""])[0]), MOST_SHOWN)
    return f"{name.replace('_', ' ')}: could not be drawn from these runs ({type(error).__name__}: {first})"


def _few_families(view: View) -> View:
    """Return the view as figures show it: of more than MOST_FAMILIES families, those with the most runs."""
    if len(view.families) <= MOST_FAMILIES:
        return view
    names = most_runs(view.rows)
    best = view.best.with_frame(view.rows[view.rows["family"].isin(names)])
    searched = view.searched[view.searched["family"].isin(names)]
    families = tuple(name for name in view.families if name in names)
    laws = {name: fit for name, fit in view.laws.items() if name in names}
    held = {name: fold for name, fold in view.held.items() if name in names}
    return replace(view, best=best, searched=searched, families=families, laws=laws, held=held)


def _thin(rows: list[Any]) -> list[Any]:
    """Keep MOST_POINTS points of a dataset, drawn at random, and all of its lines and labels."""
    points = [i for i, row in enumerate(rows) if not isinstance(row, dict) or row.get("kind", "run") == "run"]
    if len(points) <= MOST_POINTS:
        return rows
    dropped = set(random.Random(0).sample(points, len(points) - MOST_POINTS))
    return [row for i, row in enumerate(rows) if i not in dropped]


def _thin_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep MOST_POINTS points of a table, drawn at random, and all of its lines and labels."""
    points = rows.index[rows["kind"] == "run"]
    dropped = points.difference(points.to_series().sample(min(MOST_POINTS, len(points)), random_state=0).index)
    return rows.drop(index=dropped)


def _present(rows: list[Any]) -> list[Any]:
    """Drop missing cells, which are most of a long table."""
    return [{k: v for k, v in row.items() if v is not None} if isinstance(row, dict) else row for row in rows]


def _json_ready(value: Any) -> Any:
    """Convert a value to what JSON can hold and Vega can draw, numbers cut to the digits that a picture shows."""
    if isinstance(value, dict):
        return {k: _json_ready(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_json_ready(v) for v in value]
    if isinstance(value, str):  # the drawing library ends the process over a control character
        return value if value.isprintable() else printable(value)
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS_SHOWN}g}") if math.isfinite(value) else None
    return None if value is pd.NA else value


def _csv_of(rows: pd.DataFrame) -> str:
    words = rows.select_dtypes(exclude="number")
    safe: dict[str, Any] = {
        str(name): words[name].map({text: spreadsheet(text) for text in words[name].dropna().unique()})
        for name in words
    }
    return rows.assign(**safe).rename(columns=spreadsheet).to_csv(index=False)


def _has_fonts() -> bool:
    """Return whether this machine has fonts of its own."""
    return any(next(Path(folder).rglob("*.[to]tf"), None) for folder in FONT_FOLDERS)
