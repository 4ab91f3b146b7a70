"""Pages of the docs that are written by programs: a Jinja template each, in Markdown.

render("scaling", price="183 runs", ...)
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(
    name: str, filters: Mapping[str, Callable[..., Any]] | None = None, trim: bool = False, **values: object
) -> str:
    """Return the page of a template; the template sets the line break after a value; trim: lines of blocks vanish."""
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        finalize=lambda value: value.removesuffix("\n") if isinstance(value, str) else value,
        keep_trailing_newline=True,
        trim_blocks=trim,
        lstrip_blocks=trim,
        autoescape=False,  # Markdown, not HTML
    )
    jinja.filters |= filters or {}
    return jinja.get_template(f"{name}.md.j2").render(values)
