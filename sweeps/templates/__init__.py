"""Pages as Jinja templates, which lie in this folder.

render("status.html", done=1, total=2, ...)
"""

from pathlib import Path

from isoflop.wording import number, one_line


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
