"""The catalogue of laws, one function each in the file of its topic; analysis/laws/declare.py says how to write one.

get_law("power_offset(D)").columns     # ('D',)
get_law("chinchilla(n_total, D)")      # the same law under another convention of counting
get_law("accuracy ~ power_offset(C)")  # the same law of another target
LAWS["chinchilla"].formula             # 'L(N, D) = E + A N^-alpha + B D^-beta'
"""

# the order of the topics is the order of the list
from isoflop.analysis.laws import one_axis, size_and_data, repetition, architecture, training, downstream  # noqa: F401, I001
from isoflop.analysis.laws.declare import LAWS, Kind, Law, get_law

__all__ = ["LAWS", "Kind", "Law", "get_law"]
