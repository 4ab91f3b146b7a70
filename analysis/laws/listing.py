"""docs/reference/laws.md, written from the catalogue.

python docs/reference/make.py

page().splitlines()[0]     # '# Laws'
"""

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from isoflop.analysis.laws.catalogue import LAWS, topics
from isoflop.analysis.laws.declare import ALIASES, Law

_HEAD = """# Laws

What `--law` understands. The words in brackets are columns of the table; `--columns N=params` says what they are called
there, and `--law 'chinchilla(n_total,D)'` takes others in their place. A law of `x` stands over any one column, `C`
unless it is named: `power_offset(D)`. `--target` predicts another column than the law's own, of any numbers above 0:
`--law 'power_offset(C)' --target error`, also written `--law 'error ~ power_offset(C)'`.

This page is written from the functions in `analysis/laws`, which declare their columns, parameters, bounds and starts:
`python docs/reference/make.py`.
"""


def page() -> str:
    """Return the page in Markdown: a table for each topic."""
    return "\n".join([_HEAD, *(_topic(module) for module in topics())])


def _topic(module: ModuleType) -> str:
    title = inspect.getdoc(module) or ""
    rows = [_row(LAWS[name], vars(module)[name]) for name in vars(module) if name in LAWS and _written_in(module, name)]
    head = ["| law | formula | parameters, and what follows from them | source |", "|---|---|---|---|"]
    return "\n".join([f"## {title.split(':')[0].splitlines()[0].rstrip('.')}", "", *head, *rows, ""])


def _written_in(module: ModuleType, name: str) -> bool:
    return getattr(vars(module)[name], "__module__", None) == module.__name__


def _row(law: Law, function: Callable[..., Any]) -> str:
    names = [f"`{law.name}({', '.join(law.arguments)})`"]
    names += [f"also `{alias}`" for alias, name in ALIASES.items() if name == law.name]
    if law.target != "L":
        names.append(f"of `{law.target}`" + (f" from `{', '.join(law.columns)}`" if law.name in _RENAMED else ""))
    derived = [*law.derived, *(f"{curve}(C)" for curve in law.curves)]
    parameters = ", ".join(law.params) + (f"; {', '.join(derived)}" if derived else "")
    more = " ".join((inspect.getdoc(function) or "").partition("\n\n")[2].split())
    return f"| {', '.join(names)} | `{law.formula}` {more} | {parameters} | {law.source} |"


# laws whose arguments have other names than the columns that they stand for
_RENAMED = {name for name, law in LAWS.items() if law.columns != law.arguments and law.arguments != ("x",)}


if __name__ == "__main__":
    sys.stdout.write(page())
