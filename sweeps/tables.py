"""Tables of a terminal.

console().print(plain_table("family", "N", right=("N",)))
"""

from collections.abc import Collection

from rich.console import Console
from rich.table import Table
from rich.text import Text

from isoflop.wording import WIDE


def console() -> Console:
    """Return a console that shortens no line."""
    return Console(highlight=False, width=WIDE)


def plain_table(*names: str, right: Collection[str]) -> Table:
    """Return a table of these columns without lines or rows, those of `right` to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(Text(name), justify="right" if name in right else "left", no_wrap=True)
    return table
