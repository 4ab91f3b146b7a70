"""The keys of a claim's yaml, as a page of the docs; printed from the dataclasses that read it.

python -m isoflop.analysis.claims.reference

page().splitlines()[0]      # '# Keys of a claim'
"""

import sys
from collections.abc import Iterable

from isoflop.analysis.claims.claim import Claim
from isoflop.analysis.claims.known import KnownAnswer
from isoflop.analysis.claims.needs import Needs, Seeds
from isoflop.analysis.claims.region import KINDS, Region
from isoflop.analysis.claims.rule import Rule
from isoflop.schema import reference

HEAD = """# Keys of a claim

A claim is one yaml file with the keys of its head and those of its rule. One that needs several quantities lists rules
under `all:` or `any:`; what they do not say they take from the claim. `isoflop judge --quantities` lists the quantities
and the keys that each needs.

This page is printed from the dataclasses that read the file: `python -m isoflop.analysis.claims.reference`.
"""
# keys that hold lists of rules
SEVERAL_KEYS = {
    "all": "Rules that must all hold.",
    "any": "Rules of which one must hold.",
    "given": "Rules that must be supported for the claim to have a meaning on these runs; else it is not identified.",
}


def page() -> str:
    """Return the page in Markdown."""
    kinds = "\n".join(f"- `{kind}` goes with {_listed(others)}" for kind, others in KINDS.items())
    sections = {
        "The head": reference(Claim),
        "Several rules": "\n".join(f"- `{key}` (a list of rules): {meaning}" for key, meaning in SEVERAL_KEYS.items()),
        "A rule": reference(Rule),
        "region": f"{reference(Region)}\n\nExactly one of {_listed(KINDS)}:\n\n{kinds}",
        "needs": reference(Needs),
        "needs.seeds": reference(Seeds),
        "Known answers, under `known:` of a study": reference(KnownAnswer),
    }
    return "\n".join([HEAD, *(f"## {title}\n\n{text}\n" for title, text in sections.items())])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "no other key"


if __name__ == "__main__":
    sys.stdout.write(page())
