"""Write the reference pages from the code: columns of the record, laws, quantities and verdicts, verbs.

python docs/reference/make.py            # writes every page
python docs/reference/make.py --check    # writes nothing; names pages that are out of date, exit code 1
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import typer

from isoflop.analysis import verbs as analysis_verbs
from isoflop.analysis.claims.claim import Claim
from isoflop.analysis.claims.known import KnownAnswer
from isoflop.analysis.claims.needs import Needs, Seeds
from isoflop.analysis.claims.quantities import listing
from isoflop.analysis.claims.region import KINDS, Region, VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.laws.declare import ALIASES, LAWS, Law, topics
from isoflop.cli import VERBS
from isoflop.record import COLUMNS
from isoflop.scaling import verbs as scaling_verbs
from isoflop.schema import reference
from isoflop.sweeps import verbs as sweeps_verbs
from isoflop.sweeps.importing import verbs as import_verbs
from isoflop.sweeps.plan import verbs as confirm_verbs

FOLDER = Path(__file__).parent
NOTE = "<!-- written by docs/reference/make.py; change the code and write it again -->"


def columns() -> str:
    """Return the page of the record's columns, below the text that is written by hand."""
    meanings = {name: str(column).replace("|", "/") for name, column in COLUMNS.items()}
    rows = [f"| `{name}` | {meaning} |" for name, meaning in meanings.items()]
    by_hand = (FOLDER / "record.md").read_text(encoding="utf-8").partition("| column |")[0]
    return "\n".join([by_hand + "| column | what it is [unit] |", "|---|---|", *rows]) + "\n"


LAWS_HEAD = """# Laws

What `--law` understands. The words in brackets are columns of the table; `--columns N=params` says what they are called
there, and `--law 'chinchilla(n_total,D)'` takes others in their place. A law of `x` stands over any one column, `C`
unless it is named: `power_offset(D)`. `--target` predicts another column than the law's own, of any numbers above 0:
`--law 'power_offset(C)' --target error`, also written `--law 'error ~ power_offset(C)'`.

This page is written from the functions in `analysis/laws`, which declare their columns, parameters, bounds and starts:
`python docs/reference/make.py`.
"""


def laws() -> str:
    """Return the page of laws: a table for each topic."""
    return "\n".join([LAWS_HEAD, *(_topic(module) for module in topics())])


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
    # whose arguments have other names than the columns that they stand for
    renamed = law.columns != law.arguments and law.arguments != ("x",)
    if law.target != "L":
        names.append(f"of `{law.target}`" + (f" from `{', '.join(law.columns)}`" if renamed else ""))
    derived = [*law.derived, *(f"{curve}(C)" for curve in law.curves)]
    parameters = ", ".join(law.params) + (f"; {', '.join(derived)}" if derived else "")
    more = " ".join((inspect.getdoc(function) or "").partition("\n\n")[2].split())
    return f"| {', '.join(names)} | `{law.formula}` {more} | {parameters} | {law.source} |"


# laws whose arguments have other names than the columns that they stand for
_RENAMED = {name for name, law in LAWS.items() if law.columns != law.arguments and law.arguments != ("x",)}


def quantities() -> str:
    """Return the page of quantities and verdicts."""
    lines = ["# Quantities and verdicts of claims", "", NOTE, ""]
    lines += ["What `isoflop judge --quantities` prints; [claims](../claims.md) shows how a yaml names them."]
    lines += ["", "## Verdicts", "", "| verdict | when |", "|---|---|"]
    lines += [f"| {kind} | {kind.sentence} |" for kind in VerdictKind]
    lines += ["", "## Quantities", "", "| quantity | what it is | what a claim gives |", "|---|---|---|"]
    entries = listing().splitlines()
    for head, needs in zip(entries[::2], entries[1::2], strict=True):
        name, _, title = head.partition(": ")
        lines.append(f"| `{name}` | {_cell(title)} | {_cell(needs.strip())} |")
    return "\n".join(lines) + "\n"


def claim_keys() -> str:
    """Return the page of the keys of a claim's yaml, from the dataclasses that read it."""
    kinds = [f"- `{kind}` goes with {', '.join(f'`{key}`' for key in keys)}" for kind, keys in KINDS.items() if keys]
    several = ["- `all` (a list of rules): Rules that must all hold.", "- `any` (a list of rules): One must hold."]
    several += ["- `given` (a list of rules): Where these are not supported, the claim is not identified."]
    sections = {
        "The head": reference(Claim),
        "Several rules": "\n".join(several),
        "A rule": reference(Rule),
        "region": f"{reference(Region)}\n\nExactly one of {', '.join(KINDS)}:\n\n" + "\n".join(kinds),
        "needs": reference(Needs),
        "needs.seeds": reference(Seeds),
        "Known answers, under `known:` of a study": reference(KnownAnswer),
    }
    intro = (
        "A claim is one yaml file with the keys of its head and those of its rule. One that needs several quantities"
    )
    intro += "\nlists rules under `all:` or `any:`; what they do not say they take from the claim."
    lines = ["# Keys of a claim", "", NOTE, "", intro]
    return "\n".join([*lines, *(f"\n## {title}\n\n{text}" for title, text in sections.items())]) + "\n"


def verbs() -> str:
    """Return the page of verbs, each with its arguments and options."""
    lines = ["# Verbs", "", NOTE, "", "What `isoflop VERB --help` explains; `isoflop train --help` lists its keys."]
    commands: dict[str, click.Command] = {}
    for module in (analysis_verbs, scaling_verbs, sweeps_verbs, import_verbs, confirm_verbs):
        group = typer.main.get_command(module.app)
        commands |= getattr(group, "commands", {})
    for name, (_, does) in VERBS.items():
        lines += ["", f"## {name}", "", f"{does[0].upper()}{does[1:]}.", ""]
        if name in commands:
            lines += _options(commands[name])
    return "\n".join(lines).rstrip() + "\n"


def _options(command: click.Command) -> Iterator[str]:
    yield "| argument or option | what it does |"
    yield "|---|---|"
    for parameter in command.params:
        if parameter.name == "help" or getattr(parameter, "hidden", False):
            continue
        written = ", ".join(f"`{text}`" for text in parameter.opts) if parameter.opts else parameter.name
        if isinstance(parameter, click.Argument) or parameter.param_type_name == "argument":
            written = f"`{(parameter.name or '').upper()}`"
        yield f"| {written} | {_cell(getattr(parameter, 'help', None) or '')} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "record.md": columns,
    "laws.md": laws,
    "quantities.md": quantities,
    "claim_keys.md": claim_keys,
    "verbs.md": verbs,
}


def main(check: bool) -> int:
    """Write the pages, or name those that differ from what would be written."""
    stale = [name for name, page in PAGES.items() if _text(FOLDER / name) != page()]
    for name in stale:
        if check:
            print(f"docs/reference/{name} is out of date: python docs/reference/make.py")
        else:
            (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
    return int(check and bool(stale))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
