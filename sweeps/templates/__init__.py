"""Pages as Jinja templates, which lie in this folder, and tables of a terminal.

render("answers.md", answers=[], ...)
console().print(plain_table("family", "N", right=("N",)))
"""

from collections.abc import Collection
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from isoflop.wording import WIDE, number, one_line


def render(name: str, **values: object) -> str:
    """Return the page of a template; values are escaped in HTML, and as `one_line` there are no control characters."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    is_html = name.endswith(".html")
    jinja = Environment(
        loader=loader, autoescape=is_html, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    jinja.filters["number"] = number
    jinja.filters["words"] = lambda name: str(name).replace("_", " ")
    jinja.filters["line"] = lambda value: "" if value is None else one_line(value)
    return jinja.get_template(name).render(**values)


def console() -> Console:
    """Return a console that shortens no line."""
    return Console(highlight=False, width=WIDE)


def plain_table(*names: str, right: Collection[str]) -> Table:
    """Return a table of these columns without lines or rows, those of `right` to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(Text(name), justify="right" if name in right else "left", no_wrap=True)
    return table
