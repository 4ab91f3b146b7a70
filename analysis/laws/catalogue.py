"""The catalogue of laws, one function each in the file of its topic; analysis/laws/declare.py says how to write one.

get_law("power_offset(D)").columns     # ('D',)
get_law("chinchilla(n_total, D)")      # the same law under another convention of counting
get_law("accuracy ~ power_offset(C)")  # the same law of another target
get_law("chinchilla").formula          # 'L(N, D) = E + A N^-alpha + B D^-beta'

A topic is imported when a law is asked for that no topic before it has; LAWS has all of them.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

from isoflop import extensions
from isoflop.analysis.laws import declare
from isoflop.analysis.laws.declare import Kind, Law

__all__ = ["Kind", "Law", "get_law", "topics"]

# in the order in which the laws are listed
TOPICS = ("one_axis", "size_and_data", "repetition", "architecture", "training", "schedules", "downstream")
# every law by its name; made when it is first asked for
LAWS: dict[str, Law]


def topics() -> list[ModuleType]:
    """Import the files of all laws, in the order in which they are listed."""
    return [import_module(f"isoflop.analysis.laws.{name}") for name in TOPICS]


def get_law(text: str | Law, target: str | None = None) -> Law:
    """Return the law that a text names: 'chinchilla', 'power_offset(C)', 'accuracy ~ sigmoid(L)'; UserError if none is.

    `target`: the column that it predicts, where that is not the law's own and the text does not say it.
    """
    if isinstance(text, Law):
        return text.of(target) if target else text
    name = declare.name_in(text)
    for topic in TOPICS:
        if name in declare.LAWS or name in declare.ALIASES:
            break
        import_module(f"isoflop.analysis.laws.{topic}")
    return declare.law_named(text, target)


def __getattr__(name: str) -> Any:
    if name != "LAWS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    topics()
    return declare.LAWS


if extensions.declared():
    topics()  # a law of an extension comes after ours
    extensions.load("laws")
